//! Event time in jobs: records keep their times, and what a stream has promised by a watermark holds, also when it fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::operator::{
    Batch, BatchOperator, Mark, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError, Stateful,
};
use millstream::prelude::*;
use millstream::{Cause, JobEventKind, JobOutcome, TaskError};

use common::{BOUND_MS, CountedPanics, InputEnd, SteppedSource, checkpointed, run_to_end, sorted, time_of};

mod common;

const N: u64 = 2_000;

/// A record as an operator saw it: its number, its event time, and whether it was late.
type Seen = (u64, Option<Timestamp>, bool);

/// Looks at event time as it comes, and panics at some records, each once.
struct Watches {
    watermark: Option<Timestamp>,
    /// What its snapshot said, until a record comes.
    restored: Option<Timestamp>,
    /// Nothing but a source whose splits are all read from the beginning is before it, so it has the restored watermark
    /// before the first record.
    is_chained: bool,
    /// It panics at the records with these numbers, of which so many have been met.
    panics: Arc<(Vec<u64>, AtomicU64)>,
}

impl BatchOperator for Watches {
    type In = u64;
    type Out = Seen;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<Seen>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        let mut records = input.front(input.len());
        loop {
            let time = records.time();
            let Some(id) = records.next() else { break };
            if let Some(restored) = self.restored.take() {
                assert!(!self.is_chained || self.watermark >= Some(restored), "{:?} after {restored}", self.watermark);
            }
            let (at, met) = &*self.panics;
            let next = at.get(met.load(Ordering::SeqCst) as usize);
            if next.is_some_and(|next| id >= *next) {
                met.fetch_add(1, Ordering::SeqCst);
                panic!("injected at record {id}");
            }
            let known = Some(time).filter(|time| *time != NO_TIME);
            out.emit_at((id, known, known.is_some() && known <= self.watermark), time);
        }
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<Seen>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if let Mark::Watermark(at) = mark {
            assert!(self.watermark < Some(at), "{at} after {:?}", self.watermark);
            self.watermark = Some(at);
        }
        out.mark(mark);
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for Watches {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        writer.subtask(&"watermark".into()).put(&self.watermark.unwrap_or(NO_TIME).to_le_bytes());
        Ok(Progress::Done)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let of_section = |section: &RestoredSection| section.bytes[..].try_into().map(i64::from_le_bytes).ok();
        let least = sections.iter().filter_map(of_section).min();
        self.restored = least.filter(|watermark| *watermark != NO_TIME);
        Ok(())
    }
}

/// Runs a job with records from `source`, watched behind an exchange or chained to it.
fn watched<S>(parallelism: u32, is_chained: bool, panics: &[u64], source: S) -> (JobOutcome, Vec<Seen>)
where
    S: FnOnce(&StreamEnvironment) -> DataStream<u64> + Send + 'static,
{
    let sink = CollectSink::new();
    let collected = sink.handle();
    let panics = Arc::new((panics.to_vec(), AtomicU64::new(0)));
    let outcome = run_to_end("a job with event time", move || {
        let env = StreamEnvironment::new("event-time")
            .snapshot_store(MemoryStore::new())
            .parallelism(parallelism)
            .checkpointing(Checkpointing::every(Duration::from_millis(10)));
        let numbers = source(&env);
        let numbers = if is_chained { numbers } else { numbers.rebalance() };
        numbers
            .transform("watches", move || Watches {
                watermark: None,
                restored: None,
                is_chained,
                panics: panics.clone(),
            })
            .sink("seen", sink);
        env
    });
    (outcome.0.expect("finished"), collected.snapshot())
}

/// Records of a source that reads four splits side by side.
fn stepped(env: &StreamEnvironment) -> DataStream<u64> {
    let source = SteppedSource::new("numbers", N, 100, &InputEnd::default());
    let bound = Duration::from_millis(BOUND_MS);
    let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |(_, id): &(&'static str, u64)| time_of(*id));
    env.source_with_watermarks("numbers", source, strategy).map(|(_, id)| id)
}

fn check(seen: &[Seen]) {
    // Guarantee G1 and G2.
    let ids: BTreeSet<u64> = seen.iter().map(|(id, ..)| *id).collect();
    assert_eq!((seen.len(), ids.len()), (N as usize, N as usize));
    // Guarantee T1.
    let wrong = seen.iter().find(|(id, time, _)| *time != Some(time_of(*id)));
    assert_eq!(wrong, None, "a record keeps its event time");
    // Guarantee T2.
    let late = seen.iter().find(|(.., is_late)| *is_late);
    assert_eq!(late, None, "no record within the bound is late");
}

#[test]
fn records_within_the_bound_are_never_late_whatever_fails() {
    for (parallelism, is_chained) in [(1, true), (2, true), (1, false), (3, false)] {
        for panics in [vec![], vec![0], vec![150, 151, 900, 1_700], vec![1_999]] {
            let (outcome, seen) = watched(parallelism, is_chained, &panics, stepped);
            check(&seen);
            // Two subtasks may fail before one restart.
            let restarts = usize::from(!panics.is_empty())..=panics.len();
            assert!(restarts.contains(&(outcome.restarts as usize)), "{} for {panics:?}", outcome.restarts);
        }
    }
}

#[test]
fn splits_one_after_another_hold_event_time_back_by_nothing() {
    let sequence = |env: &StreamEnvironment| {
        let bound = Duration::from_millis(BOUND_MS);
        let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |id: &u64| time_of(*id));
        env.source_with_watermarks("numbers", SequenceSource::new(0..N), strategy)
    };
    for panics in [vec![], vec![700, 1_500]] {
        let (_, seen) = watched(1, false, &panics, sequence);
        check(&seen);
    }
}

