//! How much a directive puts up with, and what it leaves to the restart strategy.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{Fault, JobEventKind};

use crate::common::{checkpointed, run_to_end};
use crate::rig::{RECORDS, Ran, Record, numbers, ran, ran_with, withheld};

#[test]
fn function_that_panics_at_every_record_ends_the_job_with_an_error_of_its_own() {
    let (outcome, job) = run_to_end("all-poison", || {
        let env = checkpointed("all-poison", 1, None).snapshot_store(MemoryStore::new()).tell_panic_hook(false);
        env.source("numbers", numbers("n"))
            .map(|(_, n): Record| -> u64 { panic!("broken at {n}") })
            .on_panic(OnPanic::<Record>::skip().at_most(20, Duration::from_secs(3600)))
            .sink("out", CollectSink::new());
        env
    });
    let error = outcome.unwrap_err();
    assert_eq!(error.fault(), Fault::User);
    let JobError::TooManyWithheld { operator, records: 20, last, .. } = &error else { panic!("{error}") };
    assert_eq!(operator.to_string(), "map#1");
    assert!(last.to_string().contains("broken at "), "{last}");
    assert!(error.to_string().contains("more than 20 records within 3600 s"), "{error}");
    assert_eq!(job.history().iter().filter(|event| withheld(&event.kind)).count(), 20);
}

#[test]
fn panics_that_lead_to_a_record_that_is_withheld_use_up_no_restarts() {
    let strategies = [
        RestartStrategy::fixed_delay(2, Duration::from_millis(1)),
        RestartStrategy::failure_rate(2, Duration::from_secs(3600), Duration::from_millis(1)),
    ];
    for strategy in strategies {
        let ran: Ran<u64, Record> = ran_with(strategy, "few-restarts", 1, move |env, out, dead| {
            let tag = OutputTag::new("dead");
            let stream = env.source("numbers", numbers("n")).map(|(_, n): Record| {
                assert!(n % 40 != 9, "poison");
                n
            });
            let stream = stream.on_panic(OnPanic::dead_letter(&tag).after(2));
            stream.side_output(&tag).sink("dead", dead);
            stream.sink("out", out);
        });
        assert_eq!(ran.letters.len() as u64, RECORDS / 40);
        assert_eq!(ran.events(counted), 0);
    }
}

/// A restart that the strategy counts.
fn counted(kind: &JobEventKind) -> bool {
    matches!(kind, JobEventKind::RegionRestarting { of: 1.., .. })
}

#[test]
fn panics_at_records_of_several_subtasks_in_turn_use_up_no_restarts() {
    const POISON: std::ops::Range<u64> = 100..106;
    let strategy = RestartStrategy::fixed_delay(3, Duration::from_millis(1));
    let ran: Ran<u64, u64> = ran_with(strategy, "in-turn", 4, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        // Others fail first in each attempt.
        let turn = Arc::new(AtomicU64::new(0));
        let numbers = env.source("numbers", numbers("n")).map(|(_, n): Record| n).rebalance();
        let stream = numbers.map(move |n| {
            if POISON.contains(&n) {
                let others = turn.fetch_add(1, Ordering::Relaxed) % 3;
                (0..others * 200).for_each(|_| std::thread::yield_now());
                panic!("poison");
            }
            n
        });
        let stream = stream.on_panic(OnPanic::dead_letter(&tag).after(3));
        stream.side_output(&tag).sink("dead", dead);
        stream.sink("out", out);
    });
    assert_eq!(ran.dead(), POISON.collect::<Vec<_>>());
    assert!(ran.output.iter().copied().eq((0..RECORDS).filter(|n| !POISON.contains(n))));
    assert_eq!(ran.events(counted), 0);
}

#[test]
fn operators_of_a_chain_that_begin_careful_work_each_use_up_no_restarts() {
    let strategy = RestartStrategy::fixed_delay(1, Duration::from_millis(1));
    let ran: Ran<u64, u64> = ran_with(strategy, "chain", 1, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        let poison = |at: u64| move |n: u64| if n == at { panic!("poison") } else { n };
        let numbers = env.source("numbers", numbers("n")).map(|(_, n): Record| n);
        let first = numbers.map(poison(41)).on_panic(OnPanic::<u64>::skip());
        let second = first.map(poison(40)).on_panic(OnPanic::<u64>::skip());
        let third = second.map(poison(42)).on_panic(OnPanic::dead_letter(&tag));
        third.side_output(&tag).sink("dead", dead);
        third.sink("out", out);
    });
    assert_eq!((ran.dead(), ran.events(withheld), ran.events(counted)), (vec![42], 3, 0));
}

/// Its bytes are other ones each time.
#[derive(Clone, Debug)]
struct Restless(u64);

static WRITTEN: AtomicU64 = AtomicU64::new(0);

impl serde::Serialize for Restless {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, WRITTEN.fetch_add(1, Ordering::Relaxed)).serialize(serializer)
    }
}

/// Nothing can write it.
#[derive(Clone, Debug)]
struct Unwritten(u64);

impl serde::Serialize for Unwritten {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(format!("no bytes for {}", self.0)))
    }
}

/// The error of a job whose function panics at what `make` makes of the number 50.
fn given_up<T: serde::Serialize + Clone + Send + 'static>(
    name: &'static str,
    make: fn(u64) -> T,
    number: fn(&T) -> u64,
) -> JobError {
    let (outcome, _) = run_to_end(name, move || {
        let env = checkpointed(name, 1, None)
            .snapshot_store(MemoryStore::new())
            .restart_strategy(RestartStrategy::fixed_delay(4, Duration::from_millis(1)))
            .tell_panic_hook(false);
        env.source("numbers", numbers("n"))
            .map(move |(_, n): Record| make(n))
            .filter(move |record| number(record) != 50 || panic!("fifty"))
            .on_panic(OnPanic::<T>::skip().after(2).at_most(2, Duration::from_secs(3600)))
            .map(move |record| number(&record))
            .sink("out", CollectSink::new());
        env
    });
    outcome.unwrap_err()
}

#[test]
fn record_that_is_not_known_again_is_left_to_the_restart_strategy() {
    for error in [given_up("restless", Restless, |n| n.0), given_up("unwritten", Unwritten, |n| n.0)] {
        assert!(matches!(error, JobError::GaveUp { failures: 5, .. }), "{error}");
    }
    // A map in any order is such a record, unless it is of one entry.
    let one = |n| HashMap::from([(n, n)]);
    let ran: Ran<u64, HashMap<u64, u64>> = ran("one-entry", 1, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        let stream = env.source("numbers", numbers("n")).map(move |(_, n): Record| one(n));
        let stream = stream.map(|map| if map.contains_key(&50) { panic!("fifty") } else { map.len() as u64 });
        let stream = stream.on_panic(OnPanic::dead_letter(&tag));
        stream.side_output(&tag).sink("dead", dead);
        stream.sink("out", out);
    });
    assert_eq!(ran.letters[0].record, one(50));
}
