//! When windows give results, and what is left of them: step by step.

use std::time::Duration;

use millstream_actors::contract::{Batch, BatchOperator, Clock, Output, Progress, RunBudget};
use millstream_actors::protocol::{KeyGroupRange, Mark, Timestamp};

use super::super::*;
use super::{Windowed, Windowing};
use crate::aggregates::Count;
use crate::keyed::KeyedOperator;
use crate::operator::{ByValue, Emitter, OutputTag, SideOutputs};
use crate::state::Timer;
use crate::testing::{OperatorHarness, OperatorRun};

/// Event time, number.
type Input = (Timestamp, u64);
/// Window, and the numbers in it.
type Found = (Window, Vec<u64>);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn late() -> OutputTag<Input> {
    OutputTag::new("late")
}

fn started<A: WindowAssigner<Input>, Tr: Trigger<Input>>(
    windowing: Windowing<Input, A, Tr>,
    evictor: impl Evictor<Input>,
) -> OperatorRun<Input, Found> {
    let function = |records: &[Input], ctx: &WindowContext<'_, ()>, out: &mut Emitter<'_, Found>| {
        out.emit((ctx.window(), records.iter().map(|record| record.1).collect()));
    };
    let function = Windowed::new(windowing, Processed::new(EachWindow::new(function), evictor));
    OperatorHarness::keyed(ByValue::new(|_: &Input| ()), function).event_times(|record| record.0).start(1)
}

fn run<A: WindowAssigner<Input>>(assigner: A, trigger: impl Trigger<Input>) -> OperatorRun<Input, Found> {
    started(Windowing { assigner, trigger, has_own_trigger: false, lateness: 0, late: Some(late()) }, NoEvictor)
}

fn late_by<A: WindowAssigner<Input>>(assigner: A, lateness: i64) -> OperatorRun<Input, Found> {
    let trigger = assigner.trigger();
    started(Windowing { assigner, trigger, has_own_trigger: true, lateness, late: Some(late()) }, NoEvictor)
}

/// What has come out since it was last asked: the numbers in each window.
fn numbers(run: &mut OperatorRun<Input, Found>) -> Vec<Vec<u64>> {
    run.take_output().into_iter().map(|(_, numbers)| numbers).collect()
}

const SECOND: TumblingWindowsOfASecond = TumblingWindowsOfASecond;

/// [`TumblingWindows`] of a second, as a constant.
#[derive(Clone, Copy)]
struct TumblingWindowsOfASecond;

impl WindowAssigner<Input> for TumblingWindowsOfASecond {
    type Trigger = TimeTrigger;

    fn trigger(&self) -> TimeTrigger {
        TimeTrigger::EventTime
    }

    fn assign(&self, record: &Input, time: Timestamp, windows: &mut Vec<Window>) {
        TumblingWindows::event_time(ms(1_000)).assign(record, time, windows);
    }
}

/// T7. Exactly at the last millisecond; a record of that is in the window, one of the next is not.
#[test]
fn a_window_is_complete_when_the_watermark_has_come_to_its_last_millisecond() {
    let mut run = late_by(TumblingWindows::event_time(ms(1_000)), 0);
    run.feed([(0, 1), (999, 2), (1_000, 3), (-1, 4)]);
    run.watermark(-2);
    assert!(run.take_output().is_empty());
    run.watermark(-1);
    assert_eq!(run.take_output(), [(Window::new(-1_000, 0), vec![4])]);
    run.watermark(998);
    assert!(run.take_output().is_empty());
    run.watermark(999);
    assert_eq!(run.take_output(), [(Window::new(0, 1_000), vec![1, 2])]);
    run.feed([(999, 5), (1_000, 6)]);
    assert_eq!(run.take_side_output(&late()), [(999, 5)]);
    run.end_of_input();
    assert_eq!(run.take_output(), [(Window::new(1_000, 2_000), vec![3, 6])]);
}

