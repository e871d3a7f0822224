//! Functions that fail on a record give an error for it, once, and go on: as a plain loop does, whatever panics meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::prelude::*;

use common::{BOUND_MS, output_through_panics, run_to_end, sorted, time_of};

mod common;

const N: u64 = 4_000;
/// Calls of the functions that panic.
const PANICS: [&[u64]; 2] = [&[], &[0, 700, 2_100, 3_999]];

/// What a job gives of a record: a result, or an error.
type Given = Result<(u64, u64), String>;

/// Refuses every third record.
fn checked(n: u64) -> Result<u64, String> {
    if n.is_multiple_of(3) { Err(format!("{n} is refused")) } else { Ok(n) }
}

/// Both streams as one.
fn both((results, errors): (DataStream<(u64, u64)>, DataStream<String>)) -> DataStream<Given> {
    results.map(Ok).union(errors.map(Err))
}

/// Has `build` make a job with and without panics, at two parallelisms, and compares what it gives with `want`.
fn check(
    name: &'static str,
    spills_to: Option<&Path>,
    want: &[Given],
    build: impl Fn(DataStream<u64>) -> DataStream<Given> + Clone + Send + 'static,
) {
    for parallelism in [1, 3] {
        for at in PANICS {
            let build = build.clone();
            let given = output_through_panics(name, (parallelism, spills_to), at, move |env, panics, sink| {
                let numbers = env.source("numbers", SequenceSource::new(0..N));
                build(numbers.inspect(move |_| panics.count_and_panic())).sink("given", sink);
            });
            assert!(given == want, "parallelism {parallelism}, panics at {at:?}: {} for {}", given.len(), want.len());
        }
    }
}

/// Guarantees G1 and G2.
#[test]
fn each_record_gives_its_result_or_its_error_once() {
    let want = sorted((0..N).map(|n| checked(n).map(|n| (n, 0))).collect());
    check("try-map", None, &want, |numbers| both(numbers.try_map(|n| checked(n).map(|n| (n, 0)))));
}

/// What a call had emitted before it failed stays so.
#[test]
fn a_call_that_fails_takes_nothing_back() {
    let function = |n: u64| (0..n % 4).map(move |nth| (n, nth));
    let results = (0..N).flat_map(function).map(Ok);
    let want = sorted(results.chain((0..N).filter_map(|n| checked(n).err()).map(Err)).collect());
    check("try-flat-map", None, &want, move |numbers| {
        both(numbers.try_flat_map(move |n, out| {
            function(n).for_each(|result| out.emit(result));
            checked(n).map(drop)
        }))
    });
}

/// Sums up the records of each key that are not refused; a record whose number is a multiple of a hundred is refused by a timer,
/// and the key is at the end.
#[derive(Clone)]
struct Sums;

const LATER: u64 = 100;

impl TryKeyedProcessFunction<u64, u64> for Sums {
    type Out = (u64, u64);
    type Error = String;
    type State = (ValueState<u64>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("sum"), Timers::new("timers"))
    }

    fn process(
        &mut self,
        n: u64,
        (mut sum, mut timers): TryRow<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), String> {
        if n.is_multiple_of(LATER) {
            timers.register(Timer::EventTime(time_of(n) + 1));
            return Ok(());
        }
        *sum.get_or_insert_with(|| 0) += checked(n)?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: Timer,
        (sum, _): TryRow<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), String> {
        let _ = sum;
        Err(format!("timer of {}", ctx.key()))
    }

    fn end_of_input(
        &mut self,
        (sum, _): TryRow<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), String> {
        out.emit((*ctx.key(), sum.get().copied().unwrap_or(0)));
        Err(format!("{} ends", ctx.key()))
    }
}

