//! Jobs that read a log: panics, restarts, each way to end, and the next start.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use millstream::SavepointError;
use millstream::prelude::*;
use millstream::source::{IngestError, IngestHandle, IngestOptions};

use crate::common::{
    BOUND_MS, CountedPanics, Watched, checkpointed, committed_lines, plain_totals, run, sorted, time_of, watched,
    window_totals,
};
use crate::gate::Gate;
use crate::open;

/// So that most is read from the file.
fn small() -> IngestOptions {
    IngestOptions::new().splits(3).buffer(64, 2_000).record_bytes_max(100)
}

/// Sends numbers by sixteen tasks that wait for each.
async fn send_all(handle: &IngestHandle<u64>, numbers: std::ops::Range<u64>) {
    let (next, end) = (AtomicU64::new(numbers.start), numbers.end);
    let sender = || async {
        while let Some(n) = Some(next.fetch_add(1, Ordering::SeqCst)).filter(|n| *n < end) {
            handle.send(n).await.unwrap();
        }
    };
    join_all((0..16).map(|_| sender())).await;
}

/// Each number counted by its remainder, which does not depend on their order.
fn plain_counts(end: u64) -> Vec<(u64, u64)> {
    sorted((0..end).map(|n| (n % 7, n / 7 + 1)).collect())
}

#[test]
fn every_record_counts_once_wherever_functions_panic_at_any_parallelism() {
    for (parallelism, at) in [(1, vec![3]), (2, vec![0, 90, 91, 300]), (4, (0..12).map(|n| 50 * n).collect())] {
        let counts = run("panics", move |handles| async move {
            let folder = tempfile::tempdir().unwrap();
            let (source, handle) = open(folder.path(), small());
            send_all(&handle, 0..100).await;
            let (sink, panics) = (CollectSink::new(), CountedPanics::at(&at));
            let counts = sink.handle();
            let env = checkpointed("counts", parallelism, None)
                .snapshot_store(MemoryStore::new())
                .restart_strategy(RestartStrategy::fixed_delay(20, Duration::ZERO));
            env.source("numbers", source)
                .inspect(move |_| panics.count_and_panic())
                .key_by(|n| n % 7)
                .fold("count", 0_u64, |count, _| *count += 1)
                .sink("counts", sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            send_all(&handle, 100..700).await;
            let outcome = job.finish().await.unwrap();
            assert_eq!(outcome.kind, OutcomeKind::Finished);
            assert!(outcome.restarts >= 1);
            counts.snapshot()
        });
        assert_eq!(sorted(counts), plain_counts(700), "parallelism {parallelism}");
    }
}

#[test]
fn windows_of_pushed_records_are_those_of_a_plain_loop_through_panics() {
    for parallelism in [1, 4] {
        let totals = run("windows", move |handles| async move {
            let folder = tempfile::tempdir().unwrap();
            let (source, handle) = open(folder.path(), small());
            let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[5, 200, 600]));
            let totals = sink.handle();
            let env = checkpointed("windows", parallelism, None).snapshot_store(MemoryStore::new());
            let bound = Duration::from_millis(BOUND_MS);
            let strategy = WatermarkStrategy::bounded_out_of_orderness(bound, |n: &u64| time_of(*n));
            window_totals(env.source_with_watermarks("numbers", source, strategy), panics, sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            for n in 0..150 {
                handle.send_all(n * 20..(n + 1) * 20).await.unwrap();
            }
            job.finish().await.unwrap();
            totals.snapshot()
        });
        assert_eq!(sorted(totals), plain_totals(3_000), "parallelism {parallelism}");
    }
}

/// Sends from sixteen tasks until each is refused. Those that were acknowledged, and why the others were not.
async fn flood(handle: IngestHandle<u64>, next: Arc<AtomicU64>) -> (Vec<u64>, Vec<IngestError>) {
    let sender = || async {
        let mut taken = Vec::new();
        loop {
            let n = next.fetch_add(1, Ordering::SeqCst);
            match handle.send(n).await {
                Ok(_) => taken.push(n),
                Err(error) => return (taken, error),
            }
        }
    };
    let (taken, refused): (Vec<_>, Vec<_>) = join_all((0..16).map(|_| sender())).await.into_iter().unzip();
    (taken.concat(), refused)
}

/// A life of the job on the log and the store in this folder.
fn life(folder: &Path, parallelism: u32, panics: bool) -> (JobHandle, IngestHandle<u64>) {
    let (source, handle) = open(folder, small());
    let restarts = if panics { RestartStrategy::none() } else { RestartStrategy::exponential_delay() };
    let env = checkpointed("lives", parallelism, None)
        .snapshot_store(RedbStore::open(folder.join("store")).unwrap())
        .restart_strategy(restarts);
    let seen = AtomicU64::new(0);
    let seen = Arc::new(seen);
    env.source("numbers", source)
        .inspect(move |_| assert!(!panics || seen.fetch_add(1, Ordering::SeqCst) < 50, "told to"))
        .sink("out", FileSink::json_lines(folder.join("out")));
    (env.start().unwrap(), handle)
}

