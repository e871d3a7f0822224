//! Programs that do not say what became of stored state, or say what cannot be.

use millstream::prelude::*;
use millstream::stream::DataStream;
use millstream::{GraphError, StartError};

use crate::common::{QueueSource, Tagged, TaggedSink, run};
use crate::lives::{KEYS, Place, Sums, Version, rounds};

/// Two sums, in states called "a" and "b" unless they are named otherwise.
#[derive(Clone)]
struct Two(fn() -> (ValueState<u64>, ValueState<u64>));

impl KeyedProcessFunction<u64, u64> for Two {
    type Out = (u64, u64);
    type State = (ValueState<u64>, ValueState<u64>);

    fn state(&self) -> Self::State {
        (self.0)()
    }

    fn process(
        &mut self,
        n: u64,
        (mut a, mut b): Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let sum = a.get_or_insert_with(|| 0);
        *sum += n;
        b.set(n);
        out.emit((*ctx.key(), *sum));
    }
}

fn two(numbers: DataStream<u64>, states: fn() -> (ValueState<u64>, ValueState<u64>)) -> DataStream<(u64, u64)> {
    numbers.key_by(|n| n % KEYS).process("sums", Two(states))
}

fn one(numbers: DataStream<u64>, id: &str, state: fn() -> ValueState<u64>) -> DataStream<(u64, u64)> {
    numbers.key_by(|n| n % KEYS).process(id, Sums(state))
}

const FIRST: Version = |numbers| two(numbers, || (ValueState::new("a"), ValueState::new("b")));

/// The error of a start from what is there.
fn refused(place: &Place, write: impl FnOnce(&StreamEnvironment) + Send + 'static) -> StartError {
    let start = place.on("store.redb", 2);
    run("a start", move |_| async move {
        let env = start.environment();
        write(&env);
        env.start().unwrap_err()
    })
}

fn refused_version(place: &Place, version: Version) -> StartError {
    refused(place, move |env| {
        version(env.source("numbers", QueueSource::default())).sink("given", TaggedSink(Tagged::default()));
    })
}

#[test]
fn state_and_operator_that_are_gone_are_refused_with_the_calls_that_help() {
    let mut place = Place::new(false);
    place.live(2, FIRST, rounds());
    let error = refused_version(&place, |numbers| two(numbers, || (ValueState::new("a"), ValueState::new("c"))));
    let StartError::UndeclaredState { operators, .. } = &error else { panic!("{error}") };
    assert_eq!(operators.len(), 1);
    assert_eq!(operators[0].states.iter().map(|(state, _)| &**state).collect::<Vec<_>>(), ["b"]);
    for remedy in ["formerly(\"b\")", "drop_state(\"b\")"] {
        assert!(error.to_string().contains(remedy), "{error}");
    }
    let error = refused_version(&place, |numbers| one(numbers, "totals", || ValueState::new("a")));
    let StartError::UnmatchedState { .. } = &error else { panic!("{error}") };
    for remedy in ["formerly(\"sums\")", "allow_unmatched_state(true)"] {
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[test]
fn two_stored_states_or_operators_are_not_taken_for_one() {
    let mut place = Place::new(false);
    place.live(2, FIRST, rounds());
    let error = refused_version(&place, |numbers| one(numbers, "sums", || ValueState::new("a").formerly("b")));
    assert!(matches!(error, StartError::TakenTwice { .. }), "{error}");
    assert!(error.to_string().contains("the states 'a' and 'b'"), "{error}");
    let error = refused(&place, |env| {
        let numbers = env.source("given", QueueSource::default()).formerly("numbers");
        FIRST(numbers.formerly("sums")).formerly("x").sink("sums-2", TaggedSink(Tagged::default()));
    });
    assert!(matches!(error, StartError::Graph(_)), "'sums' goes on: {error}");
    let error = refused(&place, |env| {
        let numbers = env.source("numbers", QueueSource::default()).formerly("sums");
        one(numbers, "totals", || ValueState::new("a")).sink("given", TaggedSink(Tagged::default()));
    });
    assert!(matches!(error, StartError::TakenTwice { .. }), "{error}");
}

/// What the graph says against a version.
pub(crate) fn mistakes(version: Version) -> Vec<GraphError> {
    let env = StreamEnvironment::new("sums");
    version(env.source("numbers", QueueSource::default())).sink("given", TaggedSink(Tagged::default()));
    env.explain().err().map(|errors| errors.0).unwrap_or_default()
}

#[test]
fn former_names_of_states_that_cannot_be_are_mistakes_of_the_graph() {
    let cases: [(Version, &str); 6] = [
        (
            |n| two(n, || (ValueState::new("a").formerly("x"), ValueState::new("b").formerly("x"))),
            "said of state 'a', too",
        ),
        (|n| two(n, || (ValueState::new("a").formerly("b"), ValueState::new("b"))), "another state"),
        (|n| two(n, || (ValueState::new("a").formerly("b"), ValueState::new("b").formerly("a"))), "another state"),
        (|n| two(n, || (ValueState::new("a").formerly("a"), ValueState::new("b"))), "which is its name"),
        (|n| one(n, "sums", || ValueState::new("a")).drop_state("a"), "the function declares it"),
        (|n| one(n, "sums", || ValueState::new("a").formerly("b")).drop_state("b"), "state 'a' takes it over"),
    ];
    for (version, reason) in cases {
        let errors = mistakes(version);
        let fits = |error: &GraphError| matches!(error, GraphError::InvalidState { .. });
        assert!(!errors.is_empty() && errors.iter().all(fits), "{errors:?}");
        assert!(errors[0].to_string().contains(reason), "{}", errors[0]);
        assert!(errors[0].to_string().contains("refused.rs:"), "{}", errors[0]);
    }
}

#[test]
fn former_ids_and_versions_of_keys_that_cannot_be_are_mistakes_of_the_graph() {
    let cases: [(Version, &str); 6] = [
        (|n| one(n, "sums", || ValueState::new("a")).formerly("sums"), "which is its id"),
        (|n| one(n, "sums", || ValueState::new("a")).formerly("numbers"), "another operator"),
        (|n| one(n.formerly("x"), "sums", || ValueState::new("a")).formerly("x"), "and so is operator 'numbers'"),
        (|n| n.key_by(|n| *n).key_version(65).process("s", Sums(|| ValueState::new("a"))), "the last"),
        (
            |n| n.key_by(|n| *n).migrate_keys(1, |n: u32| u64::from(n)).process("s", Sums(|| ValueState::new("a"))),
            "today's",
        ),
        (
            |n| {
                let keyed = n.key_by(|n| *n).key_version(2).migrate_keys(1, |n: u64| n.to_string());
                keyed.process("s", Sums(|| ValueState::new("a")))
            },
            "gives alloc::string::String",
        ),
    ];
    for (version, reason) in cases {
        let errors = mistakes(version);
        let fits = |e: &GraphError| matches!(e, GraphError::InvalidFormerId { .. } | GraphError::InvalidKeys { .. });
        assert!(!errors.is_empty() && errors.iter().all(fits), "{errors:?}");
        assert!(errors[0].to_string().contains(reason), "{}", errors[0]);
    }
}
