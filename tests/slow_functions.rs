//! A checkpoint, and the end of a job, wait for little of a slow function's work, wherever in the job that is.
//!
//! Cause of what was mended: channels and reads were bounded in batches of 1,024 records alone, so that a function that takes
//! 5 ms for a record had a minute of work before each barrier. Now they are bounded by what the slowest link takes.
//! A slow task also took a step for each message though its time was over: as those who send to it from another thread refilled its
//! mailbox meanwhile, it kept its arbiter for a second and longer, and the barrier waited for the task behind it. Now it yields.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, ThreadId};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading};
use millstream::{CheckpointId, JobHandle};
use tokio::sync::Notify;

use common::{run, watched};

mod common;

/// How slow the function is, and for how much of its work channels may have records. Only the relation of the two counts: a record of a
/// second where they have 100 ms is one of 10 ms where they have one.
#[derive(Clone, Copy, Debug)]
struct Speed {
    record: Duration,
    backlog_max: Duration,
    /// Records after which the tasks know how slow the function is, and have worked off what they took before.
    known: u64,
    /// Most records that may have been read and not worked on from then on. A task has those of the backlog in its channels and half as many in
    /// its step, both half as many again now and then, and one at least; three tasks have some.
    ahead_max: u64,
}

const fn speed(record_ms: u64, backlog_ms: u64, known: u64, ahead_max: u64) -> Speed {
    let [record, backlog_max] = [Duration::from_millis(record_ms), Duration::from_millis(backlog_ms)];
    Speed { record, backlog_max, known, ahead_max }
}

/// 5 ms, 20 ms and a second for a record, where channels may have 100 ms of work: 20 records, 5, and less than one.
const SPEEDS: [Speed; 3] = [speed(5, 100, 60, 150), speed(5, 25, 30, 40), speed(10, 1, 20, 12)];

/// How long a busy machine may take to hand an order on.
const ORDER: Duration = Duration::from_millis(500);

/// What the slow function counts.
#[derive(Clone, Debug, Default)]
struct Worked {
    /// How long it takes for one.
    record: Duration,
    /// Records after which it is known.
    known: u64,
    /// How many were read.
    read: Arc<AtomicU64>,
    /// Most of those that it had not worked on when it began with one.
    ahead: Arc<AtomicU64>,
    records: Arc<AtomicU64>,
    /// How many there were when the newest barrier came. What is worked on while a busy machine completes the checkpoint does not
    /// count: the barrier did not wait for it.
    at_barrier: Arc<AtomicU64>,
    /// How many barriers have come.
    barriers: Arc<AtomicU64>,
    more: Arc<Notify>,
}

impl Worked {
    /// Works on a record.
    fn slowly(&self) {
        // In this order: what others read and work on while this thread is kept from its core, between the two, makes the measure
        // only smaller.
        let read = self.read.load(Ordering::SeqCst);
        let before = self.so_far();
        if before >= self.known {
            self.ahead.fetch_max(read.saturating_sub(before), Ordering::SeqCst);
        }
        // Nobody unparks it: this is the work itself, and nothing waits for it by time.
        thread::park_timeout(self.record);
        self.records.fetch_add(1, Ordering::SeqCst);
        self.more.notify_one();
    }

    fn so_far(&self) -> u64 {
        self.records.load(Ordering::SeqCst)
    }

    /// A barrier has come, behind all records that were worked on.
    fn barrier(&self) {
        self.at_barrier.store(self.so_far(), Ordering::SeqCst);
        self.barriers.fetch_add(1, Ordering::SeqCst);
    }

    /// Records since there were `before` that the newest barrier was behind; it may have been there by then.
    fn behind(&self, before: u64) -> u64 {
        self.at_barrier.load(Ordering::SeqCst).saturating_sub(before)
    }

    /// How many barriers have come. A checkpoint without one measures nothing.
    fn barriers(&self) -> u64 {
        self.barriers.load(Ordering::SeqCst)
    }

    async fn reaches(&self, records: u64) {
        while self.so_far() < records {
            self.more.notified().await;
        }
    }
}

/// A sink that needs long for each record, on a thread of its own or inline.
#[derive(Clone)]
struct SlowSink(Worked, Threading);

impl Sink for SlowSink {
    type Item = u64;

    fn threading(&self) -> Threading {
        self.1
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for SlowSink {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        batch.drain().for_each(|_| self.0.slowly());
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        self.0.barrier();
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A file sink, whose barriers are noted.
struct NotedSink(FileSink<SlowLine>, Worked);

struct NotedWriter(Box<dyn SinkWriter<Item = SlowLine>>, Worked);

/// A line that takes long to be written.
struct SlowLine(u64, Worked);

impl fmt::Display for SlowLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.slowly();
        write!(f, "{}", self.0)
    }
}

impl Sink for NotedSink {
    type Item = SlowLine;

    fn threading(&self) -> Threading {
        self.0.threading()
    }

