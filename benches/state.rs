//! What keyed state costs a record: one operator, without a job around it; each kind of state in memory, and values in
//! both backends.
//!
//! `cargo bench --bench state`; `MILLSTREAM_KEYS=100000` for other sizes. The backend in redb has a cache of 64 MiB.

use std::time::Duration;

use millstream::keyed::KeyedOperator;
use millstream::operator::{BatchOperator, ByValue, Output, Progress, RunBudget, SideOutputs};
use millstream::prelude::*;
use millstream::state::StateSet;
use millstream::state::internal::{RedbBackend, SpillPlace};
use millstream_actors::contract::{Batch, monotonic};
use millstream_actors::protocol::KeyGroupRange;

mod common;
use common::splitmix64;

const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };
const CACHE_BYTES: usize = 64 << 20;
const RUNS: usize = 3;

/// Runs `update` on the states that `states` declares.
#[derive(Clone)]
struct Updates<D, F> {
    states: D,
    update: F,
}

impl<S, D, F> KeyedProcessFunction<u64, u64> for Updates<D, F>
where
    S: StateSet,
    D: Fn() -> S + Clone + Send + 'static,
    F: Fn(u64, S::Handles<'_>) + Clone + Send + 'static,
{
    type Out = u64;
    type State = S;

    fn state(&self) -> S {
        (self.states)()
    }

    fn process(
        &mut self,
        n: u64,
        states: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        (self.update)(n, states);
    }
}

fn main() {
    let keys = std::env::var("MILLSTREAM_KEYS").unwrap_or_else(|_| "100000,1000000,10000000".to_owned());
    println!("keys        state                       fill ns/record   update ns/record (fastest of {RUNS})");
    for keys in keys.split(',').filter_map(|keys| keys.trim().parse().ok()) {
        let value = || ValueState::<(u64, u64)>::new("value");
        let add = |n: u64, mut value: millstream::state::ValueHandle<'_, (u64, u64)>| {
            let value = value.get_or_insert_with(|| (0, 0));
            *value = (value.0 + 1, value.1.wrapping_add(n));
        };
        in_memory(keys, "value (u64, u64)", value, add);
        in_memory(
            keys,
            "value, time to live",
            move || value().with_ttl(hour()),
            |n, mut value| {
                let value = value.get_or_insert_with(|| (0, 0));
                *value = (value.0 + 1, value.1.wrapping_add(n));
            },
        );
        in_memory(
            keys,
            "two values",
            || (ValueState::<u64>::new("a"), ValueState::<u64>::new("b")),
            |n, (mut a, mut b)| {
                *a.get_or_insert_with(|| 0) += 1;
                *b.get_or_insert_with(|| 0) ^= n;
            },
        );
        in_memory(
            keys,
            "reduction",
            || ReducingState::new("sum", |a: u64, b| a.wrapping_add(b)),
            |n, mut sum| {
                sum.add(n);
            },
        );
        if keys <= 1_000_000 {
            in_memory(
                keys,
                "list, at most 8",
                || ListState::<u64>::new("list"),
                |n, mut list| {
                    if list.len() == 8 {
                        list.clear();
                    }
                    list.push(n);
                },
            );
            in_memory(
                keys,
                "map, 4 keys",
                || MapState::<u8, u64>::new("map"),
                |n, mut map| {
                    map.insert((n % 4) as u8, n);
                },
            );
            let scratch = tempfile::tempdir().expect("a temporary folder");
            let (dir, job, operator) = (scratch.path().to_owned(), "bench".into(), "updates".into());
            let place = SpillPlace { dir, job, operator, subtask: 0 };
            let backend = RedbBackend::new(value(), GROUPS, GROUPS.end, place, CACHE_BYTES);
            let function = Updates { states: value, update: add };
            let selector = ByValue::new(|key: &u64| *key);
            let sides = SideOutputs::default();
            let operator = KeyedOperator::with_backend("updates".into(), backend, selector, function, sides);
            measure(keys, "value (u64, u64), redb", operator);
        }
    }
}

fn hour() -> StateTtl {
    StateTtl::processing_time(Duration::from_secs(3600))
}

fn in_memory<S, D, F>(keys: u64, name: &str, states: D, update: F)
where
    S: StateSet,
    D: Fn() -> S + Clone + Send + 'static,
    F: Fn(u64, S::Handles<'_>) + Clone + Send + 'static,
{
    let (selector, function) = (ByValue::new(|key: &u64| *key), Updates { states, update });
    let sides = SideOutputs::default();
    measure(keys, name, KeyedOperator::new("updates".into(), GROUPS, GROUPS.end, selector, function, sides));
}

fn measure(keys: u64, name: &str, mut operator: impl BatchOperator<In = u64>) {
    let fill = feed(&mut operator, keys, |n| n);
    let updates = keys.max(2_000_000);
    let update = (0..RUNS).map(|_| feed(&mut operator, updates, |n| splitmix64(n) % keys)).min().unwrap_or_default();
    let per = |took: Duration, records: u64| took.as_nanos() as f64 / records as f64;
    println!("{keys:<11} {name:<27} {:>14.1} {:>18.1}", per(fill, keys), per(update, updates));
}

fn feed(operator: &mut impl BatchOperator<In = u64>, records: u64, key: impl Fn(u64) -> u64) -> Duration {
    let mut out = Output::new();
    let mut input = Batch::new();
    let started = monotonic();
    for first in (0..records).step_by(1024) {
        input.extend((first..records.min(first + 1024)).map(&key));
        loop {
            let progress = operator.process(&mut input, &mut out, &mut RunBudget::start());
            if progress.expect("it does not fail") == Progress::Done {
                break;
            }
        }
    }
    monotonic() - started
}
