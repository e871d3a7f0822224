//! Sinks: where results go.

mod collect;
mod committed_blocks;
#[cfg(test)]
mod driver;
mod file;
mod for_each;
mod print;

pub use collect::{CollectSink, Collected};
pub(crate) use file::decoders::decoders;
pub use file::{FileSink, FileSinkError};
pub use for_each::ForEachSink;
pub use print::PrintSink;

pub use millstream_actors::contract::{
    Batch, Fence, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter, Threading,
};
pub use millstream_actors::protocol::may_pass;
