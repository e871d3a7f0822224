//! A job that counts words, and the store that it leaves: checkpoints that are mostly changes over earlier ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use millstream::prelude::*;
use millstream::{CheckpointId, JobEventKind};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::{InputEnd, SteppedSource, committed_lines, copy_all, run, watched};
use crate::tool::export;

/// Records in all; the source is held before [`HELD_AT`] first.
const RECORDS: u64 = 4_000;
/// Records that are read by the time the job is drained.
pub(crate) const HELD_AT: u64 = 3_200;
const WORDS: u64 = 1_500;
/// Records between two barriers.
const STEP: u64 = 200;
const SPLITS: u64 = 4;

/// The word of a record. Later records are of few words.
fn word(id: u64) -> String {
    format!("word {}", if id < 2_000 { id % WORDS } else { id % 40 })
}

/// What a plain loop counts, of the records for which `is_read` holds.
pub(crate) fn counted(is_read: impl Fn(u64) -> bool) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for id in (0..RECORDS).filter(|id| is_read(*id)) {
        *counts.entry(word(id)).or_default() += 1;
    }
    counts
}

/// The job in this directory: its store, and its output.
#[derive(Clone)]
pub(crate) struct CountsJob {
    pub(crate) store: PathBuf,
    pub(crate) out: PathBuf,
}

impl CountsJob {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { store: dir.join("counts.redb"), out: dir.join("out") }
    }

    /// Starts it on what its store holds. Checkpoints are only taken when they are asked for.
    pub(crate) fn start(&self, hold_at: u64) -> (JobHandle, InputEnd) {
        let input = InputEnd::default();
        let env = StreamEnvironment::new("counts")
            .parallelism(2)
            .checkpointing(Checkpointing::every(Duration::from_secs(3_600)).retain(64))
            .snapshot_store(RedbStore::open(&self.store).unwrap());
        env.source("words", SteppedSource::new("words", RECORDS, STEP, &input).hold_at(hold_at / SPLITS))
            .parallelism(1)
            .map(|(_, id)| word(id))
            .parallelism(1)
            .key_by(|word| word.clone())
            .fold("count", 0u64, |count, _| *count += 1)
            .sink("lines", FileSink::json_lines(&self.out));
        (env.start().unwrap(), input)
    }

    /// Runs it until all records before [`HELD_AT`] are counted, and drains it.
    fn run_first_part(&self) {
        let this = self.clone();
        run("the first part", move |handles| async move {
            let (job, input) = this.start(HELD_AT);
            watched(&handles, &job);
            // Its first step is read, so the first checkpoint has counts that later ones build on.
            while input.records_read() < STEP {
                actix_rt::task::yield_now().await;
            }
            while input.records_read() < HELD_AT {
                let before = input.records_read();
                job.checkpoint().await.unwrap();
                // Each checkpoint has counts of its own.
                while input.records_read() == before {
                    actix_rt::task::yield_now().await;
                }
            }
            job.checkpoint().await.unwrap();
            assert_eq!(job.drain().await.unwrap().kind, OutcomeKind::Drained);
        });
    }

    /// Runs it to its end. Answers the checkpoint that it started from.
    pub(crate) fn run_to_end(&self) -> CheckpointId {
        let this = self.clone();
        run("the rest", move |handles| async move {
            let (job, input) = this.start(u64::MAX);
            watched(&handles, &job);
            while input.records_read() < RECORDS {
                job.checkpoint().await.unwrap();
            }
            let outcome = job.clone().await.unwrap();
            assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
            let restored = job.history().into_iter().find_map(|event| match event.kind {
                JobEventKind::Restored { checkpoint, .. } => Some(checkpoint),
                _ => None,
            });
            restored.unwrap_or(CheckpointId::NONE)
        })
    }

    /// Its output: the counts of each word, in order.
    pub(crate) fn lines(&self) -> BTreeMap<String, Vec<u64>> {
        let mut lines: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for line in committed_lines(&self.out) {
            let (word, count): (String, u64) = serde_json::from_str(&line).unwrap();
            lines.entry(word).or_default().push(count);
        }
        lines
    }

    /// The output of a run that nothing has disturbed.
    pub(crate) fn expected_lines() -> BTreeMap<String, Vec<u64>> {
        counted(|_| true).into_iter().map(|(word, count)| (word, (1..=count).collect())).collect()
    }
}

/// A copy of what the job leaves when it is drained, made once for all tests.
pub(crate) fn drained() -> (TempDir, CountsJob) {
    static DRAINED: OnceLock<TempDir> = OnceLock::new();
    let original = DRAINED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        CountsJob::new(dir.path()).run_first_part();
        dir
    });
    let dir = tempfile::tempdir().unwrap();
    copy_all(original.path(), dir.path());
    let job = CountsJob::new(dir.path());
    (dir, job)
}

/// The counts in a checkpoint.
pub(crate) fn exported_counts(store: &Path, checkpoint: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in export(store, checkpoint, "count", "accumulator") {
        let word = line["key"].as_str().unwrap().to_owned();
        assert!(line["key_group"].as_u64().unwrap() < 128, "{line}");
        assert_eq!(counts.insert(word, line["value"].as_u64().unwrap()), None, "a word twice: {line}");
    }
    counts
}

/// What a plain loop counts of the records that a checkpoint says the source has handed out.
pub(crate) fn counts_by_positions(store: &Path, checkpoint: u64) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for line in export(store, checkpoint, "words", "positions") {
        assert_eq!(line["subtask"], 0);
        let split: u64 = line["item"][0].as_str().unwrap().strip_prefix("words-").unwrap().parse().unwrap();
        let bytes: Vec<u8> =
            line["item"][1].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect();
        ends.insert(split, u64::from_le_bytes(bytes.try_into().unwrap()));
    }
    counted(|id| ends.get(&(id % SPLITS)).is_some_and(|end| id / SPLITS < *end))
}

/// The retained checkpoints, oldest first.
pub(crate) fn ids(inspected: &Value) -> Vec<u64> {
    let checkpoints = inspected["checkpoints"].as_array().unwrap();
    checkpoints.iter().map(|checkpoint| checkpoint["id"].as_u64().unwrap()).collect()
}
