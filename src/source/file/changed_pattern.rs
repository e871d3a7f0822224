//! A pattern that is another than when the files were listed.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use millstream_actors::contract::{SourceContext, SourceError, SplitPosition, checksum};

use super::error::FileSourceError;
use super::listing::{self, Listed};
use super::reader::{FilePosition, FileSplit};
use crate::source::{Split, decode_position, encode_position};

/// What positions know of the pattern by which their files were listed.
pub(super) fn mark(pattern: &str) -> u64 {
    checksum(pattern.as_bytes())
}

/// Every file that `pattern` names, from its beginning.
pub(super) fn unread(pattern: &str) -> Result<Vec<FileSplit>, SourceError> {
    let files = listing::list(pattern)?.into_iter();
    Ok(files.map(|file| Split { id: file.path, position: FilePosition::start(mark(pattern)) }).collect())
}

/// The restored positions as they are to be read on under `pattern`: as they are if it is the one by which the files were
/// listed. If it is another, the files are listed anew: those that are known keep their position, whatever path the pattern
/// now has for them; others are read from their beginning; those that were read to their end stay known, whether they match
/// or not.
///
/// # Errors
/// [`FileSourceError::PatternChanged`] if a file that is not read to its end does not match any more; those of the listing;
/// [`SourceError::position`].
pub(super) fn adopt(
    cx: &SourceContext,
    pattern: &str,
    restored: Vec<SplitPosition>,
) -> Result<Vec<SplitPosition>, SourceError> {
    let decode = |stored: &SplitPosition| Ok(Split { position: decode_position(stored)?, id: stored.split.clone() });
    let known: Vec<FileSplit> = restored.iter().map(decode).collect::<Result<_, SourceError>>()?;
    let mark = mark(pattern);
    if known.iter().all(|split| split.position.listed_by == mark) {
        return Ok(restored);
    }
    let listed = listing::list(pattern)?;
    let matched: HashSet<&PathBuf> = listed.iter().map(|file| &file.canonical).collect();
    let (mut gone, mut found) = (Vec::new(), HashSet::new());
    for split in &known {
        match fs::canonicalize(&split.id) {
            Ok(canonical) if matched.contains(&canonical) => {
                found.insert(canonical);
            }
            _ if split.position.done => {}
            _ => gone.push(PathBuf::from(&split.id)),
        }
    }
    if !gone.is_empty() {
        return Err(FileSourceError::PatternChanged { pattern: pattern.to_owned(), unfinished: gone }.into());
    }
    let paths: HashSet<&String> = known.iter().map(|split| &split.id).collect();
    let is_new = |file: &&Listed| !found.contains(&file.canonical) && !paths.contains(&file.path);
    let new: Vec<&Listed> = listed.iter().filter(is_new).collect();
    if cx.subtask_index == 0 {
        let (old, new) = (known.len(), new.len());
        log::info!(
            target: "millstream::source",
            "job={} source={} the pattern was changed to '{pattern}': {new} new files beside the {old} that are known",
            cx.job, cx.operator
        );
    }
    let kept = known.iter().map(|split| (&split.id, split.position.relisted(mark)));
    let added = new.iter().map(|file| (&file.path, FilePosition::start(mark)));
    Ok(kept.chain(added).map(|(path, position)| encode_position(path, &position)).collect())
}