#[test]
fn split_that_begins_later_was_not_waited_for() {
    // 64 splits of one number each, one after another, whose times go down.
    let down = |env: &StreamEnvironment| {
        let strategy = WatermarkStrategy::monotonous(|id: &u64| -(*id as i64));
        env.source_with_watermarks("numbers", SequenceSource::new(0..64), strategy)
    };
    let (_, seen) = watched(1, false, &[], down);
    assert_eq!(seen, (0..64).map(|id| (id, Some(-(id as i64)), id > 0)).collect::<Vec<_>>());
}

#[test]
fn stream_without_a_strategy_has_no_times_and_a_union_keeps_those_of_the_other() {
    let both = |env: &StreamEnvironment| {
        let timed = stepped(env).filter(|id| id % 2 == 0);
        let untimed = env.source("others", SequenceSource::new(0..N)).filter(|id| id % 2 == 1);
        timed.union(untimed)
    };
    let (_, seen) = watched(1, false, &[300], both);
    assert_eq!(seen.iter().map(|(id, ..)| *id).collect::<BTreeSet<_>>().len(), N as usize);
    assert!(seen.iter().all(|(id, time, _)| *time == (id % 2 == 0).then(|| time_of(*id))));
}

/// What a keyed function and one that is not see of a record's time, and what they emit has it.
#[derive(Clone)]
struct Tells;

impl KeyedProcessFunction<u64, u64> for Tells {
    type Out = (u64, Option<Timestamp>);
    type State = ValueState<u64>;

    fn state(&self) -> ValueState<u64> {
        ValueState::new("count")
    }

    fn process(
        &mut self,
        record: u64,
        mut count: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        count.set(count.get().copied().unwrap_or(0) + 1);
        out.emit((record, ctx.timestamp()));
        out.emit_to(&OutputTag::new("copies"), (record, ctx.timestamp()));
    }
}

impl ProcessFunction<(u64, Option<Timestamp>)> for Tells {
    type Out = (u64, bool);
    type State = ();

    fn state(&self) {}

    fn process(
        &mut self,
        (record, before): (u64, Option<Timestamp>),
        (): (),
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, bool)>,
    ) {
        out.emit((record, before == Some(time_of(record)) && ctx.timestamp() == before));
    }
}

#[test]
fn what_a_function_emits_has_the_time_of_its_record_in_each_of_its_outputs() {
    let (main, side) = (CollectSink::new(), CollectSink::new());
    let (of_main, of_side) = (main.handle(), side.handle());
    let outcome = run_to_end("a job with event time", move || {
        let checkpointing = Checkpointing::every(Duration::from_millis(10));
        let env = StreamEnvironment::new("times").parallelism(2).checkpointing(checkpointing);
        let told = stepped(&env)
            .flat_map(|id: u64, out| (0..id % 3).for_each(|_| out.emit(id)))
            .key_by(|id| id % 7)
            .process("tells", Tells);
        told.side_output(&OutputTag::new("copies")).process("of the side", Tells).sink("side", side);
        told.process("of the main", Tells).sink("main", main);
        env
    });
    outcome.0.expect("finished");
    for collected in [of_main.snapshot(), of_side.snapshot()] {
        assert_eq!(collected.len() as u64, (0..N).map(|id| id % 3).sum::<u64>());
        assert!(collected.iter().all(|(_, has_it)| *has_it));
    }
}

/// A strategy is the job's as any function is: where it panics the job restarts, and what it gives is as without that. The failure names
/// the source's task.
#[test]
fn strategy_of_a_source_that_panics_fails_its_task_and_loses_nothing() {
    let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[0, 700, 1_500]));
    let collected = sink.handle();
    let (outcome, job) = run_to_end("a job whose strategy panics", move || {
        let env = checkpointed("panics", 2, None).snapshot_store(MemoryStore::new());
        let time = move |(_, id): &(&'static str, u64)| {
            panics.count_and_panic();
            time_of(*id)
        };
        let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_millis(BOUND_MS), time);
        env.source_with_watermarks("numbers", SteppedSource::new("numbers", N, 100, &InputEnd::default()), strategy)
            .map(|(_, id)| id)
            .key_by(|id| id % 7)
            .window(TumblingWindows::event_time(Duration::from_millis(500)))
            .apply("ids", |ids: &[u64], _, out: &mut Emitter<'_, u64>| ids.iter().for_each(|id| out.emit(*id)))
            .sink("out", sink);
        env
    });
    assert!((1..=3).contains(&outcome.expect("finished").restarts));
    let failed = job.history().into_iter().find_map(|event| match event.kind {
        JobEventKind::SubtaskFailed { cause, actor, .. } => Some((cause, actor.to_string())),
        _ => None,
    });
    let (cause, task) = failed.expect("it has failed");
    assert!(matches!(&cause, Cause::Panicked(report) if report.message.contains("injected")), "{cause}");
    assert!(task.contains("numbers"), "{task}");
    assert_eq!(sorted(collected.snapshot()), (0..N).collect::<Vec<_>>());
}
