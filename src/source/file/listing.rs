//! Which files a pattern names.

use std::path::{Path, PathBuf};

use millstream_actors::contract::SourceError;

use super::error::FileSourceError;

/// The files that `pattern` names, sorted: itself if it is a file, the visible files directly inside if it is a
/// directory, else the files that match it as a glob. Wildcards do not match a leading dot.
///
/// # Errors
/// A mistake in the [configuration](SourceError::configuration) if nothing matches, the pattern is bad, or a path is not
/// UTF-8; [`FileSourceError::Io`] if a directory cannot be read.
pub(super) fn list(pattern: &str) -> Result<Vec<String>, SourceError> {
    let found = match Path::new(pattern) {
        file if file.is_file() => vec![file.to_owned()],
        dir if dir.is_dir() => files_in(dir)?,
        _ => matching(pattern)?,
    };
    if found.is_empty() {
        return Err(SourceError::configuration(format!("no file matches '{pattern}'")));
    }
    let mut paths = Vec::with_capacity(found.len());
    for path in found {
        paths.push(path.into_os_string().into_string().map_err(|path| {
            SourceError::configuration(format!("{path:?}, which '{pattern}' matches, is not UTF-8"))
        })?);
    }
    paths.sort();
    Ok(paths)
}

fn files_in(dir: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let io = |source| FileSourceError::Io { path: dir.to_owned(), action: "list", source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
    let options =
        glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let matches = glob::glob_with(pattern, options)
        .map_err(|error| SourceError::configuration(format!("bad pattern '{pattern}': {error}")))?;
    let mut files = Vec::new();
    for path in matches {
        let path = path.map_err(|error| FileSourceError::Io {
            path: error.path().to_owned(),
            action: "list",
            source: error.into(),
        })?;
        if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use millstream_actors::protocol::Fault;

    use super::*;

    #[test]
    fn file_directory_and_glob_are_listed_sorted_without_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt", ".hidden.csv"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.csv")).unwrap();
        let root = dir.path().to_str().unwrap();
        let at = |name: &str| format!("{root}/{name}");
        assert_eq!(list(&at("c.txt")).unwrap(), [at("c.txt")]);
        assert_eq!(list(root).unwrap(), [at("a.csv"), at("b.csv"), at("c.txt")]);
        assert_eq!(list(&at("*.csv")).unwrap(), [at("a.csv"), at("b.csv")]);
        for bad in [at("*.gz"), at("none"), at("***")] {
            let error = list(&bad).unwrap_err();
            assert!(error.fault() == Fault::User && error.to_string().contains(&bad), "{error}");
        }
    }
}
