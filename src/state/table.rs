//! The rows of the keys that one subtask owns: one table per key group, allocated with its first key.
//!
//! `block.rs` has how records get at their rows, `snapshots.rs` how a table is written at a barrier while it changes. Small
//! tables grow without the pause that one large table would make, and a key group is written and loaded by itself.

use std::hash::Hash;
use std::ops::Range;

use millstream_actors::protocol::{KeyGroupRange, Timestamp};

use super::barrier::Barriers;
use super::block::Candidate;
use super::changes::Changes;
use super::fire::Walk;
use super::group_table::GroupTable;
use super::groups::Groups;
use super::loading::Arrived;
use super::{Access, StateKey, StateRows, StateSet, TimerQueues, group_of_hash};

/// The rows of one subtask's keys, and what has changed in them since which barrier.
#[derive(Debug)]
pub struct KeyedTable<K, S: StateSet> {
    pub(super) states: S,
    pub(super) groups: Groups<K, S::Row>,
    pub(super) changes: Vec<Changes>,
    pub(super) range: KeyGroupRange,
    pub(super) max_parallelism: u32,
    pub(super) len: usize,
    pub(super) barriers: Barriers,
    pub(super) arrived: Arrived<K, S::Row>,
    processing_time: i64,
    watermark: Timestamp,
    /// The group and place at which the next look for expired values begins.
    clean_from: (usize, usize),
    /// Storage for where the rows of a block probably are.
    pub(super) candidates: Vec<Candidate>,
    /// Keys by the time of their timers.
    pub(super) timers: TimerQueues,
    /// For each domain: the rows of one time that are gone through, in the place of their entries in the queue.
    pub(super) walks: [Option<Walk>; 2],
    /// Rows of keys with one hash are being lent, by their places.
    pub(super) fires: bool,
    /// A row to which a walk has come is being lent.
    pub(super) is_walked: bool,
    /// At most so many keys of which nothing is left are there for the next records of theirs, and no checkpoint needs their marks.
    pub(super) kept: usize,
    /// The groups that are still to be gone through for such keys.
    pub(super) to_sweep: Option<Range<usize>>,
    /// The group all of whose rows are being lent, and the place at which that goes on.
    pub(super) visited: Option<(usize, usize)>,
}

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// An empty table of these states for the keys of these groups.
    pub fn new(states: S, range: KeyGroupRange, max_parallelism: u32) -> Self {
        let groups = range.len();
        Self {
            states,
            groups: Groups::new(groups),
            changes: (0..groups).map(|_| Changes::new()).collect(),
            range,
            max_parallelism,
            len: 0,
            barriers: Barriers::new(),
            arrived: Arrived::default(),
            processing_time: 0,
            watermark: Timestamp::MIN,
            clean_from: (0, 0),
            candidates: Vec::new(),
            timers: TimerQueues::default(),
            walks: [None, None],
            fires: false,
            is_walked: false,
            kept: 0,
            to_sweep: None,
            visited: None,
        }
    }

    /// The declared states.
    pub fn states(&self) -> &S {
        &self.states
    }

    /// The key groups it holds.
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// The number of key groups of the job.
    pub fn max_parallelism(&self) -> u32 {
        self.max_parallelism
    }

    /// Number of keys, with those that were removed and whose removal no checkpoint has yet, or whose row is kept for their next
    /// records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of keys that have state.
    pub fn live(&self) -> usize {
        self.len - self.changes.iter().map(|changes| changes.tombstones).sum::<usize>()
    }

    /// Memory of the tables, in bytes, without what rows point to.
    pub fn allocated_bytes(&self) -> usize {
        self.groups.0.iter().map(GroupTable::allocated_bytes).sum()
    }

    /// What row handles are to know of the moment.
    #[inline]
    pub(crate) fn access(&self) -> Access {
        Access { stamp: self.barriers.current, processing_time: self.processing_time, watermark: self.watermark }
    }

    /// Time has gone on. Neither of them ever goes back: what has expired stays so.
    pub(crate) fn set_time(&mut self, processing_time: i64, watermark: Timestamp) {
        self.processing_time = self.processing_time.max(processing_time);
        self.watermark = self.watermark.max(watermark);
        self.drop_forgotten();
    }

    /// Whether entries may be moved to make a table smaller: nothing goes through the places of one.
    pub(super) fn may_move(&self) -> bool {
        self.barriers.capture.is_none() && self.visited.is_none() && !self.fires
    }

    #[inline]
    pub(super) fn index_of(&self, hash: u64) -> usize {
        (group_of_hash(hash, self.max_parallelism) - self.range.start) as usize
    }

    /// Looks at up to `places` of them for expired values, from where the last look ended, and removes these. Nothing
    /// if no values expire.
    pub(crate) fn clean(&mut self, places: usize) {
        if !self.states.expires() {
            return;
        }
        let access = self.access();
        let mut left = places;
        while left > 0 && !self.groups.0.is_empty() {
            let (group, from) = self.clean_from;
            let table = &mut self.groups.0[group];
            let to = table.places().min(from + left);
            let states = &self.states;
            let is_due = |place: &usize| table.get_mut(*place).is_some_and(|e| states.is_due(&mut e.row, access));
            let Some(due) = (from..to).find(is_due) else {
                left -= to.saturating_sub(from).max(1);
                let has_more = to < table.places();
                self.clean_from = if has_more { (group, to) } else { ((group + 1) % self.groups.0.len(), 0) };
                continue;
            };
            left -= due + 1 - from;
            self.clean_from = (group, due + 1);
            self.expire_row(group, due, access);
        }
    }

    /// The rows of one of its groups, in an order that stays as it is while the table is not changed.
    ///
    /// # Panics
    /// If the group is not one of this table's.
    pub fn group(&self, group: u32) -> impl Iterator<Item = (&K, &S::Row)> {
        let rows = &self.groups.0[(group - self.range.start) as usize];
        rows.iter().map(|entry| (&entry.key, &entry.row))
    }
}

