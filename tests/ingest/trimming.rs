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
use crate::{log_error, open, read_all};

fn options() -> IngestOptions {
    IngestOptions::new().splits(2).buffer(500, 8_000).record_bytes_max(1_000).log_bytes_max(40_000)
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

/// A file that holds a full log, with what pages leave free, has less than half of this.
const FILE_BYTES_MAX: u64 = 320_000;

#[test]
fn log_and_its_file_stay_small_over_many_checkpoints() {
    run("trimming", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let env = checkpointed("trimmed", 2, None).snapshot_store(MemoryStore::new());
        let (job, handle, collected) = start(folder.path(), options(), env);
        watched(&handles, &job);
        let file = || fs::metadata(folder.path().join("log")).unwrap().len();
        let mut sent = 0;
        for _ in 0..300 {
            // The log holds some 30 of these at most; after that the sender waits for checkpoints.
            handle.send_all(sent..sent + 50).await.unwrap();
            sent += 50;
            let status = handle.status();
            assert!(status.log_bytes <= 40_000, "{status:?}");
        }
        // What was sent alone is more.
        assert!(file() <= FILE_BYTES_MAX, "{} bytes for {sent} records", file());
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

/// Cause: after a reset the retained checkpoints of before it named offsets that the job had not come to, and what was there was
/// trimmed unread. Repair: nothing is trimmed that the newest checkpoint has not passed.
#[test]
fn checkpoints_of_before_a_reset_let_nothing_be_trimmed_that_nobody_has_read() {
    run("trims after a reset", |_| async {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("log"), folder.path().join("older"));
        let open = || open(folder.path(), options().splits(1).offset_reset(OffsetReset::Earliest));
        let (source, handle) = open();
        handle.send_all(0..10).await.unwrap();
        close_later(source, &handle).await;
        fs::copy(&path, &older).unwrap();
        let (source, handle) = open();
        handle.send_all(10..100).await.unwrap();
        let stale = read_all(&source).positions;
        close_later(source, &handle).await;
        fs::copy(&older, &path).unwrap();
        let (source, handle) = open();
        handle.send_all(1_000..1_020).await.unwrap();
        let mut reader = source.open(&source_context(0, 1), Some(stale.clone())).unwrap();
        let mut moved = Vec::new();
        reader.report_positions(&mut moved);
        let completed = CompletedPositions::new(CheckpointId(9), moved, Some(stale));
        reader.checkpoint_completed(&completed).unwrap();
        // What is to be trimmed is trimmed with this at the latest.
        handle.send(7).await.unwrap();
        assert_eq!(handle.status().splits[0].start, 0);
    });
}

async fn close_later(source: IngestSource<u64>, handle: &IngestHandle<u64>) {
    drop(source);
    handle.closed().await;
}

/// A program that says `restore_from` holds the log back from its second attempt on: the limit is told where it is met.
#[test]
fn log_is_trimmed_again_once_the_program_does_not_say_restore_from_any_more() {
    run("restore_from", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let savepoint = folder.path().join("savepoint");
        let env = |restores: bool| {
            let env =
                checkpointed("restored", 1, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            if restores { env.restore_from(&savepoint) } else { env }
        };
        let first = checkpointed("restored", 1, None).snapshot_store(MemoryStore::new());
        let (job, handle, _) = start(folder.path(), options(), first);
        watched(&handles, &job);
        handle.send_all(0..10).await.unwrap();
        job.savepoint(&savepoint).await.unwrap();
        job.cancel().await.unwrap();
        for restores in [true, true] {
            let (job, handle, _) = start(folder.path(), options(), env(restores));
            watched(&handles, &job);
            handle.send_all(10..60).await.unwrap();
            for _ in 0..6 {
                job.checkpoint().await.unwrap();
            }
            job.drain().await.unwrap();
        }
        let (job, handle, _) = start(folder.path(), options(), env(false));
        watched(&handles, &job);
        while handle.status().splits.iter().any(|split| split.start < 20) {
            handle.send_all(60..110).await.unwrap();
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap();
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
