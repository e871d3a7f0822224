//! Files: lines, CSV and JSON lines.

mod changed_pattern;
mod decoder;
mod error;
mod follow;
mod framing;
mod gzip;
mod listing;
mod malformed;
mod reader;
mod records;
mod source;
#[cfg(test)]
mod tests;

pub use error::FileSourceError;
pub use follow::Follow;
pub use malformed::{MalformedRecord, OnMalformed};
pub use source::{FileSource, Positioned};
