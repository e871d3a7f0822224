//! That the harness finds functions which depend on what a run does to them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::keyed::{KeyedContext, Row};
use crate::operator::{ByValue, ProcessContext, States};
use crate::state::State as _;
use crate::state::{Expiring, OperatorListState, StateTtl, ValueState};

const TTL: Duration = Duration::from_secs(10);

type Visit = (u32, &'static str);

/// Counts visits by user, each forgotten after a time without one; those at a door that is closed go to a side output.
#[derive(Clone)]
struct Visits(StateTtl);

fn closed() -> OutputTag<(u32, u32)> {
    OutputTag::new("closed")
}

impl KeyedProcessFunction<u32, Visit> for Visits {
    type Out = (u32, u32);
    type State = Expiring<ValueState<u32>>;

    fn state(&self) -> Self::State {
        ValueState::new("visits").with_ttl(self.0)
    }

    fn process(
        &mut self,
        (user, door): Visit,
        mut visits: Row<'_, Self, u32, Visit>,
        _: &mut KeyedContext<'_, u32>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let count = visits.get().map_or(1, |visits| visits + 1);
        visits.set(count);
        if door == "closed" { out.emit_to(&closed(), (user, count)) } else { out.emit((user, count)) }
    }

    fn end_of_input(
        &mut self,
        visits: Row<'_, Self, u32, Visit>,
        ctx: &mut KeyedContext<'_, u32>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        out.emit_to(&OutputTag::new("total"), (*ctx.key(), visits.get().copied()));
    }
}

fn visits(ttl: StateTtl) -> OperatorHarness<Visit, (u32, u32)> {
    OperatorHarness::keyed(ByValue::new(|visit: &Visit| visit.0), Visits(ttl))
}

#[test]
fn values_expire_between_batches_and_side_outputs_are_compared_in_every_way_of_running() {
    let totals: OutputTag<(u32, Option<u32>)> = OutputTag::new("total");
    visits(StateTtl::processing_time(TTL))
        .batch([(1, "open"), (2, "open"), (1, "closed"), (1, "open")])
        .advance(TTL / 2)
        .batch([(2, "closed")])
        .advance(TTL / 2)
        .batch([(1, "closed"), (2, "open")])
        .side_output(&closed(), [(1, 2), (2, 2), (1, 1)])
        .side_output(&totals, [(1, Some(1)), (2, Some(3))])
        .check_in_any_order([(1, 1), (1, 3), (2, 1), (2, 3)]);
    visits(StateTtl::event_time(TTL))
        .watermark(0)
        .batch([(1, "open"), (1, "open")])
        .watermark(10_000)
        .batch([(1, "open")])
        .side_output(&totals, [(1, Some(1))])
        .check([(1, 1), (1, 2), (1, 1)]);
}

#[test]
fn run_is_restored_at_another_parallelism_with_its_time() {
    let harness = visits(StateTtl::processing_time(TTL));
    let mut run = harness.start(2);
    run.feed((0..100).map(|user| (user, "open")));
    assert_eq!(run.take_output().len(), 100);
    run.advance(TTL / 2);
    let snapshot = run.snapshot();
    for parallelism in [1, 3, 128] {
        let mut restored = harness.restore(&snapshot, parallelism);
        restored.feed((0..50).map(|user| (user, "closed")));
        let mut seen = restored.take_side_output(&closed());
        seen.sort();
        assert_eq!(seen, (0..50).map(|user| (user, 2)).collect::<Vec<_>>(), "{parallelism} subtasks");
        restored.advance(TTL / 2);
        restored.feed([(1, "open"), (99, "open")]);
        let mut seen = restored.take_output();
        seen.sort();
        assert_eq!(seen, [(1, 3), (99, 1)], "half of the time had passed when the snapshot was taken");
        restored.end_of_input();
        assert!(restored.take_output().is_empty());
        assert_eq!(restored.take_side_output(&OutputTag::<(u32, Option<u32>)>::new("total")).len(), 51);
    }
    run.feed([(7, "open")]);
    assert_eq!(run.take_output(), [(7, 2)], "a run goes on after a snapshot");
}

#[test]
#[should_panic(expected = "Straight: side output 'closed': record 1 is (1, 2), expected (1, 3)")]
fn wrong_record_of_a_side_output_is_found() {
    let ttl = StateTtl::processing_time(TTL);
    visits(ttl).batch([(1, "closed"); 2]).side_output(&closed(), [(1, 1), (1, 3)]).check([]);
}

#[test]
#[should_panic(expected = "side outputs [\"closed\", \"total\"] have records")]
fn side_output_that_nothing_is_said_of_is_found() {
    visits(StateTtl::processing_time(TTL)).batch([(1, "closed")]).check([]);
}

#[test]
#[should_panic(expected = "side output 'closed' has a record that is no alloc::string::String")]
fn tag_of_another_type_is_named() {
    let mut run = visits(StateTtl::processing_time(TTL)).start(1);
    run.feed([(1, "closed")]);
    run.take_side_output(&OutputTag::<String>::new("closed"));
}

/// Warns once, by what it remembers outside of its states.
#[derive(Clone)]
struct WarnsOnce {
    has_warned: bool,
}

impl ProcessFunction<u32> for WarnsOnce {
    type Out = u32;
    type State = OperatorListState<u32>;

    fn state(&self) -> Self::State {
        OperatorListState::new("seen")
    }

    fn process(
        &mut self,
        record: u32,
        _: States<'_, Self, u32>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, u32>,
    ) {
        if !std::mem::replace(&mut self.has_warned, true) {
            out.emit_to(&OutputTag::new("warnings"), record);
        }
        out.emit(record);
    }
}

#[test]
#[should_panic(
    expected = "RestoredAfterEachElement: side output 'warnings': has more than the 1 records that are expected, next: 1"
)]
fn side_output_that_depends_on_a_restore_is_found() {
    let warns = OperatorHarness::process(WarnsOnce { has_warned: false });
    warns.batch(0..10).side_output(&OutputTag::new("warnings"), [0_u32]).check(0..10);
}

#[test]
#[should_panic(expected = "RestoredAfterEachElement: record 1 is 1, expected 2")]
fn state_in_a_closure_is_found() {
    let counting = || {
        let count = AtomicUsize::new(0);
        crate::operator::Map::new(move |_: char| count.fetch_add(1, Ordering::Relaxed) + 1)
    };
    OperatorHarness::stateless(counting).batch(['a', 'b', 'c']).check([1, 2, 3]);
}
