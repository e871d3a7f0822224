//! Merging the watermarks of several inputs.

use super::Timestamp;

/// The event time of a task: the minimum over its active inputs (Flink's `StatusWatermarkValve`).
///
/// - An idle input does not count; one that returns counts again once it has caught up with the merged watermark.
/// - When all inputs go idle, or have ended, the highest watermark among them is let through first.
/// - An input that has ended does not count, until it is said to [resume](Self::resume). When all others are idle, its watermark is among those of
///   which the highest is let through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WatermarkMerge {
    inputs: Vec<Input>,
    /// Those that have not ended. Of thousands of files that are read one after another it is one.
    open: Vec<usize>,
    /// The highest watermark of those that have.
    of_ended: Timestamp,
    merged: Timestamp,
    idle: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Input {
    watermark: Timestamp,
    idle: bool,
    /// Whether it holds the merged watermark back: active, and not behind it since it returned from idle.
    counts: bool,
}

/// What a change of one input means for the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventTime {
    /// Nothing.
    Unchanged,
    /// The task's watermark is now this.
    Advanced(Timestamp),
    /// All inputs are idle; nothing was held back.
    Idle,
    /// All inputs are idle; the watermark goes out before.
    AdvancedThenIdle(Timestamp),
}

impl WatermarkMerge {
    /// A merge over this many inputs, none of which has a watermark.
    pub fn new(inputs: usize) -> Self {
        let input = Input { watermark: Timestamp::MIN, idle: false, counts: true };
        let (merged, of_ended) = (Timestamp::MIN, Timestamp::MIN);
        Self { inputs: vec![input; inputs], open: (0..inputs).collect(), of_ended, merged, idle: false }
    }

    /// One more input, without a watermark; its number. It holds the merged watermark where that is until it has caught up.
    pub fn add_input(&mut self) -> usize {
        let number = self.inputs.len();
        self.inputs.push(Input { watermark: Timestamp::MIN, idle: false, counts: true });
        self.open.push(number);
        self.idle = false;
        number
    }

    /// An input that has ended is from now on another one, as one that is [added](Self::add_input).
    pub fn begin_again(&mut self, input: usize) {
        self.inputs[input] = Input { watermark: Timestamp::MIN, idle: false, counts: true };
        self.open.push(input);
        self.idle = false;
    }

    /// An input that has ended has records again: as one that returns from idle it counts once it has caught up.
    pub fn resume(&mut self, input: usize) {
        self.inputs[input].idle = true;
        self.open.push(input);
        self.active(input);
    }

    /// The input's event time has come to `at`. An earlier time than before is ignored.
    pub fn watermark(&mut self, input: usize, at: Timestamp) -> EventTime {
        self.idle = false;
        let input = &mut self.inputs[input];
        input.idle = false;
        input.watermark = input.watermark.max(at);
        input.counts = input.counts || input.watermark >= self.merged;
        self.advance()
    }

    /// The input delivered a record: it is not idle.
    pub fn active(&mut self, input: usize) {
        if self.inputs[input].idle {
            self.idle = false;
            self.inputs[input].idle = false;
            self.inputs[input].counts = self.inputs[input].watermark >= self.merged;
        }
    }

    /// The input has nothing at present.
    pub fn idle(&mut self, input: usize) -> EventTime {
        self.inputs[input].idle = true;
        self.inputs[input].counts = false;
        self.without_one()
    }

    /// The input has ended. Once all have, this says [`EventTime::Unchanged`], and [`all_ended`](Self::all_ended) what goes ahead of the end.
    pub fn end(&mut self, input: usize) -> EventTime {
        self.open.retain(|open| *open != input);
        self.of_ended = self.inputs[input].watermark.max(self.of_ended);
        if self.open.is_empty() { EventTime::Unchanged } else { self.without_one() }
    }

    /// All inputs have ended: as when all are idle, the highest watermark among them goes out before that is said.
    pub fn all_ended(&mut self) -> Option<Timestamp> {
        let highest = self.highest();
        (highest > self.merged).then(|| {
            self.merged = highest;
            highest
        })
    }

