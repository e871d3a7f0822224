//! State: of keys, and of subtasks.
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
mod aggregating;
mod backend;
mod capture;
mod changes;
mod choice;
pub(crate) mod codec;
mod decoders;
mod epochs;
mod groups;
mod key_group;
mod list;
mod loading;
mod map;
mod memory;
mod operator_state;
mod reducing;
mod schema;
mod snapshots;
mod spill;
mod stable_hash;
mod state_set;
mod state_struct;
mod table;
mod ttl;
mod value;

#[cfg(test)]
mod kinds_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod test_kit;
#[cfg(test)]
mod ttl_kinds_tests;

pub(crate) use decoders::decoders;

pub use access::{Access, Span, Stamp};
pub use aggregating::{AggregateFunction, AggregatingHandle, AggregatingState};
pub use backend::{KeyedBackend, RowAccess};
pub use choice::StateBackend;
pub use codec::{Captured, PieceBuffer, SECTION_VERSION, SectionError, StateFormat};
pub use key_group::{group_of_hash, group_of_key};
pub use list::{ListHandle, ListSlot, ListState};
pub use loading::TableLoader;
pub use map::{MapHandle, MapSlot, MapState};
#[cfg(test)]
pub(crate) use memory::CACHED_BYTES_MAX;
pub use operator_state::{
    BroadcastHandle, BroadcastState, CopyError, OperatorListHandle, OperatorListState, OperatorState, OperatorStateSet,
    Share, StoredCopy,
};
pub use reducing::{ReducingHandle, ReducingState};
pub use schema::Schema;
pub(crate) use spill::prepare_dir;
pub use spill::{CachedRow, RedbBackend, SpillPlace};
pub use stable_hash::{StableHasher, stable_hash};
pub use state_set::{State, StateKey, StateSet};
pub use table::{KeyedTable, RowEntry};
pub use ttl::{Expiring, ExpiringHandle, ExpiringSlot, StateTtl};
pub use value::{ValueHandle, ValueSlot, ValueState};
