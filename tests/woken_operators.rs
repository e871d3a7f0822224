//! Operators that hold records back until a time, in whole jobs: they are woken, also where no input comes, and what they
//! emit then is exactly once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream::operator::{
    Batch, BatchOperator, Mark, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError, Stateful,
};
use millstream::prelude::*;
use millstream::sink::Sink;
use millstream::source::{
    Boundedness, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition,
};
use millstream::time::ManualClock;
use millstream::{ActorName, Clock, Limits, Probe, Step, TaskError};
use tokio::sync::mpsc;

use common::{At, Fault, FaultProbe, HeldSink, InputEnd, Watched, run, watched};

mod common;

/// Records that are released together: those of round n at n + 1 seconds.
const PER_ROUND: u64 = 10;
const ROUNDS: u64 = 4;
/// Many batches.
const MANY: u64 = 5_000;
const SECOND: Duration = Duration::from_secs(1);
/// What the wall clock shows at the origin.
const ORIGIN_MS: u64 = 1_000_000;

/// Records that a test adds to while the job runs. It is read from any position, and is idle in between.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<LogState>>);

#[derive(Default)]
struct LogState {
    len: u64,
    has_ended: bool,
    /// When it is looked at again without being woken. Where it is not, the stream counts as idle.
    retry_after: Option<Duration>,
    waker: Option<SourceWaker>,
}

struct LogReader(Log, u64);

impl Log {
    /// Its records are 0, 1, 2, ... up to this.
    fn grow_to(&self, len: u64) {
        self.change(|log| log.len = len);
    }

    fn end(&self) {
        self.change(|log| log.has_ended = true);
    }

    fn change(&self, change: impl FnOnce(&mut LogState)) {
        let mut log = self.lock();
        change(&mut log);
        if let Some(waker) = &log.waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Log {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        self.lock().waker = Some(cx.waker.clone());
        let position = restored.unwrap_or_default().pop().map(|at| at.position.try_into().expect("eight bytes"));
        Ok(Box::new(LogReader(self.clone(), position.map_or(0, u64::from_le_bytes))))
    }
}

impl SourceReader for LogReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let log = self.0.lock();
        while self.1 < log.len && !batch.is_full() {
            batch.push(self.1, 8);
            self.1 += 1;
        }
        Ok(match log.has_ended {
            _ if self.1 < log.len => ReadStatus::More,
            true => ReadStatus::End,
            false => ReadStatus::Idle { retry_after: log.retry_after },
        })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition::new("log", self.1.to_le_bytes()));
    }
}

/// What a test sees of the operator, and where it has it panic.
#[derive(Default)]
struct Watch {
    /// How many records it holds back now.
    holding: AtomicUsize,
    /// How many it held back at each barrier.
    at_barriers: Mutex<Vec<usize>>,
    /// Calls of it so far, over all attempts: for records, and for times.
    processed: AtomicU64,
    released: AtomicU64,
    /// It panics at the record of this number that it takes, or releases.
    panics: Option<Panics>,
    tells: Option<mpsc::UnboundedSender<Told>>,
}

/// What the operator tells of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It was given records, and holds so many back.
    Holds(usize),
    Woken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Panics {
    Processing(u64),
    Releasing(u64),
}

impl Watch {
    fn counts(&self, counter: &AtomicU64, panics: fn(u64) -> Panics) {
        let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
        assert_ne!(self.panics, Some(panics(count)), "injected");
    }

    fn tell(&self, told: Told) {
        // The test may have heard enough.
        self.tells.as_ref().map(|tells| tells.send(told));
    }

    fn holding(&self) -> usize {
        self.holding.load(Ordering::SeqCst)
    }
}

/// Holds each record back until it is due. Keeps their order.
struct HoldsBack {
    clock: ManualClock,
    watch: Arc<Watch>,
    due_ms: fn(u64) -> u64,
    held: VecDeque<u64>,
}

impl HoldsBack {
    fn release(&mut self, until_ms: u64, out: &mut Output<u64>) -> Progress {
        while let Some(record) = self.held.front().copied().filter(|record| (self.due_ms)(*record) <= until_ms) {
            if out.is_full() {
                return Progress::Suspended;
            }
            self.watch.counts(&self.watch.released, Panics::Releasing);
            self.held.pop_front();
            out.emit(record);
        }
        self.counts_held();
        Progress::Done
    }

