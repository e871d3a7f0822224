//! The keyed exchange: two sources, exchanged by key, running count and sum per key, against a plain loop.
//!
//! `cargo bench --bench keyed`

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use hashbrown::HashMap;
use millstream::prelude::*;

mod common;
use common::{SumSink, run, splitmix64};

const N: u64 = 20_000_000;
const KEYS: [u64; 2] = [100_000, 10_000_000];

fn main() {
    divan::main();
}

/// What the loop computes, once for each number of keys; every job is compared with it.
fn expected(keys: u64) -> u64 {
    static EXPECTED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());
    let mut expected = EXPECTED.lock().expect("no panic under the lock");
    *expected.entry(keys).or_insert_with(|| plain(keys))
}

fn bench_job(bencher: Bencher<'_, '_>, keys: u64, parallelism: u32, checkpoints: bool) {
    let expected = expected(keys);
    bencher.counter(ItemsCount::new(N)).bench(|| assert_eq!(keyed(keys, parallelism, checkpoints), expected));
}

fn key(i: u64, keys: u64) -> u64 {
    splitmix64(i) % keys
}

/// The same for all records of a key, so that running sums do not depend on the order between the two sources.
fn value(key: u64) -> u64 {
    key ^ 0x55
}

fn weigh(&(count, sum): &(u64, u64)) -> u64 {
    count.wrapping_add(sum.wrapping_mul(31))
}

fn plain(keys: u64) -> u64 {
    let mut table: HashMap<u64, (u64, u64)> = HashMap::new();
    let mut checksum = 0u64;
    for i in 0..divan::black_box(N) {
        let key = key(i, keys);
        let entry = table.entry(key).or_default();
        *entry = (entry.0 + 1, entry.1.wrapping_add(value(key)));
        checksum = checksum.wrapping_add(weigh(entry));
    }
    checksum
}

fn keyed(keys: u64, parallelism: u32, checkpoints: bool) -> u64 {
    let sink = SumSink::new(weigh);
    let sum = sink.sum();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    run(|| {
        let mut env = StreamEnvironment::new("keyed").parallelism(parallelism);
        env = if checkpoints {
            env.checkpointing(Checkpointing::every(Duration::from_secs(1)))
                .snapshot_store(RedbStore::open(scratch.path().join("keyed.redb")).expect("a fresh store"))
        } else {
            env.checkpointing(Checkpointing::disabled())
        };
        let numbers = |id, range| {
            let numbers = env.source(id, SequenceSource::new(range)).parallelism(1);
            numbers.map(move |i| key(i, keys)).parallelism(1)
        };
        numbers("low", 0..N / 2)
            .union(numbers("high", N / 2..N))
            .key_by(|key| *key)
            .fold_map(
                "totals",
                (0u64, 0u64),
                |total, key| *total = (total.0 + 1, total.1.wrapping_add(value(key))),
                |_, total| *total,
            )
            .sink("sum", sink);
        env
    });
    sum.load(Ordering::Relaxed)
}

#[divan::bench(sample_count = 3, sample_size = 1, args = KEYS)]
fn plain_loop(bencher: Bencher<'_, '_>, keys: u64) {
    bencher.counter(ItemsCount::new(N)).bench(|| plain(keys));
}

#[divan::bench(sample_count = 3, sample_size = 1, args = KEYS)]
fn parallelism_1(bencher: Bencher<'_, '_>, keys: u64) {
    bench_job(bencher, keys, 1, false);
}

#[divan::bench(sample_count = 3, sample_size = 1, args = KEYS)]
fn parallelism_2(bencher: Bencher<'_, '_>, keys: u64) {
    bench_job(bencher, keys, 2, false);
}

#[divan::bench(sample_count = 3, sample_size = 1, args = KEYS)]
fn parallelism_2_checkpoint_each_second(bencher: Bencher<'_, '_>, keys: u64) {
    bench_job(bencher, keys, 2, true);
}
