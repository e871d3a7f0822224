//! What a pause is: no source reads, everything else goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use millstream::prelude::*;
use millstream::source::{
    Batch, Boundedness, IngestOptions, ReadStatus, SequenceSource, Source, SourceContext, SourceError, SourceReader,
    SplitPosition, Threading,
};
use millstream::testing::{FaultyStore, StoreCall, StoreFault};
use millstream::time::ManualClock;
use millstream::{JobEventKind, JobState, PauseError};

use crate::common::{HeldSink, QueueSource, events_of, run, sorted, watched};
use crate::{Seen, counting};

/// L1: what comes meanwhile is read after it, in order and once; checkpoints and savepoints are taken.
#[test]
fn paused_job_reads_nothing_and_takes_checkpoints_and_savepoints_and_then_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let savepoint = dir.path().join("paused");
    run("a job that is paused", move |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("paused", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        numbers.push(0..10);
        seen.until(10, &job).await;
        for round in 1..=3 {
            let already = 10 * round;
            job.pause().await.unwrap();
            numbers.push(already..already + 10);
            for _ in 0..3 {
                assert_eq!(seen.after_a_checkpoint(&job).await, already);
            }
            job.savepoint(savepoint.with_extension(round.to_string())).await.unwrap();
            job.resume().await.unwrap();
            seen.until(already + 10, &job).await;
        }
        job.cancel().await.unwrap();
    });
}

/// L1: status, events, and orders that change nothing.
#[test]
fn status_and_events_tell_of_a_pause_once() {
    run("a job that is paused twice", |handles| async move {
        let (clock, numbers, seen) = (ManualClock::new(), QueueSource::default(), Seen::default());
        let job = counting("told", &numbers, &seen).clock(clock.clone()).start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);
        seen.after_a_checkpoint(&job).await;
        let since = millstream::Clock::unix_ms(&clock);
        job.pause().await.unwrap();
        clock.advance(Duration::from_secs(5));
        job.pause().await.unwrap();
        let status = job.status();
        assert_eq!((status.state, status.paused_since_unix_ms), (JobState::Running, Some(since)));
        job.resume().await.unwrap();
        job.resume().await.unwrap();
        assert_eq!(job.status().paused_since_unix_ms, None);
        job.cancel().await.unwrap();
        let mut told = Vec::new();
        loop {
            match events.next().await {
                JobEventKind::Paused { since_unix_ms, at_start, .. } => told.push((since_unix_ms, at_start)),
                JobEventKind::Resumed { since_unix_ms, .. } => told.push((since_unix_ms, true)),
                JobEventKind::Ended { .. } => break,
                _ => {}
            }
        }
        assert_eq!(told, [(since, false), (since, true)]);
    });
}

/// L1: orders that follow each other without a wait are carried out in their order.
#[test]
fn orders_are_carried_out_in_turn() {
    run("a job that is paused and resumed at once", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("in turn", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        let orders = [job.pause(), job.pause()];
        let (resumed, paused, last) = (job.resume(), job.pause(), job.resume());
        for order in orders {
            order.await.unwrap();
        }
        resumed.await.unwrap();
        paused.await.unwrap();
        last.await.unwrap();
        numbers.push(0..10);
        seen.until(10, &job).await;
        job.cancel().await.unwrap();
    });
}

/// Reads on a thread of its own, and counts its reads.
struct OnThread(Arc<AtomicU64>);

struct OnThreadReader(Arc<AtomicU64>, u64);

impl Source for OnThread {
    type Item = u64;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(
        &self,
        _: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        let at = restored.into_iter().flatten().next();
        let next = at.map_or(0, |at| u64::from_le_bytes(at.position.try_into().unwrap()));
        Ok(Box::new(OnThreadReader(self.0.clone(), next)))
    }
}

impl SourceReader for OnThreadReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        batch.push(self.1, 8);
        self.1 += 1;
        Ok(ReadStatus::More)
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition::new("numbers", self.1.to_le_bytes()));
    }
}

