//! Which files a pattern names.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use millstream_actors::contract::SourceError;

use super::error::FileSourceError;

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A file that a pattern names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// As the pattern leads to it.
    pub(super) path: String,
    /// The same file without links: no two that are listed have one.
    pub(super) canonical: PathBuf,
}

/// Why no file can be named so, whatever there is.
pub(super) fn mistake(pattern: &str) -> Option<String> {
    if pattern.is_empty() {
        return Some("an empty pattern names no file; the current directory is \".\"".to_owned());
    }
    if pattern.contains('\0') {
        return Some(format!("{pattern:?} holds a NUL, which no path does"));
    }
    // What is no pattern may be a file of that name.
    let error = Pattern::new(pattern).err().filter(|_| fs::symlink_metadata(pattern).is_err())?;
    Some(format!("bad pattern '{pattern}': {error}"))
}

/// The files that `pattern` names, sorted: itself if it is a file, the visible files directly inside if it is a
/// directory, else the files that match it as a glob. Wildcards do not match a leading dot.
///
/// `**` does not go through links to directories, as in bash, git and ripgrep: a link back would give every file again and
/// again. Links that the pattern names, or matches by another wildcard, are followed. A file that is matched more than once,
/// through links, is listed once, by the first of its paths.
///
/// # Errors
/// A mistake in the [configuration](SourceError::configuration) if nothing matches, the pattern is bad, or a path is not
/// UTF-8. [`FileSourceError::Io`] for a directory that cannot be read and a match that cannot be looked at, such as a link
/// that leads nowhere: it may be a file, so it is not left out.
pub(super) fn list(pattern: &str) -> Result<Vec<Listed>, SourceError> {
    let paths = paths(pattern, DeadLinks::Fail)?;
    if paths.is_empty() {
        return Err(SourceError::configuration(format!("no file matches '{pattern}'")));
    }
    let mut seen = HashSet::new();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let canonical = fs::canonicalize(&path).map_err(cannot("follow", &path))?;
        if seen.insert(canonical.clone()) {
            files.push(Listed { path: text(path, pattern)?, canonical });
        }
    }
    Ok(files)
}

/// The paths that `pattern` names at the moment, sorted, several to one file perhaps; none if nothing matches. A link that leads
/// nowhere is left out: it may be about to be changed.
///
/// # Errors
/// As [`list`], but for what may come and go, and not for a name that is not UTF-8.
pub(super) fn present(pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
    paths(pattern, DeadLinks::LeaveOut)
}

/// What is in a directory, hidden or not; nothing if it is not there.
///
/// # Errors
/// [`FileSourceError::Io`] if it cannot be read.
pub(super) fn inside(dir: &Path) -> Result<Vec<PathBuf>, FileSourceError> {
    Ok(entries(dir)?.into_iter().map(|entry| dir.join(entry.file_name())).collect())
}

/// What becomes of links that lead nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadLinks {
    Fail,
    LeaveOut,
}

fn paths(pattern: &str, dead_links: DeadLinks) -> Result<Vec<PathBuf>, SourceError> {
    let mut walk = Walk { files: Vec::new(), dead_links };
    match fs::metadata(pattern) {
        Ok(found) if found.is_file() => walk.files.push(PathBuf::from(pattern)),
        Ok(found) if found.is_dir() => walk.go(Path::new(pattern), &[Part::every_name()])?,
        Ok(_) => {
            return Err(SourceError::configuration(format!("'{pattern}' is neither a file nor a directory")));
        }
        Err(_) => walk.go(Path::new(""), &parts(pattern)?)?,
    }
    walk.files.sort();
    Ok(walk.files)
}

fn text(path: PathBuf, pattern: &str) -> Result<String, SourceError> {
    path.into_os_string()
        .into_string()
        .map_err(|path| SourceError::configuration(format!("{path:?}, which '{pattern}' matches, is not UTF-8")))
}

/// What a component of a path must be.
enum Part {
    /// This.
    Named(OsString),
    /// A name that matches.
    Like(Pattern),
    /// Any number of directories.
    Below,
}

impl Part {
    fn every_name() -> Self {
        Self::Like(Pattern::new("*").expect("a pattern"))
    }
}

fn parts(pattern: &str) -> Result<Vec<Part>, SourceError> {
    let bad = |error| SourceError::configuration(format!("bad pattern '{pattern}': {error}"));
    Pattern::new(pattern).map_err(bad)?;
    let mut parts = Vec::new();
    for component in Path::new(pattern).components() {
        let part = match component {
            Component::Normal(name) => match name.to_str() {
                Some("**") if matches!(parts.last(), Some(Part::Below)) => continue,
                Some("**") => Part::Below,
                Some(name) if name.contains(['*', '?', '[']) => Part::Like(Pattern::new(name).map_err(bad)?),
                _ => Part::Named(name.to_owned()),
            },
            other => Part::Named(other.as_os_str().to_owned()),
        };
        parts.push(part);
    }
    if let Some(Part::Below) = parts.last() {
        parts.push(Part::every_name());
    }
    Ok(parts)
}

/// A walk through directories, and the files that it has found.
struct Walk {
    files: Vec<PathBuf>,
    dead_links: DeadLinks,
}

impl Walk {
    /// Adds the files below `at` whose further paths match `parts`.
    fn go(&mut self, at: &Path, parts: &[Part]) -> Result<(), FileSourceError> {
        let Some((part, rest)) = parts.split_first() else {
            if is_file(at, self.dead_links)? {
                self.files.push(at.to_owned());
            }
            return Ok(());
        };
        match part {
            Part::Named(name) => self.go(&at.join(name), rest),
            Part::Like(pattern) => {
                for entry in entries(at)? {
                    if pattern.matches_with(&entry.file_name().to_string_lossy(), OPTIONS) {
                        self.go(&at.join(entry.file_name()), rest)?;
                    }
                }
                Ok(())
            }
            Part::Below => {
                self.go(at, rest)?;
                for entry in entries(at)? {
                    let name = entry.file_name();
                    let path = at.join(&name);
                    let is_hidden = name.as_encoded_bytes().starts_with(b".");
                    if !is_hidden && entry.file_type().map_err(cannot("examine", &path))?.is_dir() {
                        self.go(&path, parts)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// What is in a directory; nothing if it is not there, or none.
fn entries(dir: &Path) -> Result<Vec<DirEntry>, FileSourceError> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match fs::read_dir(dir) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        outcome => outcome.and_then(Iterator::collect).map_err(cannot("list", dir)),
    }
}

fn is_file(path: &Path, dead_links: DeadLinks) -> Result<bool, FileSourceError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if !is_absent(&error) => Err(cannot("examine", path)(error)),
        // A link is there, what it leads to is not.
        Err(error) if dead_links == DeadLinks::Fail && fs::symlink_metadata(path).is_ok() => {
            Err(cannot("follow", path)(error))
        }
        Err(_) => Ok(false),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn cannot(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FileSourceError {
    let path = path.to_owned();
    move |source| FileSourceError::Io { path: path.clone(), action, source }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
