use millstream_actors::contract::{RestoredSection, RestoredState, SectionWriter, StateScope};
use millstream_actors::protocol::{CheckpointId, Timestamp};

use super::*;
use crate::keyed::{KeyedContext, Row};
use crate::operator::{ByValue, Emitted, Emitter};
use crate::state::{Expiring, State, StateTtl, ValueState};
use crate::testing::OperatorHarness;
use crate::time::ManualClock;
use std::time::Duration;

const TTL: Duration = Duration::from_millis(500);

/// Counts the records of a key; begins anew when it was not seen for its time.
#[derive(Clone)]
struct Visits(StateTtl);

impl KeyedProcessFunction<u64, u64> for Visits {
    type Out = (u64, u64);
    type State = Expiring<ValueState<u64>>;

    fn state(&self) -> Self::State {
        ValueState::new("visits").with_ttl(self.0)
    }

    fn process(
        &mut self,
        key: u64,
        mut visits: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let visits = visits.get_or_insert_with(|| 0);
        *visits += 1;
        out.emit((key, *visits));
    }
}

type Keyed = KeyedOperator<u64, ByValue<fn(&u64) -> u64>, Visits>;

fn visits(ttl: StateTtl, clock: &ManualClock) -> Keyed {
    let groups = KeyGroupRange { start: 0, end: 4 };
    let selector = ByValue::new((|key| *key) as fn(&u64) -> u64);
    KeyedOperator::new("visits".into(), groups, 4, selector, Visits(ttl), SideOutputs::default())
        .clock(Arc::new(clock.clone()))
}

fn budget() -> RunBudget {
    RunBudget::start_by(Some(|| Duration::ZERO))
}

/// How often the operator has seen each of these now.
fn seen(operator: &mut Keyed, keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut input = keys.into_iter().collect::<Batch<u64>>();
    let (mut out, mut seen) = (Output::new(), Vec::new());
    loop {
        let progress = operator.process(&mut input, &mut out, &mut budget()).unwrap();
        out.drain(|emitted| {
            let Emitted::Batch(batch) = emitted else { panic!("no mark was emitted") };
            seen.extend(batch.drain().map(|(_, count)| count));
        });
        if progress == Progress::Done {
            return seen;
        }
    }
}

fn watermark(operator: &mut Keyed, to: Timestamp) {
    assert_eq!(operator.mark(Mark::Watermark(to), &mut Output::new(), &mut budget()).unwrap(), Progress::Done);
}

fn snapshot(operator: &mut Keyed, checkpoint: u64, base: u64) -> Vec<RestoredSection> {
    let operator = operator.stateful().unwrap();
    let mut writer = SectionWriter::new(CheckpointId(checkpoint), CheckpointId(base), 0);
    writer.set_operator(&"visits".into());
    let mut progress = operator.snapshot(&mut writer).unwrap();
    while progress == Progress::Suspended {
        progress = operator.continue_snapshot(&mut writer, &mut budget()).unwrap();
    }
    let chunks = writer.finish().0.into_iter().map(|chunk| (chunk.reference.address, chunk.bytes));
    RestoredState::from_chunks(chunks).take(&"visits".into())
}

fn restore(operator: &mut Keyed, sections: &[RestoredSection]) {
    let operator = operator.stateful().unwrap();
    let mut loader = operator.group_loader().unwrap();
    let mut others = Vec::new();
    for section in sections {
        match section.scope {
            StateScope::KeyGroup(group) => {
                operator.restore_group(loader.load(group, std::slice::from_ref(section)).unwrap()).unwrap();
            }
            StateScope::Subtask(_) => others.push(section.clone()),
        }
    }
    operator.restore(others).unwrap();
    operator.restored(CheckpointId(1)).unwrap();
}

#[test]
fn values_expire_by_the_clock_of_the_job() {
    let clock = ManualClock::new();
    let mut operator = visits(StateTtl::processing_time(TTL), &clock);
    assert_eq!(seen(&mut operator, [1, 1, 2]), [1, 2, 1]);
    clock.advance(TTL / 2);
    assert_eq!(seen(&mut operator, [1]), [3]);
    clock.advance(TTL / 2);
    assert_eq!(seen(&mut operator, [1, 2]), [4, 1], "2 was not seen for its time");
    let sections = snapshot(&mut operator, 1, 0);
    clock.advance(TTL);
    let mut restored = visits(StateTtl::processing_time(10 * TTL), &clock);
    restore(&mut restored, &sections);
    assert_eq!(seen(&mut restored, [1]), [1], "time went on while it was stored");
}

#[test]
fn values_expire_by_the_watermark() {
    let clock = ManualClock::new();
    let mut operator = visits(StateTtl::event_time(TTL), &clock);
    assert_eq!(seen(&mut operator, [1]), [1]);
    watermark(&mut operator, 1000);
    clock.advance(100 * TTL);
    assert_eq!(seen(&mut operator, [1, 2]), [2, 1]);
    watermark(&mut operator, 1499);
    assert_eq!(seen(&mut operator, [1]), [3]);
    watermark(&mut operator, 1500);
    let sections = snapshot(&mut operator, 1, 0);
    assert_eq!(seen(&mut operator, [1, 2]), [4, 1]);
    let mut restored = visits(StateTtl::event_time(10 * TTL), &clock);
    restore(&mut restored, &sections);
    assert_eq!(seen(&mut restored, [1, 2]), [4, 1], "the same, though no watermark has come yet");
}

#[test]
fn watermarks_and_batches_of_other_keys_clean_up() {
    let clock = ManualClock::new();
    let mut operator = visits(StateTtl::event_time(TTL), &clock);
    watermark(&mut operator, 0);
    seen(&mut operator, 0..10_000);
    let full = operator.run.kernel.backend.allocated_bytes();
    assert_eq!(operator.keys(), 10_000);
    for _ in 0..100 {
        watermark(&mut operator, 500);
    }
    assert_eq!((operator.keys(), operator.run.kernel.backend.len()), (0, 0));
    assert!(operator.run.kernel.backend.allocated_bytes() < full / 8, "{full} bytes before");

    let mut operator = visits(StateTtl::processing_time(TTL), &clock);
    for round in 0..50u64 {
        clock.advance(TTL / 2);
        seen(&mut operator, (0..1000).map(|key| round * 1000 + key));
        // Of 8192 places; while these are looked at once, half as many keys come.
        assert!(
            operator.run.kernel.backend.len() <= 2000 + 4096,
            "{} keys, of which 2000 live",
            operator.run.kernel.backend.len()
        );
    }
}

#[test]
fn every_way_of_running_keeps_what_has_not_expired() {
    let mut counts = [0; 13];
    let expected: Vec<_> = (0..2000)
        .map(|n: u64| {
            counts[(n % 13) as usize] += 1;
            (n % 13, counts[(n % 13) as usize])
        })
        .collect();
    for ttl in [StateTtl::processing_time(1_000_000 * TTL), StateTtl::event_time(TTL).refresh_on_read()] {
        OperatorHarness::keyed(ByValue::new(|key: &u64| *key), Visits(ttl))
            .batch((0..2000).map(|n| n % 13))
            .check_by(|out| out.0, expected.clone());
    }
}
