//! How far the event time of a subtask's splits has come together.

use std::collections::HashMap;
use std::time::Duration;

use millstream_actors::contract::StreamTime;
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
    /// What it had said at its end.
    at_end: Timestamp,
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
                at_end: Timestamp::MIN,
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

    /// What is to be stored besides that.
    pub(crate) fn stream_time(&self, id: &str, parallelism: u32) -> Option<StreamTime> {
        let split = &self.splits[*self.by_id.get(id)?];
        let of_split = if split.watermark == ENDED { split.at_end } else { split.watermark };
        Some(StreamTime { parallelism, said: self.merge.merged(), of_split })
    }

    /// The split had come this far when it was stored.
    pub(crate) fn restore(
        &mut self,
        split: usize,
        watermark: Timestamp,
        stored: Option<StreamTime>,
        marks: &mut Vec<Mark>,
    ) {
        if watermark == ENDED {
            let at_end = stored.map_or(Timestamp::MIN, |stored| stored.of_split);
            self.splits[split].watermark = at_end;
            self.merge.restore_input(split, at_end);
            self.ended(split, marks);
        } else {
            self.read(split, Some(watermark), marks);
        }
    }

    /// All splits are as they were stored, by these, of a subtask of so many: the stream says what it had said. At another parallelism
    /// it may be of splits of several subtasks, of which each had said something else.
    pub(crate) fn restore_stream(&mut self, stored: &[StreamTime], parallelism: u32, marks: &mut Vec<Mark>) {
        if stored.iter().all(|stored| stored.parallelism == parallelism)
            && let Some(said) = stored.iter().map(|stored| stored.said).max()
        {
            tell(self.merge.restore_merged(said), marks);
        }
    }

    /// Nothing is to come of any split: as when all are idle, the greatest watermark goes out first.
    pub(crate) fn all_ended(&mut self, marks: &mut Vec<Mark>) {
        marks.extend(self.merge.all_ended().map(Mark::Watermark));
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
        let before = std::mem::replace(&mut known.watermark, ENDED);
        if before != ENDED {
            known.at_end = before;
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
                tell(self.merge.awaits_inputs(), marks);
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
#[path = "split_times_tests.rs"]
mod tests;
