//! Poison before functions without keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use millstream::JobEventKind;
use millstream::prelude::*;

use crate::common::CountedPanics;
use crate::rig::{RECORDS, Ran, Record, numbers, ran, withheld};

/// Output and dead letters of a job whose `map` panics at these numbers.
fn mapped(name: &'static str, parallelism: u32, poison: &'static [u64], after: u32) -> Ran<u64, Record> {
    ran(name, parallelism, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        let stream = env
            .source("numbers", numbers("n"))
            .map(|(_, n): Record| if poison.contains(&n) { panic!("cannot take {n}") } else { n })
            .on_panic(OnPanic::dead_letter(&tag).after(after));
        stream.side_output(&tag).sink("dead", dead);
        stream.sink("out", out);
    })
}

/// Guarantee D1.
#[test]
fn poison_first_in_the_middle_and_last_is_diverted_and_all_else_is_exact() {
    const POISON: [u64; 5] = [0, 1, 57, 200, RECORDS - 1];
    for parallelism in [1, 2] {
        let ran = mapped("first-middle-last", parallelism, &POISON, 1);
        assert!(ran.output.iter().copied().eq((0..RECORDS).filter(|n| !POISON.contains(n))));
        assert_eq!(ran.dead(), POISON.map(|n| ("n", n)));
        for letter in &ran.letters {
            let DeadLetter { record: (_, n), message, location, operator, key, panics, failed_unix_ms, .. } = letter;
            assert_eq!(*message, format!("cannot take {n}"));
            assert!(location.as_ref().unwrap().contains("records.rs:"), "{location:?}");
            assert_eq!((operator.to_string().as_str(), key, *panics), ("map#1", &None, 1));
            assert!(*failed_unix_ms > 0);
        }
        assert_eq!(ran.events(withheld), POISON.len());
        // The last of them is the last record of all: the checkpoint beyond it may be that of the job's end.
        let ended = |kind: &JobEventKind| matches!(kind, JobEventKind::CarefulWorkEnded { .. });
        let begins = |kind: &JobEventKind| matches!(kind, JobEventKind::CarefulWorkBegins { .. });
        let (begun, ended) = (ran.events(begins), ran.events(ended));
        assert!(begun > 0 && (begun - 1..=begun).contains(&ended), "{begun} and {ended}");
    }
}

#[test]
fn record_is_withheld_after_as_many_panics_as_were_said_and_the_first_of_all_does_not_count() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let ran: Ran<u64, Record> = ran("after-three", 1, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        let stream = env.source("numbers", numbers("n")).map(move |(_, n): Record| {
            assert!(n != 100 || { counted.fetch_add(1, Ordering::SeqCst) == u32::MAX }, "poison");
            n
        });
        let stream = stream.on_panic(OnPanic::dead_letter(&tag).after(3));
        stream.side_output(&tag).sink("dead", dead);
        stream.sink("out", out);
    });
    // Careful work may end before the record has come: after a restart the source gives its splits in another order.
    let begins = |kind: &JobEventKind| matches!(kind, JobEventKind::CarefulWorkBegins { .. });
    let (calls, unseen) = (calls.load(Ordering::SeqCst) as usize, ran.events(begins));
    assert_eq!((calls, ran.letters.len(), ran.letters[0].panics), (unseen + 3, 1, 3));
    assert_eq!(ran.output.len() as u64, RECORDS - 1);
    let counted = |kind: &JobEventKind| matches!(kind, JobEventKind::RecordPanicked { of: 3, .. });
    assert_eq!((ran.events(counted), ran.events(withheld), ran.outcome.restarts), (2, 1, calls as u64));
}

