//! Files, published with the checkpoint.

#[cfg(test)]
mod crash_tests;
pub(crate) mod decoders;
mod disk;
mod error;
mod format;
mod lossless;
mod names;
mod opening;
mod publish;
mod record;
#[cfg(test)]
mod sim;
mod sink;
#[cfg(test)]
mod tests;
mod writer;

pub use error::FileSinkError;
pub use sink::FileSink;
