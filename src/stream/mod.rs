//! Streams: what a program is written with.
//!
//! | type | is made by | offers |
//! |---|---|---|
//! | [`DataStream`] | [`StreamEnvironment::source`](crate::StreamEnvironment::source), and every operation on a stream | functions on records, `union`, side outputs, the way to the next operator's subtasks, settings, sinks |
//! | [`KeyedStream`] | [`DataStream::key_by`], [`DataStream::key_by_ref`] | functions with state for each key |
//! | [`WindowedStream`] | [`KeyedStream::window`], [`DataStream::window_all`] | a result for each window of a key |
//! | [`ConnectedStreams`] | [`DataStream::connect`] | one function for each of two streams, which may differ in type |
//! | [`ConnectedKeyedStreams`] | [`KeyedStream::connect`] | a function on two streams, with states for each key that both share |
//! | [`BroadcastConnectedStream`] | [`KeyedStream::connect_broadcast`] | a function with states for each key, and rules that all subtasks get |
//! | [`JoinedStreams`] | [`KeyedStream::join`] | what is made of records of both that meet: in one [window](JoinedStreams::window), [so far apart](JoinedStreams::between), [as of a time](JoinedStreams::temporal), [while they live](JoinedStreams::time_to_live) |
//! | [`PatternStream`] | [`KeyedStream::pattern`] | what is made of records of a key that come one after the other as a pattern says |
//! | [`DataStreamSink`] | [`DataStream::sink`], [`DataStream::for_each`] | settings of a sink |
//!
//! # Which operation
//!
//! | to | call |
//! |---|---|
//! | change or drop single records | [`map`](DataStream::map), [`filter`](DataStream::filter), [`filter_map`](DataStream::filter_map) |
//! | make any number of records of one | [`flat_map`](DataStream::flat_map) |
//! | send records more than one way | `clone()`, [`split`](DataStream::split), [`side_output`](DataStream::side_output) |
//! | refuse some records, each with an error | [`try_map`](DataStream::try_map), [`try_flat_map`](DataStream::try_flat_map), [`try_process`](DataStream::try_process), [with keys](KeyedStream::try_process) |
//! | bring streams together | [`union`](DataStream::union) if they have one type, else [`connect`](DataStream::connect); [`join`](KeyedStream::join) for records that belong together |
//! | count, sum up or remember for each key | [`key_by`](DataStream::key_by), then [`fold`](KeyedStream::fold), [`reduce`](KeyedStream::reduce) or [`process`](KeyedStream::process) |
//! | do so for spans of time, or so many records | [`window`](KeyedStream::window), [`count_window`](KeyedStream::count_window) |
//! | find what comes one after the other | [`pattern`](KeyedStream::pattern) |
//! | ask something outside for each record | [`async_map`](DataStream::async_map) |
//! | remember without keys | [`process`](DataStream::process) |
//! | give records event times on their way | [`assign_timestamps_and_watermarks`](DataStream::assign_timestamps_and_watermarks) |
//! | spread work over subtasks | [`rebalance`](DataStream::rebalance), [`partition_by`](DataStream::partition_by), [`broadcast`](DataStream::broadcast) |
//! | work on whole batches and on marks | [`transform`](DataStream::transform) |

mod async_map;
mod broadcast_connected_stream;
mod connected_keyed_streams;
mod connected_streams;
mod data_stream;
mod event_time;
mod fallible;
mod joined_streams;
mod kernels;
mod keyed_stream;
mod pattern_stream;
mod settings;
mod sink_handle;
mod sink_of;
mod windowed_join;
mod windowed_stream;

pub use broadcast_connected_stream::BroadcastConnectedStream;
pub use connected_keyed_streams::ConnectedKeyedStreams;
pub use connected_streams::ConnectedStreams;
pub use data_stream::DataStream;
pub use joined_streams::{IntervalJoinedStreams, JoinedStreams, LivingJoinedStreams, TemporalJoinedStreams};
pub use keyed_stream::KeyedStream;
pub use pattern_stream::PatternStream;
pub use sink_handle::DataStreamSink;
pub use sink_of::SinkOf;
pub use windowed_join::WindowedJoin;
pub use windowed_stream::{AllWindows, WindowedStream};
