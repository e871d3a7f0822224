//! Ends of jobs that meet a failure, or a second start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_rt::System;
use millstream::CheckpointId;
use millstream::prelude::*;
use millstream::sink::{Batch, PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream::source::{ReadStatus, Source};
use millstream::time::WatermarkAlignment;
use tokio::sync::watch;

/// Publishes at commit; panics in its first `prepare`.
#[derive(Clone)]
struct FailsOnce {
    seen: Arc<watch::Sender<usize>>,
    failed: Arc<AtomicBool>,
    published: Arc<Mutex<Vec<u64>>>,
}

struct FailsOnceWriter(FailsOnce, Vec<u64>);

impl Sink for FailsOnce {
    type Item = u64;

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(FailsOnceWriter(self.clone(), Vec::new())))
    }
}

impl SinkWriter for FailsOnceWriter {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        self.1.extend(batch.drain());
        self.0.seen.send_if_modified(|seen| std::mem::replace(seen, self.1.len().max(*seen)) < self.1.len());
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        assert!(self.0.failed.swap(true, Ordering::Relaxed), "injected");
        Ok(Vec::new())
    }

    fn commit(&mut self, _: CheckpointId) -> Result<(), SinkError> {
        self.0.published.lock().expect("no panic under the lock").append(&mut self.1);
        Ok(())
    }
}

/// The second of two sources gives numbers from here on.
const SECOND: u64 = 1 << 40;

/// Finishes a job that has read more than `records`, whose sink fails once; gives what it has published of each source.
fn finished_after_a_failure(records: usize, stream: fn(&StreamEnvironment) -> DataStream<u64>) -> [Vec<u64>; 2] {
    System::new().block_on(async {
        let seen = Arc::new(watch::Sender::new(0));
        let sink = FailsOnce { seen: seen.clone(), failed: Arc::default(), published: Arc::default() };
        let published = sink.published.clone();
        let env = StreamEnvironment::new("finish").parallelism(1).checkpointing(Checkpointing::disabled());
        stream(&env).sink("out", sink);
        let job = env.start().expect("a valid job");
        seen.subscribe().wait_for(|seen| *seen > records).await.expect("the sender is here");
        let outcome = job.finish().await.expect("the job survives");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
        let published = std::mem::take(&mut *published.lock().expect("no panic under the lock"));
        assert!(published.len() >= records, "{} records are left", published.len());
        let (first, second): (Vec<u64>, Vec<u64>) = published.into_iter().partition(|number| *number < SECOND);
        assert!(first.iter().copied().eq(0..first.len() as u64), "each number once, in order");
        assert!(second.iter().copied().eq(SECOND..SECOND + second.len() as u64), "each number once, in order");
        [first, second]
    })
}

/// Cause: a failure after `finish()` had the next attempt end its input where it restored, so that what had been read
/// since was dropped. Repair: it first reads again what failed attempts had read. Guarantee G1.
#[test]
fn finish_that_meets_a_failure_drops_nothing_that_was_read() {
    finished_after_a_failure(50_000, |env| env.source("numbers", SequenceSource::unbounded()));
}

/// Cause: a source that has said when it is to be asked again counted as one that cannot read on. Guarantee G1.
#[test]
fn finish_that_meets_a_failure_drops_nothing_that_a_paced_source_had_read() {
    finished_after_a_failure(5_000, |env| env.source("numbers", Throttled::new(SequenceSource::unbounded(), 100_000)));
}

/// The same of sources that wait for each other; and one that has ended by `finish()` is not waited for.
#[test]
fn finish_that_meets_a_failure_drops_nothing_that_aligned_sources_had_read() {
    let read = finished_after_a_failure(20_000, |env| {
        let together = WatermarkAlignment::within(Duration::from_millis(1_000));
        let strategy = || WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_alignment(&together);
        let first = env.source_with_watermarks("first", SequenceSource::unbounded(), strategy());
        let second = env.source_with_watermarks("second", SequenceSource::unbounded(), strategy());
        first.union(second.map(|n| SECOND + n))
    });
    let [first, second] = read.map(|numbers| numbers.len());
    assert!(first.abs_diff(second) <= 10_000, "{first} and {second} were read together");
}