/// L1: of a source with a thread of its own, too, whose reads that were under way wait for the job to be resumed; and the next life
/// begins exactly behind what was handed on.
#[test]
fn reader_on_a_thread_of_its_own_is_not_asked_in_a_pause_and_its_position_is_that_of_what_was_handed_on() {
    run("a job whose source has a thread", |handles| async move {
        let (store, reads) = (MemoryStore::new(), Arc::new(AtomicU64::new(0)));
        let sinks = [(); 2].map(|()| CollectSink::new());
        let collected = [&sinks[0], &sinks[1]].map(CollectSink::handle);
        let [first, second] = sinks;
        let collected = || collected.iter().flat_map(|handle| handle.snapshot()).collect::<Vec<u64>>();
        let seen = Seen::default();
        let build = |sink| {
            let (env, seen) = (StreamEnvironment::new("thread").snapshot_store(store.clone()), seen.clone());
            env.source("numbers", OnThread(reads.clone())).inspect(move |_| seen.count()).sink("out", sink);
            env.checkpointing(Checkpointing::every(Duration::from_millis(5)))
        };
        let job = build(first).start().unwrap();
        watched(&handles, &job);
        for _ in 0..5 {
            job.checkpoint().await.unwrap();
            job.pause().await.unwrap();
            let known = seen.after_a_checkpoint(&job).await;
            // What it was asked for before comes back, and then nobody asks it.
            let mut asked = 0;
            while asked != reads.load(Ordering::SeqCst) {
                asked = reads.load(Ordering::SeqCst);
                for _ in 0..3 {
                    assert_eq!(seen.after_a_checkpoint(&job).await, known);
                }
            }
            job.resume().await.unwrap();
        }
        job.pause().await.unwrap();
        job.drain().await.unwrap();
        let job = build(second).start_paused(false).start().unwrap();
        watched(&handles, &job);
        while collected().len() < 1_000 {
            job.checkpoint().await.unwrap();
        }
        job.drain().await.unwrap();
        let numbers = collected();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    });
}

/// L1: a source whose output is blocked is paused as any other, with a batch in its hands.
#[test]
fn source_that_is_blocked_is_paused_at_once() {
    run("a job that is blocked", |handles| async move {
        let (sink, release) = HeldSink::new();
        let written = sink.written.clone();
        let env = StreamEnvironment::new("blocked");
        env.source("numbers", SequenceSource::new(0..200_000)).sink("held", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let is_blocked = || {
            let figures = job.figures();
            figures.iter().take(1).all(|source| source.of_attempt.records_out > 0 && source.of_attempt.credits == 0)
        };
        while !is_blocked() {
            tokio::task::yield_now().await;
        }
        job.pause().await.unwrap();
        drop::<mpsc::Sender<()>>(release);
        job.checkpoint().await.unwrap();
        let before = written.lock().unwrap().len();
        job.checkpoint().await.unwrap();
        assert!(before < 200_000 && before == written.lock().unwrap().len(), "{before} were written");
        job.resume().await.unwrap();
        job.await.unwrap();
        assert_eq!(sorted(written.lock().unwrap().clone()), (0..200_000).collect::<Vec<_>>());
    });
}

/// L1: who pushes records in is let in while the job is paused, until the log is full.
#[test]
fn senders_are_let_in_while_the_job_is_paused_until_the_log_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    run("a job that is paused under its senders", move |handles| async move {
        let record = "x".repeat(1 << 10);
        let options = IngestOptions::new().record_bytes_max(2 << 10).buffer(4, 8 << 10).log_bytes_max(64 << 10);
        let (source, senders) = IngestSource::<String>::open(log, options).unwrap();
        let seen = Seen::default();
        let counted = seen.clone();
        let env = StreamEnvironment::new("pushed");
        env.source("records", source).for_each("see", move |_| counted.count());
        let job = env.checkpointing(Checkpointing::every(Duration::from_millis(10)).retain(1)).start().unwrap();
        watched(&handles, &job);
        job.pause().await.unwrap();
        let mut acknowledged = 0;
        for _ in 0..10 {
            senders.send(record.clone()).await.unwrap();
            acknowledged += 1;
        }
        assert_eq!(seen.after_a_checkpoint(&job).await, 0);
        // Until there is no room.
        let mut on_their_way = Vec::new();
        loop {
            match senders.try_send(record.clone()) {
                Ok(sent) => on_their_way.push(sent),
                // The writer takes them as long as the log has room.
                Err(_) if senders.status().log_bytes < 56 << 10 => drop(job.checkpoint().await.unwrap()),
                Err(_) => break,
            }
        }
        assert!(on_their_way.len() > 10, "{}", on_their_way.len());
        job.resume().await.unwrap();
        for sent in on_their_way {
            sent.await.unwrap();
            acknowledged += 1;
        }
        seen.until(acknowledged, &job).await;
        job.cancel().await.unwrap();
    });
}

