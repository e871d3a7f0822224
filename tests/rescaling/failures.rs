//! What fails while a job is rescaled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::sink::{PendingCommit, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter};
use millstream::testing::{FaultyStore, StoreCall, StoreFault};
use millstream::{ActorName, CheckpointError, JobError, JobEventKind, Probe, RescaleError, Step};

use crate::common::{InputEnd, QueueSource, SteppedSource, checkpointed, run, sorted, watched};
use crate::{Seen, counting, keep_rescaling, turns};

/// Panics once at a step, whenever it was told to.
#[derive(Clone)]
struct PanicsAt {
    step: Step,
    is_armed: Arc<AtomicBool>,
    panics: Arc<AtomicU64>,
}

impl Probe for PanicsAt {
    fn reached(&self, step: Step, actor: &ActorName) {
        if step == self.step && self.is_armed.swap(false, Ordering::SeqCst) {
            self.panics.fetch_add(1, Ordering::SeqCst);
            panic!("injected at {step:?} of {actor}");
        }
    }
}

/// All but that of the job's supervisor, which ends the job, and those of exports.
const STEPS: [Step; 29] = [
    Step::Starting,
    Step::Restoring,
    Step::Restored,
    Step::Batch,
    Step::BarrierReached,
    Step::BarrierForwarded,
    Step::SliceWritten,
    Step::SnapshotTaken,
    Step::Acknowledged,
    Step::CompleteReceived,
    Step::AbortReceived,
    Step::SinkPreparing,
    Step::SinkPrepared,
    Step::SinkCommitting,
    Step::SinkCommitted,
    Step::Triggering,
    Step::AcknowledgementReceived,
    Step::Finalising,
    Step::Completed,
    Step::CompletionSent,
    Step::CommittedReceived,
    Step::StoringChunks,
    Step::CommittingManifest,
    Step::ManifestCommitted,
    Step::RegionStarting,
    Step::RegionStopping,
    Step::RegionRestoring,
    Step::RegionReady,
    Step::Exported,
];

/// Those that a rescale need not come to.
const SELDOM: [Step; 3] = [Step::SliceWritten, Step::AbortReceived, Step::Exported];

/// Jobs are short, and one may be over before the test has had its turns: so many are tried.
const TRIES: usize = 5;

/// L7, G1, G2: whoever panics at whichever step of a rescale.
#[test]
fn output_is_that_of_an_undisturbed_run_whichever_step_of_a_rescale_fails() {
    let mut silent = Vec::new();
    for (step, spills) in STEPS.into_iter().zip([false, true].into_iter().cycle()) {
        let tries = if SELDOM.contains(&step) { 1 } else { TRIES };
        let panics = |_| {
            let dir = tempfile::tempdir().unwrap();
            through(step, dir.path().to_owned(), spills)
        };
        if (0..tries).map(panics).all(|panics| panics == 0) {
            silent.push(step);
        }
    }
    assert!(silent.iter().all(|step| SELDOM.contains(step)), "never reached: {silent:?}");
}