    fn counts_held(&self) {
        self.watch.holding.store(self.held.len(), Ordering::SeqCst);
    }
}

impl BatchOperator for HoldsBack {
    type In = u64;
    type Out = u64;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        _: &mut Output<u64>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        for record in input.drain() {
            self.watch.counts(&self.watch.processed, Panics::Processing);
            self.held.push_back(record);
        }
        self.counts_held();
        self.watch.tell(Told::Holds(self.held.len()));
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u64>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if mark == Mark::End && self.release(u64::MAX, out) == Progress::Suspended {
            return Ok(Progress::Suspended);
        }
        out.mark(mark);
        Ok(Progress::Done)
    }

    fn due(&self) -> Option<Duration> {
        let due_ms = (self.due_ms)(*self.held.front()?);
        Some(self.clock.now() + Duration::from_millis(due_ms.saturating_sub(self.clock.unix_ms())))
    }

    fn wake(&mut self, out: &mut Output<u64>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        assert!(self.due() <= Some(self.clock.now()) && self.due().is_some(), "{:?}", self.due());
        let progress = self.release(self.clock.unix_ms(), out);
        self.watch.tell(Told::Woken);
        Ok(progress)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for HoldsBack {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        self.watch.at_barriers.lock().unwrap_or_else(PoisonError::into_inner).push(self.held.len());
        let bytes: Vec<u8> = self.held.iter().flat_map(|record| record.to_le_bytes()).collect();
        writer.subtask(&"held".into()).put(&bytes);
        Ok(Progress::Done)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let bytes = sections.iter().flat_map(|section| section.bytes.chunks(8));
        self.held = bytes.map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes"))).collect();
        self.counts_held();
        Ok(())
    }
}

/// Where the operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    ChainedToTheSource,
    BehindAnExchange,
}

const PLACES: [Place; 2] = [Place::ChainedToTheSource, Place::BehindAnExchange];

/// A job with such an operator, in time that the test moves.
struct Held {
    job: JobHandle,
    clock: ManualClock,
    log: Log,
    watch: Arc<Watch>,
}

impl Held {
    /// Starts it. Checkpoints are taken when the test asks for them.
    fn start(
        handles: &Watched,
        place: Place,
        (clock, log, watch): (&ManualClock, &Log, Watch),
        due_ms: fn(u64) -> u64,
        env: StreamEnvironment,
        sink: impl Sink<Item = u64>,
    ) -> Self {
        let (clock, log, watch) = (clock.clone(), log.clone(), Arc::new(watch));
        let env = env
            .clock(clock.clone())
            .parallelism(1)
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)))
            .restart_strategy(RestartStrategy::fixed_delay(1000, Duration::ZERO));
        let stream = env.source("log", log.clone());
        let stream = if place == Place::ChainedToTheSource { stream } else { stream.rebalance() };
        let of_operator = (clock.clone(), watch.clone());
        let make = move || {
            let (clock, watch) = of_operator.clone();
            watch.holding.store(0, Ordering::SeqCst);
            HoldsBack { clock, watch, due_ms, held: VecDeque::new() }
        };
        stream.transform("holds back", make).sink("out", sink);
        let job = env.start().expect("starts");
        watched(handles, &job);
        Self { job, clock, log, watch }
    }

    /// Takes checkpoints, as far as it can, until this holds.
    async fn until(&self, mut holds: impl FnMut() -> bool) {
        while !holds() {
            // It may be about to restart.
            let _ = self.job.checkpoint().await;
            tokio::task::yield_now().await;
        }
    }

    async fn until_holding(&self, records: u64) {
        self.until(|| self.watch.holding() as u64 == records).await;
    }
}

fn by_round(record: u64) -> u64 {
    ORIGIN_MS + (record / PER_ROUND + 1) * 1000
}

/// What a job gave that releases a round each second, in the order of its output, and what befell it.
struct Released {
    records: Vec<u64>,
    reached: Vec<(Step, ActorName)>,
    fired: Vec<Fault>,
    /// Over all attempts.
    processed: u64,
}

