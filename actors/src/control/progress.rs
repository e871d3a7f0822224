//! How far checkpoints and savepoints are that are under way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::protocol::{CheckpointId, TriggerReason, serialised};

/// A checkpoint that is under way, in [`JobStatus::checkpoint_in_progress`](crate::JobStatus::checkpoint_in_progress). Serialised under the
/// names of its fields:
///
/// ```json
/// {"checkpoint":7,"reason":"savepoint","since_unix_ms":1795915352050,"acknowledged":3,"of":8,"bytes":1234567}
/// ```
///
/// Where each subtask has acknowledged, what is left is the store's: it makes the checkpoint durable.
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
/// if let Some(progress) = job.status().checkpoint_in_progress {
///     println!("checkpoint {}: {} of {} subtasks", progress.checkpoint, progress.acknowledged, progress.of);
/// }
/// job.wait()?;
/// assert_eq!(job.status().checkpoint_in_progress, None);      // none is under way in a job that has ended
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckpointProgress {
    /// Its id.
    pub checkpoint: CheckpointId,
    /// Why it was triggered.
    pub reason: TriggerReason,
    /// When, Unix milliseconds of the job's clock.
    pub since_unix_ms: u64,
    /// Subtasks that have acknowledged: their snapshots are with the store, or on their way there.
    pub acknowledged: u32,
    /// Subtasks that take part.
    pub of: u32,
    /// Bytes of snapshots that the store has taken. Those of a subtask may come before its acknowledgement, and after it.
    pub bytes: u64,
}

/// A savepoint whose checkpoint is complete and that is being written to its path, in
/// [`JobStatus::savepoints_in_progress`](crate::JobStatus::savepoints_in_progress).
///
/// ```
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
/// for savepoint in job.status().savepoints_in_progress {
///     println!("{}: {} of {} bytes", savepoint.path.display(), savepoint.bytes, savepoint.of_bytes);
/// }
/// # job.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SavepointProgress {
    /// Where it is written.
    #[serde(serialize_with = "serialised::path")]
    pub path: PathBuf,
    /// The checkpoint that it is made of.
    pub checkpoint: CheckpointId,
    /// Since when it is being written, Unix milliseconds of the job's clock.
    pub since_unix_ms: u64,
    /// Bytes of state that are written.
    pub bytes: u64,
    /// Bytes of state that it will have.
    pub of_bytes: u64,
}

/// The savepoints that are being written.
#[derive(Debug, Default)]
pub(crate) struct SavepointBoard {
    next: u64,
    written: BTreeMap<u64, (SavepointProgress, Arc<AtomicU64>)>,
}

impl SavepointBoard {
    /// Another one is written: its number, and where to count what of it is.
    pub(crate) fn begin(&mut self, progress: SavepointProgress) -> (u64, Arc<AtomicU64>) {
        let bytes = Arc::new(AtomicU64::new(progress.bytes));
        self.next += 1;
        self.written.insert(self.next, (progress, bytes.clone()));
        (self.next, bytes)
    }

    /// That one is written no more.
    pub(crate) fn end(&mut self, number: u64) {
        self.written.remove(&number);
    }

    pub(crate) fn read(&self) -> Vec<SavepointProgress> {
        let now = |(progress, bytes): &(SavepointProgress, Arc<AtomicU64>)| {
            let bytes = bytes.load(Ordering::Relaxed);
            SavepointProgress { bytes, ..progress.clone() }
        };
        self.written.values().map(now).collect()
    }
}
