//! Sinks: where results go.
//!
//! | sink | writes | guarantee |
//! |---|---|---|
//! | [`FileSink`] | files of lines, CSV or JSON lines | exactly once |
//! | [`CollectSink`] | into memory, for tests and small results | exactly once |
//! | [`ForEachSink`], [`for_each`](crate::stream::DataStream::for_each) | what a function of yours does | at least once |
//! | [`PrintSink`] | lines on standard output | at least once |
//!
//! One that is exactly once shows a result when the checkpoint that covers it is complete, so the interval of checkpoints is
//! its delay. One of your own implements [`Sink`] and [`SinkWriter`]; `docs/connectors.md` goes through it step by step.

mod collect;
mod committed_blocks;
#[cfg(test)]
mod driver;
mod file;
mod for_each;
mod print;
pub(crate) mod shown;

pub use collect::{CollectSink, Collected};
pub(crate) use file::decoders::decoders;
pub use file::{FileSink, FileSinkError};
pub use for_each::ForEachSink;
pub use print::PrintSink;

pub use millstream_actors::contract::{
    Batch, CheckpointRequests, Fence, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore,
    SinkWriter, Threading,
};
pub use millstream_actors::protocol::may_pass;