/// The last records are held back until the end.
fn in_rounds(place: Place, panics: Option<Panics>, plan: Vec<Fault>) -> Released {
    run(&format!("a job that holds back {place:?}, {panics:?}, {plan:?}"), move |handles| async move {
        let (clock, log, sink) = (ManualClock::starting_at(ORIGIN_MS), Log::default(), CollectSink::new());
        let (collected, probe) = (sink.handle(), FaultProbe::new(&InputEnd::default(), plan));
        let watch = Watch { panics, ..Watch::default() };
        let env = StreamEnvironment::new("rounds").snapshot_store(MemoryStore::new()).probe(probe.clone());
        let held = Held::start(&handles, place, (&clock, &log, watch), by_round, env, sink);
        for round in 1..=ROUNDS {
            held.log.grow_to(round * PER_ROUND);
            held.until_holding(PER_ROUND).await;
            assert_eq!(collected.snapshot().len() as u64, (round - 1) * PER_ROUND, "released before its time");
            held.clock.advance(SECOND);
            held.until(|| collected.snapshot().len() as u64 == round * PER_ROUND).await;
        }
        held.log.grow_to(ROUNDS * PER_ROUND + 3);
        held.until_holding(3).await;
        held.log.end();
        assert_eq!(held.job.await.expect("finished").kind, OutcomeKind::Finished);
        Released {
            records: collected.snapshot(),
            reached: probe.reached().into_iter().map(|(point, _)| point).collect(),
            fired: probe.fired(),
            processed: held.watch.processed.load(Ordering::SeqCst),
        }
    })
}

fn all() -> Vec<u64> {
    (0..ROUNDS * PER_ROUND + 3).collect()
}

#[test]
fn records_are_released_at_their_time_while_the_source_is_idle() {
    for place in PLACES {
        let Released { records, processed, .. } = in_rounds(place, None, Vec::new());
        // Guarantee T6.
        assert_eq!((records, processed), (all(), ROUNDS * PER_ROUND + 3), "{place:?}");
    }
}

