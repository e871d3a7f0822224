//! How far the event time of a subtask's splits has come together.

use std::collections::HashMap;
use std::time::Duration;

use millstream_actors::protocol::{EventTime, Mark, Timestamp, WatermarkMerge};

/// Nothing of the split is to come, as far as is known.
const ENDED: Timestamp = Timestamp::MAX;

/// The splits that have begun, each with what tells its event time, and what their stream says together: the minimum over
/// those that are neither idle nor at their end. A split that was not begun does not count, as one that Flink has not
/// assigned yet.
pub(crate) struct SplitTimes<G> {
    splits: Vec<SplitTime<G>>,
    /// Those that are not at their end: of thousands of files that are read one after another one.
    open: Vec<usize>,
    by_id: HashMap<String, usize>,
    /// Places of those that were forgotten.
    free: Vec<usize>,
    merge: WatermarkMerge,
    idle_after: Option<Duration>,
    /// The split of the last read: most often that of the next, too.
    last: usize,
    /// How long there has been no split that has begun and is not at its end.
    nothing_open: Duration,
    /// In this round.
    reads: usize,
}

struct SplitTime<G> {
    id: String,
    generator: G,
    /// What it has said, or [`ENDED`].
    watermark: Timestamp,
    is_idle: bool,
    /// How long it has had no records.
    silent: Duration,
    /// For how long it may have had none besides, in this round of reads and in the one before.
    waited: [Duration; 2],
}

impl<G> SplitTimes<G> {
    /// Of no split yet.
    pub(crate) fn new(idle_after: Option<Duration>) -> Self {
        Self {
            splits: Vec::new(),
            open: Vec::new(),
            by_id: HashMap::new(),
            free: Vec::new(),
            merge: WatermarkMerge::new(0),
            idle_after,
            last: 0,
            nothing_open: Duration::ZERO,
            reads: 0,
        }
    }

    /// The number of a split that has begun; one that has not begins, with this generator.
    pub(crate) fn begun(&mut self, id: &str, generator: impl FnOnce() -> G) -> usize {
        if self.splits.get(self.last).is_some_and(|split| split.id == id) {
            return self.last;
        }
        self.last = self.by_id.get(id).copied().unwrap_or_else(|| {
            let (watermark, silent) = (Timestamp::MIN, Duration::ZERO);
            let begun = SplitTime {
                id: id.to_owned(),
                generator: generator(),
                watermark,
                is_idle: false,
                silent,
                waited: Default::default(),
            };
            let number = match self.free.pop() {
                Some(number) => {
                    self.merge.begin_again(number);
                    self.splits[number] = begun;
                    number
                }
                None => {
                    self.splits.push(begun);
                    self.merge.add_input()
                }
            };
            self.by_id.insert(id.to_owned(), number);
            self.open.push(number);
            number
        });
        self.last
    }

    /// What tells the event time of a split.
    pub(crate) fn generator(&mut self, split: usize) -> &mut G {
        &mut self.splits[split].generator
    }

    /// How far the split's time has come, to be stored with its position; `None` if it has not begun.
    pub(crate) fn of(&self, id: &str) -> Option<Timestamp> {
        Some(self.splits[*self.by_id.get(id)?].watermark).filter(|watermark| *watermark != Timestamp::MIN)
    }

    /// The split had come this far when it was stored.
    pub(crate) fn restore(&mut self, split: usize, watermark: Timestamp, marks: &mut Vec<Mark>) {
        if watermark == ENDED {
            self.ended(split, marks);
        } else {
            self.read(split, Some(watermark), marks);
        }
    }

