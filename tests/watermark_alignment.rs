//! Sources that wait for each other in event time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use millstream::prelude::*;
use millstream::time::WatermarkAlignment;

use common::{CountedPanics, InputEnd, SteppedSource, checkpointed, run, run_to_end, sorted, watched};

mod common;

const N: u64 = 4_000;
/// The slow source has no more than this, until it is told otherwise.
const HELD: u64 = 200;
const DRIFT: Duration = Duration::from_millis(100);

fn time((_, id): &(&'static str, u64)) -> i64 {
    *id as i64
}

/// Two sources of `N` records, a millisecond apart, of which the slow one is held back. They wait for each other; the slow one may
/// be idle.
fn env(alignment: &WatermarkAlignment, idle: Option<Duration>, ends: [&InputEnd; 2]) -> StreamEnvironment {
    let env = StreamEnvironment::new("aligned").checkpointing(Checkpointing::disabled());
    let strategy = || WatermarkStrategy::monotonous(time).with_alignment(alignment);
    let of_slow = idle.into_iter().fold(strategy(), WatermarkStrategy::with_idleness);
    let fast = env.source_with_watermarks("fast", SteppedSource::new("fast", N, N, ends[0]), strategy());
    let slow = SteppedSource::new("slow", N, N, ends[1]).hold_at(HELD / 4);
    let slow = env.source_with_watermarks("slow", slow, of_slow);
    fast.union(slow).for_each("see", |_| {});
    env
}

/// T2: the fast one reads what one read gives beyond the drift, and no more however long it waits.
#[test]
fn source_that_is_ahead_reads_no_further_and_answers_barriers() {
    run("a job with a source that waits", |handles| async move {
        let [of_fast, of_slow] = [InputEnd::default(), InputEnd::default()];
        let job = env(&WatermarkAlignment::within(DRIFT), None, [&of_fast, &of_slow]).start().unwrap();
        watched(&handles, &job);
        while of_slow.records_read() < HELD || of_fast.records_read() < HELD + 100 {
            job.checkpoint().await.unwrap();
        }
        for _ in 0..100 {
            job.checkpoint().await.unwrap();
        }
        // Its four splits are read in turn, eight records at a time.
        let beyond = of_fast.records_read() - HELD - 100;
        assert!(beyond <= 2 * 4 * 8, "{beyond} records beyond the drift");
        job.cancel().await.unwrap();
    });
}

#[test]
fn source_that_is_idle_is_not_waited_for() {
    run("a job with an idle source", |handles| async move {
        let [of_fast, of_slow] = [InputEnd::default(), InputEnd::default()];
        let idle = Some(Duration::from_millis(20));
        let job = env(&WatermarkAlignment::within(DRIFT), idle, [&of_fast, &of_slow]).start().unwrap();
        watched(&handles, &job);
        while !of_fast.is_over() {
            job.checkpoint().await.unwrap();
        }
        assert_eq!(of_slow.records_read(), HELD);
        job.cancel().await.unwrap();
    });
}

/// T2: a source that has ended is not waited for, one that was restarted is, and the job comes to its end.
#[test]
fn sources_that_wait_for_each_other_lose_nothing_through_panics() {
    for parallelism in 1..=3 {
        let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[100, 900]));
        let collected = sink.handle();
        let (outcome, _) = run_to_end("a job with sources that wait", move || {
            let env = checkpointed("aligned", parallelism, None).snapshot_store(MemoryStore::new());
            let together = WatermarkAlignment::within(DRIFT);
            let strategy = || WatermarkStrategy::monotonous(time).with_alignment(&together);
            let [long, short] = [("long", N), ("short", N / 4)].map(|(name, records)| {
                let source = SteppedSource::new(name, records, 100, &InputEnd::default());
                env.source_with_watermarks(name, source, strategy())
            });
            let all = long.union(short).inspect(move |_| panics.count_and_panic());
            all.map(|(name, id)| (name.to_owned(), id)).sink("out", sink);
            env
        });
        assert_eq!(outcome.expect("finished").restarts, 2);
        let expected = (0..N / 4).map(|id| ("short".to_owned(), id)).chain((0..N).map(|id| ("long".to_owned(), id)));
        assert_eq!(sorted(collected.snapshot()), sorted(expected.collect()), "parallelism {parallelism}");
    }
}
