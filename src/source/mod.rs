//! Sources: where records come from, replayable from any position.

#[cfg(test)]
pub(crate) mod driver;
mod file;
mod position;
mod sequence;
mod vec;

pub use file::{FileSource, MalformedRecord, OnMalformed, Positioned};
pub use sequence::SequenceSource;
pub use vec::VecSource;