    /// Records of the split were read, and it says that its time has come this far, or nothing. One that had been at its end is not
    /// any more.
    pub(crate) fn read(&mut self, split: usize, watermark: Option<Timestamp>, marks: &mut Vec<Mark>) {
        let known = &mut self.splits[split];
        if known.watermark == ENDED {
            known.watermark = Timestamp::MIN;
            self.open.push(split);
            self.merge.resume(split);
        }
        (known.is_idle, self.nothing_open) = (false, Duration::ZERO);
        (known.silent, known.waited) = (Duration::ZERO, Default::default());
        self.merge.active(split);
        if let Some(watermark) = watermark {
            // Nothing is to come at the greatest time but of a split that has ended.
            known.watermark = known.watermark.max(watermark.min(ENDED - 1));
            tell(self.merge.watermark(split, known.watermark), marks);
        }
    }

    /// The source itself says this of the split.
    pub(crate) fn said(&mut self, split: usize, mark: Mark, marks: &mut Vec<Mark>) {
        match mark {
            Mark::Watermark(at) => self.read(split, Some(at), marks),
            Mark::Idle if !self.splits[split].is_idle && self.splits[split].watermark != ENDED => {
                self.splits[split].is_idle = true;
                tell(self.merge.idle(split), marks);
            }
            _ => {}
        }
    }

    /// The split is at its end.
    pub(crate) fn ended(&mut self, split: usize, marks: &mut Vec<Mark>) {
        let known = &mut self.splits[split];
        if std::mem::replace(&mut known.watermark, ENDED) != ENDED {
            known.is_idle = false;
            self.open.retain(|open| *open != split);
            tell(self.merge.end(split), marks);
        }
    }

    /// There is no split that is not at its end, but there may be some later: until then the stream is idle.
    pub(crate) fn awaits_splits(&mut self, marks: &mut Vec<Mark>) {
        tell(self.merge.awaits_inputs(), marks);
    }

    /// The split is at its end and no longer known: its place is for one that begins later.
    pub(crate) fn forget(&mut self, id: &str, marks: &mut Vec<Mark>) {
        if let Some(number) = self.by_id.remove(id) {
            self.ended(number, marks);
            self.free.push(number);
            self.last = usize::MAX;
        }
    }

    /// So much time has passed, in which no split had records but one that has just been read, if there is one. Of which of the others
    /// that is true is seen when the reader has been asked for all.
    pub(crate) fn waited(&mut self, time: Duration, but: Option<usize>, marks: &mut Vec<Mark>) {
        let Some(idle_after) = self.idle_after else { return };
        if self.open.is_empty() {
            let is_said = self.nothing_open >= idle_after;
            self.nothing_open = self.nothing_open.saturating_add(time);
            if !is_said && self.nothing_open >= idle_after {
                marks.push(Mark::Idle);
            }
        }
        for number in self.open.iter().filter(|number| Some(**number) != but) {
            let split = &mut self.splits[*number];
            split.waited[0] = split.waited[0].saturating_add(time);
        }
    }

    /// A read is over, which has found all that there is, or not. A round of reads is as many as there are splits, so that each has its
    /// turn. A split had no records in a time that has passed if it has had none in a whole round since, or all was found.
    pub(crate) fn read_is_over(&mut self, has_found_all: bool, marks: &mut Vec<Mark>) {
        let Some(idle_after) = self.idle_after else { return };
        self.reads += 1;
        if !has_found_all && self.reads < self.open.len() {
            return;
        }
        self.reads = 0;
        for number in &self.open {
            let split = &mut self.splits[*number];
            let [this, before] = std::mem::take(&mut split.waited);
            split.silent = split.silent.saturating_add(before);
            if has_found_all {
                split.silent = split.silent.saturating_add(this);
            } else {
                split.waited[1] = this;
            }
            if split.silent >= idle_after && !split.is_idle {
                split.is_idle = true;
                tell(self.merge.idle(*number), marks);
            }
        }
    }

    fn open(&self) -> impl Iterator<Item = &SplitTime<G>> {
        self.open.iter().map(|number| &self.splits[*number])
    }