/// L1: a source with a rate gives no more after a pause than without one.
#[test]
fn paced_source_does_not_make_up_for_a_pause() {
    run("a job with a paced source", |handles| async move {
        let (clock, seen) = (ManualClock::new(), Seen::default());
        let counted = seen.clone();
        let env = StreamEnvironment::new("paced").clock(clock.clone());
        let numbers = SequenceSource::unbounded().rate_per_second(100);
        env.source("numbers", numbers).for_each("see", move |_| counted.count());
        let day = Duration::from_secs(86_400);
        let job = env.checkpointing(Checkpointing::every(100 * day).timeout(100 * day)).start().unwrap();
        watched(&handles, &job);
        let before = loop {
            clock.advance(Duration::from_millis(10));
            let seen = seen.after_a_checkpoint(&job).await;
            if seen >= 5 {
                break seen;
            }
        };
        job.pause().await.unwrap();
        let before = seen.after_a_checkpoint(&job).await.max(before);
        clock.advance(day);
        job.resume().await.unwrap();
        let mut steps = 0;
        let after = loop {
            clock.advance(Duration::from_millis(10));
            steps += 1;
            let after = seen.after_a_checkpoint(&job).await;
            if after > before + 5 {
                break after;
            }
        };
        assert!(after - before <= steps + 1, "{} records in {steps} times 10 ms", after - before);
        job.cancel().await.unwrap();
    });
}

/// L2: what the store does not keep changes nothing, and asking again settles it.
#[test]
fn pause_that_the_store_does_not_keep_is_refused_and_changes_nothing() {
    for fault in [StoreFault::Fail, StoreFault::FailAfter, StoreFault::Torn, StoreFault::DiskFull] {
        run("a job whose store fails", move |handles| async move {
            let (numbers, seen) = (QueueSource::default(), Seen::default());
            let store = FaultyStore::new(Arc::new(MemoryStore::new()));
            let job = counting("refused", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
            watched(&handles, &job);
            seen.after_a_checkpoint(&job).await;
            store.inject_next(StoreCall::KeepPause, fault.clone());
            assert!(matches!(job.pause().await, Err(PauseError::Store(_))));
            assert_eq!(job.status().paused_since_unix_ms, None);
            store.free_space();
            numbers.push(0..5);
            seen.until(5, &job).await;
            // Where the failed call was kept all the same, this takes it back.
            job.resume().await.unwrap();
            assert_eq!(store.calls(StoreCall::KeepPause), 2);
            job.pause().await.unwrap();
            store.inject_next(StoreCall::KeepPause, fault);
            let refused = job.resume().await.unwrap_err();
            assert!(matches!(refused, PauseError::Store(_)), "{refused}");
            store.free_space();
            numbers.push(5..10);
            assert_eq!(seen.after_a_checkpoint(&job).await, 5, "it is paused still");
            job.resume().await.unwrap();
            seen.until(10, &job).await;
            job.cancel().await.unwrap();
        });
    }
}
