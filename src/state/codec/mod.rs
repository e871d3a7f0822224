//! How keyed state is written into snapshots, and read back.

mod fixed;
mod piece;
mod upgrade;

pub(crate) use fixed::encoding_of;
pub use piece::{Captured, PieceBuffer, SECTION_VERSION, SectionError, StateFormat};
pub(crate) use piece::{PieceHeader, check_encoding, put, take};
pub(crate) use upgrade::upgraded;

#[cfg(test)]
mod tests;
