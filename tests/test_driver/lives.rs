//! From one life of a job to the next: what a crash takes, and what another version of the program takes over.

use std::time::Duration;

use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};

use crate::parts;
use crate::time::aligned;

/// Passes numbers on, in one subtask.
fn numbers() -> StreamEnvironment {
    let env = StreamEnvironment::new("numbers").parallelism(1);
    env.source("numbers", VecSource::<u64>::new(Vec::new())).sink("out", CollectSink::new());
    env
}

/// A later version, in which source and sink are called otherwise.
fn renamed() -> StreamEnvironment {
    let env = StreamEnvironment::new("numbers").parallelism(1);
    let numbers = env.source("records", VecSource::<u64>::new(Vec::new())).formerly("numbers");
    numbers.sink("results", CollectSink::new()).formerly("out");
    env
}

#[test]
fn renamed_source_reads_on_and_a_renamed_sink_commits_what_was_pending() {
    let mut driver = TestDriver::new(1, numbers).unwrap();
    driver.source("numbers").unwrap().feed_all([1_u64, 2, 3]);
    driver.run_until_idle().unwrap();
    driver.begin_checkpoint().unwrap();
    while driver.status().unwrap().newest_checkpoint.is_none() {
        assert!(driver.step().unwrap());
    }
    driver.restart_as(renamed).unwrap();
    assert!(matches!(driver.source::<u64>("numbers"), Err(TestDriverError::UnknownSource { .. })));
    driver.source("records").unwrap().feed_all([4_u64, 5]);
    driver.finish().unwrap();
    assert_eq!(driver.sink::<u64>("results").unwrap().committed(), [1, 2, 3, 4, 5]);
}

#[test]
fn what_was_not_prepared_is_gone_with_the_crash() {
    let mut driver = TestDriver::new(1, numbers).unwrap();
    driver.source("numbers").unwrap().feed(1_u64);
    driver.run_until_idle().unwrap();
    let out = driver.sink::<u64>("out").unwrap();
    assert_eq!(out.written(), [1]);
    driver.crash().unwrap();
    assert!(out.written().is_empty());
    driver.run_until_idle().unwrap();
    assert_eq!(out.written(), [1]);
}

/// Sums of a second, of two splits.
fn sums() -> StreamEnvironment {
    let env = StreamEnvironment::new("sums").parallelism(2);
    let times = WatermarkStrategy::punctuated(|n: &u64| *n as i64, |_, _| None);
    env.source_with_watermarks("numbers", VecSource::<u64>::new(Vec::new()), times)
        .key_by(|_| 0_u8)
        .window(TumblingWindows::event_time(Duration::from_secs(1)))
        .reduce("sum", |a, b| a + b)
        .sink("sums", CollectSink::new());
    env
}

#[test]
fn split_that_is_idle_is_so_after_a_crash() {
    let sums = assert_survives_crashes(1, sums, |driver: &mut TestDriver| {
        let numbers = driver.source::<u64>("numbers")?;
        numbers.split(1).idle();
        numbers.split(0).feed(10);
        driver.checkpoint()?;
        driver.checkpoint()?;
        numbers.split(0).feed(20).watermark(1_000);
        driver.run_until_idle()?;
        Ok(driver.sink::<u64>("sums")?.written())
    });
    assert_eq!(sums.unwrap(), [30]);
}

#[test]
fn any_number_of_answers_is_seen_within_one_call_of_a_runtime() {
    actix_rt::System::new().block_on(async {
        for seed in 0..200 {
            let mut driver = TestDriver::new(seed, parts).unwrap();
            driver.source("numbers").unwrap().feed(5_u64);
            driver.checkpoint().unwrap();
            driver.finish().unwrap();
        }
    });
}

#[test]
fn job_whose_sources_wait_for_each_other_finishes() {
    let mut driver = TestDriver::new(3, aligned(Duration::from_millis(100))).unwrap();
    driver.source("second").unwrap().feed(1_u64);
    driver.source("first").unwrap().feed_all((0..10_u64).map(|n| n * 1_000));
    driver.finish().unwrap();
    assert_eq!(driver.sink::<u64>("out").unwrap().committed().len(), 11);
}
