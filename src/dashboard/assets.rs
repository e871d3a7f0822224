//! The page's files, which are a part of the program.

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};
use xxhash_rust::xxh3::xxh3_64;

use super::api::Refusal;

/// A file of the page.
struct Asset {
    /// Where it is found, below the dashboard.
    path: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($path:literal,)*) => {
        /// All of them: nothing else is handed out.
        const ASSETS: &[Asset] = &[$(Asset { path: $path, bytes: include_bytes!(concat!("assets/", $path)) },)*];
    };
}

assets! {
    "api.js",
    "bars.js",
    "charts.js",
    "checkpoints.js",
    "connection.js",
    "controls.js",
    "dom.js",
    "event-time.js",
    "failures.js",
    "favicon.svg",
    "format.js",
    "graph.js",
    "header.js",
    "index.html",
    "layout.js",
    "log.js",
    "main.js",
    "plots.js",
    "series.js",
    "state.js",
    "style.css",
    "theme.js",
    "vendor/dagre.LICENSE",
    "vendor/dagre.esm.js",
    "vendor/uPlot.LICENSE",
    "vendor/uPlot.iife.min.js",
    "vendor/uPlot.min.css",
    "vertex.js",
}

/// The file with this path; the page itself for none.
pub(super) fn asset(request: &HttpRequest, path: &str) -> HttpResponse {
    let path = if path.is_empty() { "index.html" } else { path };
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) else {
        return Refusal::not_found("no_such_address", "there is nothing at this address").respond();
    };
    let tag = format!("\"{:016x}\"", xxh3_64(asset.bytes));
    let known = request.headers().get(IF_NONE_MATCH).and_then(|known| known.to_str().ok()).unwrap_or_default();
    let is_known = known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag || known.trim() == "*");
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Another version of the program has others at the same addresses, so it is always asked whether they are the same.
    response.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "no-cache"));
    if is_known {
        return response.finish();
    }
    response.content_type(content_type(path)).body(asset.bytes)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Bytes of all files together.
    const BYTES_MAX: usize = 300 << 10;

    fn files(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path, found);
            } else if !path.ends_with("README.md") {
                found.push(path.to_str().expect("a plain name").replace('\\', "/"));
            }
        }
    }

    #[test]
    fn every_file_of_the_page_is_handed_out_and_all_are_small() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dashboard/assets");
        let mut found = Vec::new();
        files(&root, &mut found);
        let root = format!("{}/", root.to_str().expect("a plain name").replace('\\', "/"));
        let mut found: Vec<_> = found.iter().map(|path| path.trim_start_matches(&*root)).collect();
        found.sort_unstable();
        let mut listed: Vec<_> = ASSETS.iter().map(|asset| asset.path).collect();
        listed.sort_unstable();
        assert_eq!(listed, found);
        let bytes: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(bytes <= BYTES_MAX, "{bytes} bytes");
        let unknown = listed.iter().filter(|path| content_type(path).starts_with("text/plain")).collect::<Vec<_>>();
        assert!(unknown.iter().all(|path| path.contains("LICENSE") || path.ends_with(".txt")), "{unknown:?}");
    }
}
