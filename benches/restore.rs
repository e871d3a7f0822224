//! How long a job with keyed state takes to run again after a panic: from the panic to the first record that a keyed
//! function takes, and the part of it that loading takes.
//!
//! `cargo bench --bench restore`; `MILLSTREAM_KEYS=100000` for other sizes.

use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;

mod common;
use common::updates::{Plan, updates};

const RUNS: usize = 3;

fn main() {
    let keys = std::env::var("MILLSTREAM_KEYS").unwrap_or_else(|_| "100000,1000000,10000000".to_owned());
    println!("keys        store   restored entries, bytes   loading    panic to first record");
    for keys in keys.split(',').filter_map(|keys| keys.trim().parse().ok()) {
        for (name, durable) in [("memory", false), ("redb", true)] {
            for _ in 0..RUNS {
                run(keys, name, durable);
            }
        }
    }
}

fn run(keys: u64, name: &str, durable: bool) {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (meter, history) = actix_rt::System::new().block_on(async {
        let env = StreamEnvironment::new("updates").parallelism(2);
        let env = env.checkpointing(Checkpointing::every(Duration::from_millis(500)));
        let env = if durable {
            env.snapshot_store(RedbStore::open(scratch.path().join("updates.redb")).expect("a fresh store"))
        } else {
            env.snapshot_store(MemoryStore::new())
        };
        let updates_after = keys.max(20_000_000);
        let plan = Plan { keys, one_in: 1, updates: 2 * updates_after, panic_after: Some(updates_after) };
        let meter = updates(&env, plan);
        let job = env.start().expect("a valid job");
        job.clone().await.expect("a job that ends");
        (meter, job.history())
    });
    let first = meter.first_after.lock().expect("no panic under the lock").expect("a record after the panic");
    for event in history {
        if let JobEventKind::Restored { entries, bytes, took, .. } = event.kind {
            println!(
                "{keys:<11} {name:<7} {entries:>10}, {:>6.1} MiB  {:>7.1} ms  {:>9.1} ms",
                bytes as f64 / f64::from(1 << 20),
                took.as_secs_f64() * 1e3,
                first.as_secs_f64() * 1e3
            );
        }
    }
}
