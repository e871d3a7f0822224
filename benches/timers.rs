//! What a timer costs: one keyed operator, without a job around it, one timer for each key at a random time; in memory, and
//! with a cache of 64 MiB.
//!
//! `cargo bench --bench timers`; `MILLSTREAM_KEYS=10000` for other sizes.

use std::time::Duration;

use millstream::keyed::KeyedOperator;
use millstream::operator::{BatchOperator, ByValue, Emitted, Mark, Output, Progress, RunBudget, SideOutputs};
use millstream::prelude::*;
use millstream::state::internal::{RedbBackend, SpillPlace};
use millstream_actors::contract::{Batch, monotonic};
use millstream_actors::protocol::KeyGroupRange;

mod common;
use common::splitmix64;

const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };
const CACHE_BYTES: usize = 64 << 20;
/// Times of the first timers are below this.
const SPAN_MS: u64 = 1 << 40;

/// Moves a key's one timer on, and counts those that fire.
#[derive(Clone)]
struct Deadlines;

impl KeyedProcessFunction<u64, (u64, Timestamp)> for Deadlines {
    type Out = u64;
    type State = (ValueState<Timestamp>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("deadline"), Timers::new("timers"))
    }

    fn process(
        &mut self,
        (_, at): (u64, Timestamp),
        (mut deadline, mut timers): Row<'_, Self, u64, (u64, Timestamp)>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        if let Some(before) = deadline.take() {
            timers.delete(Timer::EventTime(before));
        }
        timers.register(Timer::EventTime(at));
        deadline.set(at);
    }

    fn on_timer(
        &mut self,
        _: Timer,
        (mut deadline, _): Row<'_, Self, u64, (u64, Timestamp)>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        deadline.clear();
        out.emit(*ctx.key());
    }
}

fn main() {
    let keys = std::env::var("MILLSTREAM_KEYS").unwrap_or_else(|_| "10000,1000000,10000000".to_owned());
    println!("keys        state     register ns   move on ns   fire ns   memory MiB");
    for keys in keys.split(',').filter_map(|keys| keys.trim().parse().ok()) {
        let (selector, sides) = (ByValue::new(|record: &(u64, Timestamp)| record.0), SideOutputs::default());
        let in_redb = std::env::var("MILLSTREAM_STATE").is_ok_and(|state| state == "redb");
        if in_redb {
            let scratch = tempfile::tempdir().expect("a temporary folder");
            let (dir, job, operator) = (scratch.path().to_owned(), "bench".into(), "deadlines".into());
            let place = SpillPlace { dir, job, operator, subtask: 0 };
            let backend = RedbBackend::new(Deadlines.state(), GROUPS, GROUPS.end, place, CACHE_BYTES);
            measure(keys, "redb", KeyedOperator::with_backend("deadlines".into(), backend, selector, Deadlines, sides));
        } else {
            let operator = KeyedOperator::new("deadlines".into(), GROUPS, GROUPS.end, selector, Deadlines, sides);
            measure(keys, "memory", operator);
        }
    }
}

fn measure(keys: u64, name: &str, mut operator: impl BatchOperator<In = (u64, Timestamp), Out = u64>) {
    let at = |key: u64| (splitmix64(key) % SPAN_MS) as Timestamp;
    let register = feed(&mut operator, keys, at);
    let move_on = feed(&mut operator, keys, |key| at(key) + SPAN_MS as Timestamp);
    let memory = resident_mib();
    let (started, mut out, mut fired) = (monotonic(), Output::new(), 0);
    loop {
        let progress = operator.mark(Mark::Watermark(Timestamp::MAX), &mut out, &mut RunBudget::start());
        out.drain(|emitted| {
            if let Emitted::Batch(batch) = emitted {
                fired += batch.drain().count() as u64;
            }
        });
        if progress.expect("it does not fail") == Progress::Done {
            break;
        }
    }
    let fire = monotonic() - started;
    assert_eq!(fired, keys, "each timer fires once");
    let per = |took: Duration| took.as_nanos() as f64 / keys as f64;
    println!("{keys:<11} {name:<8} {:>12.0} {:>12.0} {:>9.0} {memory:>12}", per(register), per(move_on), per(fire));
}

/// Gives each key a record with its time, in an order that looks random.
fn feed(
    operator: &mut impl BatchOperator<In = (u64, Timestamp), Out = u64>,
    keys: u64,
    at: impl Fn(u64) -> Timestamp,
) -> Duration {
    let mut out = Output::new();
    let mut input = Batch::new();
    let started = monotonic();
    for first in (0..keys).step_by(1024) {
        input.extend((first..keys.min(first + 1024)).map(|key| (key, at(key))));
        loop {
            let progress = operator.process(&mut input, &mut out, &mut RunBudget::start());
            if progress.expect("it does not fail") == Progress::Done {
                break;
            }
        }
    }
    monotonic() - started
}

/// Memory of the process, where that can be read.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}
