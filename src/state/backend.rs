//! What a keyed operator needs of whatever keeps its rows.

use std::borrow::Borrow;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, Progress, RunBudget, SnapshotWriter, StateError};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId, Timestamp};

use super::{Access, StateKey, StateSet, group_of_hash};

/// Keeps the rows of the keys that one subtask owns, and writes them at barriers. [`KeyedTable`](super::KeyedTable)
/// keeps them in memory.
///
/// Records come in blocks. [`prepare`](Self::prepare) is given all keys of a block, [`entry`](Self::entry) then one
/// after the other; whatever may fail or take long belongs in the former.
pub trait KeyedBackend<K: StateKey, S: StateSet>: 'static {
    /// The row of one key, for as long as one record is worked on.
    type Row<'a>: RowAccess<K, S>
    where
        Self: 'a;

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

    /// What row handles are to know of the moment.
    fn access(&self) -> Access;

    /// Whether values of any state expire.
    fn expires(&self) -> bool;

    /// Time has gone on. Neither of them ever goes back: what has expired stays so.
    fn set_time(&mut self, processing_time: i64, watermark: Timestamp);

    /// Looks at up to `buckets` rows in memory for expired values, from where the last look ended, and removes these.
    /// Nothing if no values expire.
    fn clean(&mut self, buckets: usize);

    /// Number of keys that have state.
    fn live(&self) -> usize;

    /// Gets ready for [`entry`](Self::entry) of these keys of its groups, given with their hashes. Adds to `hints` where
    /// each of them is, or nothing if that is no help.
    ///
    /// # Errors
    /// [`StateError::WorkingFile`]. The backend cannot be used any more.
    fn prepare<'q, Q>(
        &mut self,
        keys: impl Iterator<Item = (u64, &'q Q)> + Clone,
        hints: &mut Vec<usize>,
    ) -> Result<(), StateError>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized + 'q;

    /// The row of a key of the block, new if need be; `own` makes the key of a new one. A `hint` that has become wrong
    /// does no harm. If a snapshot is being taken, the row has been written before it is given out.
    fn entry<Q>(&mut self, hash: u64, hint: Option<usize>, query: &Q, own: impl FnOnce() -> K) -> Self::Row<'_>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized;

    /// The barrier: what changes from now on belongs to the next checkpoint. A capture that still runs is given up.
    fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SnapshotWriter);

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
        writer: &mut SnapshotWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError>;

    /// Ends the capture, whether it is complete or not wanted any more. Stamps stay as they are.
    fn abandon_snapshot(&mut self, writer: Option<&mut SnapshotWriter>);

    /// What loads its key groups on other threads; `states` are the declared ones.
    fn loader(&self, operator: OperatorId, states: S) -> Box<dyn GroupLoader>;

    /// Takes a group that its own loader has loaded.
    ///
    /// # Panics
    /// If another loader has, or the group is not one of its own.
    fn restore_group(&mut self, loaded: LoadedGroup);

    /// All groups are there, as of `checkpoint`: a delta may build on it.
    fn restored(&mut self, checkpoint: CheckpointId);

    /// Drops all rows, off the path of whoever waits for this task's end. It cannot be used afterwards.
    fn drop_rows(&mut self);
}

/// One key's row, for as long as one record is worked on.
pub trait RowAccess<K, S: StateSet> {
    /// The key, and handles of its states.
    fn lend(&mut self, access: Access) -> (&K, S::Handles<'_>);

    /// The record has been worked on: keeps account of what was changed, and forgets the key if nothing is left of it.
    fn settle(self);
}