    fn open(
        &self,
        context: &SinkContext,
        restore: SinkRestore,
    ) -> Result<Box<dyn SinkWriter<Item = SlowLine>>, SinkError> {
        Ok(Box::new(NotedWriter(self.0.open(context, restore)?, self.1.clone())))
    }
}

impl SinkWriter for NotedWriter {
    type Item = SlowLine;

    fn write(&mut self, batch: &mut Batch<SlowLine>) -> Result<(), SinkError> {
        self.0.write(batch)
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        self.1.barrier();
        self.0.prepare(checkpoint)
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        self.0.commit(up_to)
    }
}

/// Asks a job whose slow function counts in `worked` for checkpoints, and for its end, in the middle of its work.
fn assert_little_is_behind_at(
    what: &'static str,
    speed: Speed,
    build: impl FnOnce(&StreamEnvironment, &Worked) + Send + 'static,
) {
    let Speed { record, backlog_max, known, ahead_max } = speed;
    let behind_max = ahead_max + (ORDER.as_millis() / record.as_millis()) as u64;
    run(what, move |handles| async move {
        let limits = Limits::default().channel_backlog_max(backlog_max);
        let env = StreamEnvironment::new("slow").checkpointing(Checkpointing::disabled()).limits(limits);
        let worked = Worked { record, known, ..Worked::default() };
        build(&env, &worked);
        let job: JobHandle = env.start().expect("starts");
        watched(&handles, &job);
        for round in 1..=2 {
            worked.reaches(round * known).await;
            let barriers = worked.barriers();
            // What is worked on before the order, while this thread is kept from its core, does not count.
            let completes = job.checkpoint();
            let before = worked.so_far();
            completes.await.expect("completes");
            assert!(worked.barriers() > barriers, "{what}: no barrier of checkpoint {round} was seen");
            let behind = worked.behind(before);
            assert!(
                behind <= behind_max,
                "{what}: {behind} records were worked on before checkpoint {round}, {speed:?}"
            );
        }
        let barriers = worked.barriers();
        let ends = job.drain();
        let before = worked.so_far();
        ends.await.expect("ends");
        assert!(worked.barriers() > barriers, "{what}: no barrier of the final checkpoint was seen");
        let behind = worked.behind(before);
        assert!(behind <= behind_max, "{what}: {behind} records were worked on before the end, {speed:?}");
        let ahead = worked.ahead.load(Ordering::SeqCst);
        assert!(ahead <= ahead_max, "{what}: {ahead} records were read and not worked on, {speed:?}");
    });
}

fn assert_little_is_behind(what: &'static str, build: fn(&StreamEnvironment, &Worked)) {
    SPEEDS.into_iter().for_each(|speed| assert_little_is_behind_at(what, speed, build));
}

/// Numbers that are counted as they are read, in the source's task.
fn numbers_from(env: &StreamEnvironment, id: &str, worked: &Worked) -> DataStream<u64> {
    let read = worked.read.clone();
    env.source(id, SequenceSource::unbounded()).inspect(move |_| {
        read.fetch_add(1, Ordering::SeqCst);
    })
}

fn numbers(env: &StreamEnvironment, worked: &Worked) -> DataStream<u64> {
    numbers_from(env, "numbers", worked)
}

/// A sink behind a task, on its arbiter, that gets nothing but barriers.
fn nothing<T: Send + 'static>(stream: DataStream<T>, worked: &Worked) {
    stream.filter(|_| false).map(|_| 0).sink("nothing", SlowSink(worked.clone(), Threading::Inline));
}

/// The slow function, and a sink that sees when its barriers come.
fn slowly(stream: DataStream<u64>, worked: &Worked) {
    let working = worked.clone();
    nothing(stream.inspect(move |_| working.slowly()), worked);
}

// Guarantee G4.
#[test]
fn slow_function_behind_an_exchange_has_little_before_a_barrier() {
    assert_little_is_behind("behind an exchange", |env, worked| slowly(numbers(env, worked).rebalance(), worked));
}

#[test]
fn slow_function_chained_to_the_source_has_little_before_a_barrier() {
    assert_little_is_behind("chained to the source", |env, worked| slowly(numbers(env, worked), worked));
}

#[test]
fn fast_task_before_a_slow_one_has_little_before_a_barrier() {
    assert_little_is_behind("behind a fast task", |env, worked| {
        slowly(numbers(env, worked).rebalance().map(|n| n + 1).rebalance(), worked);
    });
}

#[test]
fn slow_keyed_function_has_little_before_a_barrier() {
    assert_little_is_behind("keyed, in two subtasks", |env, worked| {
        let working = worked.clone();
        let folded = numbers(env, worked).key_by(|n| n % 7).fold("slow", 0, move |count: &mut u64, _| {
            working.slowly();
            *count += 1;
        });
        nothing(folded.parallelism(2), worked);
    });
}

