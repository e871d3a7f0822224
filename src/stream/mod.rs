//! Streams: what a program is written with.

mod data_stream;
mod keyed_stream;
mod sink_handle;

pub use data_stream::DataStream;
pub use keyed_stream::KeyedStream;
pub use sink_handle::StreamSink;