#[test]
fn records_of_the_same_bytes_are_diverted_each() {
    for parallelism in [1, 2] {
        let ran: Ran<u64, u64> = ran("same-bytes", parallelism, move |env, out, dead| {
            let tag = OutputTag::new("dead");
            let stream = env
                .source("numbers", numbers("n"))
                .map(|(_, n): Record| n % 100)
                .filter(|n: &u64| *n != 7 || panic!("seven"))
                .on_panic(OnPanic::dead_letter(&tag));
            stream.side_output(&tag).sink("dead", dead);
            stream.sink("out", out);
        });
        assert_eq!(ran.dead(), [7; (RECORDS / 100) as usize]);
        assert_eq!(ran.output.len() as u64, RECORDS - RECORDS / 100);
        assert!(!ran.output.contains(&7));
    }
}

#[test]
fn function_that_recovers_before_its_record_is_withheld_keeps_it() {
    let panics = CountedPanics::at(&[50, 120]);
    let ran: Ran<u64, Record> = ran("flaky", 2, move |env, out, dead| {
        let tag = OutputTag::new("dead");
        let stream = env.source("numbers", numbers("n")).map(move |(_, n): Record| {
            panics.count_and_panic();
            n
        });
        let stream = stream.on_panic(OnPanic::dead_letter(&tag).after(3));
        stream.side_output(&tag).sink("dead", dead);
        stream.sink("out", out);
    });
    assert!(ran.output.iter().copied().eq(0..RECORDS));
    assert_eq!((ran.letters.len(), ran.outcome.restarts), (0, 2));
}

#[test]
fn operators_of_one_chain_have_directives_of_their_own_and_one_without_restarts_the_region() {
    for parallelism in [1, 2] {
        let panics = CountedPanics::at(&[30, 90, 200]);
        let ran: Ran<u64, u64> = ran("chain", parallelism, move |env, out, dead| {
            let (first, second) = (OutputTag::new("first"), OutputTag::new("second"));
            let doubled = env
                .source("numbers", numbers("n"))
                .map(|(_, n): Record| n)
                .flat_map(|n: u64, out| {
                    out.emit(2 * n);
                    // What it has emitted goes with it.
                    assert!(n % 150 != 3, "the first");
                    out.emit(2 * n + 1);
                })
                .on_panic(OnPanic::dead_letter(&first));
            let letters = doubled.side_output(&first);
            let looked = doubled
                .inspect(move |_| panics.count_and_panic())
                .inspect(|n| assert!(*n != 100 && *n != 5, "the second"))
                .on_panic(OnPanic::<u64>::dead_letter(&second));
            looked.side_output(&second).union(letters).sink("dead", dead);
            looked.sink("out", out);
        });
        let gone: Vec<u64> = (0..RECORDS).filter(|n| n % 150 == 3).collect();
        let expected = (0..2 * RECORDS).filter(|n| !gone.contains(&(n / 2)) && *n != 100 && *n != 5);
        assert!(ran.output.iter().copied().eq(expected), "{:?}", ran.output);
        assert_eq!(ran.dead(), [3, 5, 100, 153, 303]);
        let of = |message: &str| ran.letters.iter().filter(|letter| letter.message == message).count();
        assert_eq!((of("the first"), of("the second")), (3, 2));
    }
}

#[test]
fn record_that_is_skipped_is_counted_and_nowhere_else() {
    let ran: Ran<u64, Record> = ran("skipped", 1, move |env, out, _dead| {
        env.source("numbers", numbers("n"))
            .map(|(_, n): Record| n)
            .inspect(|n| assert!(*n != 33 && *n != 334, "skip me"))
            .on_panic(OnPanic::<u64>::skip())
            .sink("out", out);
    });
    assert!(ran.output.iter().copied().eq((0..RECORDS).filter(|n| *n != 33 && *n != 334)));
    let counted: u64 = ran.job.figures().iter().map(|figures| figures.of_run.withheld_records).sum();
    assert!(counted >= 2, "{counted}");
    let skipped = |kind: &JobEventKind| matches!(kind, JobEventKind::RecordWithheld { goes_to: None, .. });
    assert_eq!(ran.events(skipped), 2);
}
