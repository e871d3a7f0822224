//! State: of keys, and of subtasks.
//!
//! A function declares its states, each with a name under which checkpoints keep it, and is lent handles that change them in
//! place. [`StateTtl`] has values expire. [`StateBackend`] says whether state of keys is all in memory.
//!
//! # Of keys
//!
//! | kind | holds for each key | a snapshot of changes has |
//! |---|---|---|
//! | [`ValueState`] | a value | the values that changed |
//! | [`ListState`] | values in the order in which they were pushed | what was pushed; the list, if it was changed otherwise |
//! | [`MapState`] | an ordered map | the entries that changed |
//! | [`ReducingState`] | what all values added are reduced to | the reductions that changed |
//! | [`AggregatingState`] | an accumulator of all values added | the accumulators that changed |
//! | [`Timers`](crate::keyed::Timers) | moments at which the function is called | all timers of keys whose timers changed |
//!
//! A function has one of them, a tuple of up to eight, or a struct of any number by [`state_set!`](crate::state_set). All
//! of a key's states cost one look-up.
//!
//! # Of subtasks
//!
//! | kind | holds for each subtask | at another parallelism |
//! |---|---|---|
//! | [`OperatorListState`] | a part of a list | the parts are joined and cut evenly |
//! | [`BroadcastState`] | a map, the same on all | each subtask takes a copy |
//!
//! A function has none of them, one, or a tuple of up to eight. They are written in full at each barrier.

mod access;
mod backend;
mod barrier;
mod block;
mod changes;
mod choice;
pub(crate) mod codec;
mod decoders;
mod every_key;
mod fire;
mod group_table;
mod groups;
mod key_group;
mod keys;
pub(crate) mod kinds;
mod loading;
mod memory;
mod older_keys;
mod operator;
mod prefetch;
pub(crate) mod query;
mod set;
mod snapshots;
mod spill;
mod stable_hash;
mod table;
mod timer_queue;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod test_kit;
#[cfg(test)]
mod timer_properties;

pub(crate) use decoders::decoders;

pub use choice::StateBackend;
pub use kinds::{
    AggregateFunction, AggregatingHandle, AggregatingState, Expiring, ExpiringHandle, ListHandle, ListState, MapHandle,
    MapState, ReducingHandle, ReducingState, StateTtl, ValueHandle, ValueState,
};
pub use operator::{
    BroadcastHandle, BroadcastState, BroadcastStateSet, OperatorListHandle, OperatorListState, OperatorState,
    OperatorStateSet,
};
pub use set::{State, StateKey, StateSet};

pub(crate) use access::{Access, Span, Stamp};
pub(crate) use backend::{KeyedBackend, KeyedBlock};
pub(crate) use key_group::{group_of_hash, hashes_of};
pub(crate) use keys::KeySchema;
pub(crate) use kinds::{TimeDomain, Timer};
pub(crate) use loading::{TableLoader, undeclared};
pub(crate) use operator::{Ended, Reached, Said, Share, StoredCopy, take_notes, use_of_name, write_notes};
pub(crate) use set::{Slot, StateRows};
pub(crate) use spill::{RedbBackend, SpillPlace, prepare_dir};
pub(crate) use stable_hash::stable_hash;
pub(crate) use table::KeyedTable;
#[cfg(test)]
pub(crate) use test_kit::group_of_key;
pub(crate) use timer_queue::{Due, TimerQueues};

/// What the macros of this crate and its benches need, and programs do not. It may change at any time.
#[doc(hidden)]
pub mod internal {
    pub use super::access::Access;
    pub use super::set::{Beside, SlotVisitor, StateVisitor};
    pub use super::spill::{RedbBackend, SpillPlace};
}