    /// The input is one of a restored task, and had come so far. Nothing follows from that yet.
    pub fn restore_input(&mut self, input: usize, at: Timestamp) {
        self.inputs[input].watermark = at.max(self.inputs[input].watermark);
    }

    /// The task is a restored one, and its watermark was this. Inputs that are behind it hold it there until they have caught up.
    pub fn restore_merged(&mut self, at: Timestamp) -> EventTime {
        if at <= self.merged {
            return EventTime::Unchanged;
        }
        self.merged = at;
        EventTime::Advanced(at)
    }

    /// The task's watermark.
    pub fn merged(&self) -> Timestamp {
        self.merged
    }

    /// There is no input that has not ended, but there may be some later: until then the task is idle.
    pub fn awaits_inputs(&mut self) -> EventTime {
        if self.open.is_empty() { self.without_one() } else { EventTime::Unchanged }
    }

    /// Whether all inputs are idle, or awaited.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// One input less counts.
    fn without_one(&mut self) -> EventTime {
        if self.open().any(|input| !input.idle) {
            return self.advance();
        }
        if std::mem::replace(&mut self.idle, true) {
            return EventTime::Unchanged;
        }
        let highest = self.highest();
        if highest > self.merged {
            self.merged = highest;
            return EventTime::AdvancedThenIdle(highest);
        }
        EventTime::Idle
    }

    /// The highest watermark of all inputs, of those that have ended, too.
    fn highest(&self) -> Timestamp {
        self.open().map(|input| input.watermark).fold(self.of_ended, Timestamp::max)
    }

    fn advance(&mut self) -> EventTime {
        let lowest = self.open().filter(|input| input.counts).map(|input| input.watermark).min();
        match lowest {
            Some(lowest) if lowest > self.merged => {
                self.merged = lowest;
                EventTime::Advanced(lowest)
            }
            _ => EventTime::Unchanged,
        }
    }

