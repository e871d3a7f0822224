//! Keyed state.

mod access;
mod capture;
mod changes;
mod codec;
mod epochs;
mod groups;
mod key_group;
mod loading;
mod snapshots;
mod stable_hash;
mod state_set;
mod table;
mod value;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod test_kit;

pub use access::{Access, Span, Stamp};
pub use codec::{Captured, PieceBuffer, SECTION_VERSION, SectionError, StateFormat};
pub use key_group::{group_of_hash, group_of_key};
pub use loading::TableLoader;
pub use stable_hash::{StableHasher, stable_hash};
pub use state_set::{State, StateKey, StateSet};
pub use table::KeyedTable;
pub use value::{ValueHandle, ValueSlot, ValueState};
