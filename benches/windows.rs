//! Counts by key in windows of event time, in a job of one subtask: tumbling windows of a second, and sliding ones of 10 s and of
//! 100 s, each by a second. 10,000 keys, ten records to a key and second, out of order by up to 50 ms.
//!
//! `cargo bench --bench windows`; `MILLSTREAM_RECORDS=1000000` for fewer, `MILLSTREAM_SECONDS=1` for windows of that length alone.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream::aggregates::Count;
use millstream::prelude::*;
use millstream::window::WindowContext;

mod common;
use common::{SumSink, process_cpu_time, splitmix64};

const KEYS: u64 = 10_000;
const BOUND: Duration = Duration::from_millis(50);
const ROUNDS: usize = 5;

fn main() {
    let records = std::env::var("MILLSTREAM_RECORDS").ok().and_then(|records| records.parse().ok());
    let records = records.unwrap_or(6_000_000);
    let only = std::env::var("MILLSTREAM_SECONDS").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    println!("windows      ns a record, median (least to greatest) of {ROUNDS} rounds; of CPU time      checksum");
    let of_all = [1, 10, 100].into_iter().filter(|seconds| only.is_none_or(|only| only == *seconds));
    let mut taken: Vec<_> = of_all.map(|seconds| (seconds, Vec::new(), Vec::new(), 0)).collect();
    for _ in 0..ROUNDS {
        for (seconds, times, cpu_times, sum) in &mut taken {
            let cpu_before = process_cpu_time();
            let (time, of_round) = run(*seconds, records);
            times.push(time.as_nanos() as f64 / records as f64);
            cpu_times.push((process_cpu_time() - cpu_before).as_nanos() as f64 / records as f64);
            assert!(times.len() == 1 || *sum == of_round, "rounds differ");
            *sum = of_round;
        }
    }
    for (seconds, times, cpu_times, sum) in taken {
        let [times, cpu_times] = [times, cpu_times].map(|mut times| {
            times.sort_by(f64::total_cmp);
            format!("{:.1} ({:.1} to {:.1})", times[ROUNDS / 2], times[0], times[ROUNDS - 1])
        });
        println!("{seconds:>3} s by 1 s  {times}; {cpu_times}   {sum}");
    }
}

/// The time that a job takes, and the sum of what it gives.
fn run(seconds: u64, records: u64) -> (Duration, u64) {
    let weigh = |(start, key, count): &(i64, u64, u64)| splitmix64(*start as u64 ^ key.wrapping_mul(0x9E37) ^ count);
    let sink = SumSink::new(weigh);
    let sum = sink.sum();
    let env = StreamEnvironment::new("windows");
    let time = |i: &u64| ((i / 100) as i64 - (splitmix64(*i) % 50) as i64).max(0);
    let strategy = WatermarkStrategy::bounded_out_of_orderness(BOUND, time);
    let keyed = env
        .source_with_watermarks("numbers", SequenceSource::new(0..records), strategy)
        .key_by(|i| splitmix64(i + 1) % KEYS);
    let emit = |ctx: &WindowContext<'_, u64>, count: u64| (ctx.window().start(), *ctx.key(), count);
    let (size, slide) = (Duration::from_secs(seconds), Duration::from_secs(1));
    let counts = match seconds {
        1 => keyed.window(TumblingWindows::event_time(size)).aggregate_with("counts", Count::new(), emit),
        _ => keyed.window(SlidingWindows::event_time(size, slide)).aggregate_with("counts", Count::new(), emit),
    };
    counts.sink("sum", sink);
    let begun = Instant::now();
    env.start().expect("a job").wait().expect("it finishes");
    (begun.elapsed(), sum.load(Ordering::Relaxed))
}
