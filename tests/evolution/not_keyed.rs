//! Lists and broadcast maps, of functions without keys, whose types have changed.

use std::collections::BTreeMap;

use millstream::GraphError;
use millstream::prelude::*;
use millstream::stream::DataStream;
use serde::{Deserialize, Serialize};

use crate::keys::ends_with;
use crate::lives::{CLEARS, KEYS, Place, Version, rounds};
use crate::refused::mistakes;

/// A sum, as it is in today's list.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sum {
    key: u64,
    sum: u64,
    of: String,
}

/// Sums in a list, as pairs at first, and numbers of records in a map.
#[derive(Clone)]
struct Listed(fn() -> (OperatorListState<Sum>, BroadcastState<String, u64>));

/// As [`Listed`] was at first.
#[derive(Clone)]
struct Paired;

impl ProcessFunction<u64> for Paired {
    type Out = (u64, u64);
    type State = (OperatorListState<(u64, u64)>, BroadcastState<u64, u32>);

    fn state(&self) -> Self::State {
        (OperatorListState::new("sums"), BroadcastState::new("counts"))
    }

    fn process(
        &mut self,
        n: u64,
        (mut sums, mut counts): States<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let (key, mut all) = (n % KEYS, sums.take());
        let place = all.iter().position(|(of, _)| *of == key).unwrap_or_else(|| {
            all.push((key, 0));
            all.len() - 1
        });
        all[place].1 = if n >= CLEARS { 0 } else { all[place].1 + n };
        out.emit(all[place]);
        sums.set(all);
        let count = counts.get(&key).copied().unwrap_or(0);
        counts.insert(key, count + 1);
    }
}

impl ProcessFunction<u64> for Listed {
    type Out = (u64, u64);
    type State = (OperatorListState<Sum>, BroadcastState<String, u64>);

    fn state(&self) -> Self::State {
        (self.0)()
    }

    fn process(
        &mut self,
        n: u64,
        (mut sums, mut counts): States<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let (key, mut all) = (n % KEYS, sums.take());
        let found = all.iter_mut().find(|sum| sum.key == key).expect("all keys were there before");
        found.sum = if n >= CLEARS { 0 } else { found.sum + n };
        assert_eq!(found.of, format!("key {key}"));
        out.emit((key, found.sum));
        sums.set(all);
        let count = counts.get(&format!("key {key}")).copied().expect("it was counted before");
        counts.insert(format!("key {key}"), count + 1);
        let in_all: u64 = (&counts).into_iter().map(|(_, count)| count).sum();
        assert!(in_all > count, "of all keys");
    }
}

fn listed(
    numbers: DataStream<u64>,
    states: fn() -> (OperatorListState<Sum>, BroadcastState<String, u64>),
) -> DataStream<(u64, u64)> {
    numbers.process("sums", Listed(states)).parallelism(1)
}

fn with_migrations() -> (OperatorListState<Sum>, BroadcastState<String, u64>) {
    let sum = |(key, sum): (u64, u64)| Sum { key, sum, of: format!("key {key}") };
    let count = |(key, count): (u64, u32)| (format!("key {key}"), u64::from(count));
    (
        OperatorListState::new("sums-2").formerly("sums").version(2).migrate(1, sum),
        BroadcastState::new("counts").version(2).migrate(1, count),
    )
}

const PAIRED: Version = |numbers| numbers.process("sums", Paired).parallelism(1);
const LISTED: Version = |numbers| listed(numbers, with_migrations);

#[test]
fn lists_and_broadcast_maps_of_another_type_are_migrated_and_need_no_step_in_the_life_after() {
    let mut place = Place::new(false);
    place.live(2, PAIRED, rounds());
    place.live(1, LISTED, rounds());
    let today: Version = |numbers| {
        listed(numbers, || (OperatorListState::new("sums-2").version(2), BroadcastState::new("counts").version(2)))
    };
    place.live_in(place.on("store.redb", 2), today, rounds(), Some("savepoint"));
    place.live_in(place.on("other.redb", 1).from("savepoint"), today, rounds(), None);
}

#[test]
fn lists_and_broadcast_maps_that_cannot_be_brought_over_end_the_job_with_the_remedy() {
    let mut place = Place::new(false);
    place.live(2, PAIRED, rounds());
    let same_version: Version =
        |numbers| listed(numbers, || (OperatorListState::new("sums"), BroadcastState::new("counts")));
    let error = ends_with(&place, same_version);
    assert!(error.contains("'sums'") && error.contains("a version with a migration"), "{error}");
    let without_step: Version =
        |numbers| listed(numbers, || (with_migrations().0, BroadcastState::new("counts").version(2)));
    let error = ends_with(&place, without_step);
    assert!(error.contains("'counts'") && error.contains("by migrate(1, ..)"), "{error}");
    let merged: Version = |numbers| {
        listed(numbers, || {
            let one = |(_, count): (u64, u32)| (String::new(), u64::from(count));
            (with_migrations().0, BroadcastState::new("counts").version(2).migrate(1, one))
        })
    };
    let error = ends_with(&place, merged);
    assert!(error.contains("gives one key for two"), "{error}");
    place.live(2, LISTED, rounds());
    let older: Version =
        |numbers| listed(numbers, || (OperatorListState::new("sums-2"), BroadcastState::new("counts").version(2)));
    let error = ends_with(&place, older);
    assert!(error.contains("start one that has version 2"), "{error}");
}

