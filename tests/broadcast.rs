//! Functions on two streams of which every subtask gets one: each rule comes to each key or subtask once, whatever fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use millstream::prelude::*;

use common::{CountedPanics, InputEnd, SteppedSource, checkpointed, events_of, run, run_to_end, sorted, watched};

mod common;

/// Of numbers, and of rules.
const N: u64 = 1_200;
const RULES: u64 = 40;
const KEYS: u64 = 31;

/// Sums the numbers of each key, and counts the rules that were applied to it: those that were there at its first number, and those
/// that have come since. Tells of both at the end.
#[derive(Clone)]
struct Applied(CountedPanics);

type Number = (&'static str, u64);

impl KeyedBroadcastProcessFunction<u64, u64, u64> for Applied {
    type Out = (u64, u64, u64, u64);
    type State = (ValueState<u64>, ValueState<(u64, u64)>);
    type Broadcast = BroadcastState<u64, ()>;

    fn state(&self) -> Self::State {
        (ValueState::new("sum"), ValueState::new("applied"))
    }

    fn broadcast_state(&self) -> Self::Broadcast {
        BroadcastState::new("rules")
    }

    fn process(
        &mut self,
        number: u64,
        (mut sum, mut applied): KeyedRow<'_, Self, u64, u64, u64>,
        rules: &BroadcastRow<'_, Self, u64, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        self.0.count_and_panic();
        *sum.get_or_insert_with(|| 0) += number;
        applied.get_or_insert_with(|| (rules.len() as u64, rules.iter().map(|(rule, ())| rule).sum()));
    }

    fn process_broadcast(
        &mut self,
        rule: u64,
        mut rules: BroadcastRow<'_, Self, u64, u64, u64>,
        keys: &mut EveryKey<'_, u64, Self::State>,
        _: &mut ProcessContext<'_>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        self.0.count_and_panic();
        assert!(rules.insert(rule, ()).is_none(), "rule {rule} comes once");
        keys.for_each(|_, (_, mut applied)| {
            let (count, sum) = applied.get().copied().unwrap();
            applied.set((count + 1, sum + rule));
        });
    }

    fn end_of_input(
        &mut self,
        (sum, applied): KeyedRow<'_, Self, u64, u64, u64>,
        _: &BroadcastRow<'_, Self, u64, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let (count, of_rules) = applied.get().copied().unwrap();
        out.emit((*ctx.key(), *sum.get().unwrap(), count, of_rules));
    }
}

fn expected() -> Vec<(u64, u64, u64, u64)> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    (0..N).for_each(|n| *sums.entry(n % KEYS).or_default() += n);
    sums.into_iter().map(|(key, sum)| (key, sum, RULES, (0..RULES).sum())).collect()
}

fn sources(input: &InputEnd) -> (SteppedSource, SteppedSource) {
    (SteppedSource::new("numbers", N, 60, input), SteppedSource::new("rules", RULES, 2, input))
}

fn build(
    env: &StreamEnvironment,
    (numbers, rules): (SteppedSource, SteppedSource),
    panics: CountedPanics,
    sink: CollectSink<(u64, u64, u64, u64)>,
) {
    let rules = env.source("rules", rules).map(|(_, rule): Number| rule);
    let numbers = env.source("numbers", numbers).map(|(_, number): Number| number);
    let applied = numbers.key_by(|number| number % KEYS).connect_broadcast(rules).process("applied", Applied(panics));
    applied.sink("out", sink);
}

/// G1, G2: through panics of both kinds of records, at each parallelism and with both backends.
#[test]
fn each_rule_is_applied_once_to_each_key_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    for (parallelism, spills) in [(1, false), (2, true), (3, false)] {
        for at in [vec![], vec![0, 500, 501], vec![900, 1_200]] {
            let (sink, panics) = (CollectSink::new(), CountedPanics::at(&at));
            let (collected, spills_to) = (sink.handle(), spills.then(|| dir.path().to_owned()));
            let (outcome, _) = run_to_end("a job with rules", move || {
                let env =
                    checkpointed("broadcast", parallelism, spills_to.as_deref()).snapshot_store(MemoryStore::new());
                build(&env, sources(&InputEnd::default()), panics, sink);
                env
            });
            let restarts = outcome.expect("finished").restarts as usize;
            assert!((usize::from(!at.is_empty())..=at.len()).contains(&restarts), "{restarts} for {at:?}");
            assert_eq!(sorted(collected.snapshot()), expected(), "parallelism {parallelism}, panics {at:?}");
        }
    }
}

