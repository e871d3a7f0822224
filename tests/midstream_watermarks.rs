//! Watermark strategies in mid-stream: event time begins anew behind them, and holds whatever fails and however the job goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use millstream::operator::{
    Batch, BatchOperator, Mark, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError, Stateful,
};
use millstream::prelude::*;
use millstream::time::{ManualClock, WatermarkAlignment};
use millstream::{Cause, Clock, JobEventKind, TaskError};

use common::{
    CountedPanics, InputEnd, QueueSource, SteppedSource, Total, checkpointed, events_of, plain_totals, run, run_to_end,
    sorted, time_of, watched, window_totals,
};

mod common;

const N: u64 = 2_000;
/// Splits that one subtask reads in turn are this far apart at most, after several restarts too.
const BOUND: Duration = Duration::from_secs(4);

/// What the source says of event time, which is not to count.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// That all records are late.
    FarAhead,
    /// That event time stands still.
    NeverMoves,
}

/// Looks at event time behind a strategy: it increases, no record is late, and a restored stream has said its watermark before its
/// first record.
struct Watches {
    watermark: Timestamp,
    /// What its snapshot said, until a record comes.
    restored: Timestamp,
    saw_idle: Arc<AtomicU64>,
}

impl Watches {
    fn new(saw_idle: &Arc<AtomicU64>) -> Self {
        Self { watermark: Timestamp::MIN, restored: Timestamp::MIN, saw_idle: saw_idle.clone() }
    }
}