    fn open(&self) -> impl Iterator<Item = &Input> {
        self.open.iter().map(|input| &self.inputs[*input])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_watermark_is_the_minimum() {
        let mut merge = WatermarkMerge::new(2);
        assert_eq!(merge.watermark(0, 10), EventTime::Unchanged);
        assert_eq!(merge.watermark(1, 4), EventTime::Advanced(4));
        assert_eq!(merge.watermark(1, 3), EventTime::Unchanged, "never back");
        assert_eq!(merge.watermark(1, 12), EventTime::Advanced(10));
    }

    #[test]
    fn input_that_is_added_holds_the_watermark_where_it_is() {
        let mut merge = WatermarkMerge::new(0);
        assert_eq!(merge.add_input(), 0);
        assert_eq!(merge.watermark(0, 10), EventTime::Advanced(10));
        assert_eq!(merge.add_input(), 1);
        assert_eq!(merge.watermark(0, 20), EventTime::Unchanged);
        assert_eq!(merge.watermark(1, 8), EventTime::Unchanged, "never back");
        assert_eq!(merge.watermark(1, 15), EventTime::Advanced(15));
    }

    #[test]
    fn idle_input_does_not_hold_back() {
        let mut merge = WatermarkMerge::new(2);
        assert_eq!(merge.watermark(0, 10), EventTime::Unchanged);
        assert_eq!(merge.idle(1), EventTime::Advanced(10));
    }

    #[test]
    fn returning_input_counts_once_it_has_caught_up() {
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        merge.idle(1);
        merge.active(1);
        assert_eq!(merge.watermark(0, 20), EventTime::Advanced(20), "input 1 is behind, so it does not count");
        assert_eq!(merge.watermark(1, 15), EventTime::Unchanged);
        assert_eq!(merge.watermark(1, 25), EventTime::Unchanged, "input 0 is at 20");
        assert_eq!(merge.watermark(0, 30), EventTime::Advanced(25));
    }

    #[test]
    fn input_that_has_ended_does_not_hold_back_and_counts_as_idle() {
        let mut merge = WatermarkMerge::new(3);
        merge.watermark(0, 10);
        merge.watermark(1, 5);
        assert_eq!(merge.watermark(2, 7), EventTime::Advanced(5));
        assert_eq!(merge.end(1), EventTime::Advanced(7));
        assert_eq!(merge.idle(2), EventTime::Advanced(10));
        assert_eq!(merge.end(0), EventTime::Idle, "what is left is idle");
        assert_eq!(merge.end(2), EventTime::Unchanged, "all have ended");
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        merge.idle(1);
        assert_eq!(merge.end(0), EventTime::Idle);
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        assert_eq!(merge.end(0), EventTime::Unchanged, "input 1 has no watermark yet");
        assert_eq!(merge.idle(1), EventTime::AdvancedThenIdle(10));
    }

    #[test]
    fn input_that_resumes_after_its_end_counts_once_it_has_caught_up() {
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        assert_eq!(merge.watermark(1, 20), EventTime::Advanced(10));
        merge.end(0);
        assert_eq!(merge.watermark(1, 30), EventTime::Advanced(30));
        merge.resume(0);
        assert_eq!(merge.watermark(0, 12), EventTime::Unchanged);
        assert_eq!(merge.watermark(1, 40), EventTime::Advanced(40), "input 0 is behind");
        assert_eq!((merge.watermark(0, 45), merge.watermark(1, 60)), (EventTime::Unchanged, EventTime::Advanced(45)));
    }

    #[test]
    fn once_all_inputs_have_ended_the_highest_watermark_is_let_through() {
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        assert_eq!(merge.watermark(1, 5), EventTime::Advanced(5));
        assert_eq!((merge.end(0), merge.end(1)), (EventTime::Unchanged, EventTime::Unchanged));
        assert_eq!((merge.all_ended(), merge.all_ended(), merge.merged()), (Some(10), None, 10));
    }

    #[test]
    fn restored_merge_is_as_far_as_it_was_and_waits_for_inputs_that_are_behind() {
        let mut merge = WatermarkMerge::new(2);
        merge.restore_input(0, 10);
        assert_eq!(merge.end(0), EventTime::Unchanged);
        assert_eq!((merge.restore_merged(7), merge.restore_merged(7)), (EventTime::Advanced(7), EventTime::Unchanged));
        assert_eq!(merge.watermark(1, 6), EventTime::Unchanged);
        assert_eq!(merge.idle(1), EventTime::AdvancedThenIdle(10), "that of the input that has ended");
    }

    #[test]
    fn task_that_awaits_inputs_is_idle_until_one_is_there() {
        let mut merge = WatermarkMerge::new(0);
        assert_eq!((merge.awaits_inputs(), merge.awaits_inputs()), (EventTime::Idle, EventTime::Unchanged));
        merge.add_input();
        assert_eq!((merge.is_idle(), merge.awaits_inputs()), (false, EventTime::Unchanged));
        merge.watermark(0, 10);
        merge.add_input();
        merge.watermark(1, 5);
        merge.end(1);
        merge.end(0);
        assert_eq!(merge.awaits_inputs(), EventTime::Idle);
        merge.resume(1);
        assert_eq!(merge.watermark(1, 11), EventTime::Advanced(11));
    }

    #[test]
    fn all_idle_flushes_the_maximum_first() {
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        merge.watermark(1, 5);
        assert_eq!(merge.idle(1), EventTime::Advanced(10));
        assert_eq!(merge.idle(0), EventTime::Idle);
        let mut merge = WatermarkMerge::new(2);
        merge.watermark(0, 10);
        assert_eq!(merge.idle(0), EventTime::Unchanged, "input 1 has no watermark yet");
        assert_eq!(merge.idle(1), EventTime::AdvancedThenIdle(10));
        assert_eq!(merge.idle(1), EventTime::Unchanged);
    }
}
