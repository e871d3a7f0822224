//! Functions that are not keyed, in whole jobs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::prelude::*;
use millstream::{GraphError, JobError, StartError};

use common::{QueueSource, events_of, run, watched};

mod common;

const PARALLELISM: u32 = 3;

/// Records from here on are rules: the numbers that are let pass are multiples of what is above it.
const RULES: u64 = 1_000_000;

/// What each subtask has seen, in order.
type Seen = Arc<Mutex<BTreeMap<u32, Vec<u64>>>>;

/// Lets multiples of the newest rule pass, and remembers who saw what.
#[derive(Clone)]
struct Multiples(Seen);

impl ProcessFunction<u64> for Multiples {
    type Out = u64;
    type State = BroadcastState<(), u64>;

    fn state(&self) -> Self::State {
        BroadcastState::new("rule")
    }

    fn process(
        &mut self,
        number: u64,
        mut rule: States<'_, Self, u64>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, u64>,
    ) {
        assert_eq!(ctx.parallelism(), PARALLELISM);
        if number >= RULES {
            rule.insert((), number - RULES);
        } else if number.is_multiple_of(*rule.get(&()).expect("rules come first in this test")) {
            out.emit(number);
        }
        self.0.lock().expect("no panic under it").entry(ctx.subtask()).or_default().push(number);
    }
}

fn all_seen(seen: &Seen, is_rule: bool) -> Vec<Vec<u64>> {
    let seen = seen.lock().expect("no panic under it");
    let of_kind = |numbers: &Vec<u64>| numbers.iter().copied().filter(|n| (*n >= RULES) == is_rule).collect();
    seen.values().map(of_kind).collect()
}

/// Waits for a checkpoint before which all subtasks have seen what was pushed: it passes behind it.
async fn until(job: &JobHandle, is_so: impl Fn() -> bool) {
    while !is_so() {
        job.checkpoint().await.expect("it runs");
    }
}

#[test]
fn rules_of_a_broadcast_stream_reach_every_subtask_and_numbers_one_each() {
    for is_forward in [false, true] {
        let (seen, passed) = run("a filter whose rules change", move |handles| async move {
            let (numbers, rules, sink, seen) =
                (QueueSource::default(), QueueSource::default(), CollectSink::new(), Seen::default());
            let collected = sink.handle();
            let env = StreamEnvironment::new("multiples")
                .parallelism(PARALLELISM)
                .snapshot_store(MemoryStore::new())
                .checkpointing(Checkpointing::every(Duration::from_secs(3600)));
            let data = env.source("numbers", numbers.clone()).parallelism(if is_forward { PARALLELISM } else { 1 });
            let data = if is_forward { data } else { data.rebalance() };
            env.source("rules", rules.clone())
                .parallelism(1)
                .broadcast()
                .union(data)
                .process("multiples", Multiples(seen.clone()))
                .sink("passed", sink);
            let job = env.start().expect("starts");
            watched(&handles, &job);
            for (rule, range) in [(7, 0..100), (5, 100..200), (2, 200..300)] {
                let rules_before = all_seen(&seen, true).concat().len();
                rules.push([RULES + rule]);
                until(&job, || all_seen(&seen, true).concat().len() == rules_before + PARALLELISM as usize).await;
                numbers.push(range.clone());
                until(&job, || all_seen(&seen, false).concat().len() as u64 == range.end).await;
            }
            let outcome = job.finish().await.expect("finished");
            assert_eq!(outcome.kind, OutcomeKind::Finished);
            (seen, collected.snapshot())
        });
        assert_eq!(all_seen(&seen, true), vec![vec![RULES + 7, RULES + 5, RULES + 2]; PARALLELISM as usize]);
        let mut numbers = all_seen(&seen, false);
        if !is_forward {
            assert!(
                numbers.iter().all(|numbers| (90..=110).contains(&numbers.len())),
                "dealt out in turn: {numbers:?}"
            );
        }
        numbers.iter_mut().for_each(|numbers| assert!(numbers.is_sorted(), "in order from one subtask"));
        let mut numbers = numbers.concat();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..300), "each number once");
        let expected = [(7, 0..100), (5, 100..200), (2, 200..300)];
        let expected = expected.into_iter().flat_map(|(rule, range)| range.filter(move |n| n % rule == 0));
        let mut passed = passed;
        passed.sort_unstable();
        assert!(passed.into_iter().eq(expected));
    }
}

const NUMBERS: u64 = 20_000;

/// Numbers a second: so that a life does not come to the end before it is drained, and so that it soon does.
const SLOW: u64 = 200;
const FAST: u64 = 100_000;