    /// The reader does not say of which split a read is: all that is known of splits, which it must be restored from, is known
    /// of the one that this generator is for.
    pub(crate) fn become_whole(&mut self, id: &str, generator: impl FnOnce() -> G, marks: &mut Vec<Mark>) -> usize {
        let others = self.splits.len();
        let least = self.splits.iter().map(|split| split.watermark).min();
        let whole = self.begun(id, generator);
        if let Some(least) = least.filter(|_| whole >= others) {
            self.read(whole, Some(least), marks);
            (0..others).for_each(|other| self.ended(other, marks));
        }
        whole
    }

    /// The slowest split that is neither idle nor at its end, if one has begun, how far it has come, and how far the fastest has;
    /// `None` if nothing holds back.
    pub(crate) fn slowest(&self) -> Option<(Option<&str>, Timestamp, Timestamp)> {
        if self.splits.is_empty()
            && !self.merge.is_idle()
            && self.idle_after.is_none_or(|after| self.nothing_open < after)
        {
            return Some((None, Timestamp::MIN, Timestamp::MIN));
        }
        let slowest = self.open().filter(|split| !split.is_idle).min_by_key(|split| split.watermark)?;
        let ahead = self.open().map(|split| split.watermark).max()?;
        Some((Some(&*slowest.id).filter(|id| !id.is_empty()), slowest.watermark, ahead))
    }

    /// After how much more time the next split is idle.
    pub(crate) fn next_idle_in(&self) -> Option<Duration> {
        let idle_after = self.idle_after?;
        if self.open.is_empty() {
            return idle_after.checked_sub(self.nothing_open).filter(|left| !left.is_zero());
        }
        let waiting = self.open().filter(|split| !split.is_idle);
        waiting.map(|split| idle_after.saturating_sub(split.silent)).min()
    }
}