impl<K, S: StateSet> KeyedTable<K, S>
where
    K: Send + 'static,
{
    /// Drops all rows, off the path of whoever waits for this task's end. The table cannot be used afterwards.
    pub(crate) fn drop_rows(&mut self) {
        std::mem::replace(&mut self.groups, Groups::new(0)).drop_elsewhere();
    }
}

/// Gives memory back after most keys of a group have gone.
pub(super) fn shrink<K: Hash, Row>(table: &mut GroupTable<K, Row>, changes: &mut Changes, may_move: bool) {
    const PLACES_MIN: usize = 64;
    if may_move && table.places() > PLACES_MIN && table.len() < table.places() / 8 {
        table.compact();
        changes.moved();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::KeyedBackend;
    use crate::state::ValueState;
    use crate::state::stable_hash;
    use crate::state::test_kit::change;

    fn table() -> KeyedTable<u64, ValueState<u64>> {
        KeyedTable::new(ValueState::new("v"), KeyGroupRange { start: 0, end: 8 }, 8)
    }

    #[test]
    fn without_checkpoints_a_removed_key_is_gone_at_once_and_memory_comes_back() {
        let mut table = table();
        for key in 0..100_000 {
            change(&mut table, &key, |mut value| value.set(1));
        }
        let most = table.allocated_bytes();
        for key in 2..100_000u64 {
            change(&mut table, &key, |mut value| value.clear());
        }
        assert_eq!((table.len(), table.live(), table.is_empty()), (2, 2, false));
        assert!(table.allocated_bytes() < most / 100, "{} of {most}", table.allocated_bytes());
        change(&mut table, &7, |value| assert_eq!(value.get(), None));
        assert_eq!(table.len(), 2, "a key that is only looked at is not kept");
    }

    #[test]
    fn a_key_of_another_subtask_is_known_by_its_group() {
        let table: KeyedTable<u64, ValueState<u64>> =
            KeyedTable::new(ValueState::new("v"), KeyGroupRange { start: 4, end: 8 }, 8);
        let key = (0..).find(|key| group_of_hash(stable_hash(key), 8) == 3).unwrap();
        assert_eq!(table.check_group(stable_hash(&key)), Err(3));
    }
}
