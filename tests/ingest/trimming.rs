//! What of a log is kept, and what it is not.

use std::fs;
use std::path::Path;

use millstream::prelude::*;
use millstream::source::{
    Batch, CompletedPositions, IngestError, IngestHandle, IngestLogError, IngestOptions, OffsetReset, ReadStatus,
    Source,
};
use millstream::testing::{DiskFault, FaultyDisk, source_context};
use millstream::{CheckpointId, JobError, TaskError};

use crate::common::{checkpointed, run, sorted, watched};
use crate::{log_error, open};

fn options() -> IngestOptions {
    IngestOptions::new().splits(2).buffer(1_000, 20_000).record_bytes_max(1_000).log_bytes_max(40_000)
}

/// A job that reads the log in this folder.
fn start(
    folder: &Path,
    options: IngestOptions,
    env: StreamEnvironment,
) -> (JobHandle, IngestHandle<u64>, millstream::sink::Collected<u64>) {
    let (source, handle) = open(folder, options);
    let sink = CollectSink::new();
    let collected = sink.handle();
    env.source("numbers", source).sink("out", sink);
    (env.start().unwrap(), handle, collected)
}

#[test]
fn log_and_its_file_stay_small_over_many_checkpoints() {
    run("trimming", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let env = checkpointed("trimmed", 2, None).snapshot_store(MemoryStore::new());
        let (job, handle, collected) = start(folder.path(), options(), env);
        watched(&handles, &job);
        let file = || fs::metadata(folder.path().join("log")).unwrap().len();
        let (mut sent, mut early) = (0, 0);
        for round in 0..200 {
            // The log holds some 30 of these at most; after that the sender waits for checkpoints.
            handle.send_all(sent..sent + 50).await.unwrap();
            sent += 50;
            let status = handle.status();
            assert!(status.log_bytes <= 40_000, "{status:?}");
            if round == 60 {
                early = file();
            }
        }
        assert!(file() <= 2 * early, "{early} bytes have become {}", file());
        assert!(handle.status().splits.iter().all(|split| split.start > 1_000), "{:?}", handle.status());
        job.finish().await.unwrap();
        assert!(sorted(collected.snapshot()).into_iter().eq(0..sent));
    });
}

#[test]
fn full_log_holds_senders_up_until_a_job_has_read_and_completed_what_is_there() {
    run("a full log", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, handle) = open(folder.path(), options());
        let mut acknowledgements = Vec::new();
        let refused = loop {
            match handle.try_send(acknowledgements.len() as u64) {
                Ok(acknowledgement) => acknowledgements.push(acknowledgement),
                Err(refused) if handle.status().log_bytes > 20_000 => break refused,
                // The writer has not come so far.
                Err(_) => actix_rt::task::yield_now().await,
            }
        };
        assert!(matches!(refused.error, IngestError::Full { .. }));
        let sink = CollectSink::new();
        let collected = sink.handle();
        let env = checkpointed("reads", 1, None).snapshot_store(MemoryStore::new());
        env.source("numbers", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let sent = acknowledgements.len() as u64;
        for acknowledgement in acknowledgements {
            acknowledgement.await.unwrap();
        }
        handle.send(sent).await.unwrap();
        job.finish().await.unwrap();
        assert!(sorted(collected.snapshot()).into_iter().eq(0..=sent));
    });
}

#[test]
fn start_from_a_savepoint_older_than_what_was_trimmed_names_the_gap_or_accepts_it() {
    run("an old savepoint", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let savepoint = folder.path().join("savepoint");
        let env = checkpointed("old", 1, None).snapshot_store(MemoryStore::new());
        let (job, handle, _) = start(folder.path(), options(), env);
        watched(&handles, &job);
        handle.send_all(0..10).await.unwrap();
        job.savepoint(&savepoint).await.unwrap();
        for n in 0..100 {
            handle.send_all(n * 50..(n + 1) * 50).await.unwrap();
        }
        while handle.status().splits.iter().any(|split| split.start < 100) {
            handle.send(7).await.unwrap();
            job.checkpoint().await.unwrap();
        }
        job.drain().await.unwrap();

        let again = |options| {
            let env = StreamEnvironment::new("old").parallelism(1).restore_from(&savepoint);
            start(folder.path(), options, env.snapshot_store(MemoryStore::new()))
        };
        let (job, _, _) = again(options());
        watched(&handles, &job);
        let failed = job.await.unwrap_err();
        let JobError::Failed { error: TaskError::Source(error), .. } = &failed else { panic!("{failed}") };
        let IngestLogError::Trimmed { position, start: begins, .. } = log_error(error) else { panic!("{error}") };
        assert!(*position <= 10 && *begins >= 100, "{error}");

        let (job, handle, collected) = again(options().offset_reset(OffsetReset::Earliest));
        watched(&handles, &job);
        handle.send(99).await.unwrap();
        job.finish().await.unwrap();
        assert!(collected.snapshot().contains(&99));

        let env = StreamEnvironment::new("anew").parallelism(1).snapshot_store(MemoryStore::new());
        let (job, _, _) = start(folder.path(), options(), env);
        watched(&handles, &job);
        let failed = job.await.unwrap_err();
        assert!(failed.to_string().contains("would read on at offset 0"), "an empty store: {failed}");
    });
}

/// Cause: a trim that failed was done with the next records only, and a log that is full takes none. Repair: the writer tries again
/// by itself, and each checkpoint has it try.
#[test]
fn trim_that_fails_while_the_log_is_full_is_tried_again_though_nobody_can_send() {
    run("a trim that fails", |_| async {
        let disk = FaultyDisk::new();
        let opened = disk.clone();
        let opened = IngestSource::<u64>::open_on("disk", move || Ok(opened.handle()), options().splits(1));
        let (source, handle) = opened.unwrap();
        fill(&handle).await;
        let mut reader = source.open(&source_context(0, 1), None).unwrap();
        let mut batch = Batch::new();
        while reader.read(&mut batch).unwrap() == ReadStatus::More {
            batch.clear();
        }
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        disk.inject(disk.operations() + 1, DiskFault::Fail);
        let completed = CompletedPositions::new(CheckpointId(1), moved.clone(), Some(moved));
        reader.checkpoint_completed(&completed).unwrap();
        handle.send(1).await.unwrap();
        assert!(handle.status().splits[0].start > 1_000, "{:?}", handle.status());
    });
}

/// Sends until the log is full, and the writer waits.
async fn fill(handle: &IngestHandle<u64>) {
    let mut full = 0;
    while full < 1_000 {
        let is_refused = handle.try_send(1 << 40).is_err() && handle.status().log_bytes > 30_000;
        full = if is_refused { full + 1 } else { 0 };
        actix_rt::task::yield_now().await;
    }
}
