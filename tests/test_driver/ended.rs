//! Inputs that have ended beside idle ones: how far they had come is known after a crash, too. A stream of which all inputs are idle or at
//! their end goes on to the greatest time among them.

use std::time::Duration;

use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError, assert_survives_crashes};

const IDLE_AFTER: Duration = Duration::from_secs(10);

fn source(env: &StreamEnvironment, id: &str) -> DataStream<u64> {
    let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64).with_idleness(IDLE_AFTER);
    env.source_with_watermarks(id, VecSource::<u64>::new(Vec::new()), strategy)
}

/// Sums of seconds.
fn sums(numbers: DataStream<u64>) {
    numbers
        .key_by(|_| 0_u8)
        .window(TumblingWindows::event_time(Duration::from_secs(1)))
        .reduce("sum", |a, b| a + b)
        .sink("sums", CollectSink::new());
}

/// Two sources of two subtasks each, joined in this way.
fn two(join: fn(DataStream<u64>, DataStream<u64>) -> DataStream<u64>) -> StreamEnvironment {
    let env = StreamEnvironment::new("two").parallelism(2);
    sums(join(source(&env, "ended"), source(&env, "quiet")));
    env
}

/// What windows have given when one source has ended and the other one is idle.
fn of_two(build: impl Fn() -> StreamEnvironment + Clone + 'static) -> Vec<u64> {
    let sums = assert_survives_crashes(1, build, |driver: &mut TestDriver| {
        let (ended, quiet) = (driver.source::<u64>("ended")?, driver.source::<u64>("quiet")?);
        ended.split(0).feed(600).feed(2_500);
        ended.split(1).feed(1_700);
        quiet.split(0).feed(400);
        ended.end();
        driver.run_until_idle()?;
        driver.checkpoint()?;
        idles(driver)?;
        Ok(driver.sink::<u64>("sums")?.written())
    });
    sums.unwrap()
}

/// Long enough, also after a crash in the middle.
fn idles(driver: &mut TestDriver) -> Result<(), TestDriverError> {
    for _ in 0..3 {
        driver.advance_processing_time(IDLE_AFTER)?;
        driver.run_until_idle()?;
    }
    Ok(())
}

/// Guarantee T2.
#[test]
fn union_of_an_ended_source_with_an_idle_one_is_as_far_after_a_crash() {
    assert_eq!(of_two(|| two(DataStream::union)), [1_000, 1_700]);
}

/// Guarantee T2.
#[test]
fn connected_streams_of_which_one_has_ended_and_the_other_is_idle_are_as_far_after_a_crash() {
    let sums = of_two(|| two(|ended, quiet| ended.connect(quiet).map(|n| n, |n| n)));
    assert_eq!(sums, [1_000, 1_700]);
}
