//! Whole jobs, while files grow and are rotated.

use std::time::Duration;

use millstream::prelude::*;
use millstream::source::FileSourceError;

use crate::common::{CountedPanics, checkpointed, run, sorted, watched};
use crate::rig::{EVERY, Logs};

/// Writes lines to `app.log`, and rotates it after a number of lines that differs.
pub(crate) struct Writer<'a> {
    pub(crate) logs: &'a Logs,
    pub(crate) written: u64,
    pub(crate) files: u32,
    pub(crate) draw: fn(u64) -> u64,
}

impl Writer<'_> {
    /// A step: a few lines, the last perhaps without its end as yet, and a rotation sometimes.
    pub(crate) fn step(&mut self) {
        let drawn = (self.draw)(self.written);
        for _ in 0..1 + drawn % 40 {
            let line = format!("line {}\n", self.written);
            let middle = (drawn % line.len() as u64) as usize;
            self.logs.append("app.log", &line[..middle]);
            self.logs.append("app.log", &line[middle..]);
            self.written += 1;
        }
        if drawn.is_multiple_of(3) {
            self.files += 1;
            self.logs.rename("app.log", &format!("app.log.{}", self.files));
        }
    }
}

pub(crate) fn draw(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

pub(crate) fn expected(lines: u64) -> Vec<String> {
    sorted((0..lines).map(|number| format!("line {number}")).collect())
}

#[test]
fn output_through_panics_and_rotations_is_that_of_an_undisturbed_run() {
    for (parallelism, panics) in [(1, vec![]), (1, vec![30, 400, 900]), (2, vec![1, 2, 500]), (3, vec![200, 300, 800])]
    {
        run("a job that follows", move |handles| async move {
            let (logs, sink) = (Logs::new(), CollectSink::new());
            let (collected, panics) = (sink.handle(), CountedPanics::at(&panics));
            let env = checkpointed("follows", parallelism, None).snapshot_store(MemoryStore::new());
            let source = FileSource::lines(logs.pattern("app.log*")).follow(Follow::every(Duration::from_millis(2)));
            env.source("lines", source).inspect(move |_| panics.count_and_panic()).sink("out", sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut writer = Writer { logs: &logs, written: 0, files: 0, draw };
            while writer.written < 1_500 {
                writer.step();
                // It may be restarting.
                let _ = job.checkpoint().await;
            }
            job.finish().await.unwrap();
            assert_eq!(sorted(collected.snapshot()), expected(writer.written));
        });
    }
}

#[test]
fn drained_job_goes_on_where_it_was_at_another_parallelism() {
    run("a job that is drained", |handles| async move {
        let (logs, store) = (Logs::new(), tempfile::tempdir().unwrap());
        let mut writer = Writer { logs: &logs, written: 0, files: 0, draw };
        let mut read = Vec::new();
        for parallelism in [2, 1, 3, 2, 4] {
            let sink = CollectSink::new();
            let collected = sink.handle();
            let env = checkpointed("drained", parallelism, None)
                .snapshot_store(RedbStore::open(store.path().join("store")).unwrap());
            let source = FileSource::lines(logs.pattern("app.log*")).follow(Follow::every(Duration::from_millis(2)));
            env.source("lines", source).sink("out", sink);
            let job = env.start().unwrap();
            watched(&handles, &job);
            for _ in 0..10 {
                writer.step();
                job.checkpoint().await.unwrap();
            }
            if parallelism == 4 {
                job.finish().await.unwrap()
            } else {
                job.drain().await.unwrap()
            };
            read.extend(collected.snapshot());
            writer.step();
            if parallelism == 4 {
                // After the end.
                writer.written = read.len() as u64;
            }
        }
        assert_eq!(sorted(read), expected(writer.written));
    });
}

#[test]
fn file_that_is_cut_short_ends_the_job_with_its_path() {
    run("a file that is cut short", |handles| async move {
        let (logs, sink) = (Logs::new(), CollectSink::new());
        let collected = sink.handle();
        logs.append("app.log", "one\ntwo\n");
        let env = checkpointed("cut", 2, None).snapshot_store(MemoryStore::new());
        let source = FileSource::lines(logs.pattern("app.log")).follow(Follow::every(Duration::from_millis(2)));
        env.source("lines", source).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        while collected.snapshot().len() < 2 {
            job.checkpoint().await.unwrap();
        }
        std::fs::write(logs.path("app.log"), "").unwrap();
        let error = job.await.unwrap_err();
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        let mut found = false;
        while let Some(error) = cause {
            found |= matches!(error.downcast_ref(), Some(FileSourceError::Rewritten { offset: 8, len: 0, .. }));
            cause = error.source();
        }
        assert!(error.to_string().contains("app.log"), "{error}");
        assert!(found || error.to_string().contains("cut short"), "{error}");
    });
}

#[test]
fn looks_go_by_the_clock_of_the_job() {
    run("a clock that a test moves", |handles| async move {
        let (logs, sink, clock) = (Logs::new(), CollectSink::new(), millstream::time::ManualClock::new());
        let collected = sink.handle();
        let env = checkpointed("clock", 1, None).snapshot_store(MemoryStore::new()).clock(clock.clone());
        env.source("lines", logs.lines("app.log")).sink("out", sink);
        let job = env.start().unwrap();
        watched(&handles, &job);
        // Its store has answered: what waits by the clock now is the watchdog, the next checkpoint and the next look.
        job.checkpoint().await.unwrap();
        clock.wait_for_sleepers(3).await;
        logs.append("app.log", "one\n");
        job.checkpoint().await.unwrap();
        assert!(collected.snapshot().is_empty(), "it has not looked");
        clock.advance(EVERY);
        while collected.snapshot().is_empty() {
            job.checkpoint().await.unwrap();
        }
        job.cancel().await.unwrap();
    });
}
