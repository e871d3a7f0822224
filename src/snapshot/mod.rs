//! Snapshot stores: [`RedbStore`] in a file, [`MemoryStore`] in memory. `docs/snapshot-format.md` has the layout.

mod format;
mod ledger;
mod memory;
mod redb;
mod redb_file;
mod redb_load;

pub use memory::MemoryStore;
pub use redb::RedbStore;

pub use millstream_actors::contract::store_suite;
pub use millstream_actors::contract::{
    CHUNK_BYTES_MAX, Chunk, ChunkAddress, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StateScope,
    StoreOpening, checksum,
};