#[test]
fn state_of_a_function_without_keys_is_dropped_by_name() {
    let mut place = Place::new(false);
    place.live(2, PAIRED, rounds());
    /// Of the two states only the list is left.
    #[derive(Clone)]
    struct ListAlone;
    impl ProcessFunction<u64> for ListAlone {
        type Out = (u64, u64);
        type State = OperatorListState<(u64, u64)>;
        fn state(&self) -> Self::State {
            OperatorListState::new("sums")
        }
        fn process(
            &mut self,
            n: u64,
            mut sums: States<'_, Self, u64>,
            _: &mut ProcessContext<'_>,
            out: &mut Emitter<'_, (u64, u64)>,
        ) {
            let mut all: BTreeMap<u64, u64> = sums.take().into_iter().collect();
            let sum = all.entry(n % KEYS).or_default();
            *sum += n;
            out.emit((n % KEYS, *sum));
            sums.set(all.into_iter().collect());
        }
    }
    place.live(1, |numbers| numbers.process("sums", ListAlone).parallelism(1).drop_state("counts"), rounds());
    place.live(2, |numbers| numbers.process("sums", ListAlone).parallelism(1), rounds());
}

/// Two streams, into a function with a list or a broadcast state that is of version 2 and has no step.
#[derive(Clone)]
struct OfTwo;

impl CoProcessFunction<u64, u64> for OfTwo {
    type Out = (u64, u64);
    type State = (OperatorListState<u64>, BroadcastState<u64, u64>);

    fn state(&self) -> Self::State {
        let list = OperatorListState::new("list").version(3).migrate(1, |n: u64| n);
        (list, BroadcastState::new("map").version(2).migrate(1, |entry: (u8, u64)| entry))
    }

    fn process_first(
        &mut self,
        _: u64,
        _: CoStates<'_, Self, u64, u64>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, (u64, u64)>,
    ) {
    }

    fn process_second(
        &mut self,
        _: u64,
        _: CoStates<'_, Self, u64, u64>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, (u64, u64)>,
    ) {
    }
}

/// As [`OfTwo`], with keys on one side.
#[derive(Clone)]
struct OfKeysAndRules;

impl KeyedBroadcastProcessFunction<u64, u64, u64> for OfKeysAndRules {
    type Out = (u64, u64);
    type State = ValueState<u64>;
    type Broadcast = BroadcastState<u64, u64>;

    fn state(&self) -> ValueState<u64> {
        ValueState::new("sum")
    }

    fn broadcast_state(&self) -> BroadcastState<u64, u64> {
        BroadcastState::new("map").version(0)
    }

    fn process(
        &mut self,
        _: u64,
        _: KeyedRow<'_, Self, u64, u64, u64>,
        _: &BroadcastRow<'_, Self, u64, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, (u64, u64)>,
    ) {
    }

    fn process_broadcast(
        &mut self,
        _: u64,
        _: BroadcastRow<'_, Self, u64, u64, u64>,
        _: &mut EveryKey<'_, u64, ValueState<u64>>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, (u64, u64)>,
    ) {
    }
}

#[test]
fn versions_that_do_not_fit_together_are_mistakes_of_the_graph_in_every_kind_of_function() {
    let cases: [(Version, &[&str]); 3] = [
        (
            |n| {
                let states = || (OperatorListState::new("list").version(0), BroadcastState::new("map").version(2));
                listed(n, states)
            },
            &["count from 1"],
        ),
        (|n| n.clone().connect(n).process("two", OfTwo), &["no migration from version 2 to 3", "(u8, u64)"]),
        (
            |n| n.clone().key_by(|n| *n).connect_broadcast(n.broadcast()).process("rules", OfKeysAndRules),
            &["count from 1"],
        ),
    ];
    for (version, reasons) in cases {
        let errors = mistakes(version);
        assert!(errors.iter().all(|error| matches!(error, GraphError::InvalidState { .. })), "{errors:?}");
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors.len(), reasons.len(), "{errors:?}");
        for (error, reason) in errors.iter().zip(reasons) {
            assert!(error.contains(reason) && error.contains("not_keyed.rs:"), "{error}");
        }
    }
}