impl BatchOperator for Watches {
    type In = u64;
    type Out = u64;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<u64>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        assert!(self.watermark >= self.restored, "records before the restored watermark, {}", self.restored);
        for place in 0..input.len() {
            assert!(input.time(place) > Some(self.watermark), "late behind {}", self.watermark);
        }
        Ok(if out.pass_on(input) { Progress::Done } else { Progress::Suspended })
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u64>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        match mark {
            Mark::Watermark(at) => {
                assert!(at > self.watermark, "{at} after {}", self.watermark);
                self.watermark = at;
            }
            Mark::Idle => {
                self.saw_idle.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
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
        writer.subtask(&"watermark".into()).put(&self.watermark.to_le_bytes());
        Ok(Progress::Done)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let of_section = |section: &RestoredSection| i64::from_le_bytes(section.bytes[..].try_into().unwrap());
        self.restored = sections.iter().map(of_section).min().unwrap();
        Ok(())
    }
}

/// Windows behind a strategy in mid-stream, which is chained to its source. CountedPanics are of results, and of calls of the strategy.
fn build(
    env: &StreamEnvironment,
    before: Before,
    source: SteppedSource,
    (results, calls): (CountedPanics, CountedPanics),
    sink: CollectSink<Total>,
) {
    let timed = |time: i64| WatermarkStrategy::monotonous(move |_: &(&'static str, u64)| time);
    let numbers = match before {
        Before::Nothing => env.source("numbers", source),
        Before::FarAhead => env.source_with_watermarks("numbers", source, timed(i64::MAX / 2)),
        Before::NeverMoves => env.source_with_watermarks("numbers", source, timed(i64::MIN + 1)),
    };
    let time = move |id: &u64| {
        calls.count_and_panic();
        time_of(*id)
    };
    let saw_idle = Arc::default();
    let numbers = numbers
        .map(|(_, id)| id)
        .assign_timestamps_and_watermarks("times", WatermarkStrategy::bounded_out_of_orderness(BOUND, time))
        .transform("watches", move || Watches::new(&saw_idle));
    window_totals(numbers, results, sink);
}

/// T10: through panics in the strategy and behind it, at each parallelism and with both backends, whatever the source says.
#[test]
fn windows_behind_a_strategy_in_mid_stream_are_those_of_a_plain_loop_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let plain = plain_totals(N);
    let last = plain.len() as u64 - 1;
    for (parallelism, spills, before) in
        [(1, false, Before::Nothing), (2, true, Before::FarAhead), (3, false, Before::NeverMoves)]
    {
        for (results, calls) in [
            (vec![], vec![]),
            (vec![0, 40, 41], vec![]),
            (vec![], vec![0, 700, 701, 2_500]),
            (vec![300, last], vec![1_500]),
        ] {
            let sink = CollectSink::new();
            let (collected, spills_to) = (sink.handle(), spills.then(|| dir.path().to_owned()));
            let panics = (CountedPanics::at(&results), CountedPanics::at(&calls));
            let (outcome, _) = run_to_end("a job with a strategy in mid-stream", move || {
                let env =
                    checkpointed("midstream", parallelism, spills_to.as_deref()).snapshot_store(MemoryStore::new());
                build(&env, before, SteppedSource::new("numbers", N, 100, &InputEnd::default()), panics, sink);
                env
            });
            let of = format!("{before:?}, parallelism {parallelism}, panics {results:?} and {calls:?}");
            let (restarts, injected) = (outcome.expect("finished").restarts as usize, results.len() + calls.len());
            assert!((injected.min(1)..=injected).contains(&restarts), "{restarts} restarts: {of}");
            assert_eq!(sorted(collected.snapshot()), plain, "{of}");
        }
    }
}

/// T10: a stopped job goes on at another parallelism, from the least watermark.
#[test]
fn open_windows_go_on_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for (parallelism, then) in [(1, 3), (3, 2), (2, 1), (3, 3)] {
        let (sink, input, store) = (CollectSink::new(), InputEnd::default(), MemoryStore::new());
        let (first, kept) = (sink.handle(), store.clone());
        let savepoint = dir.path().join(format!("{parallelism}-{then}"));
        run("a job that is stopped", move |handles| async move {
            let env = checkpointed("midstream", parallelism, None).snapshot_store(store);
            let source = SteppedSource::new("numbers", N, 100, &input).hold_at(N / 8);
            build(&env, Before::Nothing, source, Default::default(), sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);
            while input.records_read() < N / 2 {
                events.checkpoints(1).await;
            }
            job.stop_with_savepoint(savepoint).await.unwrap();
        });
        let sink = CollectSink::new();
        let rest = sink.handle();
        let (outcome, _) = run_to_end("the job goes on", move || {
            let env = checkpointed("midstream", then, None).snapshot_store(kept);
            let source = SteppedSource::new("numbers", N, 100, &InputEnd::default());
            build(&env, Before::Nothing, source, Default::default(), sink);
            env
        });
        outcome.expect("finished");
        let first = first.snapshot();
        assert!(!first.is_empty(), "no window was over");
        let all = sorted(first.into_iter().chain(rest.snapshot()).collect());
        assert_eq!(all, plain_totals(N), "{parallelism}, then {then}");
    }
}

/// T10: the end of input is that of event time.
#[test]
fn end_of_input_fires_all_windows_behind_a_strategy_that_has_said_nothing() {
    for parallelism in [1, 3] {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let (outcome, _) = run_to_end("a job without watermarks", move || {
            let env = checkpointed("midstream", parallelism, None).snapshot_store(MemoryStore::new());
            let strategy = WatermarkStrategy::punctuated(|id: &u64| time_of(*id), |_, _| None);
            let numbers = env.source("numbers", SequenceSource::new(0..N));
            let numbers = numbers.assign_timestamps_and_watermarks("times", strategy);
            window_totals(numbers, CountedPanics::default(), sink);
            env
        });
        outcome.expect("finished");
        assert_eq!(sorted(collected.snapshot()), plain_totals(N));
    }
}

/// A job of two subtasks, to which even and odd numbers go, which are event times; and what its windows of 100 ms have given.
struct EvenAndOdd {
    job: JobHandle,
    clock: ManualClock,
    numbers: QueueSource,
    seen: Arc<Mutex<Vec<u64>>>,
}

const IDLE_AFTER: Duration = Duration::from_secs(5);

impl EvenAndOdd {
    fn start(handles: &common::Watched) -> Self {
        let (clock, numbers, seen) = (ManualClock::new(), QueueSource::default(), Arc::<Mutex<Vec<u64>>>::default());
        let env = StreamEnvironment::new("even and odd")
            .parallelism(2)
            .clock(clock.clone())
            .checkpointing(Checkpointing::every(Duration::from_secs(1_000_000)));
        let of_job = seen.clone();
        env.source("numbers", numbers.clone())
            .parallelism(1)
            .partition_by(|n, subtasks| *n as u32 % subtasks)
            .assign_timestamps_and_watermarks(
                "times",
                WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_idleness(IDLE_AFTER),
            )
            .window_all(TumblingWindows::event_time(Duration::from_millis(100)))
            .apply("windows", |numbers: &[u64], _, out: &mut Emitter<'_, u64>| {
                numbers.iter().for_each(|n| out.emit(*n))
            })
            .for_each("see", move |number| of_job.lock().unwrap().push(number));
        let job = env.start().unwrap();
        watched(handles, &job);
        Self { job, clock, numbers, seen }
    }

    /// What has been seen, sorted, once all that was pushed is worked off: a barrier is behind it.
    async fn seen(&self) -> Vec<u64> {
        self.job.checkpoint().await.unwrap();
        sorted(self.seen.lock().unwrap().clone())
    }

