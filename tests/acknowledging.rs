//! Connectors that are told how a job goes on: sources, what is complete and what is still needed; sinks, that it is over.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::CheckpointId;
use millstream::prelude::*;
use millstream::sink::{PendingCommit, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream::source::{
    Batch, Boundedness, CompletedPositions, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker,
    SplitPosition, Threading,
};
use tokio::sync::mpsc;

use common::{Tagged, TaggedSink, run, watched};

mod common;

const RETAINED: u64 = 3;
const SPLIT: &str = "journal";

/// A journal of the numbers from 0 on, of which so many are there, and which is trimmed as far as it may be.
#[derive(Clone)]
struct Journal {
    threading: Threading,
    written: Arc<AtomicU64>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
    /// Where each attempt began.
    opened: mpsc::UnboundedSender<u64>,
    told: mpsc::UnboundedSender<(CheckpointId, u64, Option<u64>)>,
}

struct JournalReader {
    journal: Journal,
    next: u64,
}

impl Source for Journal {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn threading(&self) -> Threading {
        self.threading
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        let next = restored.into_iter().flatten().next().map_or(0, |split| position(&split));
        let _ = self.opened.send(next);
        *self.waker.lock().unwrap() = Some(cx.waker.clone());
        Ok(Box::new(JournalReader { journal: self.clone(), next }))
    }
}

fn position(split: &SplitPosition) -> u64 {
    assert_eq!(split.split, SPLIT);
    u64::from_le_bytes(split.position.as_slice().try_into().unwrap())
}

impl SourceReader for JournalReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        let written = self.journal.written.load(Ordering::SeqCst);
        while self.next < written && !batch.is_full() {
            batch.push(self.next, 8);
            self.next += 1;
        }
        Ok(if self.next < written { ReadStatus::More } else { ReadStatus::Idle { retry_after: None } })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition::new(SPLIT, self.next.to_le_bytes()));
    }

    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        let of = |positions: &Vec<SplitPosition>| position(&positions[0]);
        let told = (completed.checkpoint, of(&completed.positions), completed.oldest_needed.as_ref().map(of));
        let _ = self.journal.told.send(told);
        Ok(())
    }
}

/// What a test knows of a job that reads a [`Journal`].
struct Rig {
    journal: Journal,
    opened: mpsc::UnboundedReceiver<u64>,
    told: mpsc::UnboundedReceiver<(CheckpointId, u64, Option<u64>)>,
    /// The position in each completed checkpoint of which it was told.
    known: BTreeMap<CheckpointId, u64>,
}

