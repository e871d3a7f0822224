//! Sources that wait to be woken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition, Threading,
};
use millstream::{JobEventKind, Limits};
use tokio::sync::mpsc as async_mpsc;

use common::{HeldSink, run, watched};

mod common;

/// Batches that fill a channel with two credits, and the one behind it.
const BATCHES: u64 = 3;

/// Finds [`BATCHES`] records at once, and the last one only when it has come.
#[derive(Clone)]
struct LateSource {
    has_come: Arc<AtomicBool>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
    looked_in_vain: async_mpsc::UnboundedSender<()>,
}

struct LateReader(LateSource, u64);

impl Source for LateSource {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        *self.waker.lock().expect("no panic under it") = Some(cx.waker.clone());
        Ok(Box::new(LateReader(self.clone(), 0)))
    }
}

impl SourceReader for LateReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let Self(source, next) = self;
        let is_last = *next == BATCHES;
        if is_last && !source.has_come.load(Ordering::SeqCst) {
            source.looked_in_vain.send(()).expect("the test listens");
            return Ok(ReadStatus::Idle { retry_after: None });
        }
        // A batch of its own.
        batch.push(*next, 1 << 20);
        *next += 1;
        Ok(if is_last { ReadStatus::End } else { ReadStatus::More })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

/// The task had not seen that its four reads found nothing when it was woken, since it waited for credit. It took the
/// wake-up for granted, found nothing in the four, and waited to be woken for ever.
#[test]
fn wake_up_of_a_blocked_task_whose_reads_have_all_looked_in_vain_is_not_lost() {
    run("a late source", |handles| async move {
        let (looked_in_vain, mut looked) = async_mpsc::unbounded_channel();
        let (has_come, waker) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let source = LateSource { has_come: has_come.clone(), waker: Arc::clone(&waker), looked_in_vain };
        let (sink, release) = HeldSink::new();
        let written = sink.written.clone();
        let mut limits = Limits::default();
        (limits.credits_same_arbiter, limits.read_ahead) = (2, 4);
        let env = StreamEnvironment::new("late")
            .snapshot_store(MemoryStore::new())
            .checkpointing(Checkpointing::disabled())
            .limits(limits);
        env.source("late", source).sink("held", sink);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        for _ in 0..4 {
            looked.recv().await.expect("the source looks");
        }
        has_come.store(true, Ordering::SeqCst);
        waker.lock().expect("no panic under it").as_ref().expect("open").wake();
        drop(release);
        assert_eq!(job.await.expect("finished").kind, OutcomeKind::Finished);
        assert_eq!(*written.lock().expect("no panic under it"), (0..=BATCHES).collect::<Vec<_>>());
    });
}

/// Has nothing, and will look again in an hour.
#[derive(Clone, Default)]
struct EmptySource {
    waker: Arc<Mutex<Option<SourceWaker>>>,
    looks: Arc<AtomicU64>,
}

impl Source for EmptySource {
    type Item = u64;

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        *self.waker.lock().expect("no panic under it") = Some(cx.waker.clone());
        Ok(Box::new(self.clone()))
    }
}

impl SourceReader for EmptySource {
    type Item = u64;

    fn read(&mut self, _: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        Ok(ReadStatus::Idle { retry_after: Some(Duration::from_secs(3600)) })
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

/// A wake-up calls the timer of the next look off. When the task was then terminated in the same poll, actix went round
/// in its loop for ever over the timer that it was to forget, and the task's arbiter was lost. Tasks stop by `stop()`.
#[test]
fn job_is_cancelled_at_once_while_its_idle_source_is_being_woken() {
    for _ in 0..5 {
        run("an empty source", |handles| async move {
            let (source, sink) = (EmptySource::default(), CollectSink::new());
            let (waker, looks) = (source.waker.clone(), source.looks.clone());
            let env = StreamEnvironment::new("empty").snapshot_store(MemoryStore::new()).parallelism(1);
            env.source("empty", source).sink("out", sink);
            let job = env.start().expect("starts");
            watched(&handles, &job);
            job.checkpoint().await.expect("it runs");
            let is_over = Arc::new(AtomicBool::new(false));
            let waking = thread::spawn({
                let is_over = is_over.clone();
                move || {
                    let waker = waker.lock().expect("no panic under it").clone().expect("open");
                    while !is_over.load(Ordering::SeqCst) {
                        let before = looks.load(Ordering::SeqCst);
                        (0..20).for_each(|_| waker.wake());
                        // It is woken faster than it looks otherwise.
                        while looks.load(Ordering::SeqCst) == before && !is_over.load(Ordering::SeqCst) {
                            thread::yield_now();
                        }
                    }
                }
            });
            assert_eq!(job.cancel().await.expect("cancelled").kind, OutcomeKind::Cancelled);
            is_over.store(true, Ordering::SeqCst);
            waking.join().expect("no panic");
            let condemned = |event: &JobEvent| matches!(event.kind, JobEventKind::ArbiterCondemned { .. });
            assert!(!job.history().iter().any(condemned), "the source's task did not stop");
        });
    }
}

/// Looks, finds nothing, and is woken before it has said so: a record has come in between.
struct CrossedSource(Threading);

struct CrossedReader {
    waker: SourceWaker,
    has_looked: bool,
}

impl Source for CrossedSource {
    type Item = u64;

    fn threading(&self) -> Threading {
        self.0
    }

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(CrossedReader { waker: cx.waker.clone(), has_looked: false }))
    }
}

impl SourceReader for CrossedReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        if !std::mem::replace(&mut self.has_looked, true) {
            self.waker.wake();
            return Ok(ReadStatus::Idle { retry_after: None });
        }
        batch.push(7, 8);
        Ok(ReadStatus::End)
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

// Cause: the wake-up came before the answer "nothing" to which it belonged, and was forgotten; without a delay to try again
// after, a source on a thread of its own slept for good. Repair: a wake-up during a read has the source read once more.
#[test]
fn wake_up_between_a_look_in_vain_and_its_answer_is_not_lost() {
    for threading in [Threading::Inline, Threading::Blocking] {
        run("a wake-up that crosses the answer", move |handles| async move {
            let sink = CollectSink::new();
            let collected = sink.handle();
            let mut limits = Limits::default();
            // A second read would find the record by itself.
            limits.read_ahead = 1;
            let env = StreamEnvironment::new("crossed").snapshot_store(MemoryStore::new()).limits(limits);
            env.source("crossed", CrossedSource(threading)).parallelism(1).sink("out", sink);
            let job = env.start().expect("starts");
            watched(&handles, &job);
            assert_eq!(job.await.expect("finished").kind, OutcomeKind::Finished);
            assert_eq!(collected.snapshot(), [7]);
        });
    }
}
