//! Sinks: where results go.
//!
//! | sink | writes | guarantee |
//! |---|---|---|
//! | [`FileSink`] | files of lines, CSV or JSON lines | exactly once |
//! | [`RedbSink`] | rows of a table in the service's own database | exactly once |
//! | [`StreamSink`] | a stream that the host reads | exactly once, within the process |
//! | [`CollectSink`] | into memory, for tests and small results | exactly once |
//! | [`ForEachSink`], [`for_each`](crate::stream::DataStream::for_each) | what a function of yours does | at least once |
//! | [`RecipientSink`] | messages to an actor | at least once |
//! | [`PrintSink`] | lines on standard output | at least once |
//!
//! One that is exactly once shows a result when the checkpoint that covers it is complete, so the interval of checkpoints is
//! its delay. One of your own implements [`Sink`] and [`SinkWriter`]; `docs/connectors.md` goes through it step by step.

mod collect;
mod committed_blocks;
mod decoders;
#[cfg(test)]
mod driver;
mod file;
mod for_each;
mod print;
mod recipient;
mod redb;
pub(crate) mod shown;
mod stream;

pub use collect::{CollectSink, Collected};
pub(crate) use decoders::decoders;
pub use file::{FileSink, FileSinkError};
pub use for_each::ForEachSink;
pub use print::PrintSink;
pub use recipient::{RecipientSink, RecipientSinkError};
pub use redb::{RedbRows, RedbSink, RedbSinkError};
pub use stream::{CommittedStream, StreamSink, StreamSinkError};

pub use millstream_actors::contract::{
    Batch, CheckpointRequests, Demand, Fence, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee,
    SinkRestore, SinkWriter, Threading,
};
pub use millstream_actors::protocol::may_pass;