#[test]
fn slow_function_with_two_inputs_has_little_before_a_barrier() {
    assert_little_is_behind("with two inputs", |env, worked| {
        let other = numbers_from(env, "others", worked);
        let (first, second) = (worked.clone(), worked.clone());
        nothing(numbers(env, worked).connect(other).map(move |_| first.slowly(), move |_| second.slowly()), worked);
    });
}

#[test]
fn slow_sink_on_a_thread_has_little_before_a_barrier() {
    assert_little_is_behind("a sink on a thread", |env, worked| {
        numbers(env, worked).sink("slow", SlowSink(worked.clone(), Threading::Blocking));
    });
}

#[test]
fn slow_sink_inline_has_little_before_a_barrier() {
    assert_little_is_behind("a sink inline", |env, worked| {
        numbers(env, worked).sink("slow", SlowSink(worked.clone(), Threading::Inline));
    });
}

#[test]
fn slow_file_sink_has_little_before_a_barrier() {
    for speed in SPEEDS {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_owned();
        assert_little_is_behind_at("a file sink", speed, move |env, worked| {
            let of_lines = worked.clone();
            let lines = numbers(env, worked).map(move |n| SlowLine(n, of_lines.clone()));
            lines.sink("slow", NotedSink(FileSink::lines(path), worked.clone()));
        });
        assert!(!common::committed_lines(dir.path()).is_empty());
    }
}

/// What a slow task sees of another one, which has a subtask on each arbiter.
#[derive(Clone, Debug, Default)]
struct Beside(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    /// Records that the other one has had, on each thread.
    had: HashMap<ThreadId, u64>,
    /// Those on the thread of the slow one when it looked last.
    last: u64,
    /// Records of the slow one since, and the most that there were.
    alone: u64,
    alone_max: u64,
    /// The threads of the slow one, and of the source that sends to it.
    slow: HashSet<ThreadId>,
    sender: HashSet<ThreadId>,
}

impl Beside {
    fn has_one(&self) {
        *self.seen().had.entry(thread::current().id()).or_default() += 1;
    }

    /// The slow one takes a record.
    fn look(&self) {
        let seen = &mut *self.seen();
        seen.slow.insert(thread::current().id());
        if let Some(&had) = seen.had.get(&thread::current().id()) {
            seen.alone = if had == seen.last { seen.alone + 1 } else { 0 };
            (seen.last, seen.alone_max) = (had, seen.alone_max.max(seen.alone));
        }
    }

    /// The source sends a record to the slow one.
    fn sends(&self) {
        self.seen().sender.insert(thread::current().id());
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("nobody panics with it")
    }
}

#[test]
fn task_on_the_arbiter_of_a_slow_one_has_its_turns_while_the_slow_one_is_sent_more() {
    run("a task beside a slow one", move |handles| async move {
        let env = StreamEnvironment::new("beside").own_arbiters(2).checkpointing(Checkpointing::disabled());
        let (worked, beside) = (Worked { record: SPEEDS[0].record, ..Worked::default() }, Beside::default());
        let had = beside.clone();
        let others = env.source("others", SequenceSource::unbounded()).rebalance().inspect(move |_| had.has_one());
        others.parallelism(2).for_each("others too", |_| {});
        // The slow one is sent to by a source on the other arbiter, and by itself sends nothing.
        let (slow, looks, sends) = (worked.clone(), beside.clone(), beside.clone());
        let slow = numbers(&env, &worked).inspect(move |_| sends.sends()).rebalance().inspect(move |_| {
            looks.look();
            slow.slowly();
        });
        nothing(slow, &worked);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        worked.reaches(200).await;
        job.cancel().await.expect("ends");
        let seen = beside.seen();
        let (last, alone_max) = (seen.last, seen.alone_max);
        assert_eq!((seen.slow.len(), seen.sender.len()), (1, 1), "each is on one thread: {seen:?}");
        assert!(seen.slow.is_disjoint(&seen.sender), "the source is on the other arbiter: {seen:?}");
        assert!(last > 0 && alone_max <= 20, "{alone_max} slow records in a row, and nothing ran beside them");
    });
}

/// A slow start is soon over, and leaves batches whole.
#[test]
fn fast_job_has_full_batches_after_the_first_few() {
    const RECORDS: u64 = 2_000_000;
    let (ended, job) = common::run_to_end("fast", || {
        let env = StreamEnvironment::new("fast");
        env.source("numbers", SequenceSource::new(0..RECORDS))
            .rebalance()
            .filter(|_| false)
            .sink("nothing", PrintSink::new());
        env
    });
    ended.expect("ends");
    let figures = job.figures();
    let taken: Vec<_> = figures.iter().filter(|subtask| subtask.of_run.records_in == RECORDS).collect();
    assert_eq!(taken.len(), 2, "the source and the task behind it: {figures:?}");
    for subtask in taken {
        let batches = subtask.of_run.batches_in;
        assert!(batches < RECORDS / 512, "{batches} batches for {RECORDS} records");
    }
}
