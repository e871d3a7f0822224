//! What a keyed operator needs of whatever keeps its rows.

use std::borrow::Borrow;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, Progress, RunBudget, SectionWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId, Timestamp};

use super::query::LookAtRows;
use super::{KeySchema, StateKey, StateSet, TimeDomain, group_of_hash, stable_hash};

/// Keeps the rows of the keys that one subtask owns, and writes them at barriers. [`KeyedTable`](super::KeyedTable)
/// keeps them in memory.
pub trait KeyedBackend<K: StateKey, S: StateSet>: LookAtRows<K, S> + 'static {
    /// The key groups it holds.
    fn range(&self) -> KeyGroupRange;

    /// The number of key groups of the job.
    fn max_parallelism(&self) -> u32;

    /// Whether the key of a hash is one of this subtask's; else, as an error, its group.
    #[inline]
    fn check_group(&self, hash: u64) -> Result<(), u32> {
        let group = group_of_hash(hash, self.max_parallelism());
        if self.range().contains(group) { Ok(()) } else { Err(group) }
    }

    /// Sets the version of the keys' type, under which they are stored; 1 otherwise.
    fn set_key_version(&mut self, version: u32);

    /// Whether values of any state expire.
    fn expires(&self) -> bool;

    /// Time has gone on. Neither of them ever goes back: what has expired stays so.
    fn set_time(&mut self, processing_time: i64, watermark: Timestamp);

    /// Looks at up to `places` for rows in memory for expired values, from where the last look ended, and removes these.
    /// Nothing if no values expire.
    fn clean(&mut self, places: usize);

    /// Number of keys that have state.
    fn live(&self) -> usize;

    /// Entries of the queue of timers that are in memory.
    fn queued_timers(&self) -> usize;

    /// How many rows were looked for so far and found in memory, and how many were looked for on the disk; `None` if all are in memory.
    #[inline]
    fn cache_use(&self) -> Option<(u64, u64)> {
        None
    }

    /// Works on a block: looks up the rows of its keys, makes those of new ones, and lends them in the order of the
    /// block until it breaks. If a snapshot is being taken, a row has been written before it is lent. A key of which
    /// nothing is left afterwards is forgotten.
    ///
    /// # Errors
    /// [`StateError::WorkingFile`]. The backend cannot be used any more.
    ///
    /// # Panics
    /// If a key is not one of its groups'.
    fn work_on<B>(&mut self, block: &mut B) -> Result<(), StateError>
    where
        B: KeyedBlock<K, S>,
        K: Borrow<B::Query>;

    /// Lends the rows of the keys of a group that have state, each key once and in no order, until `each` breaks; the next
    /// call for that group goes on behind it. [`Progress::Done`] when all are lent. Rows are lent as by
    /// [`work_on`](Self::work_on), and nothing is worked on between two calls for a group.
    ///
    /// # Errors
    /// [`StateError::WorkingFile`]. The backend cannot be used any more.
    ///
    /// # Panics
    /// If the group is not one of its own.
    fn visit_group(
        &mut self,
        group: u32,
        each: impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Result<Progress, StateError>;

    /// The earliest time of which [`next_timer`](Self::next_timer) may give something.
    fn first_timer(&self, domain: TimeDomain) -> Option<Timestamp>;

    /// Looks for the next key that may have a timer up to a time, by ascending time; gives its group, unless there is none.
    ///
    /// # Errors
    /// If the backend cannot read it.
    fn next_timer(&mut self, domain: TimeDomain, up_to: Timestamp) -> Result<Option<u32>, StateError>;

    /// Fires the timer that [`next_timer`](Self::next_timer) has just found: calls `each` with the key, the timer's time and the key's
    /// states, in which the timer is gone. Not at all if the timer was deleted; more than once if keys have one hash.
    ///
    /// # Errors
    /// If the backend cannot get at the row.
    fn fire_timers(
        &mut self,
        domain: TimeDomain,
        each: impl FnMut(&K, Timestamp, S::Handles<'_>),
    ) -> Result<(), StateError>;

    /// The barrier: what changes from now on belongs to the next checkpoint. A capture that still runs is given up.
    fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SectionWriter);

    /// Writes more of the barrier's state, until the budget is exhausted or the writer has no room. No more than
    /// `held_max` bytes of it may wait in memory.
    ///
    /// # Errors
    /// The capture is over then.
    fn sweep(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        held_max: usize,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError>;

    /// Ends the capture, whether it is complete or not wanted any more. Stamps stay as they are.
    fn abandon_snapshot(&mut self, writer: Option<&mut SectionWriter>);

    /// What loads its key groups on other threads; `states` are the declared ones, and `keys` says how keys are stored.
    fn loader(&self, operator: OperatorId, states: S, keys: KeySchema<K>) -> Box<dyn GroupLoader>;

    /// Takes a group that its own loader has loaded. Of one that is another subtask's it takes the keys that are its own.
    ///
    /// # Panics
    /// If another loader has.
    fn restore_group(&mut self, loaded: LoadedGroup);

    /// All groups are there, as of `checkpoint`: a delta may build on it.
    ///
    /// # Errors
    /// [`StateError::Mismatch`] if a key was stored twice; [`StateError::WorkingFile`].
    fn restored(&mut self, operator: &OperatorId, checkpoint: CheckpointId) -> Result<(), StateError>;

    /// Drops all rows, off the path of whoever waits for this task's end. It cannot be used afterwards.
    fn drop_rows(&mut self);
}

/// Some records, to be worked on one after the other. A block keeps what it has for the records together, so that a
/// backend looks up all their keys before it lends the first row.
pub trait KeyedBlock<K, S: StateSet> {
    /// What a key is looked up by.
    type Query: Eq + ?Sized;

    /// The [`stable_hash`] of each record's key, in order.
    fn hashes(&self) -> &[u64];

    /// The key of the record at this place, to look it up. Asked only for records that have not been worked on.
    fn query(&self, place: usize) -> &Self::Query;

    /// The key of the next record to be worked on, which is at this place.
    #[inline]
    fn next_query(&self, place: usize) -> &Self::Query {
        self.query(place)
    }

    /// The key of the record at this place, to be stored: it is new.
    fn own(&self, place: usize) -> K;

    /// Works on the record at this place. After a break the records behind it have not been worked on.
    fn work(&mut self, place: usize, key: &K, states: S::Handles<'_>) -> ControlFlow<()>;
}

/// A block of one key, without a record.
pub(crate) struct OneKey<'a, K, F> {
    hash: [u64; 1],
    key: &'a K,
    work: Option<F>,
}

impl<'a, K: StateKey, F> OneKey<'a, K, F> {
    /// Gives the key's states to `work`.
    pub(crate) fn new(key: &'a K, work: F) -> Self {
        Self { hash: [stable_hash(key)], key, work: Some(work) }
    }
}

impl<K: StateKey + Clone, S: StateSet, F: FnOnce(S::Handles<'_>)> KeyedBlock<K, S> for OneKey<'_, K, F> {
    type Query = K;

    fn hashes(&self) -> &[u64] {
        &self.hash
    }

    fn query(&self, _: usize) -> &K {
        self.key
    }

    fn own(&self, _: usize) -> K {
        self.key.clone()
    }

    fn work(&mut self, _: usize, _: &K, states: S::Handles<'_>) -> ControlFlow<()> {
        if let Some(work) = self.work.take() {
            work(states);
        }
        ControlFlow::Continue(())
    }
}
