//! Asynchronous streams as sources.

mod error;
mod reader;
mod source;

pub use error::StreamSourceError;
pub use source::{CompletedSplit, StreamSource};