#[test]
fn what_is_released_while_the_source_is_idle_goes_on_at_once() {
    for (place, retry_after) in PLACES.into_iter().flat_map(|place| [(place, None), (place, Some(100 * SECOND))]) {
        run(&format!("a job without checkpoints, {place:?}"), move |handles| async move {
            let (clock, log) = (ManualClock::starting_at(ORIGIN_MS), Log::default());
            log.change(|log| log.retry_after = retry_after);
            let ((tells, mut told), (arrives, mut arrived)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let watch = Watch { tells: Some(tells), ..Watch::default() };
            let sink = ForEachSink::new(move |record: u64| {
                arrives.send(record).expect("the test listens");
                Ok(())
            });
            let env = StreamEnvironment::new("at once").snapshot_store(MemoryStore::new());
            // So many first that the channel takes large batches, and the last one has to be sent although there is room.
            let due_ms = |record| ORIGIN_MS + if record < MANY { 1000 } else { 2000 };
            let held = Held::start(&handles, place, (&clock, &log, watch), due_ms, env, sink);
            held.log.grow_to(MANY + 1);
            while told.recv().await.expect("the job runs") != Told::Holds(MANY as usize + 1) {}
            for records in [0..MANY, MANY..MANY + 1] {
                held.clock.advance(SECOND);
                for record in records {
                    assert_eq!(arrived.recv().await, Some(record));
                }
            }
            held.job.cancel().await.expect("cancelled");
        });
    }
}

#[test]
fn panic_of_the_operator_while_it_takes_or_releases_leaves_the_output_of_an_undisturbed_run() {
    for place in PLACES {
        for nth in [1, 2, 9, 10, 11, 25, 40, 42] {
            for panics in [Panics::Processing(nth), Panics::Releasing(nth)] {
                let Released { records, processed, .. } = in_rounds(place, Some(panics), Vec::new());
                assert_eq!(records, all(), "{place:?}, {panics:?}");
                let repeats = matches!(panics, Panics::Releasing(_)) || processed > ROUNDS * PER_ROUND + 3;
                assert!(repeats, "{panics:?} did not come about");
            }
        }
    }
}

#[test]
fn panic_at_each_step_of_a_task_leaves_the_output_of_an_undisturbed_run() {
    for place in PLACES {
        let of_tasks = in_rounds(place, None, Vec::new()).reached.into_iter();
        let of_tasks: Vec<_> = of_tasks.filter(|(_, actor)| matches!(actor, ActorName::Subtask { .. })).collect();
        assert!(of_tasks.len() >= 15, "{of_tasks:?}");
        for point in of_tasks {
            for nth in [1, 3] {
                let plan = vec![Fault { point: point.clone(), at: At::Occurrence(nth) }];
                let Released { records, fired, .. } = in_rounds(place, None, plan.clone());
                assert_eq!(records, all(), "{place:?}, {plan:?}");
                assert!(nth > 1 || fired == plan, "{plan:?} did not come about");
            }
        }
    }
}

/// Says when a barrier has been asked for.
struct Triggered(mpsc::UnboundedSender<()>);

impl Probe for Triggered {
    fn reached(&self, step: Step, _: &ActorName) {
        if step == Step::Triggering {
            // The test may have heard enough.
            let _ = self.0.send(());
        }
    }
}

fn at_once(_: u64) -> u64 {
    ORIGIN_MS + 1000
}

#[test]
fn barrier_waits_for_a_wake_up_that_waits_for_credit_and_then_has_all_that_it_emitted_before_it() {
    for place in PLACES {
        run(&format!("a wake-up without credit, {place:?}"), move |handles| async move {
            let (clock, log, (sink, release)) = (ManualClock::starting_at(ORIGIN_MS), Log::default(), HeldSink::new());
            let ((tells, mut told), (asked, mut was_asked)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
            let written = sink.written.clone();
            let mut limits = Limits::default();
            limits.credits_same_arbiter = 2;
            let env = StreamEnvironment::new("held").snapshot_store(MemoryStore::new()).limits(limits);
            let watch = Watch { tells: Some(tells), ..Watch::default() };
            let held = Held::start(&handles, place, (&clock, &log, watch), at_once, env.probe(Triggered(asked)), sink);
            held.log.grow_to(MANY);
            held.until_holding(MANY).await;
            while was_asked.try_recv().is_ok() {}
            held.watch.at_barriers.lock().expect("no panic under it").clear();
            held.clock.advance(SECOND);
            while told.recv().await.expect("the job runs") != Told::Woken {}
            // The sink takes two batches at most, and there is credit for two.
            let checkpoint = held.job.checkpoint();
            was_asked.recv().await.expect("the job runs");
            drop(release);
            checkpoint.await.expect("complete");
            assert_eq!(*held.watch.at_barriers.lock().expect("no panic under it"), [0]);
            held.log.end();
            assert_eq!(held.job.await.expect("finished").kind, OutcomeKind::Finished);
            assert_eq!(*written.lock().expect("no panic under it"), (0..MANY).collect::<Vec<_>>());
        });
    }
}

#[test]
fn job_that_is_drained_releases_nothing_and_the_next_start_what_came_due_meanwhile() {
    for place in PLACES {
        run(&format!("a job that is down when records come due, {place:?}"), move |handles| async move {
            let store = MemoryStore::new();
            let log = Log::default();
            let start = |clock: &ManualClock| {
                let sink = CollectSink::new();
                let (collected, watch) = (sink.handle(), Watch::default());
                let env = StreamEnvironment::new("drained").snapshot_store(store.clone());
                (Held::start(&handles, place, (clock, &log, watch), by_round, env, sink), collected)
            };
            let (held, collected) = start(&ManualClock::starting_at(ORIGIN_MS));
            held.log.grow_to(2 * PER_ROUND);
            held.until_holding(2 * PER_ROUND).await;
            held.job.drain().await.expect("drained");
            assert!(collected.snapshot().is_empty());
            // Another process: its clock has another origin.
            let clock = ManualClock::starting_at(ORIGIN_MS + 1500);
            let (held, collected) = start(&clock);
            held.until(|| collected.snapshot().len() as u64 >= PER_ROUND).await;
            assert_eq!(collected.snapshot(), (0..PER_ROUND).collect::<Vec<_>>(), "the others are not due");
            clock.advance(SECOND / 2);
            held.until(|| collected.snapshot().len() as u64 >= 2 * PER_ROUND).await;
            held.job.cancel().await.expect("cancelled");
            assert_eq!(collected.snapshot(), (0..2 * PER_ROUND).collect::<Vec<_>>());
        });
    }
}
