//! Takes the snippet out of the page.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

const PAGE: &str = "../../docs/metrics.md";
const BEGIN: &str = "```ignore\nuse opentelemetry::";
const HEAD: &str = "fn install() -> Result<(), Box<dyn std::error::Error>> {";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PAGE}");
    let page = fs::read_to_string(PAGE)?;
    let from = page.find(BEGIN).ok_or("the page has no snippet for OpenTelemetry")?;
    let (_, snippet) = page[from..].split_once('\n').ok_or("a fence is a line")?;
    let (snippet, _) = snippet.split_once("\n```").ok_or("the snippet has an end")?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("snippet.rs"), format!("{HEAD}\n{snippet}\nOk(())\n}}\n"))?;
    Ok(())
}
