//! Accumulators of `fold` and values of `reduce` whose type has changed.

use millstream::keyed::{Fold, Reduce};
use millstream::prelude::*;

use crate::lives::{KEYS, Sums, Version, rounds, with_each_backend};

#[test]
fn accumulator_of_a_fold_whose_type_has_changed_is_migrated() {
    with_each_backend(|mut place| {
        place.live(
            2,
            |numbers| {
                let emit = |key: &u64, sum: &u32| (*key, u64::from(*sum));
                numbers.key_by(|n| n % KEYS).fold_map("sums", 0u32, |sum, n| *sum += n as u32, emit)
            },
            rounds(),
        );
        let wide: Version = |numbers| {
            let emit = |key: &u64, sum: &u64| (*key, *sum);
            let fold = Fold::emitting(0u64, |sum: &mut u64, n: u64| *sum += n, emit);
            numbers.key_by(|n| n % KEYS).process("sums", fold.version(2).migrate(1, |sum: u32| u64::from(sum)))
        };
        place.live(3, wide, rounds());
        place.live(1, wide, rounds());
    });
}

#[test]
fn value_of_a_reduce_whose_type_has_changed_is_migrated() {
    with_each_backend(|mut place| {
        place.live(
            2,
            |numbers| {
                let keyed = numbers.map(|n| (n % KEYS, n as u32)).parallelism(1).key_by(|(key, _)| *key);
                keyed.reduce("sums", |a, b| (a.0, a.1 + b.1)).map(|(key, sum)| (key, u64::from(sum)))
            },
            rounds(),
        );
        let wide: Version = |numbers| {
            let reduce = Reduce::new(|a: (u64, u64), b: (u64, u64)| (a.0, a.1 + b.1));
            let reduce = reduce.version(2).migrate(1, |(key, sum): (u64, u32)| (key, u64::from(sum)));
            numbers.map(|n| (n % KEYS, n)).parallelism(1).key_by(|(key, _)| *key).process("sums", reduce)
        };
        place.live(3, wide, rounds());
        place.live(1, wide, rounds());
    });
}

#[test]
fn fold_goes_on_with_the_state_of_a_function_that_it_replaces() {
    with_each_backend(|mut place| {
        place.live(
            2,
            |numbers| numbers.key_by(|n| n % KEYS).process("sums", Sums(|| ValueState::new("sum"))),
            rounds(),
        );
        let fold: Version = |numbers| {
            let emit = |key: &u64, sum: &u64| (*key, *sum);
            let fold = Fold::emitting(0u64, |sum: &mut u64, n: u64| *sum += n, emit);
            numbers.key_by(|n| n % KEYS).process("sums", fold.formerly("sum"))
        };
        place.live(2, fold, rounds());
    });
}