/// G1, G9: keys and rules go on from a savepoint at another parallelism.
#[test]
fn rules_are_on_all_subtasks_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for (parallelism, then) in [(1, 3), (3, 2)] {
        let (input, store) = (InputEnd::default(), MemoryStore::new());
        let kept = store.clone();
        let savepoint = dir.path().join(parallelism.to_string());
        run("a job that is stopped", move |handles| async move {
            let env = checkpointed("broadcast", parallelism, None).snapshot_store(store);
            let (numbers, rules) = sources(&input);
            let sources = (numbers.hold_at(N / 8), rules.hold_at(RULES / 8));
            build(&env, sources, CountedPanics::default(), CollectSink::new());
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut events = events_of(&job);
            while input.records_read() < (N + RULES) / 2 {
                events.checkpoints(1).await;
            }
            job.stop_with_savepoint(savepoint).await.unwrap();
        });
        let (sink, panics) = (CollectSink::new(), CountedPanics::at(&[300]));
        let collected = sink.handle();
        let (outcome, _) = run_to_end("a job that goes on", move || {
            let env = checkpointed("broadcast", then, None).snapshot_store(kept);
            build(&env, sources(&InputEnd::default()), panics, sink);
            env
        });
        outcome.expect("finished");
        assert_eq!(sorted(collected.snapshot()), expected(), "parallelism {parallelism}, then {then}");
    }
}

/// Gives each number as many times as there are rules: those that are there when it comes, and the others when they come.
#[derive(Clone)]
struct EachByEach(CountedPanics);

impl CoProcessFunction<u64, u64> for EachByEach {
    type Out = (u64, u64);
    type State = (OperatorListState<u64>, BroadcastState<u64, ()>);

    fn state(&self) -> Self::State {
        (OperatorListState::new("numbers"), BroadcastState::new("rules"))
    }

    fn process_first(
        &mut self,
        number: u64,
        (mut numbers, rules): CoStates<'_, Self, u64, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        self.0.count_and_panic();
        rules.iter().for_each(|(rule, ())| out.emit((number, *rule)));
        numbers.push(number);
    }

    fn process_second(
        &mut self,
        rule: u64,
        (numbers, mut rules): CoStates<'_, Self, u64, u64>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        self.0.count_and_panic();
        rules.insert(rule, ());
        numbers.iter().for_each(|number| out.emit((*number, rule)));
    }
}

/// G1, G2: of a function without keys.
#[test]
fn each_number_meets_each_rule_once_whatever_fails() {
    const FEW: u64 = 400;
    for parallelism in [1, 3] {
        for at in [vec![], vec![0, 200, 201], vec![350]] {
            let (sink, panics) = (CollectSink::new(), CountedPanics::at(&at));
            let collected = sink.handle();
            let (outcome, _) = run_to_end("a job that multiplies", move || {
                let env = checkpointed("broadcast", parallelism, None).snapshot_store(MemoryStore::new());
                let input = InputEnd::default();
                let rules = env.source("rules", SteppedSource::new("rules", RULES, 2, &input));
                let rules = rules.map(|(_, rule): Number| rule).broadcast();
                let numbers = env.source("numbers", SteppedSource::new("numbers", FEW, 40, &input));
                let numbers = numbers.map(|(_, number): Number| number).rebalance();
                numbers.connect(rules).process("each", EachByEach(panics)).sink("out", sink);
                env
            });
            let restarts = outcome.expect("finished").restarts;
            assert_eq!(restarts > 0, !at.is_empty());
            let pairs = (0..FEW).flat_map(|number| (0..RULES).map(move |rule| (number, rule))).collect::<Vec<_>>();
            assert!(sorted(collected.snapshot()) == pairs, "parallelism {parallelism}, panics {at:?}");
        }
    }
}
