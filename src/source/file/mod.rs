//! Files: lines, CSV and JSON lines.

mod decoder;
mod framing;
mod listing;
mod malformed;
mod reader;
mod source;
#[cfg(test)]
mod tests;

pub use malformed::{MalformedRecord, OnMalformed};
pub use source::{FileSource, Positioned};
