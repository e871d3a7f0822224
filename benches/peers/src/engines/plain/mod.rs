//! A loop on one thread.

mod nexmark;

use std::hint::black_box;

use hashbrown::HashMap;

use super::by_hand::{Timed, Timers, Windows};
use super::paced::{Delays, Pace, TICK};
use crate::events::{Event, Events, Fired, SLIDE_MS, WindowCount, size_ms, watermark};
use crate::measure::{Run, Stopwatch, pause};
use crate::numbers::{Totals, chain, key, update, weigh};
use crate::plan::{Plan, Workload};
use crate::text;
use crate::total::{Part, Sum, Total};

pub(super) fn run(plan: Plan) -> Run {
    if plan.workload == Workload::Latency {
        return latency(plan);
    }
    let watch = Stopwatch::start();
    let sum = match plan.workload {
        Workload::Chain => Sum::of(chain(plan.records)),
        Workload::Keyed => Sum::of(keyed(plan)),
        Workload::Updates => Sum::of(updates(plan)),
        Workload::Words => Sum::of(words()),
        Workload::Window | Workload::Sliding | Workload::Sliding100 => {
            let windows = Windows::new(size_ms(plan.workload), SLIDE_MS, 0);
            tally(|part| timed(black_box(plan), windows, |count: WindowCount| part.add(count.weigh())))
        }
        Workload::Timers => tally(|part| {
            timed(black_box(plan), Timers::default(), |fired: Fired| part.take(fired.weigh()));
        }),
        Workload::Nexmark(query) => tally(|part| nexmark::run(query, black_box(plan), part)),
        other => unreachable!("{other} has no loop"),
    };
    Run::of(sum, watch.throughput(plan.records))
}

fn tally(work: impl FnOnce(&mut Part)) -> Sum {
    let total = Total::default();
    work(&mut total.part());
    total.wait()
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

fn timed<O: Timed<In = Event>>(plan: Plan, mut operator: O, mut give: impl FnMut(O::Out)) {
    let mut newest = 0;
    for event in Events::of(0, 1, plan) {
        operator.add(event);
        newest = event.time.max(newest);
        operator.fire_up_to(watermark(newest), &mut give);
    }
    operator.fire_up_to(i64::MAX, give);
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
