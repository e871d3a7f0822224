//! The child: one life of the job.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::snapshot::RedbStore;
use millstream::testing::{FaultyStore, StoreCall, StoreFault};
use millstream::{ActorName, OutcomeKind, Probe, Step};
use serde::{Deserialize, Serialize};

use crate::crash_common::job::{self, Shape};
use crate::crash_common::watchdog::Watchdog;
use crate::timed;

const ORDERS: &str = "MILLSTREAM_CRASH_CHILD";
/// What the child prints at each step of the protocol. It starts with a line end: the test harness prints too.
const MARK: &str = "\nmark\n";

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Holds the store and the output.
    pub(crate) dir: PathBuf,
    pub(crate) shape: Shape,
    /// Abort when the step of this name is reached for the how-manieth time.
    pub(crate) abort_at: Option<(String, u64)>,
    /// Let a write of the store fail, and a closure panic once there is a checkpoint to restore.
    pub(crate) faults: bool,
    /// Whether it is to find that the job has ended already, where that is known.
    pub(crate) ended_before: Option<bool>,
    /// Run the job that goes by event time.
    pub(crate) is_timed: bool,
}

impl Orders {
    /// To run the job in `dir` to its end.
    pub(crate) fn new(dir: &Path, shape: Shape) -> Self {
        Self { dir: dir.to_owned(), shape, abort_at: None, faults: false, ended_before: None, is_timed: false }
    }

    /// Where the job writes.
    pub(crate) fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// Starts a child that follows these orders.
    pub(crate) fn spawn(&self) -> Life {
        let orders = serde_json::to_string(self).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::life", "--ignored", "--nocapture"])
            .env(ORDERS, orders)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Life { child, stdout }
    }
}

/// A child that runs.
pub(crate) struct Life {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Life {
    /// Kills it at its `marks`th mark. `None` if it was killed, or how it ended before.
    pub(crate) fn kill_at(mut self, marks: u64) -> Option<ExitStatus> {
        let mut left = marks;
        let mut line = String::new();
        while left > 0 {
            line.clear();
            if self.stdout.read_line(&mut line).unwrap() == 0 {
                return Some(self.child.wait().unwrap());
            }
            left -= u64::from(line == "mark\n");
        }
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        // It may have ended in the moment before.
        if status.code().is_some() { Some(status) } else { None }
    }

    /// Waits for its end.
    pub(crate) fn wait(self) -> ExitStatus {
        self.kill_at(u64::MAX).expect("nobody kills it")
    }
}

struct Marks {
    abort_at: Option<(String, u64)>,
    reached: AtomicU64,
    completed: Arc<AtomicU64>,
}

impl Probe for Marks {
    fn reached(&self, step: Step, _actor: &ActorName) {
        let mut stdout = std::io::stdout().lock();
        // Nobody reads any more: the parent is gone.
        if stdout.write_all(MARK.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            std::process::exit(1);
        }
        if let Some((name, nth)) = &self.abort_at
            && *name == format!("{step:?}")
            && self.reached.fetch_add(1, Ordering::Relaxed) + 1 == *nth
        {
            std::process::abort();
        }
        self.completed.fetch_add(u64::from(step == Step::Completed), Ordering::Relaxed);
    }
}

#[test]
#[ignore = "run by the other tests, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let _watchdog = Watchdog::watch("a life", Duration::from_secs(60));
    let store = FaultyStore::new(Arc::new(RedbStore::open(orders.dir.join("store.redb")).unwrap()));
    if orders.faults {
        store.inject(StoreCall::PutChunks, 3, StoreFault::Fail);
    }
    let completed = Arc::new(AtomicU64::new(0));
    let (seen, panics) = (completed.clone(), Arc::new(AtomicU64::new(u64::from(orders.faults))));
    let panic_once = move |(_, number): &(u8, u64)| {
        if seen.load(Ordering::Relaxed) > 2 && panics.swap(0, Ordering::Relaxed) > 0 {
            panic!("injected at record {number}");
        }
    };
    let probe = Marks { abort_at: orders.abort_at.clone(), reached: AtomicU64::new(0), completed };
    let outcome = actix_rt::System::new().block_on(async {
        let env = orders.shape.environment().snapshot_store(store).probe(probe);
        if orders.is_timed {
            timed::write(&env, orders.shape, &orders.out());
        } else {
            job::write(&env, orders.shape, panic_once, job::files(&orders.out()));
        }
        env.start().unwrap().await.unwrap()
    });
    assert_eq!(outcome.kind, OutcomeKind::Finished);
    assert_eq!(outcome.already_complete, orders.ended_before.unwrap_or(outcome.already_complete));
}
