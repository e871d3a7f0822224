//! How sources are fed, and how a job goes on and ends.

use std::collections::BTreeMap;

use millstream::operator::OutputTag;
use millstream::prelude::*;
use millstream::testing::{TestDriver, TestDriverError};

use crate::parts;

#[test]
fn records_go_to_the_split_that_is_named_and_keep_its_order() {
    let build = || {
        let env = StreamEnvironment::new("splits").parallelism(3);
        env.source("numbers", VecSource::<u64>::new(Vec::new()))
            .process("where", Where)
            .sink("where-they-were", CollectSink::new());
        env
    };
    let mut driver = TestDriver::new(4, build).unwrap();
    let numbers = driver.source::<u64>("numbers").unwrap();
    assert_eq!(numbers.splits(), 3);
    numbers.feed_all([0, 1, 2, 3]);
    numbers.split(2).feed(12).feed(22);
    numbers.split(1).end();
    numbers.feed_all([30, 32]);
    driver.finish().unwrap();
    let mut of_subtask: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (subtask, n) in driver.sink::<(u32, u64)>("where-they-were").unwrap().committed() {
        of_subtask.entry(subtask).or_default().push(n);
    }
    assert_eq!(of_subtask.remove(&1), Some(vec![1]));
    let others: Vec<_> = of_subtask.into_values().collect();
    assert_eq!(others, [vec![0, 3, 32], vec![2, 12, 22, 30]]);
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