/// T8. A late record has the whole window fire again, until lateness is over: then it goes to the side output.
#[test]
fn late_records_fire_again_as_long_as_lateness_is_allowed() {
    let mut run = late_by(TumblingWindows::event_time(ms(1_000)), 500);
    run.feed([(10, 1)]);
    run.watermark(999);
    run.feed([(20, 2)]);
    run.watermark(1_498);
    run.feed([(30, 3)]);
    assert_eq!(numbers(&mut run), [vec![1], vec![1, 2], vec![1, 2, 3]]);
    run.watermark(1_499);
    run.feed([(40, 4), (1_000, 5)]);
    assert_eq!((numbers(&mut run), run.take_side_output(&late())), (vec![], vec![(40, 4)]));
    run.end_of_input();
    assert_eq!(numbers(&mut run), [vec![5]]);
}

/// T8. A window that is new when the watermark has passed it fires at once, and not with the next watermark again.
#[test]
fn a_window_that_begins_late_fires_once() {
    for merges in [false, true] {
        let mut run = match merges {
            false => late_by(TumblingWindows::event_time(ms(1_000)), 5_000),
            true => late_by(SessionWindows::event_time(ms(1_000)), 5_000),
        };
        run.watermark(2_000);
        run.feed([(10, 1)]);
        assert_eq!(numbers(&mut run), [vec![1]]);
        run.watermark(3_000);
        run.watermark(9_000);
        assert!(run.take_output().is_empty());
    }
}

/// T8. A late record may join two sessions, of which one has fired.
#[test]
fn a_late_record_joins_sessions() {
    let mut run = late_by(SessionWindows::event_time(ms(100)), 1_000);
    run.feed([(0, 1), (200, 2)]);
    run.watermark(150);
    assert_eq!(run.take_output(), [(Window::new(0, 100), vec![1])]);
    run.feed([(100, 3)]);
    assert!(run.take_output().is_empty(), "together they are not complete");
    run.watermark(299);
    assert_eq!(run.take_output(), [(Window::new(0, 300), vec![1, 2, 3])], "two that touch are one");
}

#[test]
fn count_triggers_count_per_window_and_purging_ones_drop_what_they_gave() {
    let mut counting = run(SECOND, CountTrigger::of(2));
    counting.feed([(0, 1), (1_000, 2), (1, 3), (1_001, 4), (2, 5), (3, 6)]);
    assert_eq!(numbers(&mut counting), [vec![1, 3], vec![2, 4], vec![1, 3, 5, 6]]);
    counting.end_of_input();
    assert!(counting.take_output().is_empty(), "a trigger that is set replaces time");

    let mut purging = run(SECOND, PurgingTrigger::of(CountTrigger::of(2)));
    purging.feed([(0, 1), (1, 3), (2, 5), (3, 6), (4, 7)]);
    assert_eq!(numbers(&mut purging), [vec![1, 3], vec![5, 6]]);
}

#[test]
fn sessions_that_merge_add_their_counts() {
    let mut run = run(SessionWindows::event_time(ms(10)), CountTrigger::of(3));
    run.feed([(0, 1), (20, 2)]);
    assert!(run.take_output().is_empty());
    run.feed([(10, 3)]);
    assert_eq!(run.take_output(), [(Window::new(0, 30), vec![1, 2, 3])]);
}

#[test]
fn continuous_triggers_fire_at_each_interval_and_at_the_end() {
    let mut by_event_time = run(SECOND, ContinuousTrigger::event_time(ms(300)));
    by_event_time.feed([(50, 1)]);
    by_event_time.watermark(299);
    assert!(by_event_time.take_output().is_empty());
    by_event_time.watermark(650);
    by_event_time.feed([(700, 2)]);
    by_event_time.watermark(2_000);
    assert_eq!(numbers(&mut by_event_time), [vec![1], vec![1], vec![1, 2], vec![1, 2]], "at 300, 600, 900 and 999");

    let mut by_clock = run(SECOND, ContinuousTrigger::processing_time(ms(100)));
    by_clock.feed([(0, 1)]);
    by_clock.advance(ms(99));
    by_clock.feed([(1, 2)]);
    assert!(by_clock.take_output().is_empty());
    by_clock.advance(ms(1));
    by_clock.advance(ms(500));
    assert_eq!(numbers(&mut by_clock), [vec![1, 2]], "nothing has come since");
    by_clock.feed([(2, 3)]);
    by_clock.advance(ms(100));
    assert_eq!(numbers(&mut by_clock), [vec![1, 2, 3]]);
}

