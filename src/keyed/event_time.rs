//! How far a keyed operator has come in event time.

use millstream_actors::protocol::{KeyGroupRange, Timestamp};

use crate::state::Reached;

/// What is known of time when a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The event time of what it is called for.
    pub(crate) time: Timestamp,
    /// Up to which watermark the key has been worked on, or is being worked on.
    pub(crate) watermark: Timestamp,
    /// Up to which it had been before timers began to fire for that one; the same while none do.
    pub(crate) before: Timestamp,
}

/// The watermark up to which keys have been worked on.
///
/// It never goes back for a key, by a restore neither: snapshots have it for each key group. After one at another parallelism a
/// subtask may have groups that had come further than others, and further than the watermarks that it gets then.
#[derive(Debug)]
pub(super) struct EventTime {
    groups: KeyGroupRange,
    watermark: Timestamp,
    /// The one before it.
    previous: Timestamp,
    /// Of each group, by its place, how far it had come before the restore; empty if both are above all of them.
    floors: Vec<Timestamp>,
}

impl EventTime {
    /// Before the first watermark.
    pub(super) fn new(groups: KeyGroupRange) -> Self {
        Self { groups, watermark: Timestamp::MIN, previous: Timestamp::MIN, floors: Vec::new() }
    }

    /// A watermark has come. False if all keys have been worked on up to it before: a restored stream says its last one
    /// again.
    pub(super) fn advance(&mut self, watermark: Timestamp) -> bool {
        let before = self.least();
        if watermark > self.watermark {
            (self.previous, self.watermark) = (self.watermark, watermark);
        }
        if self.floors.iter().all(|floor| *floor <= self.previous) {
            self.floors = Vec::new();
        }
        self.least() > before
    }

    /// Of the keys of a group, which is given when it matters.
    #[inline]
    pub(super) fn of(&self, group: impl FnOnce() -> u32) -> Timestamp {
        if self.floors.is_empty() { self.watermark } else { self.of_group(group()) }
    }

    fn of_group(&self, group: u32) -> Timestamp {
        self.floor(group).max(self.watermark)
    }

    fn floor(&self, group: u32) -> Timestamp {
        let place = group.checked_sub(self.groups.start).map(|place| place as usize);
        place.and_then(|place| self.floors.get(place).copied()).unwrap_or(Timestamp::MIN)
    }

    /// Of the keys of a group, before timers began to fire up to `up_to`.
    pub(super) fn before(&self, up_to: Timestamp, group: impl FnOnce() -> u32) -> Timestamp {
        let watermark = if up_to > self.watermark { self.watermark } else { self.previous };
        if self.floors.is_empty() { watermark } else { self.floor(group()).max(watermark) }
    }

    /// Up to which watermark all keys have been worked on.
    pub(super) fn least(&self) -> Timestamp {
        self.floors.iter().copied().min().unwrap_or(Timestamp::MIN).max(self.watermark)
    }

    /// What a snapshot is to have of it.
    pub(super) fn notes(&self) -> Vec<Reached> {
        let reached = self.groups.iter().map(|group| Reached(group, self.of_group(group)));
        reached.filter(|Reached(_, watermark)| *watermark > Timestamp::MIN).collect()
    }

    /// Takes what snapshots have, of all groups of the operator.
    pub(super) fn restore(&mut self, notes: impl IntoIterator<Item = Reached>) {
        let own = notes.into_iter().filter(|Reached(group, _)| self.groups.contains(*group));
        for Reached(group, watermark) in own {
            self.floors.resize(self.groups.len(), Timestamp::MIN);
            self.floors[(group - self.groups.start) as usize] = watermark;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_back_as_far_as_they_were_and_each_goes_on_from_there() {
        let mut before = [(0, 2), (2, 4)].map(|(start, end)| EventTime::new(KeyGroupRange { start, end }));
        assert!(before[0].notes().is_empty());
        assert!(before[0].advance(10) && before[1].advance(30));
        assert!(!before[1].advance(20));
        let notes: Vec<_> = before.iter().flat_map(EventTime::notes).collect();
        assert_eq!(notes, [Reached(0, 10), Reached(1, 10), Reached(2, 30), Reached(3, 30)]);

        let mut after = EventTime::new(KeyGroupRange { start: 1, end: 3 });
        after.restore(notes);
        let of = |after: &EventTime| [1, 2].map(|group| after.of(|| group));
        assert_eq!((of(&after), after.least()), ([10, 30], 10));
        assert!(!after.advance(10) && after.advance(20));
        assert_eq!((of(&after), after.least()), ([20, 30], 20));
        let before = |after: &EventTime, up_to| [1, 2].map(|group| after.before(up_to, || group));
        assert_eq!((before(&after, 20), before(&after, 25)), ([10, 30], [20, 30]));
        assert_eq!(after.notes(), [Reached(1, 20), Reached(2, 30)]);
        assert!(after.advance(31) && !after.advance(31));
        assert_eq!(before(&after, 31), [20, 30], "the floors count until the watermark before is above them, too");
        assert!(after.advance(32));
        assert_eq!(after.of(|| unreachable!("both are above all floors")), 32);
    }
}
