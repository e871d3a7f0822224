//! That the harness wakes operators as the engine does, and finds those that depend on what a run does to them.

use std::collections::VecDeque;
use std::time::Duration;

use millstream_actors::contract::{Batch, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError};
use millstream_actors::contract::{Stateful, TwoInputOperator};
use millstream_actors::protocol::{Mark, TaskError};

use super::super::operator_run::OperatorRun;
use super::*;
use crate::operator::Either::{self, First, Second};

const DELAY_MS: u64 = 1000;
const AT_ONCE: u64 = 4000;

/// What is wrong with an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    Nothing,
    /// What it holds back is not in its snapshot.
    Forgets,
    /// Its snapshot has times of a clock that another process has not.
    KeepsTimesOfTheClock,
    /// Woken again, it looks whether there is room after it has emitted.
    Floods,
    /// Woken, it tells the end.
    Ends,
    /// It wants to be woken at the same time again.
    IsAlwaysDue,
}

/// Emits each record a second after it has come, and those from [`AT_ONCE`] on at once.
struct Delays {
    clock: Arc<dyn Clock>,
    flaw: Flaw,
    /// With their times, in order. In milliseconds of the wall clock, or of the clock's origin if that is the flaw.
    held: VecDeque<(u64, u64)>,
}

impl Delays {
    fn new(clock: Arc<dyn Clock>, flaw: Flaw) -> Self {
        Self { clock, flaw, held: VecDeque::new() }
    }

    fn now_ms(&self) -> u64 {
        if self.flaw == Flaw::KeepsTimesOfTheClock { self.clock.now().as_millis() as u64 } else { self.clock.unix_ms() }
    }

    fn hold(&mut self, record: u64) {
        self.held.push_back((self.now_ms() + DELAY_MS, record));
    }

    /// As many as there is room and time for.
    fn release(&mut self, now: u64, out: &mut Output<u64>, budget: &mut RunBudget) -> Progress {
        while let Some(&(_, record)) = self.held.front().filter(|(at, _)| *at <= now) {
            if out.is_full() && self.flaw != Flaw::Floods {
                return Progress::Suspended;
            }
            if self.flaw != Flaw::IsAlwaysDue {
                self.held.pop_front();
            }
            out.emit(record);
            if self.flaw == Flaw::IsAlwaysDue {
                return Progress::Done;
            }
            if self.flaw == Flaw::Floods && out.is_full() {
                return Progress::Suspended;
            }
            if record.is_multiple_of(64) && budget.check() {
                return Progress::Suspended;
            }
        }
        Progress::Done
    }
}

impl BatchOperator for Delays {
    type In = u64;
    type Out = u64;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<u64>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        input.drain().for_each(|record| if record < AT_ONCE { self.hold(record) } else { out.emit(record) });
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u64>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        if mark == Mark::End && self.release(u64::MAX, out, budget) == Progress::Suspended {
            return Ok(Progress::Suspended);
        }
        out.mark(mark);
        Ok(Progress::Done)
    }

    fn due(&self) -> Option<Duration> {
        let (at, _) = self.held.front()?;
        Some(self.clock.now() + Duration::from_millis(at.saturating_sub(self.now_ms())))
    }

    fn wake(&mut self, out: &mut Output<u64>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        if self.flaw == Flaw::Ends {
            out.mark(Mark::End);
        }
        Ok(self.release(self.now_ms(), out, budget))
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        if self.flaw == Flaw::Forgets { None } else { Some(self) }
    }
}

impl Stateful for Delays {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        let numbers = self.held.iter().flat_map(|(at, record)| [*at, *record]);
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        writer.subtask(&"held".into()).put(&bytes);
        Ok(Progress::Done)
    }

    fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let pairs = sections.iter().flat_map(|section| section.bytes.chunks(16));
        self.held = pairs.map(|pair| (number(&pair[..8]), number(&pair[8..]))).collect();
        Ok(())
    }
}

/// Of both inputs.
struct DelaysBoth(Delays);

impl TwoInputOperator for DelaysBoth {
    type First = u64;
    type Second = u64;
    type Out = u64;

    fn process_first(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<u64>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.0.process(input, out, budget)
    }

    fn process_second(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<u64>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.0.process(input, out, budget)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<u64>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.0.mark(mark, out, budget)
    }

    fn due(&self) -> Option<Duration> {
        self.0.due()
    }

    fn wake(&mut self, out: &mut Output<u64>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.0.wake(out, budget)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        self.0.stateful()
    }
}

fn delays(flaw: Flaw) -> OperatorHarness<u64, u64> {
    OperatorHarness::clocked(move |clock| Delays::new(clock, flaw))
}

/// Records that are due at once, and more of them than a batch takes; times within a millisecond; a jump over several.
fn check(flaw: Flaw) {
    let half = Duration::from_micros(DELAY_MS * 500 + 300);
    let harness = delays(flaw).batch(0..1000).advance(half).batch(1000..3000).advance(10 * half);
    let harness = harness.batch(3000..3100).advance(half).batch(3100..3110).advance(half).advance(half);
    let harness = harness.batch([3110, AT_ONCE]);
    harness.check((0..3110).chain([AT_ONCE, 3110]));
}

#[test]
fn operator_is_woken_in_every_way_of_running() {
    check(Flaw::Nothing);
    let both = |place: Place| -> BoxedOperator<Either<u64, u64>, u64> {
        super::super::two_input_harness::merged(DelaysBoth(Delays::new(Arc::new(place.clock), Flaw::Nothing)))
    };
    let second = Duration::from_millis(DELAY_MS);
    OperatorHarness::of(both, Spread::Alone)
        .batch([First(1), Second(2)])
        .advance(second)
        .batch([Second(3)])
        .check([1, 2, 3]);
}

flaws_are_found! {
    what_is_held_back_and_not_in_the_snapshot: Forgets, "RestoredAfterEachElement: record 0 is 4000, expected 0";
    times_that_another_process_does_not_know: KeepsTimesOfTheClock, "RestoredAfterEachElement: record 3000 is 4000, expected 3000";
    output_that_is_full: Floods, "OutputTakesOne: woken, it emitted while the output was full";
    end_that_has_not_come: Ends, "Free: the end is emitted before it has come";
    wake_ups_without_end: IsAlwaysDue, "the operator is due still after 1000000 wake-ups";
}

fn start() -> OperatorRun<u64, u64> {
    let mut run = delays(Flaw::Nothing).start(1);
    run.feed([1]);
    run
}

#[test]
fn run_wakes_the_operator_when_the_clock_is_moved_and_where_the_time_had_come_before_it_was_restored() {
    let (second, mut run) = (Duration::from_millis(DELAY_MS), start());
    run.advance(second / 2);
    run.feed([2]);
    run.advance(second / 2);
    assert_eq!(run.take_output(), [1]);
    run.clock().advance(second);
    let snapshot = run.snapshot();
    assert!(run.take_output().is_empty(), "a clock that is moved otherwise is not noticed");
    assert_eq!(delays(Flaw::Nothing).restore(&snapshot, 1).take_output(), [2]);
    run.feed([3]);
    assert_eq!(run.take_output(), [2], "before the next element it is");
    run.end_of_input();
    assert_eq!(run.take_output(), [3]);
    run.advance(second);
    assert!(run.take_output().is_empty(), "it is not woken after the end");
}
