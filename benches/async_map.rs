//! Asynchronous functions: what a record costs whose answer is there at once, and how answers that take a while overlap.
//!
//! `cargo bench --bench async_map`

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use millstream::Clock as _;
use millstream::prelude::*;
use millstream::time::SystemClock;

mod common;
use common::{SumSink, run, splitmix64};

const A_MS: Duration = Duration::from_millis(1);

fn main() {
    divan::main();
}

/// The sum of what `stream` makes of the numbers below `records`, in one subtask.
fn job(records: u64, stream: impl FnOnce(DataStream<u64>) -> DataStream<u64>) -> u64 {
    let sink = SumSink::new(|x: &u64| *x);
    let sum = sink.sum();
    run(|| {
        let env = StreamEnvironment::new("async").parallelism(1).checkpointing(Checkpointing::disabled());
        stream(env.source("numbers", SequenceSource::new(0..records))).sink("sum", sink);
        env
    });
    sum.load(Ordering::Relaxed)
}

fn wait(is_ordered: bool, capacity: usize) -> AsyncWait<u64, u64> {
    let wait = if is_ordered { AsyncWait::ordered } else { AsyncWait::unordered };
    wait(Duration::from_secs(60)).capacity(capacity)
}

fn bench(bencher: Bencher<'_, '_>, records: u64, stream: impl Fn(DataStream<u64>) -> DataStream<u64>) {
    let expected = (0..records).map(splitmix64).fold(0u64, u64::wrapping_add);
    bencher.counter(ItemsCount::new(records)).bench_local(|| assert_eq!(job(records, &stream), expected));
}

/// The same work by a `map` behind a channel.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn map(bencher: Bencher<'_, '_>) {
    bench(bencher, 2_000_000, |numbers| numbers.rebalance().map(splitmix64));
}

#[divan::bench(sample_count = 5, sample_size = 1, args = [true, false])]
fn ready(bencher: Bencher<'_, '_>, is_ordered: bool) {
    bench(bencher, 2_000_000, |numbers| {
        numbers.async_map("ask", wait(is_ordered, 100), |x| async move { Ok(splitmix64(x)) })
    });
}

/// Answers that take a millisecond each.
#[divan::bench(sample_count = 3, sample_size = 1, args = [10, 100, 1_000, 10_000])]
fn takes_1_ms(bencher: Bencher<'_, '_>, capacity: usize) {
    let clock = Arc::new(SystemClock::new());
    bench(bencher, 20_000, |numbers| {
        let clock = clock.clone();
        numbers.async_map("ask", wait(false, capacity), move |x| {
            let clock = clock.clone();
            async move {
                clock.sleep(A_MS).await;
                Ok(splitmix64(x))
            }
        })
    });
}
