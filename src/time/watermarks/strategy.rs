//! How a stream gets its event time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::SourceContext;
use millstream_actors::protocol::{OperatorId, Timestamp};

use super::alignment::AlignedMember;
use super::generator::{AsItComes, BoundedOutOfOrderness, Punctuated, TimesBatches};
use super::{WatermarkAlignment, WatermarkGenerator};

/// Which event time the records of a stream have, and how far it has come with them: from its
/// [source](crate::StreamEnvironment::source_with_watermarks) on, where each split has a generator of its own, or from
/// [an operator on its way](crate::stream::DataStream::assign_timestamps_and_watermarks) on, where each subtask has. Follows
/// Flink's class of this name.
///
/// Times are milliseconds since the Unix epoch, negative ones before it. A function that gives [`NO_TIME`](crate::NO_TIME)
/// says that a record has none.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// /// Emits each record with its event time.
/// #[derive(Clone)]
/// struct Timed;
///
/// impl ProcessFunction<(i64, char)> for Timed {
///     type Out = (char, Option<Timestamp>);
///     type State = ();
///
///     fn state(&self) {}
///
///     fn process(
///         &mut self,
///         (_, name): (i64, char),
///         (): (),
///         ctx: &mut ProcessContext<'_>,
///         out: &mut Emitter<'_, (char, Option<Timestamp>)>,
///     ) {
///         out.emit((name, ctx.timestamp()));
///     }
/// }
///
/// let sink = CollectSink::new();
/// let collected = sink.handle();
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(5), |(time, _): &(i64, char)| *time)
///     .with_idleness(Duration::from_secs(30));
///
/// let env = StreamEnvironment::new("timed");
/// env.source_with_watermarks("letters", VecSource::new(vec![(1000, 'a'), (3000, 'b'), (2000, 'c')]), strategy)
///     .process("timed", Timed)
///     .sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(collected.snapshot(), [('a', Some(1000)), ('b', Some(3000)), ('c', Some(2000))]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct WatermarkStrategy<T> {
    new_generator: Arc<dyn Fn() -> Box<dyn TimesBatches<T>> + Send + Sync>,
    idle_after: Option<Duration>,
    alignment: Option<WatermarkAlignment>,
}

impl<T: 'static> WatermarkStrategy<T> {
    /// Records come in the order of their times: the watermark is just below the latest. Records of one time may follow each
    /// other.
    pub fn monotonous(timestamp: impl Fn(&T) -> Timestamp + Clone + Send + Sync + 'static) -> Self {
        Self::bounded_out_of_orderness(Duration::ZERO, timestamp)
    }

    /// A record comes at most so much behind one of a later time, in whole milliseconds: the watermark is just below the
    /// latest time less `bound`. Records that are later than that are late.
    pub fn bounded_out_of_orderness(
        bound: Duration,
        timestamp: impl Fn(&T) -> Timestamp + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::custom(move || BoundedOutOfOrderness::new(bound, timestamp.clone()))
    }

    /// Some records say how far event time has come: `punctuation` is told each record and its time, and gives the watermark
    /// that follows it, if any. It follows behind all records that were read with it.
    pub fn punctuated(
        timestamp: impl Fn(&T) -> Timestamp + Clone + Send + Sync + 'static,
        punctuation: impl Fn(&T, Timestamp) -> Option<Timestamp> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::custom(move || Punctuated::new(timestamp.clone(), punctuation.clone()))
    }

    /// By generators that `new_generator` makes, one for each split of each attempt; in mid-stream, for each subtask.
    pub fn custom<G: WatermarkGenerator<T>>(new_generator: impl Fn() -> G + Send + Sync + 'static) -> Self {
        Self { new_generator: Arc::new(move || Box::new(new_generator())), idle_after: None, alignment: None }
    }

    /// Records keep the times that they have, and nothing follows from them: whoever gives the records says how far event time
    /// has come.
    pub(crate) fn as_it_comes() -> Self {
        Self::custom(|| AsItComes)
    }

    /// A split without records for so long is idle: event time does not wait for it until it has some again and has caught up.
    /// Above zero. Without this, event time waits for a split however long it has no records.
    ///
    /// The time goes by the job's clock, and stands still while no records could come: while the job is paused, starts, restarts or is
    /// drained, while the source waits for others in event time, and while tasks are blocked (promise T14). Of the time
    /// between two reads of a source that has records it counts 100 ms at most, and a split is idle only once it has had its turn to
    /// be read. In mid-stream, where a subtask stands for the split, it begins at most 100 ms after the last record, and it is over only
    /// if no record waits to be taken then.
    pub fn with_idleness(mut self, after: Duration) -> Self {
        self.idle_after = Some(after);
        self
    }

    /// Has the subtasks of the source wait for each other, and for those of all others with this alignment: one that is too far ahead
    /// in event time does not read. For sources alone: what is in mid-stream has been read already, and the graph refuses it.
    pub fn with_alignment(mut self, alignment: &WatermarkAlignment) -> Self {
        self.alignment = Some(alignment.clone());
        self
    }

    /// Why no stream can have it.
    pub(crate) fn mistake(&self) -> Option<String> {
        let never = self.idle_after.is_some_and(|after| after.is_zero());
        never.then(|| "a split that is idle after no time at all would always be idle".to_owned())
    }

    /// Why it cannot be given in mid-stream.
    pub(crate) fn mistake_in_mid_stream(&self) -> Option<String> {
        let aligned =
            || "only sources can wait for each other; give with_alignment(..) to the source's strategy".to_owned();
        self.mistake().or_else(|| self.alignment.as_ref().map(|_| aligned()))
    }

    /// One subtask of those that wait for each other, if they do.
    pub(crate) fn join_alignment(&self, cx: &SourceContext) -> Option<AlignedMember> {
        self.alignment
            .as_ref()
            .map(|alignment| alignment.join(cx.job.clone(), cx.operator.clone(), (cx.subtask_index, cx.parallelism)))
    }

    /// The job of a source with it has ended.
    pub(crate) fn job_ended(&self, job: &Arc<str>, source: &OperatorId) {
        if let Some(alignment) = &self.alignment {
            alignment.job_ended(job, source);
        }
    }

    pub(crate) fn new_generator(&self) -> Box<dyn TimesBatches<T>> {
        (self.new_generator)()
    }

    pub(crate) fn idle_after(&self) -> Option<Duration> {
        self.idle_after
    }
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        let Self { new_generator, idle_after, alignment } = self;
        Self { new_generator: new_generator.clone(), idle_after: *idle_after, alignment: alignment.clone() }
    }
}

impl<T> fmt::Debug for WatermarkStrategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkStrategy").field("idle_after", &self.idle_after).finish_non_exhaustive()
    }
}
