//! Directives that cannot do what they say are mistakes of the graph.

use std::time::Duration;

use millstream::prelude::*;
use millstream::{GraphError, StartError};

/// The mistakes of a job.
fn mistakes(
    settings: impl FnOnce(StreamEnvironment) -> StreamEnvironment,
    build: impl FnOnce(&StreamEnvironment),
) -> Vec<String> {
    let env = settings(StreamEnvironment::new("refused").snapshot_store(MemoryStore::new()));
    build(&env);
    let Err(StartError::Graph(errors)) = env.start() else { panic!("it is refused") };
    let directive = |error: &GraphError| matches!(error, GraphError::InvalidDirective { .. });
    assert!(errors.0.iter().all(directive), "{errors}");
    errors.0.iter().map(ToString::to_string).collect()
}

fn only(found: &[String], says: &str) {
    assert!(found.len() == 1 && found[0].contains(says) && found[0].contains("refused.rs:"), "{found:?}");
}

fn numbers(env: &StreamEnvironment) -> DataStream<u64> {
    env.source("numbers", SequenceSource::new(0..10))
}

#[test]
fn directive_for_other_records_than_the_operator_takes_is_refused() {
    let found = mistakes(
        |env| env,
        |env| {
            numbers(env).map(|n| n.to_string()).on_panic(OnPanic::<String>::skip()).sink("out", CollectSink::new());
        },
    );
    only(&found, "it is for records of type alloc::string::String, and the operator takes u64");
    let found = mistakes(
        |env| env,
        |env| {
            let both = numbers(env).connect(numbers_too(env)).map(|n| n, |text: String| text.len() as u64);
            both.on_panic(OnPanic::<u8>::skip()).sink("out", CollectSink::new());
        },
    );
    only(&found, "the operator takes u64 and alloc::string::String");
    let found = mistakes(
        |env| env,
        |env| {
            numbers(env).on_panic(OnPanic::<u64>::skip()).sink("out", CollectSink::new());
        },
    );
    only(&found, "it is a source");
    let found = mistakes(
        |env| env,
        |env| {
            let twice = numbers(env).map(|n| n).on_panic(OnPanic::<u64>::skip()).on_panic(OnPanic::<u64>::skip());
            twice.sink("out", CollectSink::new());
        },
    );
    only(&found, "records of type u64 have two");
}

fn numbers_too(env: &StreamEnvironment) -> DataStream<String> {
    env.source("texts", VecSource::new(vec![String::new()]))
}

#[test]
fn dead_letters_that_nothing_reads_are_refused() {
    let tag = OutputTag::<DeadLetter<u64>>::new("dead");
    let directive = || OnPanic::dead_letter(&tag);
    let found = mistakes(
        |env| env,
        |env| {
            numbers(env).map(|n| n).on_panic(directive()).sink("out", CollectSink::new());
        },
    );
    only(&found, "nothing reads its dead letters");
    let found = mistakes(
        |env| env,
        |env| {
            let stream = numbers(env).map(|n| n).on_panic(directive());
            let _ = stream.side_output(&tag);
            stream.sink("out", CollectSink::new());
        },
    );
    only(&found, "end the side output 'dead' in a sink");
    let found = mistakes(
        |env| env,
        |env| {
            let stream = numbers(env).map(|n| n).on_panic(directive());
            stream.side_output(&OutputTag::<String>::new("dead")).sink("dead", CollectSink::new());
            stream.sink("out", CollectSink::new());
        },
    );
    only(&found, "side output 'dead' has records of type alloc::string::String");
}

#[test]
fn numbers_that_are_none_and_too_few_restarts_are_refused() {
    let second = Duration::from_secs(1);
    let skip = OnPanic::<u64>::skip;
    for (directive, says) in [
        (skip().after(0), "after(0)"),
        (skip().at_most(0, second), "at_most(0"),
        (skip().at_most(1, Duration::ZERO), "the time must be above zero"),
        (skip().after(17), "takes 17 restarts, and the restart strategy gives up after 16"),
    ] {
        let found = mistakes(
            |env| env,
            |env| {
                numbers(env).map(|n| n).on_panic(directive).sink("out", CollectSink::new());
            },
        );
        only(&found, says);
    }
    let found = mistakes(
        |env| env.restart_strategy(RestartStrategy::none()),
        |env| {
            numbers(env).map(|n| n).on_panic(skip()).sink("out", CollectSink::new());
        },
    );
    only(&found, "takes 1 restarts, and the restart strategy gives up after 0");
}

#[test]
fn asynchronous_function_takes_no_directive() {
    let found = mistakes(
        |env| env,
        |env| {
            let wait = AsyncWait::ordered(Duration::from_secs(5));
            let asked = numbers(env).async_map("ask", wait, |n: u64| async move { Ok(n) });
            asked.on_panic(OnPanic::<u64>::skip()).sink("out", CollectSink::new());
        },
    );
    only(&found, "an asynchronous function");
}

#[test]
fn firings_of_what_has_no_timers_and_firings_that_nothing_reads_are_refused() {
    let firings = OutputTag::<DeadFiring>::new("firings");
    let directive = || OnPanic::<u64>::skip().firings(&firings);
    let found = mistakes(
        |env| env,
        |env| {
            let stream = numbers(env).map(|n| n).on_panic(directive());
            stream.side_output(&firings).sink("dead", CollectSink::new());
            stream.sink("out", CollectSink::new());
        },
    );
    only(&found, "only timers of keyed functions, and windows, can be withheld");
    let found = mistakes(
        |env| env,
        |env| {
            let joined = numbers(env).key_by(|n| *n).join(numbers_too(env).key_by(|text| text.len() as u64));
            let joined =
                joined.between(0..=5).inner("pairs", |n, _| *n).on_panic(OnPanic::<u64>::skip().skip_firings());
            joined.sink("out", CollectSink::new());
        },
    );
    only(&found, "only timers of keyed functions, and windows, can be withheld");
    let found = mistakes(
        |env| env,
        |env| {
            let sums = numbers(env).key_by(|n| n % 2).fold("sums", 0, |sum, n| *sum += n).on_panic(directive());
            sums.sink("out", CollectSink::new());
        },
    );
    only(&found, "nothing reads its dead letters; read them by side_output(..) with the tag 'firings'");
    let found = mistakes(
        |env| env,
        |env| {
            let sums = numbers(env).key_by(|n| n % 2).fold("sums", 0, |sum, n| *sum += n);
            sums.on_panic(directive())
                .on_panic(OnPanic::<String>::skip().skip_firings())
                .sink("out", CollectSink::new());
        },
    );
    assert!(found.iter().any(|found| found.contains("another directive of the operator says")), "{found:?}");
}
