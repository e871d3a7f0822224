//! Processes that die before, between and after the ends of the two sources. The child processes are this same test binary.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millstream::prelude::*;
use millstream::{ActorName, Probe, Step};
use serde::{Deserialize, Serialize};

use super::common::{InputEnd, child, run, watched};
use super::{KEYS, SHORT, expected, job, sorted, written};

/// Of `std::process::abort`.
const SIGABRT: i32 = 6;

/// Steps after which any life has come to its end.
const STEPS_MAX: u64 = 1 << 20;

const ORDERS: &str = "MILLSTREAM_END_OF_INPUT_CHILD";

/// What a life of the job is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Orders {
    /// Holds the store and the output.
    dir: PathBuf,
    parallelism: u32,
    /// Whether the long source stops before its end, so that the process dies before that.
    is_held: bool,
    /// Whether steps count only from when the output has what the short source's functions have emitted at their end.
    counts_from_short_end: bool,
    /// At which step the process dies.
    dies_at: u64,
}

/// Aborts the process at a step.
#[derive(Clone)]
struct Aborts {
    counts: Arc<AtomicBool>,
    left: Arc<AtomicU64>,
}

impl Probe for Aborts {
    fn reached(&self, _: Step, _: &ActorName) {
        if self.counts.load(Ordering::Relaxed) && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).expect("orders that the other test wrote");
    run("a life", move |handles| async move {
        let counts = Arc::new(AtomicBool::new(!orders.counts_from_short_end));
        let probe = Aborts { counts: counts.clone(), left: Arc::new(AtomicU64::new(orders.dies_at)) };
        let (out, hold_at) = (orders.dir.join("out"), if orders.is_held { 20 } else { u64::MAX });
        let store = RedbStore::open(orders.dir.join("store.redb")).expect("opens");
        let env = job(orders.parallelism, hold_at, &InputEnd::default(), FileSink::json_lines(&out));
        let running = env.snapshot_store(store).probe(probe).start().expect("starts");
        watched(&handles, &running);
        while !counts.load(Ordering::Relaxed) {
            running.checkpoint().await.expect("it runs");
            counts.store(short_has_ended(&out), Ordering::Relaxed);
        }
        assert_eq!(running.await.expect("finished").restarts, 0);
    });
}

/// Whether the output has at least all that the short source's functions emit at their end.
fn short_has_ended(out: &Path) -> bool {
    let ends = written(out).iter().filter(|(of, ..)| ["short", "kept"].contains(of)).count();
    ends as u64 >= KEYS + SHORT
}

/// Lives one life, and looks at what it has left. Whether it came to its end; if not, it has died as ordered.
fn lives(orders: &Orders) -> bool {
    let text = serde_json::to_string(orders).expect("it can be told");
    let output = child("kills::life", ORDERS, text).wait_with_output().expect("it was started");
    let status = output.status;
    assert!(
        status.success() || status.signal() == Some(SIGABRT),
        "{status}, after {orders:?}:\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let written = written(&orders.dir.join("out"));
    let once: BTreeSet<_> = written.iter().collect();
    assert_eq!(once.len(), written.len(), "something is there twice, after {orders:?}");
    status.success()
}

/// G1, G2. Steps at the end of input are done once, by keyed functions and others, also by a process that goes on where another one has
/// died between the ends of its inputs.
#[test]
fn process_that_dies_between_the_ends_of_two_sources_repeats_and_loses_nothing() {
    let mut before = 0;
    for round in 0..4 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let first = Orders {
            dir: dir.path().to_owned(),
            parallelism: 2,
            is_held: true,
            counts_from_short_end: false,
            dies_at: 150 + 67 * round,
        };
        assert!(!lives(&first), "round {round}: the long source has not ended");
        before += u32::from(!short_has_ended(&dir.path().join("out")));
        // From just behind the ends, and from some checkpoints later.
        for (parallelism, dies_at) in [(1, 1 + round), (3, 40 + 53 * round), (2, 200 + 31 * round)] {
            assert!(!lives(&Orders { parallelism, counts_from_short_end: true, dies_at, ..first.clone() }));
            assert!(short_has_ended(&dir.path().join("out")), "round {round}");
        }
        let mut orders = Orders { parallelism: 2, is_held: false, dies_at: 100 + 41 * round, ..first };
        while !lives(&orders) {
            assert!(orders.dies_at < STEPS_MAX, "round {round}: it does not come to its end");
            orders = Orders { parallelism: orders.parallelism % 3 + 1, dies_at: orders.dies_at * 2, ..orders };
        }
        assert_eq!(sorted(written(&dir.path().join("out"))), expected(), "round {round}");
    }
    assert!(before > 0, "every first life had the end of the short source in its output");
}