fn through(step: Step, dir: std::path::PathBuf, spills: bool) -> u64 {
    const N: u64 = 240;
    let (out, state) = (CollectSink::new(), dir.join("state"));
    let collected = out.handle();
    std::fs::create_dir(&state).unwrap();
    let files = dir.join("out");
    let lines = files.clone();
    let panics = run(&format!("panics at {step:?}"), move |handles| async move {
        let probe = PanicsAt { step, is_armed: Arc::default(), panics: Arc::default() };
        let env = checkpointed("failing", 1, spills.then_some(&*state))
            .snapshot_store(MemoryStore::new())
            .restart_strategy(RestartStrategy::fixed_delay(1_000, Duration::ZERO))
            .tell_panic_hook(false)
            .probe(probe.clone());
        let source = SteppedSource::new("numbers", N, 24, &InputEnd::default());
        let counts =
            env.source("numbers", source).map(|(_, n)| n).key_by(|n| n % 7).fold("count", 0u64, |count, _| *count += 1);
        counts.clone().sink("out", out);
        counts.sink("lines", FileSink::json_lines(lines));
        let job = env.start().unwrap();
        watched(&handles, &job);
        let rounds = AtomicU64::new(0);
        let between = || async {
            turns(5).await;
            // Those in between get on.
            let fails = rounds.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
            probe.is_armed.store(fails, Ordering::SeqCst);
        };
        keep_rescaling(&job, [3, 2, 4, 1].into_iter().cycle(), between).await;
        probe.is_armed.store(false, Ordering::SeqCst);
        assert_eq!(job.await.unwrap().kind, OutcomeKind::Finished);
        probe.panics.load(Ordering::SeqCst)
    });
    let expected: Vec<(u64, u64)> = sorted((0..N).map(|n| (n % 7, n / 7 + 1)).collect());
    assert_eq!(sorted(collected.snapshot()), expected, "{step:?}");
    let text = |(key, count): &(u64, u64)| format!("[{key},{count}]");
    assert_eq!(sorted(crate::common::committed_lines(&files)), sorted(expected.iter().map(text).collect()), "{step:?}");
    panics
}

/// L9: a checkpoint that cannot be taken changes nothing: no restart, no other parallelism, sources that read on.
#[test]
fn checkpoint_that_fails_leaves_the_job_as_it_was() {
    run("a job whose store fails", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        let job = counting("store", &numbers, &seen).snapshot_store(store.clone()).start().unwrap();
        watched(&handles, &job);
        numbers.push(0..10);
        seen.until(10, &job).await;
        for call in [StoreCall::Finalise, StoreCall::PutChunks] {
            store.inject_next(call, StoreFault::Fail);
            let refused = job.rescale(3).await.unwrap_err();
            assert!(matches!(&refused, RescaleError::Checkpoint(CheckpointError::Aborted(_))), "{refused}");
            assert_eq!(job.status().parallelism, 1);
        }
        assert!(job.status().attempts.values().all(|attempt| attempt.0 == 1));
        let told =
            job.history().iter().filter(|event| matches!(event.kind, JobEventKind::RescaleFailed { .. })).count();
        assert_eq!(told, 2);
        numbers.push(10..20);
        seen.until(20, &job).await;
        assert_eq!(job.rescale(3).await.unwrap().to, 3);
        numbers.push(20..30);
        seen.until(30, &job).await;
        assert_eq!(job.cancel().await.unwrap().restarts, 0);
    });
}

/// Does not open at three subtasks, for so many times.
struct Narrow(Arc<AtomicU32>, Seen);

struct NarrowWriter(Seen);

impl Sink for Narrow {
    type Item = u64;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::AtLeastOnce
    }

    fn open(&self, cx: &SinkContext, _: SinkRestore) -> Result<Box<dyn SinkWriter<Item = u64>>, SinkError> {
        let Self(panics, seen) = self;
        if cx.parallelism == 3 && cx.subtask_index == 2 {
            let left = panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(left.is_err(), "injected: too narrow");
        }
        Ok(Box::new(NarrowWriter(seen.clone())))
    }
}

impl SinkWriter for NarrowWriter {
    type Item = u64;

    fn write(&mut self, batch: &mut millstream::sink::Batch<u64>) -> Result<(), SinkError> {
        batch.drain().for_each(|_| self.0.count());
        Ok(())
    }

    fn prepare(&mut self, _: millstream::CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, _: millstream::CheckpointId) -> Result<(), SinkError> {
        Ok(())
    }
}

fn narrow(numbers: &QueueSource, panics: u32, seen: &Seen) -> StreamEnvironment {
    let env = StreamEnvironment::new("narrow").tell_panic_hook(false);
    let sink = Narrow(Arc::new(AtomicU32::new(panics)), seen.clone());
    env.source("numbers", numbers.clone())
        .parallelism(1)
        .key_by(|n| *n)
        .fold("f", 0, |_, _| {})
        .map(|(n, _)| n)
        .sink("out", sink);
    env.checkpointing(Checkpointing::every(crate::NEVER))
}

