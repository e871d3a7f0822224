//! What the driver says of mistakes: those of a test, and those of the job.

use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};
use millstream::{JobError, StartError};

use crate::parts;
use crate::time::delayed;

#[test]
fn wrong_names_and_types_are_told_with_those_that_there_are() {
    let driver = TestDriver::new(1, delayed).unwrap();
    let told = |error: TestDriverError| error.to_string();
    assert_eq!(told(driver.source::<u64>("late").unwrap_err()), "the job has no source 'late'; it has 'numbers'");
    assert_eq!(told(driver.sink::<u64>("results").unwrap_err()), "the job has no sink 'results'; it has 'late'");
    let error = driver.source::<u32>("numbers").unwrap_err();
    assert!(matches!(&error, TestDriverError::SourceType { id, actual: "u64", asked: "u32" , .. } if id == "numbers"));
    assert_eq!(told(error), "source 'numbers' has records of type u64, not u32");
    assert_eq!(told(driver.sink::<u64>("late").unwrap_err()), "sink 'late' takes records of type (u64, i64), not u64");
}

#[test]
fn job_with_mistakes_or_with_other_records_does_not_start() {
    let error = TestDriver::new(1, || StreamEnvironment::new("nothing")).unwrap_err();
    assert!(matches!(error, TestDriverError::Start(StartError::Graph(_))), "{error}");

    let mut driver = TestDriver::new(1, delayed).unwrap();
    let other = || {
        let env = StreamEnvironment::new("delayed");
        env.source("numbers", VecSource::new(vec!['a'])).sink("late", CollectSink::new());
        env
    };
    let error = driver.restart_as(other).unwrap_err();
    assert_eq!(error.to_string(), "source 'numbers' has records of type char, not u64");
    driver.restart_as(delayed).unwrap();
    driver.run_until_idle().unwrap();
}

#[test]
fn panic_of_a_function_is_a_typed_error_until_the_job_is_started_again() {
    let mut driver = TestDriver::new(1, parts).unwrap();
    let (numbers, parts) = (driver.source::<u64>("numbers").unwrap(), driver.sink::<u64>("parts").unwrap());
    numbers.feed(5);
    driver.checkpoint().unwrap();
    numbers.feed(10).feed(0);
    for _ in 0..2 {
        let error = driver.run_until_idle().unwrap_err();
        let TestDriverError::Failed(JobError::GaveUp { failures: 1, history, .. }) = &error else { panic!("{error}") };
        assert_eq!(history.len(), 1);
        let told = error.to_string();
        assert!(told.contains("attempt to divide by zero") && told.contains("numbers"), "{told}");
    }
    assert!(driver.checkpoint().is_err() && driver.step().is_err());
    driver.crash().unwrap();
    driver.run_until_idle().expect_err("it reads the same again");
    assert_eq!(parts.committed(), [20]);
}

#[test]
#[should_panic(expected = "source 'numbers' is fed after its end")]
fn source_that_has_ended_is_fed_no_more() {
    let driver = TestDriver::new(1, parts).unwrap();
    let numbers = driver.source::<u64>("numbers").unwrap();
    numbers.end();
    numbers.feed(1);
}

/// Numbers records by what no snapshot has.
fn numbered() -> StreamEnvironment {
    let env = StreamEnvironment::new("numbered");
    let next = std::cell::Cell::new(0_u64);
    env.source("records", VecSource::<char>::new(Vec::new()))
        .map(move |record| {
            next.set(next.get() + 1);
            (next.get(), record)
        })
        .sink("numbered", CollectSink::new());
    env
}

#[test]
#[should_panic(expected = "with seed 1 and a crash before step")]
fn state_that_is_hidden_in_a_closure_is_found_by_a_crash() {
    let scenario = |driver: &mut TestDriver| {
        driver.source("records")?.feed_all(['a', 'b']);
        driver.checkpoint()?;
        driver.source("records")?.feed_all(['c', 'd']);
        driver.finish()?;
        Ok(driver.sink::<(u64, char)>("numbered")?.committed())
    };
    drop(assert_survives_crashes(1, numbered, scenario));
}
