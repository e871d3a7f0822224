//! Sinks: where results go.

mod collect;
#[cfg(test)]
mod driver;
mod file;
mod print;

pub use collect::{CollectSink, Collected};
pub use file::FileSink;
pub use print::PrintSink;
