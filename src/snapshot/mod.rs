//! Snapshot stores: [`RedbStore`] in a file, [`MemoryStore`] in memory. `docs/snapshot-format.md` has the layout.

mod format;
mod ledger;
mod memory;
mod redb;
mod redb_file;
mod redb_load;

pub use memory::MemoryStore;
pub use redb::RedbStore;