    /// Moves the clock until the windows have given so many records; gives how long that took.
    async fn until_seen(&self, records: usize) -> Duration {
        let from = self.clock.now();
        while self.seen().await.len() < records {
            self.clock.advance(Duration::from_millis(50));
        }
        self.clock.now() - from
    }
}

/// T10: a subtask without records holds event time back until it is idle, and again when it has some.
#[test]
fn idle_subtask_does_not_hold_the_others_back_and_counts_again_when_it_has_caught_up() {
    run("a job with a subtask that is idle", |handles| async move {
        let job = EvenAndOdd::start(&handles);
        job.numbers.push([2, 50, 150, 250]);
        assert!(job.seen().await.is_empty(), "the other subtask has said nothing");
        let waited = job.until_seen(3).await;
        assert!(waited >= IDLE_AFTER, "{waited:?}");
        assert_eq!(job.seen().await, [2, 50, 150], "windows that the last record has passed");
        // It is back, and event time does not pass it.
        job.numbers.push([251]);
        assert_eq!(job.seen().await, [2, 50, 150]);
        job.numbers.push([450]);
        assert_eq!(job.seen().await, [2, 50, 150], "event time is at 250");
        job.numbers.push([351]);
        assert_eq!(job.seen().await, [2, 50, 150, 250, 251]);
        job.job.finish().await.unwrap();
        assert_eq!(job.seen.lock().unwrap().len(), 7);
    });
}

/// Holds up the task at its first record until the test lets it go on.
#[derive(Clone)]
struct Gate(Arc<Mutex<Option<Closed>>>);

/// Where a record arrives, and what opens.
type Closed = (mpsc::Sender<()>, mpsc::Receiver<()>);

impl Gate {
    fn pass(&self) {
        if let Some((arrives, opens)) = self.0.lock().unwrap().take() {
            arrives.send(()).unwrap();
            // Fails when the test has opened it.
            let _ = opens.recv();
        }
    }
}

