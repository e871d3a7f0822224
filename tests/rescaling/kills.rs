//! Processes that die while their job is rescaled: the next start goes on at the parallelism that its program says. The child processes
//! are this same test binary.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{ActorName, Probe, Step};

use crate::common::{InputEnd, SteppedSource, child, committed_lines, run, sorted};
use crate::{keep_rescaling, turns};

const ORDERS: &str = "MILLSTREAM_RESCALING_CHILD";
const RECORDS: u64 = 800;
const KEYS: u64 = 11;

/// Aborts the process at a step.
struct Aborts {
    at: u64,
    reached: AtomicU64,
}

impl Probe for Aborts {
    fn reached(&self, _: Step, _: &ActorName) {
        if self.reached.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            std::process::abort();
        }
    }
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let (dir, parallelism, at): (PathBuf, u32, u64) = serde_json::from_str(&orders).unwrap();
    run("a life", move |_| async move {
        let env = StreamEnvironment::new("rescaled")
            .parallelism(parallelism)
            .checkpointing(Checkpointing::every(Duration::from_millis(5)))
            .snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap())
            .probe(Aborts { at, reached: AtomicU64::new(0) });
        let numbers = env.source("numbers", SteppedSource::new("n", RECORDS, 24, &InputEnd::default()));
        let counts = numbers.map(|(_, n)| n).key_by(|n| n % KEYS).fold("counts", 0u64, |count, _| *count += 1);
        counts.sink("out", FileSink::json_lines(dir.join("out")));
        let job = env.start().unwrap();
        assert_eq!(job.status().parallelism, parallelism);
        keep_rescaling(&job, [3, 1, 2].into_iter().cycle(), || turns(10)).await;
        assert_eq!(job.await.unwrap().restarts, 0);
    });
}

/// Runs a child. Whether it came to its end.
fn lives(dir: &Path, parallelism: u32, abort_at: u64) -> bool {
    let orders = serde_json::to_string(&(dir, parallelism, abort_at)).unwrap();
    child("kills::life", ORDERS, orders).wait_with_output().unwrap().status.success()
}

/// L7, G7.
#[test]
fn process_that_dies_at_any_step_of_a_rescale_goes_on_with_what_its_program_says() {
    for round in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let (mut deaths, mut step) = (0, 40 + 61 * round);
        // Always in another place.
        while !lives(dir.path(), [1, 3, 2][deaths % 3], step) {
            deaths += 1;
            step = if deaths > 15 { u64::MAX } else { 60 + (step * 31 + round * 17) % 500 };
        }
        assert!(deaths > 0, "round {round}");
        let expected = (0..RECORDS).map(|n| format!("[{},{}]", n % KEYS, n / KEYS + 1)).collect();
        assert_eq!(sorted(committed_lines(&dir.path().join("out"))), sorted(expected), "round {round}");
    }
}
