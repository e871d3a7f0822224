//! Streams: what a program is written with.

mod connected_streams;
mod data_stream;
mod keyed_stream;
mod settings;
mod sink_handle;

pub use connected_streams::ConnectedStreams;
pub use data_stream::DataStream;
pub use keyed_stream::KeyedStream;
pub use sink_handle::StreamSink;
