//! Keyed state.

mod codec;
mod groups;
mod key_group;
mod snapshot;
mod stable_hash;
mod state_set;
mod table;
mod value;

pub use codec::{SECTION_VERSION, SectionEncoder, SectionError};
pub use key_group::{group_of_hash, group_of_key};
pub use snapshot::{load_table, write_table};
pub use stable_hash::{StableHasher, stable_hash};
pub use state_set::{State, StateKey, StateSet};
pub use table::KeyedTable;
pub use value::{ValueHandle, ValueState};
