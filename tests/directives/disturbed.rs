//! Poison while other things fail, too.

use std::time::Duration;

use millstream::prelude::*;

use crate::common::CountedPanics;
use crate::rig::{RECORDS, Ran, Record, numbers, ran_with};

/// Guarantee D2.
#[test]
fn record_that_was_withheld_is_diverted_once_however_often_the_region_restarts_after_it() {
    const POISON: [u64; 3] = [40, 41, 180];
    for seed in 0..12u64 {
        let mut random = random_numbers(seed);
        let mut at: Vec<u64> = (0..8).map(|_| random() % 900).collect();
        at.sort_unstable();
        let (panics, parallelism) = (CountedPanics::at(&at), 1 + (seed % 2) as u32);
        // As many as panic, in a row if it must be.
        let restarts = RestartStrategy::fixed_delay(30, Duration::from_millis(1));
        let ran: Ran<u64, Record> = ran_with(restarts, "restarts", parallelism, move |env, out, dead| {
            let tag = OutputTag::new("dead");
            let stream = env
                .source("numbers", numbers("n"))
                .map(|(_, n): Record| if POISON.contains(&n) { panic!("poison") } else { n })
                .on_panic(OnPanic::dead_letter(&tag));
            stream.side_output(&tag).sink("dead", dead);
            let others = stream.rebalance().inspect(move |_| panics.count_and_panic());
            others.sink("out", out);
        });
        assert!(ran.output.iter().copied().eq((0..RECORDS).filter(|n| !POISON.contains(n))), "seed {seed}");
        assert_eq!(ran.dead(), POISON.map(|n| ("n", n)), "seed {seed}");
    }
}

fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
