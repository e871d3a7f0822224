//! What becomes of records that do not parse.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_actors::contract::{SideRecord, SourceError};

use super::error::FileSourceError;
use super::framing::Place;
use crate::operator::OutputTag;

/// Log lines per reader; then only a summary.
const LOGGED_MAX: u64 = 10;
/// How much of a malformed record's text is kept.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// What a [`FileSource`](super::FileSource) does with a record that does not parse.
///
/// ```
/// use millstream::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("numbers.jsonl").display().to_string();
/// # std::fs::write(&path, "1\ntwo\n3\n")?;
/// # let (good, bad) = (CollectSink::new(), CollectSink::new());
/// # let (numbers, mistakes) = (good.handle(), bad.handle());
/// let malformed = OutputTag::new("malformed");
/// let source = FileSource::json_lines::<u64>(path).on_malformed(OnMalformed::SideOutput(malformed.clone()));
/// let env = StreamEnvironment::new("numbers");
/// let stream = env.source("numbers", source);
/// stream.side_output(&malformed).map(|record| (record.line, record.text)).sink("bad", bad);
/// stream.sink("good", good);
/// env.start()?.wait()?;
/// assert_eq!(numbers.snapshot(), [1, 3]);
/// assert_eq!(mistakes.snapshot(), [(2, "two".to_owned())]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum OnMalformed {
    /// Fails the job with [`FileSourceError::Malformed`]: file, line, column, byte offset and reason.
    #[default]
    Fail,
    /// Counts it, logs its place and what is wrong, goes on.
    Skip,
    /// As `Skip`, and hands it to this side output, with its text.
    SideOutput(OutputTag<MalformedRecord>),
}

/// A record that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MalformedRecord {
    /// Its file.
    pub path: Arc<str>,
    /// Line of the mistake, from 1.
    pub line: u64,
    /// Column of the mistake in bytes, from 1; 1 if unknown.
    pub column: u64,
    /// Where the record begins, in bytes from 0, of the decompressed file if it is compressed.
    pub offset: u64,
    /// What is wrong: the field, where that is known, by the name that the header gives it or else by its number, and what was expected
    /// in it. What the record holds is told by `text` alone, unless
    /// the type's own `Deserialize` has it in the words of its errors.
    pub reason: String,
    /// The record, at most its first 64 KiB; what is not UTF-8 is replaced.
    pub text: String,
}

/// What is wrong in the text of one record.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// Line in the text, from 0.
    pub(super) line: u64,
    /// Column in bytes, from 1.
    pub(super) column: u64,
    pub(super) reason: String,
}

/// Applies [`OnMalformed`] in one reader.
pub(super) struct MalformedRecords {
    policy: OnMalformed,
    /// Of all readers of the source.
    total: Arc<AtomicU64>,
    seen: u64,
    side: Vec<SideRecord>,
}

impl MalformedRecords {
    pub(super) fn new(policy: OnMalformed, total: Arc<AtomicU64>) -> Self {
        Self { policy, total, seen: 0, side: Vec::new() }
    }

    /// Takes a malformed record.
    ///
    /// # Errors
    /// [`FileSourceError::Malformed`] under [`OnMalformed::Fail`].
    pub(super) fn take(&mut self, path: &Arc<str>, start: Place, flaw: Flaw, text: &[u8]) -> Result<(), SourceError> {
        let (line, column, reason) = (start.line + flaw.line, flaw.column, flaw.reason);
        let offset = start.offset;
        if let OnMalformed::Fail = self.policy {
            let path = Path::new(&**path).to_owned();
            return Err(FileSourceError::Malformed { path, line, column, offset, reason }.into());
        }
        self.total.fetch_add(1, Ordering::Relaxed);
        self.seen += 1;
        if self.seen <= LOGGED_MAX {
            log::warn!(target: "millstream::source", "{path}:{line}:{column}: malformed record skipped: {reason}");
        }
        if let OnMalformed::SideOutput(tag) = &self.policy {
            let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES_MAX)]).into_owned();
            let record = MalformedRecord { path: path.clone(), line, column, offset, reason, text };
            self.side.push(SideRecord { tag: tag.name().clone(), record: Box::new(record) });
        }
        Ok(())
    }

    /// How many were taken.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn take_side_records(&mut self) -> Vec<SideRecord> {
        std::mem::take(&mut self.side)
    }

    /// Logs how many there were beyond those logged one by one.
    pub(super) fn summarise(&mut self) {
        if self.seen > LOGGED_MAX {
            log::warn!(target: "millstream::source", "{} more malformed records skipped", self.seen - LOGGED_MAX);
        }
        self.seen = 0;
    }
}
