//! How far a followed file has been read.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use millstream_actors::contract::checksum;
use serde::{Deserialize, Serialize};

use super::disk::first_bytes;
use crate::source::file::framing::Place;

/// Of how many of its first bytes a file is known again.
const HEAD_BYTES_MAX: u64 = 4096;

/// What is known of a file besides how far it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Rest {
    /// It may have more than was read.
    Growing,
    /// It was read to its end, and has not grown for long.
    Settled,
    /// It was read to its end and has no name any more.
    Unlinked,
}

/// How far a followed file has been read, and by what it is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct FollowPosition {
    /// The path under which it was met first: that of its records.
    pub(super) named: Arc<str>,
    /// The path under which it was seen last.
    pub(super) path: String,
    /// Where the next record starts.
    pub(super) offset: u64,
    /// The line it starts in, from 1.
    pub(super) line: u64,
    /// Its number.
    pub(super) record_index: u64,
    /// So many bytes of what was read, from the beginning of the file.
    head_bytes: u64,
    /// Their hash.
    head: u64,
    pub(super) rest: Rest,
}

impl FollowPosition {
    /// The beginning of a file.
    pub(super) fn start(path: &str) -> Self {
        let (named, path, head) = (path.into(), path.to_owned(), checksum(&[]));
        Self { named, path, offset: 0, line: 1, record_index: 0, head_bytes: 0, head, rest: Rest::Growing }
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    pub(super) fn place(&self) -> Place {
        Place { offset: self.offset, line: self.line }
    }

    /// Takes the first bytes of what was read, if more than those that are known have been.
    pub(super) fn know(&mut self, file: &Arc<File>) -> io::Result<()> {
        let bytes = self.offset.min(HEAD_BYTES_MAX);
        if bytes > self.head_bytes {
            let head = first_bytes(file, bytes)?;
            // One that has been cut short meanwhile is found out by its length.
            if head.len() as u64 == bytes {
                (self.head_bytes, self.head) = (bytes, checksum(&head));
            }
        }
        Ok(())
    }

    /// Whether a file that has this length is the one that was read.
    pub(super) fn is_of(&self, file: &Arc<File>, len: u64) -> io::Result<bool> {
        Ok(len >= self.offset && checksum(&first_bytes(file, self.head_bytes)?) == self.head)
    }
}

impl fmt::Display for FollowPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' line {} (byte {})", self.path, self.line, self.offset)
    }
}
