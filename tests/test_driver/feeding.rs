//! How sources are fed, and how a job goes on and ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use millstream::operator::OutputTag;
use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError};

use crate::parts;

#[test]
fn records_go_to_the_split_that_is_named_and_keep_its_order() {
    let build = || {
        let env = StreamEnvironment::new("splits").parallelism(7);
        env.source("numbers", VecSource::<u64>::new(Vec::new()))
            .process("where", Where)
            .sink("where-they-were", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(4, build).unwrap();
    let numbers = driver.source::<u64>("numbers").unwrap();
    assert_eq!(numbers.splits(), 7);
    numbers.feed_all(0..7);
    numbers.split(2).feed(92).feed(82);
    numbers.split(1).end();
    numbers.feed_all(10..17);
    driver.finish().unwrap();
    let mut of_subtask: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (subtask, n) in driver.sink::<(u32, u64)>("where-they-were").unwrap().committed() {
        of_subtask.entry(subtask).or_default().push(n);
    }
    let expected = [vec![0, 10, 16], vec![1], vec![2, 92, 82, 11], vec![3, 12], vec![4, 13], vec![5, 14], vec![6, 15]];
    assert_eq!(of_subtask, BTreeMap::from_iter((0..).zip(expected)));
}

/// Emits each number with the subtask that has it.
#[derive(Clone)]
struct Where;

impl ProcessFunction<u64> for Where {
    type Out = (u32, u64);
    type State = ();

    fn state(&self) {}

    fn process(&mut self, n: u64, (): (), ctx: &mut ProcessContext<'_>, out: &mut Emitter<'_, (u32, u64)>) {
        out.emit((ctx.subtask(), n));
    }
}

#[test]
fn checkpoint_that_is_under_way_in_a_crash_is_asked_for_again() {
    let count = |crash_at: Option<u64>| {
        let mut driver = TestDriver::new(8, parts).unwrap();
        crash_at.into_iter().for_each(|step| driver.crash_at(step));
        driver.source("numbers").unwrap().feed_all(1_u64..=20);
        driver.checkpoint().unwrap();
        let committed = driver.sink::<u64>("parts").unwrap().committed();
        assert!(!committed.is_empty() || crash_at.is_none());
        (committed.len(), driver.steps())
    };
    let (_, steps) = count(None);
    for step in 0..steps {
        count(Some(step));
    }
}

#[test]
fn driver_runs_within_a_runtime_and_after_the_end_of_the_job() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut driver = TestDriver::new(6, parts).unwrap();
        driver.source("numbers").unwrap().feed_all((1_u64..=1_000).map(|n| n % 50 + 1));
        assert_eq!(driver.outcome().map(|outcome| outcome.kind), None);
        let outcome = driver.finish().unwrap();
        assert!(!outcome.already_complete);
        assert_eq!(driver.outcome(), Some(outcome));
        assert!(!driver.step().unwrap());
        assert!(matches!(driver.checkpoint(), Ok(_) | Err(TestDriverError::Checkpoint(_))));
        driver.crash().unwrap();
        assert!(driver.finish().unwrap().already_complete);
        assert_eq!(driver.sink::<u64>("parts").unwrap().committed().len(), 1_000);
    });
}

#[test]
fn what_a_source_has_for_a_side_output_is_fed_beside_its_records() {
    let malformed = OutputTag::<String>::new("malformed");
    let tag = malformed.clone();
    let build = move || {
        let env = StreamEnvironment::new("side");
        let lines = env.source("lines", VecSource::<u64>::new(Vec::new()));
        lines.side_output(&tag).map(|line| line.len()).sink("refused", CollectSink::new());
        lines.sink("taken", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(2, build).unwrap();
    let lines = driver.source::<u64>("lines").unwrap();
    lines.feed(7).feed_side(&malformed, "x y".to_owned()).feed(8);
    driver.finish().unwrap();
    assert_eq!(driver.sink::<usize>("refused").unwrap().committed(), [3]);
    assert_eq!(driver.sink::<u64>("taken").unwrap().committed(), [7, 8]);
}

/// Visits of each user so far.
fn visits(from: Option<&Path>, counts: CollectSink<(u64, u64)>) -> StreamEnvironment {
    let env = StreamEnvironment::new("visits").parallelism(2).checkpointing(Checkpointing::disabled());
    let env = from.into_iter().fold(env, StreamEnvironment::restore_from);
    let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64);
    let numbers = SequenceSource::new(0..u64::MAX).rate_per_second(1_000);
    env.source_with_watermarks("users", numbers, strategy)
        .map(|n| n % 3)
        .key_by(|user| *user)
        .fold("visits", 0_u64, |visits, _| *visits += 1)
        .sink("counts", counts);
    env
}

/// How many visits each user had at last.
fn last(counts: Vec<(u64, u64)>) -> BTreeMap<u64, u64> {
    counts.into_iter().collect()
}

#[test]
fn job_goes_on_from_a_savepoint_of_production() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("savepoint");
    let sink = CollectSink::new();
    let counts = sink.handle();
    let job = visits(None, sink).start().unwrap();
    actix_rt::System::new().block_on(async {
        while last(counts.snapshot()).len() < 3 {
            job.checkpoint().await.unwrap();
        }
        job.stop_with_savepoint(&path).await.unwrap();
    });
    let before = last(counts.snapshot());

    let mut driver = TestDriver::new(1, move || visits(Some(&path), CollectSink::new())).unwrap();
    let (users, counts) = (driver.source::<u64>("users").unwrap(), driver.sink::<(u64, u64)>("counts").unwrap());
    users.feed_all([0, 1, 2]);
    driver.checkpoint().unwrap();
    driver.crash().unwrap();
    users.feed_all([3, 4]);
    driver.finish().unwrap();
    assert_eq!(counts.committed().len(), 5);
    let expected = before.into_iter().map(|(user, visits)| (user, visits + if user < 2 { 2 } else { 1 }));
    assert_eq!(last(counts.committed()), expected.collect());
}

#[test]
fn nothing_of_a_job_is_left_after_a_crash_or_with_the_driver() {
    let held = Arc::new(());
    let of_job = held.clone();
    let build = move || {
        let (env, held) = (StreamEnvironment::new("held").parallelism(2), of_job.clone());
        env.source("numbers", VecSource::<u64>::new(Vec::new()))
            .rebalance()
            .map(move |n| {
                let _held = &held;
                n
            })
            .sink("out", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(3, build).unwrap();
    let numbers = driver.source("numbers").unwrap();
    let mut most = 0;
    for life in 0..20_u64 {
        numbers.feed_all(0_u64..10);
        driver.begin_checkpoint().unwrap();
        for _ in 0..life * 20 {
            driver.step().unwrap();
        }
        most = Arc::strong_count(&held).max(most);
        driver.crash().unwrap();
    }
    // Of the test, of the function that builds the job, of the graph, and of each subtask.
    assert_eq!((most, Arc::strong_count(&held)), (5, 3));
    drop(driver);
    assert_eq!(Arc::strong_count(&held), 1);
}
