//! A checkpoint, and the end of a job, wait for little of a slow function's work, wherever in the job that is.
//!
//! Cause of what was mended: channels and reads were bounded in batches of 1,024 records alone, so that a function that takes
//! 5 ms for a record had a minute of work before each barrier. Now they are bounded by what the slowest link takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter, Threading};
use millstream::{CheckpointId, JobHandle};
use tokio::sync::Notify;

use common::{run, watched};

mod common;

/// For a record.
const SLOW: Duration = Duration::from_millis(5);
/// Records after which the tasks know how slow the function is.
const KNOWN: u64 = 60;
/// Most records that may be worked on between the request of a checkpoint and its barrier. A task has 20 in its channels,
/// which is 100 ms of work, and 10 in its step, both half as many again now and then; three tasks follow one another at most.
const BEHIND_MAX: u64 = 150;

/// What the slow function counts.
#[derive(Clone, Debug, Default)]
struct Worked {
    records: Arc<AtomicU64>,
    /// How many there were when the newest barrier came. What is worked on while a busy machine completes the checkpoint does not
    /// count: the barrier did not wait for it.
    at_barrier: Arc<AtomicU64>,
    more: Arc<Notify>,
}

impl Worked {
    /// Works on a record.
    fn slowly(&self) {
        // Nobody unparks it: this is the work itself, and nothing waits for it by time.
        thread::park_timeout(SLOW);
        self.records.fetch_add(1, Ordering::SeqCst);
        self.more.notify_one();
    }

    fn so_far(&self) -> u64 {
        self.records.load(Ordering::SeqCst)
    }

    /// A barrier has come, behind all records that were worked on.
    fn barrier(&self) {
        self.at_barrier.store(self.so_far(), Ordering::SeqCst);
    }

    /// Records since there were `before` that the newest barrier was behind; it may have been there by then.
    fn behind(&self, before: u64) -> u64 {
        self.at_barrier.load(Ordering::SeqCst).saturating_sub(before)
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

/// Asks a job whose slow function counts in `worked` for checkpoints, and for its end, in the middle of its work.
fn assert_little_is_behind(what: &'static str, build: fn(&StreamEnvironment, &Worked)) {
    run(what, move |handles| async move {
        let env = StreamEnvironment::new("slow").checkpointing(Checkpointing::disabled());
        let worked = Worked::default();
        build(&env, &worked);
        let job: JobHandle = env.start().expect("starts");
        watched(&handles, &job);
        for round in 1..=2 {
            worked.reaches(round * KNOWN).await;
            // What is worked on before the order, while this thread is kept from its core, does not count.
            let completes = job.checkpoint();
            let before = worked.so_far();
            completes.await.expect("completes");
            let behind = worked.behind(before);
            assert!(behind <= BEHIND_MAX, "{what}: {behind} records were worked on before checkpoint {round}");
        }
        let ends = job.drain();
        let before = worked.so_far();
        ends.await.expect("ends");
        let behind = worked.behind(before);
        assert!(behind <= BEHIND_MAX, "{what}: {behind} records were worked on before the end");
    });
}

fn numbers(env: &StreamEnvironment) -> DataStream<u64> {
    env.source("numbers", SequenceSource::unbounded())
}

/// The slow function, and a sink in its task that gets nothing but barriers.
fn slowly(stream: DataStream<u64>, worked: &Worked) {
    let (working, sink) = (worked.clone(), SlowSink(worked.clone(), Threading::Inline));
    stream.inspect(move |_| working.slowly()).filter(|_| false).sink("nothing", sink);
}

// Guarantee G4.
#[test]
fn slow_function_behind_an_exchange_has_little_before_a_barrier() {
    assert_little_is_behind("behind an exchange", |env, worked| slowly(numbers(env).rebalance(), worked));
}

#[test]
fn slow_function_chained_to_the_source_has_little_before_a_barrier() {
    assert_little_is_behind("chained to the source", |env, worked| slowly(numbers(env), worked));
}

#[test]
fn fast_task_before_a_slow_one_has_little_before_a_barrier() {
    assert_little_is_behind("behind a fast task", |env, worked| {
        slowly(numbers(env).rebalance().map(|n| n + 1).rebalance(), worked);
    });
}

#[test]
fn slow_sink_on_a_thread_has_little_before_a_barrier() {
    assert_little_is_behind("a sink on a thread", |env, worked| {
        numbers(env).sink("slow", SlowSink(worked.clone(), Threading::Blocking));
    });
}

#[test]
fn slow_sink_inline_has_little_before_a_barrier() {
    assert_little_is_behind("a sink inline", |env, worked| {
        numbers(env).sink("slow", SlowSink(worked.clone(), Threading::Inline));
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