/// L7: what fails at the new parallelism is restarted at it, by the strategy.
#[test]
fn tasks_that_do_not_start_at_the_new_parallelism_are_restarted_there() {
    run("a job that fails after its rescale", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = narrow(&numbers, 2, &seen).start().unwrap();
        watched(&handles, &job);
        numbers.push(0..10);
        seen.until(10, &job).await;
        assert_eq!(job.rescale(3).await.unwrap().to, 3);
        assert_eq!((job.status().parallelism, job.status().restarts), (3, 2));
        numbers.push(10..20);
        seen.until(20, &job).await;
        job.cancel().await.unwrap();
    });
}

/// L7: if the strategy gives up the job has failed, and the next start goes on from the checkpoint, at what its program says.
#[test]
fn job_that_gives_up_at_the_new_parallelism_goes_on_at_the_next_start() {
    run("a job that gives up", |handles| async move {
        let (numbers, seen, store) = (QueueSource::default(), Seen::default(), MemoryStore::new());
        let env = narrow(&numbers, u32::MAX, &seen).restart_strategy(RestartStrategy::none());
        let job = env.snapshot_store(store.clone()).start().unwrap();
        watched(&handles, &job);
        numbers.push(0..10);
        seen.until(10, &job).await;
        let refused = job.rescale(3).await.unwrap_err();
        assert!(matches!(&refused, RescaleError::JobFailed(_)), "{refused}");
        assert!(matches!(job.await, Err(JobError::GaveUp { .. })));
        let job = narrow(&numbers, u32::MAX, &seen).snapshot_store(store).start().unwrap();
        watched(&handles, &job);
        assert_eq!(job.status().parallelism, 1);
        numbers.push(10..20);
        seen.until(20, &job).await;
        assert_eq!(seen.now(), 20, "nothing is read again");
        job.cancel().await.unwrap();
    });
}

/// L7, D1: poison while the job is rescaled, also in the middle of careful work: each record is in one output, once.
#[test]
fn poison_is_withheld_at_whichever_parallelism_it_comes() {
    const N: u64 = 400;
    const POISON: [u64; 4] = [0, 99, 100, 396];
    let (out, dead) = (CollectSink::new(), CollectSink::new());
    let (collected, letters) = (out.handle(), dead.handle());
    run("a job with poison", move |handles| async move {
        let env = checkpointed("poison", 2, None)
            .snapshot_store(MemoryStore::new())
            .restart_strategy(RestartStrategy::fixed_delay(20, Duration::ZERO))
            .tell_panic_hook(false);
        let tag = OutputTag::new("dead");
        let numbers = env
            .source("numbers", SteppedSource::new("n", N, 24, &InputEnd::default()))
            .map(|(_, n)| n)
            .key_by(|n| n % 11)
            .fold("counts", 0u64, |count, n: u64| {
                *count += 1;
                assert!(!POISON.contains(&n), "cannot count {n}");
            })
            .on_panic(OnPanic::<u64>::dead_letter(&tag).after(2));
        numbers.side_output(&tag).map(|letter| letter.record).sink("dead", dead);
        numbers.sink("out", out);
        let job = env.start().unwrap();
        watched(&handles, &job);
        keep_rescaling(&job, [3, 1, 4, 2].into_iter().cycle(), || turns(10)).await;
        assert_eq!(job.await.unwrap().kind, OutcomeKind::Finished);
    });
    assert_eq!(sorted(letters.snapshot()), POISON);
    let mut counts = [0u64; 11];
    (0..N).filter(|n| !POISON.contains(n)).for_each(|n| counts[(n % 11) as usize] += 1);
    let expected = (0u64..).zip(counts).flat_map(|(key, count)| (1..=count).map(move |n| (key, n)));
    assert_eq!(sorted(collected.snapshot()), sorted(expected.collect()));
}
