//! What a stream can end in.

use crate::sink::Sink;

/// A [`Sink`] of records `T`: every sink whose [`Item`](Sink::Item) is `T`. It is never implemented by hand, and says in a
/// compiler's message which records the stream has.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::stream::SinkOf;
///
/// /// Ends in any sink that takes the records.
/// fn large_ones(numbers: DataStream<u64>, sink: impl SinkOf<u64>) {
///     numbers.filter(|n| *n >= 1_000).sink("large", sink);
/// }
///
/// let env = StreamEnvironment::new("numbers");
/// large_ones(env.source("numbers", SequenceSource::new(0..2_000)), CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sink of records `{T}`",
    label = "the stream's records are `{T}`",
    note = "a sink takes records of the stream's type; a closure is for `for_each`",
    note = "a `PrintSink` takes records that are `Display`, a `FileSink` those that are `Serialize`",
    note = "if the records are futures, from a closure that is `async` or gives an `async` block: `async_map` awaits them, `map` does not"
)]
pub trait SinkOf<T>: Sink<Item = T> {}

#[diagnostic::do_not_recommend]
impl<T, S: Sink<Item = T>> SinkOf<T> for S {}