/// Cause: the second start wires sinks alone, but by where the tasks before them would sit.
#[test]
fn finished_job_whose_sink_has_fewer_subtasks_than_its_input_is_already_complete() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let store = MemoryStore::new();
    for already_complete in [false, true] {
        let outcome = System::new().block_on(async {
            let env = StreamEnvironment::new("narrow").parallelism(3).snapshot_store(store.clone());
            env.source("numbers", SequenceSource::new(0..1000))
                .sink("out", FileSink::lines(scratch.path().join("out")))
                .parallelism(1);
            env.start().expect("a valid job").await.expect("the job ends")
        });
        assert_eq!((outcome.kind, outcome.already_complete), (OutcomeKind::Finished, already_complete));
    }
}

/// Cause: an attempt that failed before its region ran was counted as down twice.
#[test]
fn job_that_fails_while_it_starts_is_running_once_it_runs() {
    struct OpensOnTheThirdTry(Arc<Mutex<u32>>);

    impl Source for OpensOnTheThirdTry {
        type Item = u64;

        fn open(
            &self,
            cx: &millstream::source::SourceContext,
            restored: Option<Vec<millstream::source::SplitPosition>>,
        ) -> Result<Box<dyn millstream::source::SourceReader<Item = u64>>, millstream::source::SourceError> {
            let mut tries = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *tries += 1;
            assert!(*tries >= 3, "injected");
            VecSource::new(vec![1u64]).open(cx, restored).map(|_| Box::new(Waits) as Box<_>)
        }
    }

    struct Waits;

    impl millstream::source::SourceReader for Waits {
        type Item = u64;

        fn read(&mut self, _: &mut Batch<u64>) -> Result<ReadStatus, millstream::source::SourceError> {
            Ok(ReadStatus::Idle { retry_after: None })
        }

        fn report_positions(&mut self, _: &mut Vec<millstream::source::SplitPosition>) {}
    }

    System::new().block_on(async {
        let env = StreamEnvironment::new("starts-late");
        env.source("late", OpensOnTheThirdTry(Arc::default())).sink("out", CollectSink::new());
        let job = env.start().expect("a valid job");
        job.checkpoint().await.expect("the job runs");
        assert_eq!((job.status().state, job.status().restarts), (millstream::JobState::Running, 2));
        job.cancel().await.expect("cancelled");
    });
}

/// Cause: records for which a partitioner named no channel were dropped without a word.
#[test]
fn partitioner_that_names_too_few_channels_ends_the_job() {
    struct NamesOne;

    impl millstream::operator::Partitioner<u64> for NamesOne {
        fn assign(&mut self, _: &Batch<u64>, _: u32, targets: &mut Vec<u32>) {
            targets.push(0);
        }
    }

    System::new().block_on(async {
        let env = StreamEnvironment::new("short").parallelism(2);
        let numbers = env.source("numbers", SequenceSource::new(0..1000));
        numbers.partition_with(|| NamesOne).map(|n| n).sink("out", CollectSink::new());
        let error = env.start().expect("a valid job").await.expect_err("records would be lost");
        assert!(error.to_string().contains("a partitioner named 1 channels for"), "{error}");
    });
}

/// Cause: a sink in memory took what was pending in the last checkpoint of an earlier start for lost, although that start had
/// committed it. Repair: the process remembers what its sinks have committed. Guarantee G2.
#[test]
fn drained_job_that_collects_in_memory_goes_on_at_the_next_start_on_its_store() {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let mut all: Vec<u64> = Vec::new();
    for is_last in [false, true] {
        System::new().block_on(async {
            let store = RedbStore::open(scratch.path().join("store.redb")).expect("a store");
            let sink = CollectSink::new();
            let collected = sink.handle();
            let env = StreamEnvironment::new("collects").snapshot_store(store);
            env.source("numbers", SequenceSource::new(0..5_000)).sink("out", sink);
            let job = env.start().expect("a valid job");
            let ended = if is_last { job.await } else { job.drain().await };
            ended.expect("all is committed");
            all.extend(collected.snapshot());
        });
    }
    assert!(all.iter().copied().eq(0..5_000), "{} records of both starts", all.len());
}
