//! A loop on one thread.

use std::hint::black_box;

use hashbrown::HashMap;

use super::paced::{Delays, Pace, TICK};
use super::windows::Windows;
use crate::events::{Events, size_ms, watermark};
use crate::measure::{Run, Stopwatch, pause};
use crate::numbers::{Totals, chain, key, update, weigh};
use crate::plan::{Plan, Workload};
use crate::text;

pub(super) fn run(plan: Plan) -> Run {
    if plan.workload == Workload::Latency {
        return latency(plan);
    }
    let watch = Stopwatch::start();
    let checksum = match plan.workload {
        Workload::Chain => chain(plan.records),
        Workload::Keyed => keyed(plan),
        Workload::Updates => updates(plan),
        Workload::Words => words(),
        Workload::Window | Workload::Sliding | Workload::Sliding100 => windows(black_box(plan)),
        other => unreachable!("{other} has no loop"),
    };
    Run { checksum: Some(checksum), figures: watch.throughput(plan.records) }
}

fn chain(records: u64) -> u64 {
    let mut sum = 0u64;
    for i in 0..black_box(records) {
        let x = chain::scale(chain::mix(i));
        if chain::is_kept(&x) {
            sum = sum.wrapping_add(chain::fold(x));
        }
    }
    sum
}

fn keyed(plan: Plan) -> u64 {
    let mut table: HashMap<u64, Totals> = HashMap::new();
    for i in 0..black_box(plan.records) {
        let key = key(i, plan.keys);
        update(table.entry(key).or_default(), key);
    }
    table.values().fold(0, |sum, totals| sum.wrapping_add(weigh(*totals)))
}

fn updates(plan: Plan) -> u64 {
    let mut table: HashMap<u64, Totals> = HashMap::new();
    let mut sum = 0u64;
    for i in 0..black_box(plan.records) {
        let key = key(i, plan.keys);
        let totals = table.entry(key).or_default();
        update(totals, key);
        sum = sum.wrapping_add(weigh(*totals));
    }
    sum
}

fn words() -> u64 {
    let mut table: HashMap<String, u64> = HashMap::new();
    for word in text::words(0, 1) {
        *table.entry_ref(word.as_str()).or_default() += 1;
    }
    table.iter().fold(0, |sum, (word, count)| sum.wrapping_add(text::weigh(word, *count)))
}

fn windows(plan: Plan) -> u64 {
    let mut windows = Windows::new(size_ms(plan.workload));
    let mut newest = 0;
    let mut sum = 0u64;
    let mut fire = |windows: &mut Windows, watermark| {
        while windows.is_due(watermark) {
            windows.fire(|count| sum = sum.wrapping_add(count.weigh()));
        }
    };
    for event in Events::of(0, 1, plan) {
        windows.add(event);
        newest = event.time.max(newest);
        fire(&mut windows, watermark(newest));
    }
    fire(&mut windows, i64::MAX);
    sum
}

fn latency(plan: Plan) -> Run {
    let mut table: HashMap<u64, Totals> = HashMap::new();
    let delays = Delays::default();
    let mut log = delays.log(plan.records);
    let watch = Stopwatch::start();
    let mut pace = Pace::start(plan);
    while !pace.is_over() {
        while let Some(record) = pace.next_due() {
            update(table.entry(record.key).or_default(), record.key);
            log.take(record.due);
        }
        pause(TICK);
    }
    let cores = watch.cores();
    drop(log);
    delays.wait(cores)
}
