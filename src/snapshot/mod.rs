//! Snapshot stores, where checkpoints are kept; and [savepoints](SavepointFile).
//!
//! | store | checkpoints survive |
//! |---|---|
//! | [`MemoryStore`] | panics: for tests, and for jobs that may begin anew with the process |
//! | [`RedbStore`], one file | the process, and a power cut |
//! | `CopiedStore` (feature `object-store`), over another store | the machine: completed checkpoints are copied to an object store |
//!
//! A program that uses one names it in [`StreamEnvironment::snapshot_store`](crate::StreamEnvironment::snapshot_store), and needs
//! nothing else from here. The other types are for a store of your own: it implements [`SnapshotStore`], and
//! [`store_suite`] tests it. `docs/snapshot-format.md` has the layouts.

mod decoders;
mod format;
#[cfg(feature = "cli")]
pub(crate) mod inspection;
mod ledger;
mod memory;
#[cfg(feature = "object-store")]
mod object_copy;
mod redb;
mod redb_file;
mod redb_load;
mod redb_slot;
mod references;
mod savepoint;
#[cfg(test)]
pub(crate) mod test_kit;
mod unfinished;

pub(crate) use decoders::decoders;
pub use memory::MemoryStore;
#[cfg(feature = "object-store")]
pub use object_copy::{CopiedStore, CopyOptions, CopyProgress};
/// What a [`CopiedStore`] copies to.
#[cfg(feature = "object-store")]
pub use object_store;
pub use redb::RedbStore;
pub(crate) use redb_file::{Content, Origin};
pub(crate) use redb_slot::DatabaseSlot;
pub(crate) use savepoint::SavepointFiles;
pub use savepoint::{SavepointFile, SavepointHeader, SavepointState};

pub use millstream_actors::contract::store_suite;
pub use millstream_actors::contract::{
    CHUNK_BYTES_MAX, CheckpointDurations, Chunk, ChunkAddress, ChunkRef, ChunkSource, Finalised, Manifest, Savepoint,
    SavepointFileError, SavepointId, SnapshotError, SnapshotStore, StateScope, StoreOpening, checksum,
};
