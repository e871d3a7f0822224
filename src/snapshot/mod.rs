//! Snapshot stores: [`RedbStore`] in a file, [`MemoryStore`] in memory; and [savepoints](SavepointFile).
//! `docs/snapshot-format.md` has the layouts.

mod format;
mod ledger;
mod memory;
mod redb;
mod redb_file;
mod redb_load;
mod savepoint;

pub use memory::MemoryStore;
pub use redb::RedbStore;
pub(crate) use savepoint::SavepointFiles;
pub use savepoint::{SavepointFile, SavepointHeader, SavepointState};

pub use millstream_actors::contract::store_suite;
pub use millstream_actors::contract::{
    CHUNK_BYTES_MAX, Chunk, ChunkAddress, ChunkRef, ChunkSource, Finalised, Manifest, Savepoint, SavepointFileError,
    SavepointId, SnapshotError, SnapshotStore, StateScope, StoreOpening, checksum,
};