/// Windows that never end have no first interval before their first record, and the end of input is none.
#[test]
fn continuous_triggers_of_global_windows_begin_with_the_first_record() {
    let mut run = run(GlobalWindows::new(), ContinuousTrigger::event_time(ms(1_000)));
    run.feed([(1_700_000_000_500, 1)]);
    run.watermark(1_700_000_000_999);
    assert!(run.take_output().is_empty());
    run.watermark(1_700_000_002_500);
    assert_eq!(numbers(&mut run), [vec![1], vec![1]]);
    run.end_of_input();
    assert!(run.take_output().is_empty());
}

#[test]
fn delta_triggers_compare_with_the_record_that_fired_last() {
    let far = DeltaTrigger::new(5.0, |one: &Input, other: &Input| other.1.abs_diff(one.1) as f64);
    let mut run = run(GlobalWindows::new(), far);
    run.feed([(0, 10), (0, 15), (0, 16), (0, 20), (0, 22)]);
    assert_eq!(numbers(&mut run), [vec![10, 15, 16], vec![10, 15, 16, 20, 22]]);
}

/// T9. Windows of processing time are complete when the clock has passed their last millisecond; at the end of input those
/// that are not give nothing.
#[test]
fn windows_of_processing_time_go_by_the_clock() {
    let mut tumbling = late_by(TumblingWindows::processing_time(ms(1_000)), 0);
    let began = tumbling.clock().unix_ms() as i64;
    let window = |start, end| Window::new(began + start, began + end);
    tumbling.feed([(0, 1)]);
    tumbling.advance(ms(999));
    tumbling.feed([(0, 2)]);
    assert!(tumbling.take_output().is_empty(), "its last millisecond is not over");
    tumbling.advance(ms(1));
    assert_eq!(tumbling.take_output(), [(window(0, 1_000), vec![1, 2])]);
    tumbling.feed([(0, 3)]);
    tumbling.end_of_input();
    assert!(tumbling.take_output().is_empty());

    let mut sessions = late_by(SessionWindows::processing_time(ms(100)), 0);
    sessions.feed([(0, 1)]);
    sessions.advance(ms(60));
    sessions.feed([(0, 2)]);
    sessions.advance(ms(60));
    assert!(sessions.take_output().is_empty());
    sessions.advance(ms(60));
    assert_eq!(sessions.take_output(), [(window(0, 160), vec![1, 2])]);

    let mut sliding = late_by(SlidingWindows::processing_time(ms(200), ms(100)), 0);
    sliding.advance(ms(150));
    sliding.feed([(0, 1)]);
    sliding.advance(ms(300));
    assert_eq!(sliding.take_output(), [(window(0, 200), vec![1]), (window(100, 300), vec![1])]);
}

#[test]
fn evictors_drop_records_from_the_window() {
    let windowing = Windowing {
        assigner: GlobalWindows::new(),
        trigger: CountTrigger::of(2),
        has_own_trigger: false,
        lateness: 0,
        late: None,
    };
    let mut run = started(windowing, CountEvictor::of(3));
    run.feed((1..=6).map(|n| (0, n)));
    assert_eq!(numbers(&mut run), [vec![1, 2], vec![2, 3, 4], vec![4, 5, 6]]);
}