/// T10: the time in which a task is held up is no silence of those whose records wait in front of it.
#[test]
fn subtask_that_is_held_up_does_not_become_idle() {
    run("a job with a function that is slow once", |handles| async move {
        let (clock, numbers, saw_idle) = (ManualClock::new(), QueueSource::default(), Arc::new(AtomicU64::new(0)));
        let ((arrives, arrived), (opens, opened), seen) =
            (mpsc::channel(), mpsc::channel(), Arc::new(AtomicU64::new(0)));
        let gate = Gate(Arc::new(Mutex::new(Some((arrives, opened)))));
        let env = StreamEnvironment::new("held up").parallelism(1).clock(clock.clone());
        let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_idleness(IDLE_AFTER);
        let (of_watches, of_job) = (saw_idle.clone(), seen.clone());
        env.source("numbers", numbers.clone())
            .rebalance()
            .assign_timestamps_and_watermarks("times", strategy)
            .own_arbiters()
            .transform("watches", move || Watches::new(&of_watches))
            .inspect(move |_| gate.pass())
            .for_each("see", move |_| {
                of_job.fetch_add(1, Ordering::SeqCst);
            });
        let checkpointing =
            Checkpointing::every(Duration::from_secs(1_000_000)).timeout(Duration::from_secs(1_000_000));
        let job = env.checkpointing(checkpointing).start().unwrap();
        watched(&handles, &job);
        // More than there is credit for.
        const MANY: u64 = 200_000;
        numbers.push(0..MANY);
        arrived.recv().unwrap();
        let is_waiting = || {
            let figures = job.figures().into_iter().map(|subtask| subtask.of_attempt);
            figures.take(1).all(|source| source.records_out > 0 && source.credits == 0)
        };
        while !is_waiting() {
            tokio::task::yield_now().await;
        }
        clock.advance(100 * IDLE_AFTER);
        drop(opens);
        while seen.load(Ordering::SeqCst) < MANY {
            job.checkpoint().await.unwrap();
        }
        assert_eq!(saw_idle.load(Ordering::SeqCst), 0);
        while saw_idle.load(Ordering::SeqCst) == 0 {
            clock.advance(IDLE_AFTER);
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap();
    });
}

/// T10: nor is the time in which records wait behind a barrier that other inputs have not delivered.
#[test]
fn subtask_that_waits_for_a_barrier_does_not_become_idle() {
    run("a job with an input that holds its barrier back", |handles| async move {
        let (clock, saw_idle, seen) = (ManualClock::new(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let ((arrives, arrived), (opens, opened)) = (mpsc::channel(), mpsc::channel());
        let gate = Gate(Arc::new(Mutex::new(Some((arrives, opened)))));
        let (slow, fast) = (QueueSource::default(), QueueSource::default());
        let env = StreamEnvironment::new("aligns").parallelism(1).clock(clock.clone());
        let strategy = WatermarkStrategy::punctuated(|n: &u64| *n as i64, |_, _| None).with_idleness(IDLE_AFTER);
        let (of_watches, of_job) = (saw_idle.clone(), seen.clone());
        let held = env.source("slow", slow.clone()).rebalance().inspect(move |_| gate.pass()).own_arbiters();
        let numbers = env.source("fast", fast.clone()).rebalance().union(held);
        numbers
            .assign_timestamps_and_watermarks("times", strategy)
            .transform("watches", move || Watches::new(&of_watches))
            .for_each("see", move |_| {
                of_job.fetch_add(1, Ordering::SeqCst);
            });
        let checkpointing =
            Checkpointing::every(Duration::from_secs(1_000_000)).timeout(Duration::from_secs(1_000_000));
        let job = env.checkpointing(checkpointing).start().unwrap();
        watched(&handles, &job);
        slow.push([0]);
        arrived.recv().unwrap();
        let checkpoint = actix_rt::spawn(job.checkpoint());
        let mut pushed = 0;
        // Records are in front of the task: more were sent than were seen. That the source has no credit may be known late.
        let is_waiting = || {
            let figures = job.figures();
            let fast = figures.iter().find(|subtask| &*subtask.task == "fast").unwrap().of_attempt;
            fast.records_out > seen.load(Ordering::SeqCst) && fast.credits == 0
        };
        loop {
            while !is_waiting() {
                fast.push(0..1_000);
                pushed += 1_000;
                tokio::task::yield_now().await;
            }
            let now = || (seen.load(Ordering::SeqCst), saw_idle.load(Ordering::SeqCst));
            let (records, idle) = now();
            for _ in 0..20 {
                clock.advance(IDLE_AFTER);
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
            }
            // Else its records were not behind the barrier yet, and it may have run out of them.
            if now().0 == records && is_waiting() {
                assert_eq!(now().1, idle);
                break;
            }
        }
        assert!(!checkpoint.is_finished());
        drop(opens);
        checkpoint.await.unwrap().unwrap();
        while seen.load(Ordering::SeqCst) < pushed + 1 {
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap();
    });
}

/// A panic of the strategy's function is told as that of any other is.
#[test]
fn panic_of_a_strategy_names_its_operator_and_its_records() {
    let env = StreamEnvironment::new("panics").parallelism(1).checkpointing(Checkpointing::disabled());
    let time = |n: &u64| if *n == 1_500 { panic!("injected") } else { *n as i64 };
    env.source("numbers", SequenceSource::new(0..64_000))
        .assign_timestamps_and_watermarks("times", WatermarkStrategy::monotonous(time))
        .sink("out", CollectSink::new());
    let job = env.restart_strategy(RestartStrategy::none()).start().unwrap();
    job.wait().expect_err("it gives up");
    let failure = job.history().into_iter().find_map(|event| match event.kind {
        JobEventKind::SubtaskFailed { cause, at, .. } => Some((cause, *at.expect("it is known"))),
        _ => None,
    });
    let (cause, at) = failure.expect("it has failed");
    assert!(matches!(&cause, Cause::Panicked(report) if report.message.contains("injected")), "{cause}");
    assert_eq!(at.operator.map(|id| id.to_string()).as_deref(), Some("times"));
    let (first, last) = at.input.expect("it was in a batch");
    assert!((first..=last).contains(&1_501), "{first} to {last}");
}

/// Each mistake is found before the job starts, and says where it was made.
#[test]
fn strategies_that_cannot_be_in_mid_stream_are_refused() {
    let refused = |id: &str, strategy: WatermarkStrategy<u64>| {
        let env = StreamEnvironment::new("refused");
        let numbers = env.source("numbers", SequenceSource::new(0..9));
        numbers.assign_timestamps_and_watermarks(id, strategy).for_each("see", |_| {});
        env.explain().unwrap_err().to_string()
    };
    let strategy = || WatermarkStrategy::monotonous(|n: &u64| *n as i64);
    let aligned = strategy().with_alignment(&WatermarkAlignment::within(Duration::from_secs(1)));
    for (found, reason) in [
        (refused("times", aligned), "only sources can wait for each other"),
        (refused("times", strategy().with_idleness(Duration::ZERO)), "idle after no time at all"),
    ] {
        for part in [reason, "'times'", "midstream_watermarks.rs"] {
            assert!(found.contains(part), "{part}: {found}");
        }
    }
    assert!(refused("", strategy()).contains("an id must not be empty"));
}
