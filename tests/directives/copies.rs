//! Records that are broadcast: each subtask has a copy, and panics at it or does not.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use millstream::JobEventKind;
use millstream::prelude::*;

use crate::common::{CountedPanics, sorted};
use crate::rig::{RECORDS, Ran, Record, numbers, ran, ran_with, withheld};

/// In the first batch that is read in every attempt before the first checkpoint: both subtasks come to it before any completes.
const POISON: u64 = 1;

/// What a subtask does at its copy.
#[derive(Clone)]
enum AtPoison {
    /// The second subtask panics, and is told after the first one has had time to be ahead.
    SecondPanics,
    /// All panic, when all have come to it.
    AllPanic(Arc<Barrier>),
}

impl ProcessFunction<u64> for AtPoison {
    type Out = (u32, u64);
    type State = OperatorListState<u64>;

    fn state(&self) -> Self::State {
        OperatorListState::new("none")
    }

    fn process(
        &mut self,
        n: u64,
        _: States<'_, Self, u64>,
        ctx: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, (u32, u64)>,
    ) {
        match self {
            Self::SecondPanics => assert!(n != POISON || ctx.subtask() != 1, "on this subtask"),
            Self::AllPanic(all) if n == POISON => {
                all.wait();
                panic!("on all subtasks");
            }
            Self::AllPanic(_) => {}
        }
        out.emit((ctx.subtask(), n));
    }
}

/// Guarantee D1: a copy is withheld from those that panic at theirs.
#[test]
fn copy_of_one_subtask_is_withheld_and_those_of_others_are_not() {
    // Broadcast to it, or to the operator before it.
    for straight_on in [false, true] {
        let ran: Ran<(u32, u64), u64> = ran("copies", 3, move |env, out, dead| {
            let tag = OutputTag::new("dead");
            let copies = env.source("numbers", numbers("n")).parallelism(1).map(|(_, n): Record| n).parallelism(1);
            let copies = copies.broadcast();
            let copies = if straight_on { copies.filter(|_| true) } else { copies };
            let stream = copies.process("of one", AtPoison::SecondPanics).on_panic(OnPanic::dead_letter(&tag));
            stream.side_output(&tag).sink("dead", dead);
            stream.sink("out", out);
        });
        assert_eq!(ran.letters.len(), 1, "{:?}", ran.letters);
        assert_eq!((ran.letters[0].record, ran.letters[0].subtask), (POISON, 1));
        let all = (0..3).flat_map(|subtask| (0..RECORDS).map(move |n| (subtask, n)));
        assert_eq!(ran.output, all.filter(|copy| *copy != (1, POISON)).collect::<Vec<_>>());
    }
}

/// A second subtask that fails in an attempt says nothing about the failures of later attempts.
#[test]
fn answer_to_the_last_failure_of_an_attempt_is_not_one_to_the_next_attempts() {
    let both = Arc::new(Barrier::new(2));
    // Comes after the poison, which is withheld by then.
    let panics = CountedPanics::at(&[500]);
    let strategy = RestartStrategy::fixed_delay(5, Duration::from_millis(1));
    let ran: Ran<(u32, u64), u64> = ran_with(strategy, "both-fail", 2, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        let copies = env.source("numbers", numbers("n")).parallelism(1).map(|(_, n): Record| n).parallelism(1);
        let stream = copies.broadcast().process("of both", AtPoison::AllPanic(both)).own_arbiters();
        let stream = stream.on_panic(OnPanic::dead_letter(&tag));
        stream.side_output(&tag).sink("dead", dead);
        stream.rebalance().inspect(move |_| panics.count_and_panic()).sink("out", out);
    });
    assert_eq!(sorted(ran.letters.iter().map(|letter| letter.subtask).collect()), [0, 1]);
    assert_eq!(ran.events(withheld), 2);
    let restarts: Vec<(u32, u32)> = ran
        .job
        .history()
        .iter()
        .filter_map(|event| match event.kind {
            JobEventKind::RegionRestarting { failure, of, .. } => Some((failure, of)),
            _ => None,
        })
        .collect();
    assert_eq!(restarts, [(0, 0), (0, 0), (1, 5)], "two for the record, and one that is no directive's");
}