/// The number of keys with state after these records and this watermark.
fn keys_left<A: WindowAssigner<Input>, Tr: Trigger<Input>>(assigner: A, trigger: Tr, has_own_trigger: bool) -> usize {
    let windowing = Windowing { assigner, trigger, has_own_trigger, lateness: 0, late: None };
    let function =
        Windowed::new(windowing, Aggregated { function: Count::new(), emit: |_: &WindowContext<'_, u64>, n: u64| n });
    let groups = KeyGroupRange { start: 0, end: 4 };
    let selector = ByValue::new(|record: &Input| record.1);
    let mut operator: KeyedOperator<Input, _, _> =
        KeyedOperator::new("windows".into(), groups, 4, selector, function, SideOutputs::default());
    let (mut batch, mut out) = (Batch::counted((0..200).map(|n| (n, n as u64 % 100)).collect(), 200), Output::new());
    batch.set_times(|record, _| record.0);
    let budget = &mut RunBudget::start_by(Some(|| Duration::ZERO));
    assert_eq!(operator.process(&mut batch, &mut out, budget).unwrap(), Progress::Done);
    assert!(operator.keys() == 100 || out.len() == 100);
    while operator.mark(Mark::Watermark(10_000), &mut out, budget).unwrap() == Progress::Suspended {
        out = Output::new();
    }
    operator.keys()
}

/// Nothing is left of a window that is over, or purged where windows never are.
#[test]
fn windows_that_are_done_leave_no_state() {
    assert_eq!(keys_left(SECOND, TimeTrigger::EventTime, true), 0);
    assert_eq!(keys_left(SECOND, CountTrigger::of(9), false), 0);
    assert_eq!(keys_left(SlidingWindows::event_time(ms(1_000), ms(100)), TimeTrigger::EventTime, true), 0);
    assert_eq!(keys_left(SessionWindows::event_time(ms(50)), TimeTrigger::EventTime, true), 0);
    assert_eq!(keys_left(GlobalWindows::new(), PurgingTrigger::of(CountTrigger::of(2)), false), 0);
    assert_eq!(keys_left(GlobalWindows::new(), CountTrigger::of(2), false), 100);
}

/// T7. Times before 1970 are in the window tests above; these are at the limits.
#[test]
fn windows_at_the_limits_of_time_are_cut_off_and_fire() {
    let times = [Timestamp::MIN + 1, Timestamp::MIN + 500, Timestamp::MAX - 500, Timestamp::MAX - 1, Timestamp::MAX];
    let found = |mut run: OperatorRun<Input, Found>| {
        run.feed(times.map(|at| (at, 0)));
        run.end_of_input();
        run.take_output().iter().map(|(_, numbers)| numbers.len()).sum::<usize>()
    };
    assert_eq!(found(late_by(TumblingWindows::event_time(ms(1_000)), 500)), times.len());
    assert_eq!(found(late_by(SessionWindows::event_time(ms(1_000)), 500)), times.len());
    assert!(found(late_by(SlidingWindows::event_time(ms(1_000), ms(300)), 500)) >= times.len());
    let sliced = Windowing {
        assigner: SlidingWindows::event_time(ms(1_000), ms(300)),
        trigger: TimeTrigger::EventTime,
        has_own_trigger: true,
        lateness: 500,
        late: None,
    };
    let emit = |_: &WindowContext<'_, ()>, count: u64| count;
    let function = Windowed::new(sliced, Aggregated { function: Count::new(), emit });
    assert!(function.slicing.is_some());
    let harness = OperatorHarness::keyed(ByValue::new(|_: &Input| ()), function).event_times(|record| record.0);
    let mut run = harness.start(1);
    run.feed(times.map(|at| (at, 0)));
    run.end_of_input();
    assert!(run.take_output().iter().sum::<u64>() >= times.len() as u64);
}

#[test]
#[should_panic(expected = "a record without event time has come to windows of event time")]
fn records_without_event_time_are_refused() {
    let function = Windowed::new(
        Windowing { assigner: SECOND, trigger: TimeTrigger::EventTime, has_own_trigger: true, lateness: 0, late: None },
        Aggregated { function: Count::new(), emit: |_: &WindowContext<'_, ()>, count: u64| count },
    );
    OperatorHarness::keyed(ByValue::new(|_: &Input| ()), function).start(1).feed([(0, 1)]);
}

/// Wants to be called at the same time again and again.
#[derive(Clone)]
struct Stuck;

impl Trigger<Input> for Stuck {
    type State = ();

    fn on_element(&self, _: &Input, _: TriggerContext<'_>, (): &mut ()) -> TriggerResult {
        TriggerResult::Continue
    }

    fn processing_time(&self, _: Window, (): &()) -> Option<Timestamp> {
        Some(5)
    }

    fn on_time(&self, _: Timer, _: TriggerContext<'_>, (): &mut ()) -> TriggerResult {
        TriggerResult::Continue
    }

    fn merge(&self, (): &mut (), (): ()) {}
}

#[test]
#[should_panic(expected = "was called at 5 and wants to be called at Some(5) again")]
fn a_trigger_that_does_not_move_on_is_refused() {
    let mut run = run(SECOND, Stuck);
    run.feed([(0, 1)]);
    run.advance(ms(10));
}
