//! Windows, timers and joins by event time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::prelude::*;

use crate::common::{
    BOUND_MS, CountedPanics, InputEnd, SteppedSource, checkpointed, plain_totals, run, sorted, time_of, watched,
    window_totals,
};
use crate::{keep_rescaling, turns};

const N: u64 = 600;
const KEYS: u64 = 23;
const PERIOD_MS: i64 = 300;
const NEAR_MS: i64 = 40;

/// Counts the records of each key and period, and emits the count when event time has come to the period's end.
#[derive(Clone)]
struct Periods;

impl KeyedProcessFunction<u64, u64> for Periods {
    type Out = (u64, i64, u64);
    type State = (MapState<i64, u64>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("counts"), Timers::new("ends"))
    }

    fn process(
        &mut self,
        _: u64,
        (mut counts, mut ends): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        let period = ctx.timestamp().unwrap().div_euclid(PERIOD_MS);
        let end = (period + 1) * PERIOD_MS - 1;
        // T7: what an operator has acted on is the floor, at any parallelism.
        assert!(end > ctx.watermark(), "{period} is over");
        *counts.get_or_insert_with(period, || 0) += 1;
        ends.register(Timer::EventTime(end));
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut counts, _): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let Timer::EventTime(end) = timer else { panic!("{timer:?}") };
        let period = end.div_euclid(PERIOD_MS);
        out.emit((*ctx.key(), period, counts.remove(&period).expect("a timer fires once")));
    }
}

fn plain_periods() -> Vec<(u64, i64, u64)> {
    let mut counts = BTreeMap::new();
    for id in 0..N {
        *counts.entry((id % KEYS, time_of(id).div_euclid(PERIOD_MS))).or_insert(0) += 1;
    }
    counts.into_iter().map(|((key, period), count)| (key, period, count)).collect()
}

fn plain_pairs() -> Vec<(u64, u64)> {
    let pairs = (0..N).flat_map(|first| (first % KEYS..N).step_by(KEYS as usize).map(move |second| (first, second)));
    sorted(pairs.filter(|(first, second)| (time_of(*first) - time_of(*second)).abs() <= NEAR_MS * 10).collect())
}

/// L6, L8.
#[test]
fn windows_timers_and_joins_give_over_rescales_and_panics_what_they_give_without() {
    let dir = tempfile::tempdir().unwrap();
    let setups = [(true, vec![]), (false, vec![0, 40, 41, 150]), (true, vec![5, 100])];
    let rescaled: u64 = setups.iter().map(|(spills, at)| through(spills.then_some(dir.path()), at)).sum();
    // One of the jobs may be over before the test has had its turns.
    assert!(rescaled >= 2, "{rescaled}");
}

/// Answers how often the job had other tasks.
fn through(spills_to: Option<&Path>, at: &[u64]) -> u64 {
    let (sinks, panics) = ((CollectSink::new(), CollectSink::new(), CollectSink::new()), CountedPanics::at(at));
    let (totals, periods, pairs) = (sinks.0.handle(), sinks.1.handle(), sinks.2.handle());
    let (spills_to, fails) = (spills_to.map(Path::to_owned), at.len() as u64);
    let rescaled = run("a job with event time", move |handles| async move {
        let env = checkpointed("timed", 2, spills_to.as_deref()).snapshot_store(MemoryStore::new());
        let input = InputEnd::default();
        let numbers = |name: &'static str| {
            let bound = Duration::from_millis(BOUND_MS);
            let times = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &(&str, u64)| time_of(*id));
            env.source_with_watermarks(name, SteppedSource::new(name, N, 24, &input), times).map(|(_, id)| id)
        };
        let (first, second) = (numbers("first"), numbers("second"));
        first.clone().key_by(|id| id % KEYS).process("periods", Periods).sink("periods-out", sinks.1);
        let near = -NEAR_MS * 10..=NEAR_MS * 10;
        let joined = first.clone().key_by(|id| id % KEYS).join(second.key_by(|id| id % KEYS)).between(near);
        joined.inner("pairs", |first, second| (*first, *second)).sink("pairs-out", sinks.2);
        window_totals(first, panics, sinks.0);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let rescaled = keep_rescaling(&job, [1, 3, 4, 2].into_iter().cycle(), || turns(40)).await;
        let outcome = job.await.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Finished, "{rescaled} rescales, {outcome:?}");
        assert!((fails.min(1)..=fails).contains(&outcome.restarts), "{outcome:?}");
        rescaled
    });
    assert_eq!(sorted(totals.snapshot()), plain_totals(N), "{at:?}");
    assert_eq!(sorted(periods.snapshot()), plain_periods(), "{at:?}");
    assert!(sorted(pairs.snapshot()) == plain_pairs(), "{at:?}: {} pairs, not {}", pairs.len(), plain_pairs().len());
    rescaled
}
