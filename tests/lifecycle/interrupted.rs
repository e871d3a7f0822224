//! Jobs that are paused again and again while they fail: their output is that of an undisturbed run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::JobEventKind;
use millstream::prelude::*;

use crate::common::{
    BOUND_MS, CountedPanics, InputEnd, QueueSource, SteppedSource, checkpointed, events_of, plain_totals, run, sorted,
    time_of, watched, window_totals,
};
use crate::{Seen, counting};

const N: u64 = 2_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 31)) % bound
    }
}

/// L1, T14: windows of event time, over pauses at any time, panics of functions, several parallelisms and both backends.
#[test]
fn output_through_pauses_and_panics_is_that_of_an_undisturbed_run() {
    let dir = tempfile::tempdir().unwrap();
    for (parallelism, spills, seed) in [(1, false, 1), (2, true, 2), (3, false, 3)] {
        for at in [vec![], vec![0, 40, 41], vec![300]] {
            let (sink, results) = (CollectSink::new(), CountedPanics::at(&at));
            let (collected, spills_to) = (sink.handle(), spills.then(|| dir.path().to_owned()));
            let restarts = run("a job that is paused at any time", move |handles| async move {
                let env = checkpointed("paused", parallelism, spills_to.as_deref()).snapshot_store(MemoryStore::new());
                let strategy = WatermarkStrategy::bounded_out_of_orderness(
                    std::time::Duration::from_millis(BOUND_MS),
                    |(_, id): &(&'static str, u64)| time_of(*id),
                );
                let source = SteppedSource::new("numbers", N, 20, &InputEnd::default());
                let numbers = env.source_with_watermarks("numbers", source, strategy).map(|(_, id)| id);
                window_totals(numbers, results, sink);
                let job = env.start().unwrap();
                watched(&handles, &job);
                let mut random = Random(seed);
                loop {
                    // A job that has just come to its end refuses.
                    if job.pause().await.is_err() {
                        break;
                    }
                    if random.below(2) == 0 {
                        // It may be refused by a restart.
                        let _ = job.checkpoint().await;
                    }
                    if job.resume().await.is_err() {
                        break;
                    }
                    for _ in 0..random.below(50) {
                        tokio::task::yield_now().await;
                    }
                }
                let outcome = job.await.unwrap();
                assert_eq!(outcome.kind, OutcomeKind::Finished);
                outcome.restarts as usize
            });
            assert!((at.len().min(1)..=at.len()).contains(&restarts), "{restarts} restarts of {at:?}");
            assert_eq!(sorted(collected.snapshot()), plain_totals(N), "parallelism {parallelism}, panics {at:?}");
        }
    }
}

/// L2: tasks that are restarted while the job is paused begin paused, and so do those of a source that had stopped.
#[test]
fn restart_in_a_pause_does_not_end_it() {
    run("a job that fails while it is paused", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let (other, fail) = (QueueSource::default(), Arc::new(AtomicU64::new(0)));
        let failing = fail.clone();
        let env = counting("fails", &numbers, &seen).tell_panic_hook(false);
        // Behind the source, by the clock: it works on while no record comes.
        env.source("ticks", other.clone()).key_by(|_| 0_u64).process("fails", Fails(failing)).for_each("none", |_| {});
        let job = env.checkpointing(Checkpointing::every(std::time::Duration::from_millis(10))).start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        other.push([1]);
        numbers.push(0..5);
        seen.until(5, &job).await;
        job.pause().await.unwrap();
        for round in 1..=3 {
            fail.store(round, Ordering::SeqCst);
            events.until(|kind| matches!(kind, JobEventKind::RegionRestarting { .. })).await;
            events.until(|kind| matches!(kind, JobEventKind::RegionRunning { .. })).await;
            assert!(job.status().paused_since_unix_ms.is_some());
            numbers.push(5 * round..5 * round + 5);
            other.push([1]);
            assert_eq!(seen.after_a_checkpoint(&job).await, 5);
        }
        job.resume().await.unwrap();
        seen.until(20, &job).await;
        job.cancel().await.unwrap();
    });
}

/// Panics by a timer of processing time when it is told to, once for each number that it is told.
#[derive(Clone)]
struct Fails(Arc<AtomicU64>);

impl KeyedProcessFunction<u64, u64> for Fails {
    type Out = u64;
    type State = Timers;

    fn state(&self) -> Timers {
        Timers::new("ticks")
    }

    fn process(
        &mut self,
        _: u64,
        mut timers: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        timers.register(Timer::ProcessingTime(ctx.clock().unix_ms() as i64 + 1));
    }

    fn on_timer(
        &mut self,
        _: Timer,
        mut timers: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        timers.register(Timer::ProcessingTime(ctx.clock().unix_ms() as i64 + 1));
        assert!(self.0.swap(0, Ordering::SeqCst) == 0, "injected");
    }
}
