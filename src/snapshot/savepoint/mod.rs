//! Savepoints: one portable file with a completed checkpoint. `docs/snapshot-format.md` has the layout.

mod export;
mod file;
mod layout;

pub(crate) use export::SavepointFiles;
pub use file::SavepointFile;
pub use layout::{SavepointHeader, SavepointState};
pub(super) use layout::{decode_tables, encode_tables};
