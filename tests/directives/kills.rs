//! Poison in a process that dies at any moment and goes on at another parallelism: the counting of panics begins anew, and the files
//! are those of one run. The child processes are this same test binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{ActorName, Probe, Step};

use crate::common::{InputEnd, SteppedSource, committed_lines, run, sorted};
use crate::rig::Record;

const ORDERS: &str = "MILLSTREAM_DIRECTIVES_CHILD";
const RECORDS: u64 = 800;
const POISON: [u64; 4] = [0, 99, 100, 700];

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

fn environment(dir: &Path, parallelism: u32) -> StreamEnvironment {
    let env = StreamEnvironment::new("poisoned")
        .parallelism(parallelism)
        .checkpointing(Checkpointing::every(Duration::from_millis(5)))
        .snapshot_store(RedbStore::open(dir.join("store.redb")).unwrap())
        .tell_panic_hook(false);
    let tag = OutputTag::new("dead");
    let numbers = env
        .source("numbers", SteppedSource::new("n", RECORDS, 40, &InputEnd::default()))
        .map(|(_, n): Record| n)
        .key_by(|n| n % 11)
        .fold_map(
            "counts",
            0u64,
            |count, n: u64| {
                *count += 1;
                assert!(!POISON.contains(&n), "cannot count {n}");
            },
            |key, count| (*key, *count),
        )
        .on_panic(OnPanic::<u64>::dead_letter(&tag).after(2));
    numbers.side_output(&tag).map(|letter| letter.record).sink("dead", FileSink::json_lines(dir.join("dead")));
    numbers.sink("out", FileSink::json_lines(dir.join("out")));
    env
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let (dir, parallelism, at): (PathBuf, u32, u64) = serde_json::from_str(&orders).unwrap();
    run("a life", move |_| async move {
        let aborts = Aborts { at, reached: AtomicU64::new(0) };
        environment(&dir, parallelism).probe(aborts).start().unwrap().await.unwrap();
    });
}

/// Runs a child. Whether it came to its end.
fn lives(dir: &Path, parallelism: u32, abort_at: u64) -> bool {
    let orders = serde_json::to_string(&(dir, parallelism, abort_at)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "kills::life", "--ignored"]).env(ORDERS, orders);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Guarantees D1, D2 and G9.
#[test]
fn process_that_dies_at_any_step_has_each_record_in_one_of_the_outputs_once() {
    let mut step = 7;
    for round in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let mut deaths = 0;
        // Later and later, so that it gets on; always in another place.
        while !lives(dir.path(), [1, 3, 2][deaths % 3], step) {
            deaths += 1;
            step = if deaths > 12 { u64::MAX } else { 11 + (step * 31 + round * 17) % 400 };
        }
        assert!(deaths > 0, "round {round}");
        let dead = committed_lines(&dir.path().join("dead"));
        assert_eq!(sorted(dead), sorted(POISON.map(|n| n.to_string()).to_vec()), "round {round}");
        let mut counts = [0u64; 11];
        (0..RECORDS).filter(|n| !POISON.contains(n)).for_each(|n| counts[(n % 11) as usize] += 1);
        let expected = (0u64..).zip(counts).flat_map(|(key, count)| (1..=count).map(move |n| format!("[{key},{n}]")));
        assert_eq!(sorted(committed_lines(&dir.path().join("out"))), sorted(expected.collect()), "round {round}");
        step = 23 + round;
    }
}
