//! How keyed state is written into snapshots, and read back.

mod fixed;
mod piece;
mod upgrade;

pub(crate) use fixed::{Encoding, encoding_of, width_of};
pub use piece::{Captured, PieceBuffer, SECTION_VERSION, SectionError, StateFormat};
pub(crate) use piece::{PieceHeader, check_encoding, check_kind, put, take};
pub(crate) use upgrade::upgraded;

#[cfg(test)]
mod tests;