impl Rig {
    fn new(threading: Threading) -> Self {
        let ((opened, was_opened), (told, was_told)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (written, waker) = (Arc::default(), Arc::default());
        let journal = Journal { threading, written, waker, opened, told };
        Self { journal, opened: was_opened, told: was_told, known: BTreeMap::new() }
    }

    fn start(&self, env: StreamEnvironment, panics: &Arc<AtomicBool>) -> JobHandle {
        let env = env
            .snapshot_store(MemoryStore::new())
            .restart_strategy(RestartStrategy::fixed_delay(10, Duration::ZERO))
            .checkpointing(Checkpointing::every(Duration::from_secs(3600)).retain(RETAINED as usize));
        let panics = panics.clone();
        env.source("journal", self.journal.clone())
            .inspect(move |_| assert!(!panics.swap(false, Ordering::SeqCst), "told to"))
            .sink("out", TaggedSink(Tagged::default()));
        env.start().unwrap()
    }

    /// Writes more, and wakes the reader.
    fn write(&self, records: u64) {
        self.journal.written.fetch_add(records, Ordering::SeqCst);
        if let Some(waker) = &*self.journal.waker.lock().unwrap() {
            waker.wake();
        }
    }

    /// Takes a checkpoint; what the source is told of it.
    async fn checkpoint(&mut self, job: &JobHandle) -> (u64, Option<u64>) {
        let id = job.checkpoint().await.unwrap();
        let (checkpoint, position, needed) = self.told.recv().await.unwrap();
        assert_eq!(checkpoint, id, "each checkpoint is told once, in order");
        self.known.insert(checkpoint, position);
        (position, needed)
    }

    /// Takes checkpoints until one has all that was written; what the source was told of that one.
    async fn until_read(&mut self, job: &JobHandle) -> (u64, Option<u64>) {
        loop {
            let told = self.checkpoint(job).await;
            if told.0 == self.journal.written.load(Ordering::SeqCst) {
                return told;
            }
        }
    }

    /// The position in the oldest checkpoint that is retained.
    fn oldest_retained(&self) -> u64 {
        let newest = self.known.len().saturating_sub(RETAINED as usize);
        *self.known.values().nth(newest).unwrap()
    }
}

async fn tells_what_is_needed(threading: Threading, handles: common::Watched) {
    let (mut rig, panics) = (Rig::new(threading), Arc::new(AtomicBool::new(false)));
    let job = rig.start(StreamEnvironment::new("journal"), &panics);
    watched(&handles, &job);
    assert_eq!(rig.opened.recv().await, Some(0));
    for _ in 0..6 {
        rig.write(10);
        let (_, needed) = rig.until_read(&job).await;
        assert_eq!(needed, Some(rig.oldest_retained()));
    }
    panics.store(true, Ordering::SeqCst);
    rig.write(10);
    let restored = rig.opened.recv().await.unwrap();
    assert_eq!(Some(&restored), rig.known.values().next_back());
    // Of the retained checkpoints the newest is known to the new attempt; those before it are not yet.
    let before = rig.known.len();
    loop {
        let (_, needed) = match job.checkpoint().await {
            Ok(checkpoint) => {
                let (told, position, needed) = rig.told.recv().await.unwrap();
                assert_eq!(told, checkpoint);
                rig.known.insert(told, position);
                (position, needed)
            }
            // The job was just failing.
            Err(_) => continue,
        };
        let since = (rig.known.len() - before) as u64;
        let expected = if since + 1 < RETAINED { None } else { Some(rig.oldest_retained()) };
        assert_eq!(needed, expected, "{since} checkpoints after the restart");
        if since == 2 * RETAINED {
            break;
        }
        rig.write(5);
    }
    job.cancel().await.unwrap();
}

#[test]
fn source_on_its_task_is_told_of_completed_checkpoints_and_of_what_is_still_needed() {
    run("a journal", |handles| tells_what_is_needed(Threading::Inline, handles));
}

#[test]
fn source_on_a_thread_is_told_of_completed_checkpoints_and_of_what_is_still_needed() {
    run("a journal on a thread", |handles| tells_what_is_needed(Threading::Blocking, handles));
}

#[test]
fn what_the_savepoint_needs_that_a_job_began_with_stays_needed_while_it_may_fall_back_to_it() {
    run("a journal from a savepoint", |handles| async move {
        let dir = tempfile::tempdir().unwrap();
        let (mut rig, panics) = (Rig::new(Threading::Inline), Arc::new(AtomicBool::new(false)));
        let job = rig.start(StreamEnvironment::new("journal"), &panics);
        watched(&handles, &job);
        rig.write(10);
        rig.until_read(&job).await;
        job.stop_with_savepoint(dir.path().join("savepoint")).await.unwrap();
        let mut forked = Rig::new(Threading::Inline);
        forked.write(10);
        let env = StreamEnvironment::new("journal").restore_from(dir.path().join("savepoint"));
        let job = forked.start(env, &panics);
        watched(&handles, &job);
        assert_eq!(forked.opened.recv().await, Some(10));
        for _ in 0..2 * RETAINED {
            forked.write(5);
            let (_, needed) = forked.until_read(&job).await;
            assert_eq!(needed, Some(10));
        }
        job.cancel().await.unwrap();
    });
}

/// Says when one of its writers is closed.
struct ClosedSink {
    threading: Threading,
    closed: mpsc::UnboundedSender<u64>,
    written: Arc<AtomicU64>,
}

struct ClosedWriter {
    closed: mpsc::UnboundedSender<u64>,
    written: Arc<AtomicU64>,
    committed: u64,
}

impl Sink for ClosedSink {
    type Item = u64;

    fn threading(&self) -> Threading {
        self.threading
    }

    fn open(&self, _: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        Ok(Box::new(ClosedWriter { closed: self.closed.clone(), written: self.written.clone(), committed: 0 }))
    }
}

impl SinkWriter for ClosedWriter {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), SinkError> {
        self.written.fetch_add(batch.drain().count() as u64, Ordering::SeqCst);
        batch.clear();
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        self.committed = up_to.0;
        Ok(())
    }

    fn close(&mut self) -> Result<(), SinkError> {
        let _ = self.closed.send(self.committed);
        panic!("whatever it does, the job has ended well");
    }
}

#[test]
fn sink_is_closed_once_at_the_end_of_each_attempt_after_its_last_commit() {
    for threading in [Threading::Inline, Threading::Blocking] {
        run("a sink that is closed", move |handles| async move {
            let (closed, mut was_closed) = mpsc::unbounded_channel();
            let panics = Arc::new(AtomicBool::new(true));
            let written = Arc::new(AtomicU64::new(0));
            let env = StreamEnvironment::new("closed")
                .snapshot_store(MemoryStore::new())
                .restart_strategy(RestartStrategy::fixed_delay(3, Duration::ZERO))
                .checkpointing(Checkpointing::disabled());
            env.source("numbers", SequenceSource::new(0..100))
                .inspect(move |n| assert!(*n < 50 || !panics.swap(false, Ordering::SeqCst), "told to"))
                .sink("closed", ClosedSink { threading, closed, written });
            let job = env.start().unwrap();
            watched(&handles, &job);
            let outcome = job.await.unwrap();
            assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
            assert_eq!(was_closed.recv().await, Some(0), "the attempt that failed had committed nothing");
            assert!(was_closed.recv().await.unwrap() > 0, "the final checkpoint is committed before");
            assert_eq!(was_closed.recv().await, None, "each writer once");
        });
    }
}
