//! What functions do at the end of their input is done once, whatever fails before, between and after the ends of the
//! inputs of a job.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::Sink;
use millstream::testing::FaultyStore;
use millstream::{ActorName, Step};

use common::{At, Fault, FaultProbe, InputEnd, SteppedSource, committed_lines, run, watched};

mod common;
#[path = "end_of_input/kills.rs"]
mod kills;

const SHORT: u64 = 40;
const LONG: u64 = 240;
const KEYS: u64 = 13;

type Record = (&'static str, u64);
type Out = (&'static str, u64, u64);

/// Counts the records of each key and adds them up; emits the sum at the end, and keeps it.
#[derive(Clone)]
struct Sums(&'static str);

impl KeyedProcessFunction<u64, Record> for Sums {
    type Out = Out;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("sum")
    }

    fn process(
        &mut self,
        (_, id): Record,
        mut sum: Row<'_, Self, u64, Record>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Out>,
    ) {
        *sum.get_or_insert_with(|| 0) += id;
    }

    fn end_of_input(
        &mut self,
        sum: Row<'_, Self, u64, Record>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Out>,
    ) {
        out.emit((self.0, *ctx.key(), sum.get().copied().expect("only keys with state")));
    }
}

/// Keeps all records, also after it has emitted them at the end.
#[derive(Clone)]
struct Keep;

impl ProcessFunction<Record> for Keep {
    type Out = Out;
    type State = OperatorListState<u64>;

    fn state(&self) -> Self::State {
        OperatorListState::new("kept")
    }

    fn process(
        &mut self,
        (_, id): Record,
        mut kept: States<'_, Self, Record>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, Out>,
    ) {
        kept.push(id);
    }

    fn end_of_input(&mut self, kept: States<'_, Self, Record>, _: &mut ProcessContext<'_>, out: &mut Emitter<'_, Out>) {
        kept.iter().for_each(|id| out.emit(("kept", *id, 0)));
    }
}

/// A job with a short source and a long one. What the short one's functions emit at their end meets the records of the long
/// one; another function has both for its input.
fn job(parallelism: u32, hold_at: u64, input: &InputEnd, sink: impl Sink<Item = Out>) -> StreamEnvironment {
    let env = StreamEnvironment::new("ends")
        .parallelism(parallelism)
        .checkpointing(Checkpointing::every(Duration::from_millis(1)))
        .restart_strategy(RestartStrategy::fixed_delay(20, Duration::ZERO));
    let short = env.source("short", SteppedSource::new("short", SHORT, 8, input));
    let long = env.source("long", SteppedSource::new("long", LONG, 8, input).hold_at(hold_at));
    let key = |(_, id): &Record| id % KEYS;
    let sums = short.clone().key_by(key).process("sums", Sums("short"));
    let kept = short.clone().rebalance().process("kept", Keep);
    let all = short.union(long.clone()).key_by(key).process("all", Sums("all"));
    let records = long.map(|(_, id)| ("long", id, 0));
    sums.union(kept).union(all).union(records).sink("collected", sink);
    env
}

fn sums_of(name: &'static str, records: impl Iterator<Item = u64> + Clone) -> impl Iterator<Item = Out> {
    (0..KEYS).map(move |key| (name, key, records.clone().filter(|id| id % KEYS == key).sum()))
}

fn expected() -> Vec<Out> {
    let mut all: Vec<Out> = sums_of("short", 0..SHORT).chain(sums_of("all", (0..SHORT).chain(0..LONG))).collect();
    all.extend((0..SHORT).map(|id| ("kept", id, 0)));
    all.extend((0..LONG).map(|id| ("long", id, 0)));
    all.sort_unstable();
    all
}

fn sorted(mut all: Vec<Out>) -> Vec<Out> {
    all.sort_unstable();
    all
}

/// Runs the job with this panic; gives the probe.
fn run_with(parallelism: u32, backend: Option<StateBackend>, fault: Option<Fault>) -> FaultProbe {
    let what = format!("a job with a panic at {fault:?}");
    let (outcome, collected, probe) = run(&what, move |handles| async move {
        let input = InputEnd::default();
        let sink = CollectSink::new();
        let collected = sink.handle();
        let probe = FaultProbe::new(&input, fault);
        let env = job(parallelism, u64::MAX, &input, sink);
        let env = env.snapshot_store(MemoryStore::new()).probe(probe.clone());
        let env = if let Some(backend) = backend { env.state_backend(backend) } else { env };
        let running = env.start().expect("starts");
        watched(&handles, &running);
        (running.await, collected.snapshot(), probe)
    });
    let outcome = outcome.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(outcome.kind, OutcomeKind::Finished, "{what}");
    // Guarantees G1 and G2.
    assert_eq!(sorted(collected), expected(), "{what}");
    probe
}

/// Panics of tasks: at each of some steps, at times that are spread over the run.
fn faults(probe: &FaultProbe) -> Vec<Fault> {
    let steps = [Step::Batch, Step::BarrierReached, Step::SnapshotTaken, Step::SinkCommitting];
    let mut faults = Vec::new();
    for (point, count) in probe.reached() {
        if !steps.contains(&point.0) || !matches!(point.1, ActorName::Subtask { .. }) {
            continue;
        }
        let times = BTreeSet::from([1, count / 4, count / 2, count * 3 / 4, count]);
        let times = times.into_iter().filter(|time| *time > 0);
        faults.extend(times.map(|time| Fault { point: point.clone(), at: At::Occurrence(time) }));
    }
    faults
}

#[test]
fn panic_before_between_and_after_the_ends_of_two_sources_repeats_and_loses_nothing() {
    let undisturbed = run_with(2, None, None);
    let (mut fired, faults) = (0, faults(&undisturbed));
    assert!(faults.len() > 100, "only {} points", faults.len());
    for fault in &faults {
        fired += run_with(2, None, Some(fault.clone())).fired().len();
    }
    println!("panicked at {fired} of {} points", faults.len());
    assert!(fired > faults.len() * 3 / 4, "{fired} of {}", faults.len());
}

#[test]
fn step_at_the_end_of_state_larger_than_memory_is_done_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let backend = StateBackend::redb(dir.path()).cache_bytes(1 << 20);
    let undisturbed = run_with(1, Some(backend.clone()), None);
    let of_batches = |fault: &Fault| fault.point.0 == Step::Batch;
    let faults: Vec<Fault> = faults(&undisturbed).into_iter().filter(of_batches).collect();
    assert!(faults.len() > 5, "only {} points", faults.len());
    for fault in faults {
        run_with(1, Some(backend.clone()), Some(fault));
    }
}

/// What the files have, as far as it is committed.
fn written(out: &Path) -> Vec<Out> {
    let name = |name: &str| ["short", "all", "kept", "long"].into_iter().find(|of| *of == name).expect("a known name");
    let line = |line: &String| {
        let (of, key, sum): (String, u64, u64) = serde_json::from_str(line).expect("a line that the sink wrote");
        (name(&of), key, sum)
    };
    committed_lines(out).iter().map(line).collect()
}

/// The job is drained once the steps of the short source's functions have run, and goes on at another parallelism.
#[test]
fn step_at_the_end_is_not_repeated_at_another_parallelism() {
    for (before, after) in [(1, 3), (3, 1), (2, 4)] {
        let out = tempfile::tempdir().expect("a temporary directory");
        let path = out.path().to_owned();
        run("a job that is drained and goes on", move |handles| async move {
            let store = FaultyStore::new(Arc::new(MemoryStore::new()));
            let input = InputEnd::default();
            let env = job(before, 20, &input, FileSink::json_lines(&path));
            let running = env.snapshot_store(store.clone()).start().expect("starts");
            watched(&handles, &running);
            let ends = KEYS + SHORT;
            while written(&path).iter().filter(|(of, ..)| *of != "long").count() < ends as usize {
                running.checkpoint().await.expect("it runs");
            }
            running.drain().await.expect("drained");
            let env = job(after, u64::MAX, &input, FileSink::json_lines(&path));
            let running = env.snapshot_store(store).start().expect("starts again");
            watched(&handles, &running);
            assert_eq!(running.await.expect("finished").kind, OutcomeKind::Finished);
        });
        // Guarantees G1 and G2.
        assert_eq!(sorted(written(out.path())), expected(), "{before} to {after}");
    }
}
