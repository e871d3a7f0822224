//! How long a job with keyed state takes to run again after a panic: from the panic to the first record that a keyed
//! function takes, and the part of it that loading takes.
//!
//! `cargo bench --bench restore`; `MILLSTREAM_KEYS=100000` for other sizes, `MILLSTREAM_BACKEND=memory` or `redb` for one.

use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;

mod common;
use common::updates::{Backend, Plan, updates};

const RUNS: usize = 3;

fn main() {
    let keys = std::env::var("MILLSTREAM_KEYS").unwrap_or_else(|_| "100000,1000000,10000000".to_owned());
    println!("backend  keys        store   restored entries, bytes   loading    panic to first record");
    for backend in Backend::chosen() {
        for keys in keys.split(',').filter_map(|keys| keys.trim().parse().ok()) {
            for (name, durable) in [("memory", false), ("redb", true)] {
                for _ in 0..RUNS {
                    run(backend, keys, name, durable);
                }
            }
        }
    }
}

fn run(backend: Backend, keys: u64, name: &str, durable: bool) {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (meter, history) = actix_rt::System::new().block_on(async {
        let env = StreamEnvironment::new("updates").parallelism(2).state_backend(backend.in_dir(scratch.path()));
        let env = env.checkpointing(Checkpointing::every(Duration::from_secs(3600)));
        let env = if durable {
            env.snapshot_store(RedbStore::open(scratch.path().join("updates.redb")).expect("a fresh store"))
        } else {
            env.snapshot_store(MemoryStore::new())
        };
        let meter = updates(&env, Plan::of(keys, 1 << 40));
        let job = env.start().expect("a valid job");
        meter.until(move |meter| meter.taken() >= keys + keys / 10).await;
        job.checkpoint().await.expect("a checkpoint of the whole table");
        meter.is_to_panic.store(true, Ordering::Relaxed);
        meter.until(|meter| meter.first_after().is_some()).await;
        job.cancel().await.expect("it runs again");
        (meter, job.history())
    });
    let first = meter.first_after().expect("waited for above");
    for event in history {
        if let JobEventKind::Restored { entries, bytes, took, .. } = event.kind {
            println!(
                "{backend:<8} {keys:<11} {name:<7} {entries:>10}, {:>6.1} MiB  {:>7.1} ms  {:>9.1} ms",
                bytes as f64 / f64::from(1 << 20),
                took.as_secs_f64() * 1e3,
                first.as_secs_f64() * 1e3
            );
        }
    }
}
