//! What is written down: pending commits in the snapshot, and in the sink's folder who published what.

use std::collections::{BTreeMap, BTreeSet};

use millstream_actors::contract::{PendingCommit, SinkError};
use millstream_actors::protocol::CheckpointId;
use serde::{Deserialize, Serialize};

use super::names::{Entry, Naming, WriterId, entry};
use crate::packed::packed;

const VERSION: u8 = 1;

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

/// Lives of a sink whose files may have to be withdrawn: their incarnations, by how their files are named.
pub(super) type Lives = BTreeMap<Naming, BTreeSet<u64>>;

/// What one writer has published; it alone writes this, each time in full.
///
/// Files to be withdrawn are told by their names, so this does not list them, however many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u8,
    /// All its own files for this checkpoint and earlier ones are published.
    committed: u64,
    /// Finished names of files of earlier writers that it settled when it was opened.
    settled: BTreeSet<String>,
    /// Its own life, those of files that it settled, and those of records that it has taken the place of.
    lives: Lives,
}

impl Record {
    pub(super) fn new(naming: Naming, writer: WriterId) -> Self {
        let lives = Lives::from([(naming, BTreeSet::from([writer.incarnation]))]);
        Self { version: VERSION, committed: 0, settled: BTreeSet::new(), lives }
    }

    /// One, to try decoders on.
    pub(super) fn example() -> Self {
        let file = PendingFile::example();
        let mut record = Self::new(Naming { prefix: "part".to_owned(), suffix: ".jsonl".to_owned() }, file.writer);
        record.add_own(CheckpointId(7));
        record.add_settled(&[file]);
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

    /// Notes that the writer's own files for `up_to` and before are published.
    pub(super) fn add_own(&mut self, up_to: CheckpointId) {
        self.committed = self.committed.max(up_to.0);
    }

    /// Notes that files of earlier writers are published.
    pub(super) fn add_settled(&mut self, files: &[PendingFile]) {
        for PendingFile { finished, writer, checkpoint, seq, .. } in files {
            self.settled.insert(finished.clone());
            if let Some(naming) = Naming::of(finished, *writer, *checkpoint, *seq) {
                self.lives.entry(naming).or_default().insert(writer.incarnation);
            }
        }
    }

    /// Takes the place of a record to which no snapshot refers any more.
    pub(super) fn replace(&mut self, other: Self) {
        for (naming, incarnations) in other.lives {
            self.lives.entry(naming).or_default().extend(incarnations);
        }
    }

    /// Whether this record, which `writer` wrote, shows that the file is published.
    pub(super) fn proves(&self, writer: WriterId, file: &PendingFile) -> bool {
        (writer == file.writer && self.committed >= file.checkpoint.0) || self.settled.contains(&file.finished)
    }

    pub(super) fn lives(&self) -> &Lives {
        &self.lives
    }
}
