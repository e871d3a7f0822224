//! The chain: numbers through four stateless operators into a sum, against a plain loop.
//!
//! `cargo bench --bench chain`

use std::sync::atomic::Ordering;

use divan::Bencher;
use divan::counter::ItemsCount;
use millstream::prelude::*;

mod common;
use common::{SumSink, run, splitmix64};

const N: u64 = 20_000_000;

fn main() {
    divan::main();
}

/// Every run of the job is compared with the loop.
fn bench_job(bencher: Bencher<'_, '_>, chaining: bool) {
    let expected = plain();
    bencher.counter(ItemsCount::new(N)).bench(|| assert_eq!(chained(chaining), expected));
}

fn plain() -> u64 {
    let mut sum = 0u64;
    for i in 0..divan::black_box(N) {
        let x = splitmix64(i).wrapping_mul(31).wrapping_add(7);
        if !x.is_multiple_of(3) {
            sum = sum.wrapping_add(x ^ (x >> 7));
        }
    }
    sum
}

fn chained(chaining: bool) -> u64 {
    let sink = SumSink::new(|x: &u64| *x);
    let sum = sink.sum();
    run(|| {
        let env = StreamEnvironment::new("chain").chaining(chaining).checkpointing(Checkpointing::disabled());
        env.source("numbers", SequenceSource::new(0..N))
            .map(splitmix64)
            .map(|x| x.wrapping_mul(31).wrapping_add(7))
            .filter(|x| !x.is_multiple_of(3))
            .map(|x| x ^ (x >> 7))
            .sink("sum", sink);
        env
    });
    sum.load(Ordering::Relaxed)
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn plain_loop(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(N)).bench(plain);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn job(bencher: Bencher<'_, '_>) {
    bench_job(bencher, true);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn job_unchained(bencher: Bencher<'_, '_>) {
    bench_job(bencher, false);
}
