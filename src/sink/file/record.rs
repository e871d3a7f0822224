//! What is written down: pending commits in the snapshot, and in the sink's folder who published what.

use millstream_actors::contract::{PendingCommit, SinkError};
use millstream_actors::protocol::CheckpointId;
use serde::{Deserialize, Serialize};

use super::names::{Entry, Naming, WriterId, entry};
use crate::packed::packed;

const VERSION: u8 = 1;
/// A record names the files of this many checkpoints back: as far as a job may fall back.
const CHECKPOINTS_KEPT: usize = 64;

/// A closed file, durable under its temporary name, with the name that it is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingFile {
    pub(super) checkpoint: CheckpointId,
    pub(super) writer: WriterId,
    pub(super) seq: u64,
    pub(super) finished: String,
    pub(super) len: u64,
    pub(super) checksum: u64,
}

impl PendingFile {
    pub(super) fn temporary(&self) -> String {
        self.writer.temporary(self.seq)
    }

    pub(super) fn encode(&self) -> PendingCommit {
        let fields = (VERSION, self.temporary(), &self.finished, self.len, self.checksum);
        let data = packed(&fields);
        PendingCommit { checkpoint: self.checkpoint, data }
    }

    /// One, to try decoders on.
    pub(super) fn example() -> Self {
        let writer = WriterId { incarnation: 1, region: 0, attempt: 2, subtask: 3 };
        let finished = "part-1-7-3-0.jsonl".to_owned();
        Self { checkpoint: CheckpointId(7), writer, seq: 0, finished, len: 9, checksum: 1 }
    }

    /// # Errors
    /// [`SinkError::pending`] for what [`encode`](Self::encode) did not write.
    pub(super) fn decode(pending: &PendingCommit) -> Result<Self, SinkError> {
        let checkpoint = pending.checkpoint;
        let refuse = |reason: String| SinkError::pending(checkpoint, reason);
        let (version, temporary, finished, len, checksum): (u8, String, String, u64, u64) =
            rmp_serde::from_slice(&pending.data).map_err(|error| refuse(error.to_string()))?;
        if version != VERSION {
            return Err(refuse(format!("version {version}, known is {VERSION}")));
        }
        let Entry::Temporary { writer, seq } = entry(&temporary) else {
            return Err(refuse(format!("'{temporary}' is no temporary file of a file sink")));
        };
        if finished.contains(['/', '\\']) {
            return Err(refuse(format!("'{finished}' is no file name")));
        }
        Ok(Self { checkpoint, writer, seq, finished, len, checksum })
    }
}

/// What one writer has published; it alone writes this, each time in full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u8,
    naming: Naming,
    /// All its own files for this checkpoint and earlier ones are published.
    committed: u64,
    /// Its own files of the newest checkpoints: checkpoint, first and last sequence number.
    own: Vec<(u64, u64, u64)>,
    /// Files of earlier writers that it settled when it was opened: checkpoint and finished name.
    settled: Vec<(u64, String)>,
}

impl Record {
    pub(super) fn new(naming: Naming) -> Self {
        Self { version: VERSION, naming, committed: 0, own: Vec::new(), settled: Vec::new() }
    }

    /// One, to try decoders on.
    pub(super) fn example() -> Self {
        let mut record = Self::new(Naming { prefix: "part".to_owned(), suffix: ".jsonl".to_owned() });
        record.add_own(CheckpointId(7), &[PendingFile::example()]);
        record.add_settled(&[PendingFile::example()]);
        record
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        packed(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = rmp_serde::from_slice(bytes).map_err(|error| error.to_string())?;
        if record.version != VERSION {
            return Err(format!("version {}, known is {VERSION}", record.version));
        }
        Ok(record)
    }

    /// Notes that the writer's own files for `up_to` and before are published, `files` among them.
    pub(super) fn add_own(&mut self, up_to: CheckpointId, files: &[PendingFile]) {
        for file in files {
            match self.own.iter_mut().find(|(checkpoint, ..)| *checkpoint == file.checkpoint.0) {
                Some((_, first, last)) => (*first, *last) = ((*first).min(file.seq), (*last).max(file.seq)),
                None => self.own.push((file.checkpoint.0, file.seq, file.seq)),
            }
        }
        self.own.drain(..self.own.len().saturating_sub(CHECKPOINTS_KEPT));
        self.committed = self.committed.max(up_to.0);
    }

    /// Notes that files of earlier writers are published.
    pub(super) fn add_settled(&mut self, files: &[PendingFile]) {
        self.settled.extend(files.iter().map(|file| (file.checkpoint.0, file.finished.clone())));
    }

    /// Whether this record, which `writer` wrote, shows that the file is published.
    pub(super) fn proves(&self, writer: WriterId, file: &PendingFile) -> bool {
        (writer == file.writer && self.committed >= file.checkpoint.0)
            || self.settled.iter().any(|(_, finished)| *finished == file.finished)
    }

    /// Finished names published by `writer` for checkpoints in `(after, up_to]`.
    pub(super) fn published_between(&self, writer: WriterId, after: u64, up_to: u64) -> Vec<String> {
        let within = |checkpoint: u64| after < checkpoint && checkpoint <= up_to;
        let own =
            self.own.iter().filter(|(checkpoint, ..)| within(*checkpoint)).flat_map(|(checkpoint, first, last)| {
                (*first..=*last).map(|seq| self.naming.finished(writer, CheckpointId(*checkpoint), seq))
            });
        let settled = self.settled.iter().filter(|(checkpoint, _)| within(*checkpoint));
        own.chain(settled.map(|(_, finished)| finished.clone())).collect()
    }
}