/// Adds up what it gets, and emits all of it at the end.
#[derive(Clone)]
struct Total {
    /// How often it panics before the last number is added.
    panics: Arc<AtomicU64>,
    names: [&'static str; 2],
}

impl ProcessFunction<u64> for Total {
    type Out = (u64, Option<u64>);
    type State = (OperatorListState<u64>, BroadcastState<String, u64>);

    fn state(&self) -> Self::State {
        (OperatorListState::new(self.names[0]), BroadcastState::new(self.names[1]))
    }

    fn process(
        &mut self,
        number: u64,
        (mut sums, mut last): States<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        let take_one = |left: u64| left.checked_sub(1);
        if number == NUMBERS - 1 && self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
            panic!("injected");
        }
        let sum: u64 = sums.take().into_iter().sum();
        sums.push(sum + number);
        last.insert("last".to_owned(), number);
    }

    fn end_of_input(
        &mut self,
        (mut sums, last): States<'_, Self, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        sums.take().into_iter().for_each(|sum| out.emit((sum, last.get("last").copied())));
    }
}

fn totals(env: &StreamEnvironment, rate: u64, total: Total) -> millstream::sink::Collected<(u64, Option<u64>)> {
    let sink = CollectSink::new();
    let collected = sink.handle();
    env.source("numbers", SequenceSource::new(0..NUMBERS).rate_per_second(rate))
        .process("total", total)
        .sink("totals", sink);
    collected
}

fn environment(store: &MemoryStore) -> StreamEnvironment {
    StreamEnvironment::new("totals")
        .parallelism(1)
        .snapshot_store(store.clone())
        .checkpointing(Checkpointing::every(Duration::from_millis(1)))
}

/// Operator state in the task of a source, through a panic and through a drain and a start.
#[test]
fn state_of_a_function_in_a_sources_task_survives_panics_drains_and_starts() {
    let store = MemoryStore::new();
    let of_first = store.clone();
    let total = Total { panics: Arc::new(AtomicU64::new(2)), names: ["sums", "last"] };
    let first = total.clone();
    let before = run("a drained job", move |handles| async move {
        let env = environment(&of_first);
        let collected = totals(&env, SLOW, first);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        events_of(&job).checkpoints(2).await;
        assert_eq!(job.drain().await.expect("drained").kind, OutcomeKind::Drained);
        collected.snapshot()
    });
    assert!(before.is_empty(), "a drain is no end of input");
    let collected = run("the rest", move |handles| async move {
        let env = environment(&store);
        let collected = totals(&env, FAST, total);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let outcome = job.await.expect("finished");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 2));
        collected.snapshot()
    });
    // Guarantee G1:
    assert_eq!(collected, [(NUMBERS * (NUMBERS - 1) / 2, Some(NUMBERS - 1))]);
}

#[test]
fn states_of_other_names_are_refused_and_those_of_other_kinds_end_the_job() {
    let store = MemoryStore::new();
    let drained = store.clone();
    run("a drained job", move |handles| async move {
        let env = environment(&drained);
        totals(&env, SLOW, Total { panics: Arc::default(), names: ["sums", "last"] });
        let job = env.start().expect("starts");
        watched(&handles, &job);
        events_of(&job).checkpoints(1).await;
        job.drain().await.expect("drained")
    });
    let of_other_name = store.clone();
    let refused = run("a job with another name", move |_| async move {
        let env = environment(&of_other_name);
        totals(&env, SLOW, Total { panics: Arc::default(), names: ["sums", "latest"] });
        env.start().expect_err("it does not declare what is stored")
    });
    let StartError::UndeclaredState { operators, .. } = &refused else { panic!("{refused}") };
    assert_eq!(operators.iter().map(|operator| operator.id.as_str()).collect::<Vec<_>>(), ["total"]);
    assert!(refused.to_string().contains("formerly(\"last\")"), "{refused}");
    let error = run("a changed job", move |handles| async move {
        let env = environment(&store);
        totals(&env, SLOW, Total { panics: Arc::default(), names: ["last", "sums"] });
        let job = env.start().expect("starts");
        watched(&handles, &job);
        job.await.expect_err("it cannot restore")
    });
    let JobError::Failed { error, .. } = &error else { panic!("not final: {error}") };
    assert!(error.to_string().contains("'total'") && error.to_string().contains("was stored"), "{error}");
}

#[test]
fn two_states_of_one_name_are_a_mistake_of_the_graph() {
    let started = run("a job with a mistake", |_| async {
        let env = environment(&MemoryStore::new());
        totals(&env, SLOW, Total { panics: Arc::default(), names: ["sums", "sums"] });
        env.start()
    });
    let Err(StartError::Graph(errors)) = started else { panic!("not that mistake: {started:?}") };
    let [GraphError::DuplicateState { operator, state, at, .. }] = &errors.0[..] else { panic!("{errors}") };
    assert!(operator.to_string() == "total" && state == "sums" && at.file().ends_with("operator_state.rs"));
}
