//! Rows of a table in the service's own database, written with the checkpoint.

#[cfg(test)]
mod crash_tests;
pub(crate) mod decoders;
mod error;
mod ledger;
mod piece;
mod sink;
#[cfg(test)]
mod tests;
mod writer;

pub use error::RedbSinkError;
pub use sink::{RedbRows, RedbSink};