fn plain_sums(keys: u64) -> Vec<Given> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    let mut given = Vec::new();
    for n in 0..N {
        let sum = sums.entry(n % keys).or_insert(0);
        if n.is_multiple_of(LATER) {
            given.push(Err(format!("timer of {}", n % keys)));
        } else {
            match checked(n) {
                Ok(n) => *sum += n,
                Err(error) => given.push(Err(error)),
            }
        }
    }
    given.extend(sums.iter().flat_map(|(key, sum)| [Ok((*key, *sum)), Err(format!("{key} ends"))]));
    sorted(given)
}

/// Guarantees G1 and G2, in memory and spilled to a file.
#[test]
fn functions_with_keys_may_fail_on_records_timers_and_at_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    for (keys, spills_to) in [(7, None), (977, Some(dir.path()))] {
        check("try-keyed", spills_to, &plain_sums(keys), move |numbers| {
            let strategy =
                WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(BOUND_MS), |n: &u64| time_of(*n));
            let timed = numbers.assign_timestamps_and_watermarks("times", strategy);
            both(timed.key_by(move |n| n % keys).try_process("sums", Sums))
        });
    }
}

/// Counts what is not refused, in a state of its subtask.
#[derive(Clone)]
struct Counted;

impl TryProcessFunction<u64> for Counted {
    type Out = (u64, u64);
    type Error = String;
    type State = OperatorListState<u64>;

    fn state(&self) -> Self::State {
        OperatorListState::new("count")
    }

    fn process(
        &mut self,
        n: u64,
        mut count: TryStates<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), String> {
        checked(n)?;
        count.push(n);
        Ok(())
    }

    fn end_of_input(
        &mut self,
        mut count: TryStates<'_, Self, u64>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) -> Result<(), String> {
        count.take().into_iter().for_each(|n| out.emit((n, 1)));
        if ctx.subtask() == 0 { Err("the first subtask ends".to_owned()) } else { Ok(()) }
    }
}

/// Guarantees G1 and G2.
#[test]
fn functions_without_keys_may_fail_on_records_and_at_the_end() {
    let given = (0..N).map(|n| checked(n).map(|n| (n, 1)));
    let want = sorted(given.chain([Err("the first subtask ends".to_owned())]).collect());
    check("try-process", None, &want, |numbers| both(numbers.try_process("counted", Counted)));
}

/// An error has the event time of its record, and the stream of errors its watermarks: it can be cut into windows.
#[test]
fn errors_have_the_event_times_of_their_records() {
    let sink = CollectSink::new();
    let counted = sink.handle();
    let (outcome, _) = run_to_end("errors in windows", move || {
        let env = StreamEnvironment::new("error-windows").parallelism(2);
        let times = WatermarkStrategy::monotonous(|n: &u64| *n as i64);
        let numbers = env.source_with_watermarks("numbers", SequenceSource::new(0..N), times);
        let (_, errors) = numbers.try_map(checked);
        errors
            .key_by(|_| ())
            .window(TumblingWindows::event_time(Duration::from_millis(1_000)))
            .aggregate("errors-a-second", millstream::aggregates::Count::new())
            .sink("counts", sink);
        env
    });
    outcome.expect("finished");
    let want: Vec<u64> =
        (0..4).map(|second| (second * 1_000..(second + 1) * 1_000).filter(|n| n % 3 == 0).count() as u64).collect();
    assert_eq!(sorted(counted.snapshot()), sorted(want));
}

/// Either of the two streams may be let go of.
#[test]
fn errors_that_nobody_takes_are_dropped() {
    let sink = CollectSink::new();
    let given = sink.handle();
    let (outcome, _) = run_to_end("dropped errors", move || {
        let env = StreamEnvironment::new("dropped-errors");
        let (results, _) = env.source("numbers", SequenceSource::new(0..N)).try_map(checked);
        results.sink("results", sink);
        env
    });
    outcome.expect("finished");
    assert_eq!(sorted(given.snapshot()), (0..N).filter(|n| n % 3 != 0).collect::<Vec<_>>());
}
