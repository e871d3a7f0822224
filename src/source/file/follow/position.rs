//! How far a followed file has been read.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use millstream_actors::contract::checksum;
use serde::{Deserialize, Serialize};

use super::disk::{first_bytes, real_folder};
use crate::source::file::framing::Place;

/// Of how many of its first bytes a file is known again.
const HEAD_BYTES_MAX: u64 = 4096;

/// What is known of a file besides how far it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum Rest {
    /// It may have more than was read.
    Growing,
    /// All records that it has were read, and it has not grown for long.
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
    /// No record ends between the offset and here.
    pub(super) searched_to: u64,
    /// So many bytes of what was read, from the beginning of the file.
    pub(super) head_bytes: u64,
    /// Their hash.
    head: u64,
    pub(super) rest: Rest,
    /// The folder in which it is, if links led there from the one of its path.
    pub(super) folder: Option<String>,
    /// Since when it has been as long as it is, in Unix milliseconds.
    pub(super) quiet_since: u64,
    /// Since when it is not found, in Unix milliseconds.
    pub(super) missed_since: Option<u64>,
}

impl FollowPosition {
    /// The beginning of a file that is met at this time.
    pub(super) fn start(path: &str, now: u64) -> Self {
        Self {
            named: path.into(),
            path: path.to_owned(),
            offset: 0,
            line: 1,
            record_index: 0,
            searched_to: 0,
            head_bytes: 0,
            head: checksum(&[]),
            rest: Rest::Growing,
            folder: real_folder(Path::new(path)),
            quiet_since: now,
            missed_since: None,
        }
    }

    /// Where there are bytes that were not looked at, if any are.
    pub(super) fn searched(&self) -> u64 {
        self.searched_to.max(self.offset)
    }

    pub(super) fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    pub(super) fn place(&self) -> Place {
        Place { offset: self.offset, line: self.line }
    }

    /// Takes the first bytes of what was read, if more than those that are known have been. Answers whether those that were known are
    /// still there; if not, it takes none.
    pub(super) fn know(&mut self, file: &Arc<File>) -> io::Result<bool> {
        let bytes = self.offset.min(HEAD_BYTES_MAX);
        if bytes <= self.head_bytes {
            return Ok(true);
        }
        let first = first_bytes(file, bytes)?;
        let is_same = first.len() as u64 == bytes && self.is_of(&first, self.offset);
        if is_same {
            (self.head_bytes, self.head) = (bytes, checksum(&first));
        }
        Ok(is_same)
    }

    /// Whether a file that begins so and has this length may be the one that was read.
    pub(super) fn is_of(&self, first: &[u8], len: u64) -> bool {
        let known = usize::try_from(self.head_bytes).ok().and_then(|bytes| first.get(..bytes));
        len >= self.offset && known.is_some_and(|known| checksum(known) == self.head)
    }
}

impl fmt::Display for FollowPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' line {} (byte {})", self.path, self.line, self.offset)
    }
}
