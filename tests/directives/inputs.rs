//! Poison before functions with two inputs: each has a directive of its own, or none.

use millstream::prelude::*;

use crate::common::sorted;
use crate::rig::{RECORDS, Ran, Record, numbers, ran};

#[test]
fn inputs_of_one_type_share_a_directive_and_one_without_restarts_nothing_that_it_need_not() {
    for parallelism in [1, 2] {
        let ran: Ran<(u8, u64), Record> = ran("one-type", parallelism, |env, out, dead| {
            let tag = OutputTag::new("dead");
            let (left, right) = (env.source("left", numbers("l")), env.source("right", numbers("r")));
            let both = left.connect(right).map(
                |(_, n): Record| if n == 20 { panic!("left") } else { (1, n) },
                |(_, n): Record| if n == 20 || n == 90 { panic!("right") } else { (2, n) },
            );
            let both = both.on_panic(OnPanic::<Record>::dead_letter(&tag));
            both.side_output(&tag).sink("dead", dead);
            both.sink("out", out);
        });
        assert_eq!(ran.dead(), [("l", 20), ("r", 20), ("r", 90)]);
        let left = (0..RECORDS).filter(|n| *n != 20).map(|n| (1, n));
        let right = (0..RECORDS).filter(|n| *n != 20 && *n != 90).map(|n| (2, n));
        assert_eq!(ran.output, sorted(left.chain(right).collect()));
    }
}

/// Sums of numbers and lengths of texts, by key.
#[derive(Clone)]
struct Both;

impl KeyedCoProcessFunction<u64, u64, String> for Both {
    type Out = (u64, u64);
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("sum")
    }

    fn process_first(
        &mut self,
        n: u64,
        mut sum: CoRow<'_, Self, u64, u64, String>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let sum = sum.get_or_insert_with(|| 0);
        *sum += 1;
        assert!(n != 77, "no number");
        out.emit((*ctx.key(), *sum));
    }

    fn process_second(
        &mut self,
        text: String,
        mut sum: CoRow<'_, Self, u64, u64, String>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, (u64, u64)>,
    ) {
        let sum = sum.get_or_insert_with(|| 0);
        *sum += 1;
        assert!(text != "200", "no text");
        out.emit((*ctx.key(), *sum));
    }
}

#[test]
fn inputs_of_two_types_have_a_directive_each_and_share_the_state_of_their_keys() {
    for parallelism in [1, 2] {
        let ran: Ran<(u64, u64), String> = ran("two-types", parallelism, |env, out, dead| {
            let (of_numbers, of_texts) = (OutputTag::<DeadLetter<u64>>::new("numbers"), OutputTag::new("texts"));
            let left = env.source("left", numbers("l")).map(|(_, n): Record| n);
            let right = env.source("right", numbers("r")).map(|(_, n): Record| n.to_string());
            let keyed = left.key_by(|n| n % 5).connect(right.key_by(|text| text.len() as u64));
            let sums = keyed.process("both", Both);
            let sums = sums.on_panic(OnPanic::dead_letter(&of_numbers)).on_panic(OnPanic::dead_letter(&of_texts));
            let as_text = |letter: DeadLetter<u64>| assert_eq!((letter.record, letter.key.as_deref()), (77, Some("2")));
            sums.side_output(&of_numbers).for_each("numbers", as_text);
            sums.side_output(&of_texts).sink("dead", dead);
            sums.sink("out", out);
        });
        assert_eq!(ran.dead(), ["200"]);
        let mut counts = [0; 5];
        (0..RECORDS).filter(|n| *n != 77).for_each(|n| counts[(n % 5) as usize] += 1);
        (0..RECORDS).filter(|n| *n != 200).for_each(|n| counts[n.to_string().len()] += 1);
        let expected = (0u64..).zip(counts).flat_map(|(key, count)| (1..=count).map(move |sum| (key, sum)));
        assert_eq!(ran.output, sorted(expected.collect()));
    }
}
