//! Processes that are killed while their job writes to the service's database. The child processes are this same test binary, told
//! by an environment variable.

use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;

use millstream::prelude::*;
use millstream::{ActorName, JobEventKind, Probe, Step};
use serde::{Deserialize, Serialize};

use crate::common::child;
use crate::figures::{environment, expected, write};
use crate::redb::{all, left_over, open, sink, take};

const ORDERS: &str = "MILLSTREAM_SERVICE_SINKS_CHILD";
const RECORDS: u64 = 2_000;
const KILLS: u64 = 12;

/// What a child is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Orders {
    folder: PathBuf,
    parallelism: u32,
}

/// Tells the parent of each step.
struct Marks;

impl Probe for Marks {
    fn reached(&self, step: Step, _: &ActorName) {
        if step != Step::Batch {
            let mut stdout = std::io::stdout().lock();
            // Nobody reads any more: the parent is gone.
            if writeln!(stdout, "\nmark").and_then(|()| stdout.flush()).is_err() {
                std::process::exit(1);
            }
        }
    }
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn life() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).unwrap();
    let database = open(&orders.folder.join("service.redb"));
    let outcome = actix_rt::System::new().block_on(async {
        let env =
            environment(orders.parallelism).snapshot_store(RedbStore::open(orders.folder.join("store.redb")).unwrap());
        let env = env.probe(Marks);
        write(&env, SequenceSource::new(0..RECORDS).rate_per_second(8_000), |_| (), sink(&database));
        let job = env.start().unwrap();
        // The service works rows off meanwhile. A job that was complete ends before it looks.
        let mut events = crate::common::events_from_the_start(&job);
        let serving = async {
            loop {
                match events.next().await {
                    JobEventKind::CheckpointCompleted { .. } => take(&database),
                    JobEventKind::Ended { .. } => std::future::pending().await,
                    _ => {}
                }
            }
        };
        tokio::select! {
            outcome = job => outcome.unwrap(),
            () = serving => unreachable!("it goes on for ever"),
        }
    });
    assert_eq!(outcome.kind, OutcomeKind::Finished);
}

/// Has a child run, and kills it at its `marks`th mark. True if it ended before.
fn ends_before(orders: &Orders, marks: u64) -> bool {
    let mut child = child("kills::life", ORDERS, serde_json::to_string(orders).unwrap());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let is_killed = lines.filter(|line| line == "mark").take(marks as usize).count() as u64 == marks;
    if is_killed {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    // It may have ended in the moment before.
    assert!(status.success() || is_killed, "{status}");
    status.success()
}

// Guarantees G2, G7 and O2.
#[test]
fn process_killed_at_any_moment_writes_each_row_once_at_any_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let mut orders = Orders { folder: folder.path().to_owned(), parallelism: 2 };
    let (mut jobs, mut kills) = (0, 0);
    while kills < KILLS {
        jobs += 1;
        orders.folder = folder.path().join(jobs.to_string());
        std::fs::create_dir(&orders.folder).unwrap();
        for life in 0.. {
            let marks = if kills < KILLS { 20 + (kills * 67 + life * 31) % 400 } else { u64::MAX >> 1 };
            if ends_before(&orders, marks) {
                break;
            }
            kills += 1;
            orders.parallelism = [1, 2, 4][kills as usize % 3];
        }
        let database = open(&orders.folder.join("service.redb"));
        assert!(all(&database) == expected(RECORDS), "job {jobs}, {kills} kills");
        assert_eq!(left_over(&database), 0);
    }
    println!("{kills} kills in {jobs} jobs");
}