#[test]
fn acknowledged_records_are_in_the_output_once_over_every_end_of_the_job_and_the_next_start() {
    run("lives", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let next = Arc::new(AtomicU64::new(0));
        let mut taken = Vec::new();
        let ends = ["drain", "cancel", "fail", "savepoint", "drain", "cancel", "finish"];
        for (index, end) in ends.into_iter().enumerate() {
            let (job, handle) = life(folder.path(), [1, 4, 2][index % 3], end == "fail");
            watched(&handles, &job);
            let flood = actix_rt::spawn(flood(handle.clone(), next.clone()));
            if end != "fail" {
                job.checkpoint().await.unwrap();
            }
            let is_well = match end {
                "drain" => job.drain().await.is_ok(),
                "cancel" => job.cancel().await.is_ok(),
                "savepoint" => job.stop_with_savepoint(folder.path().join("savepoint")).await.is_ok(),
                "finish" => job.finish().await.is_ok(),
                _ => job.clone().await.is_ok(),
            };
            assert_eq!(is_well, end != "fail", "{end}");
            let (acknowledged, refused) = flood.await.unwrap();
            taken.extend(acknowledged);
            for error in refused {
                let is_about = matches!(error, IngestError::Draining { .. }) && !["cancel", "fail"].contains(&end);
                assert!(is_about || matches!(error, IngestError::Ended { .. }), "{end}: {error}");
            }
            assert!(matches!(handle.send(0).await, Err(IngestError::Ended { .. })), "{end}");
            assert!(matches!(handle.try_send(0).unwrap_err().error, IngestError::Ended { .. }), "{end}");
        }
        let lines = committed_lines(&folder.path().join("out"));
        let lines: Vec<u64> = lines.iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(sorted(lines), sorted(taken));
    });
}

#[test]
fn job_whose_savepoint_cannot_be_written_takes_records_again() {
    run("a savepoint that fails", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, handle) = open(folder.path(), small());
        let sink = CollectSink::new();
        let collected = sink.handle();
        let env = checkpointed("goes on", 2, None).snapshot_store(MemoryStore::new());
        env.source("numbers", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        handle.send(0).await.unwrap();
        // Something is there already.
        let failed = job.stop_with_savepoint(folder.path().join("log")).await;
        assert!(matches!(failed, Err(SavepointError::File { .. } | SavepointError::Interrupted)), "{failed:?}");
        while handle.send(1).await.is_err() {
            actix_rt::task::yield_now().await;
        }
        job.finish().await.unwrap();
        assert_eq!(sorted(collected.snapshot()), [0, 1]);
    });
}

/// Drains a job, or stops it with a savepoint, and finishes it at once. How it has ended, and its output.
async fn drain_and_finish(handles: Watched, with_savepoint: bool) -> (OutcomeKind, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let (source, handle) = open(folder.path(), small());
    send_all(&handle, 0..200).await;
    let (sink, gate) = (CollectSink::new(), Gate::default());
    let collected = sink.handle();
    let env = checkpointed("ends", 1, None).snapshot_store(MemoryStore::new());
    let held = gate.clone();
    gate.hold();
    let hold_up = move |n: &u64| {
        if *n == 100 {
            held.pass();
        }
    };
    env.source("numbers", source).inspect(hold_up).sink("out", sink);
    let job = env.start().unwrap();
    watched(&handles, &job);
    gate.wait_for_one();
    let drained = (!with_savepoint).then(|| job.drain());
    let stopped = with_savepoint.then(|| job.stop_with_savepoint(folder.path().join("savepoint")));
    let finished = job.finish();
    gate.release();
    let outcome = finished.await.unwrap();
    if let Some(drained) = drained {
        assert_eq!(drained.await.unwrap().kind, outcome.kind);
    }
    drop(stopped);
    (outcome.kind, sorted(collected.snapshot()))
}

/// Cause: a source that had been told to stop took no order to finish. Repair: it reads on to its end.
#[test]
fn finish_after_drain_or_a_savepoint_reads_all_that_was_acknowledged_and_ends_the_input() {
    for with_savepoint in [false, true] {
        // The order may come after the last checkpoint of the drain has begun: that is too late.
        let mut ends = (0..20).map(|_| run("drain", move |handles| drain_and_finish(handles, with_savepoint)));
        let (_, records) = ends.find(|(kind, _)| *kind == OutcomeKind::Finished).expect("it always drains");
        assert!(records.into_iter().eq(0..200));
    }
}

#[test]
fn finish_reads_what_was_acknowledged_before_it_also_if_that_fails_on_the_way() {
    run("finish through a panic", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, handle) = open(folder.path(), small());
        let sink = CollectSink::new();
        let collected = sink.handle();
        let env = checkpointed("finish", 2, None).snapshot_store(MemoryStore::new());
        let (armed, finishing) = (AtomicBool::new(true), Arc::new(AtomicBool::new(false)));
        let (armed, panics) = (Arc::new(armed), finishing.clone());
        env.source("numbers", source)
            .inspect(move |n| {
                let panics = *n == 499 && panics.load(Ordering::SeqCst) && armed.swap(false, Ordering::SeqCst);
                assert!(!panics, "told to");
            })
            .sink("out", sink);
        // All of it is there before the job starts.
        send_all(&handle, 0..500).await;
        finishing.store(true, Ordering::SeqCst);
        let job = env.start().unwrap();
        watched(&handles, &job);
        let outcome = job.finish().await.unwrap();
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
        let all: BTreeSet<u64> = collected.snapshot().into_iter().collect();
        assert_eq!((all.len(), collected.snapshot().len()), (500, 500));
    });
}

#[test]
fn record_that_comes_while_the_job_is_idle_is_read_at_once_and_a_slow_job_s_log_keeps_what_waits() {
    run("idle", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, handle) = open(folder.path(), small());
        let (read, mut was_read) = tokio::sync::mpsc::unbounded_channel();
        let env = checkpointed("idle", 2, None).snapshot_store(MemoryStore::new());
        env.source("numbers", source).for_each("read", move |n| read.send(n).unwrap_or(()));
        let job = env.start().unwrap();
        watched(&handles, &job);
        for n in 0..200 {
            handle.send(n).await.unwrap();
            assert_eq!(was_read.recv().await, Some(n), "nothing else wakes the reader");
        }
        job.cancel().await.unwrap();
    });
}