fn tell(event_time: EventTime, marks: &mut Vec<Mark>) {
    match event_time {
        EventTime::Unchanged => {}
        EventTime::Advanced(at) => marks.push(Mark::Watermark(at)),
        EventTime::Idle => marks.push(Mark::Idle),
        EventTime::AdvancedThenIdle(at) => marks.extend([Mark::Watermark(at), Mark::Idle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Reads of the split say this.
    fn read(times: &mut SplitTimes<()>, id: &str, watermark: Timestamp) -> Vec<Mark> {
        let (split, mut marks) = (times.begun(id, || ()), Vec::new());
        times.read(split, Some(watermark), &mut marks);
        marks
    }

    fn end(times: &mut SplitTimes<()>, id: &str) -> Vec<Mark> {
        let (split, mut marks) = (times.begun(id, || ()), Vec::new());
        times.ended(split, &mut marks);
        marks
    }

    fn wait(times: &mut SplitTimes<()>, time: Duration) -> Vec<Mark> {
        let mut marks = Vec::new();
        times.waited(time, None, &mut marks);
        times.read_is_over(true, &mut marks);
        marks
    }

    #[test]
    fn splits_one_after_another_count_from_their_first_read_to_their_end() {
        let mut times = SplitTimes::new(None);
        assert_eq!(read(&mut times, "a", 10), [Mark::Watermark(10)]);
        assert_eq!(read(&mut times, "a", 9), [], "not back");
        assert_eq!(end(&mut times, "a"), [], "the end of all is said by the source");
        assert_eq!((read(&mut times, "b", 4), read(&mut times, "b", 12)), (vec![], vec![Mark::Watermark(12)]));
        assert_eq!((times.of("a"), times.of("b"), times.of("c")), (Some(ENDED), Some(12), None));
    }

    #[test]
    fn place_of_a_forgotten_split_is_for_one_that_begins_later() {
        let mut times = SplitTimes::new(None);
        read(&mut times, "a", 10);
        read(&mut times, "b", 12);
        end(&mut times, "a");
        for (number, day) in (20..1000).zip((0..).map(|day| format!("day {day}"))) {
            let mut marks = Vec::new();
            times.forget(if number == 20 { "a" } else { "day" }, &mut marks);
            times.forget(&format!("day {}", number - 21), &mut marks);
            assert_eq!(times.of(&day), None);
            read(&mut times, &day, number);
            end(&mut times, &day);
        }
        assert!(times.splits.len() <= 3, "{}", times.splits.len());
        assert_eq!((times.of("a"), times.of("b"), times.of("day 979")), (None, Some(12), Some(ENDED)));
        assert_eq!(read(&mut times, "b", 2000), [Mark::Watermark(2000)]);
        let mut marks = Vec::new();
        times.forget("b", &mut marks);
        assert_eq!(read(&mut times, "c", 1999), [], "not back");
        assert_eq!(read(&mut times, "c", 2001), [Mark::Watermark(2001)]);
    }

    #[test]
    fn split_that_is_read_after_its_end_counts_again_also_when_it_was_restored_at_its_end() {
        for is_restored in [false, true] {
            let (mut times, mut marks) = (SplitTimes::new(None), Vec::new());
            read(&mut times, "a", 10);
            if is_restored {
                times = SplitTimes::new(None);
                let a = times.begun("a", || ());
                times.restore(a, ENDED, &mut marks);
            } else {
                end(&mut times, "a");
            }
            times.awaits_splits(&mut marks);
            times.awaits_splits(&mut marks);
            assert_eq!((marks, times.slowest()), (vec![Mark::Idle], None));
            assert_eq!(read(&mut times, "a", 20), [Mark::Watermark(20)]);
            assert_eq!((times.of("a"), times.slowest()), (Some(20), Some((Some("a"), 20, 20))));
            assert_eq!(read(&mut times, "b", 30), []);
            assert_eq!((end(&mut times, "a"), times.of("a")), (vec![Mark::Watermark(30)], Some(ENDED)));
        }
    }

    #[test]
    fn splits_side_by_side_wait_for_the_slowest_that_is_not_at_its_end() {
        let mut times = SplitTimes::new(None);
        times.begun("a", || ());
        times.begun("b", || ());
        assert_eq!(read(&mut times, "a", 10), [], "the other has said nothing");
        assert_eq!(read(&mut times, "b", 5), [Mark::Watermark(5)]);
        assert_eq!(end(&mut times, "b"), [Mark::Watermark(10)]);
        assert_eq!(end(&mut times, "b"), [], "an end is told once");
        assert_eq!(read(&mut times, "a", i64::MAX), [Mark::Watermark(i64::MAX - 1)]);
    }

    #[test]
    fn split_of_which_the_source_says_something_has_said_it() {
        let mut times = SplitTimes::new(None);
        read(&mut times, "a", 10);
        let (b, mut marks) = (times.begun("b", || ()), Vec::new());
        times.said(b, Mark::Watermark(4), &mut marks);
        assert_eq!(marks, [], "the stream was further before the split began");
        times.said(b, Mark::Watermark(12), &mut marks);
        read(&mut times, "a", 20);
        times.said(b, Mark::Idle, &mut marks);
        times.said(b, Mark::Idle, &mut marks);
        assert_eq!(marks, [Mark::Watermark(20)]);
        assert_eq!(times.of("b"), Some(12));
    }

    #[test]
    fn stream_in_which_no_split_has_begun_or_all_have_ended_is_idle_once() {
        let mut times = SplitTimes::new(Some(3 * SECOND));
        assert_eq!((times.next_idle_in(), wait(&mut times, SECOND)), (Some(3 * SECOND), vec![]));
        assert_eq!((times.next_idle_in(), wait(&mut times, 2 * SECOND)), (Some(2 * SECOND), vec![Mark::Idle]));
        assert_eq!((times.next_idle_in(), wait(&mut times, 9 * SECOND)), (None, vec![]));
        assert_eq!(read(&mut times, "a", 10), [Mark::Watermark(10)]);
        assert_eq!((end(&mut times, "a"), wait(&mut times, 3 * SECOND)), (vec![], vec![Mark::Idle]));
    }

    #[test]
    fn reader_without_splits_goes_on_from_the_least_that_is_known_of_them() {
        let mut times = SplitTimes::new(None);
        let mut marks = Vec::new();
        for (id, at) in [("a", 10), ("b", 7)].map(|(id, at)| (times.begun(id, || ()), at)) {
            times.restore(id, at, &mut marks);
        }
        let whole = times.become_whole("", || (), &mut marks);
        assert_eq!(times.become_whole("", || (), &mut marks), whole);
        assert_eq!((marks, times.of("")), (vec![Mark::Watermark(7)], Some(7)));
        assert_eq!(read(&mut times, "", 12), [Mark::Watermark(12)]);
    }

    #[test]
    fn split_that_has_not_had_its_turn_is_not_silent() {
        let mut times = SplitTimes::new(Some(3 * SECOND));
        for id in ["a", "b", "c"] {
            read(&mut times, id, 10);
        }
        let mut marks = Vec::new();
        let turn = |times: &mut SplitTimes<()>, id: &str, marks: &mut Vec<Mark>| {
            let split = times.begun(id, || ());
            times.waited(4 * SECOND, Some(split), marks);
            times.read(split, None, marks);
            times.read_is_over(false, marks);
        };
        // All have records, and each read takes long: of which nobody becomes idle.
        for id in ["a", "b", "c", "a", "b", "c", "a", "b", "c"] {
            turn(&mut times, id, &mut marks);
            assert!(times.splits.iter().all(|split| !split.is_idle), "after {id}");
        }
        // The last has none any more.
        for id in ["a", "b", "a", "b", "a", "b"] {
            turn(&mut times, id, &mut marks);
        }
        assert_eq!(times.splits.iter().map(|split| split.is_idle).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn slowest_is_of_those_that_are_neither_idle_nor_at_their_end() {
        let mut times = SplitTimes::new(Some(3 * SECOND));
        let none = Timestamp::MIN;
        assert_eq!(times.slowest(), Some((None, none, none)), "nothing has begun, and that holds back");
        read(&mut times, "a", 10);
        times.begun("b", || ());
        assert_eq!(times.slowest(), Some((Some("b"), none, 10)));
        wait(&mut times, 2 * SECOND);
        read(&mut times, "b", 30);
        assert_eq!(times.slowest(), Some((Some("a"), 10, 30)));
        wait(&mut times, SECOND);
        assert_eq!(times.slowest(), Some((Some("b"), 30, 30)), "the other is idle");
        end(&mut times, "b");
        assert_eq!(times.slowest(), None);
        let mut idle = SplitTimes::<()>::new(Some(SECOND));
        wait(&mut idle, SECOND);
        assert_eq!(idle.slowest(), None);
    }

    #[test]
    fn silent_split_is_idle_until_it_has_caught_up() {
        let mut times = SplitTimes::new(Some(3 * SECOND));
        assert_eq!(read(&mut times, "a", 10), [Mark::Watermark(10)]);
        times.begun("b", || ());
        assert_eq!((read(&mut times, "a", 20), times.next_idle_in()), (vec![], Some(3 * SECOND)));
        assert_eq!((wait(&mut times, SECOND), times.next_idle_in()), (vec![], Some(2 * SECOND)));
        assert_eq!(read(&mut times, "a", 30), []);
        assert_eq!(wait(&mut times, 2 * SECOND), [Mark::Watermark(30)], "the other one does not count any more");
        assert_eq!(times.next_idle_in(), Some(SECOND));
        assert_eq!(read(&mut times, "b", 25), [], "it is behind, and holds nothing back");
        assert_eq!(read(&mut times, "a", 40), [Mark::Watermark(40)]);
        assert_eq!((read(&mut times, "b", 50), read(&mut times, "a", 60)), (vec![], vec![Mark::Watermark(50)]));
        assert_eq!(
            wait(&mut times, 3 * SECOND),
            [Mark::Watermark(60), Mark::Idle],
            "what was held back goes out first"
        );
        assert_eq!((wait(&mut times, 9 * SECOND), times.next_idle_in()), (vec![], None));
        assert_eq!(read(&mut times, "a", 70), [Mark::Watermark(70)]);
    }
}
