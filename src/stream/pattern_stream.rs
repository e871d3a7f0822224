//! A keyed stream in which a pattern is looked for.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DataStream, KeyedStream};
use crate::graph::GraphError;
use crate::keyed::Process;
use crate::operator::{Emitter, KeySelector, OutputTag};
use crate::pattern::{Dropped, Matched, OnTimeout, Pattern, PatternFunction, PatternTime, TimedOutTo};

/// A keyed stream in which a pattern is looked for, in the records of each key. Made by [`KeyedStream::pattern`]. Follows Flink's
/// `PatternStream`.
///
/// | call | gives |
/// |---|---|
/// | [`select`](Self::select) | what a function makes of each match |
/// | [`flat_select`](Self::flat_select) | what a function emits for each match |
///
/// By event time, records of a key are looked at by their times, and those of one time in the order in which they came: each waits
/// until the watermark has come to its time. One that is not above the watermark when it comes is late: it is in no match, and goes to
/// the [`late_output`](Self::late_output). A match has the event time of the record, or of the moment,
/// with which it is given.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (sink, open_sink) = (CollectSink::new(), CollectSink::new());
/// let (paid, open) = (sink.handle(), open_sink.handle());
/// let never_paid = OutputTag::new("never paid");
///
/// let payment = Pattern::begin("ordered", |(_, _, what): &(u32, i64, String)| what == "order")
///     .followed_by("paid", |(_, _, what)| what == "payment")
///     .within(Duration::from_secs(60));
/// let env = StreamEnvironment::new("shop");
/// let events = [(7, 0, "order"), (8, 1_000, "order"), (7, 30_000, "payment"), (8, 61_000, "payment")];
/// let events = events.map(|(order, at, what)| (order, at, what.to_owned()));
/// let times = WatermarkStrategy::monotonous(|(_, at, _): &(u32, i64, String)| *at);
/// let payments = env
///     .source_with_watermarks("events", VecSource::new(events.to_vec()), times)
///     .key_by(|(order, ..)| *order)
///     .pattern(payment)
///     .timed_out(&never_paid, |ordered| ordered.first("ordered").map(|(order, ..)| *order))
///     .select("payments", |payment| payment.first("paid").map(|(order, at, _)| (*order, *at)));
/// payments.side_output(&never_paid).sink("open", open_sink);
/// payments.sink("paid", sink);
/// env.start()?.await?;
/// assert_eq!(paid.snapshot(), [Some((7, 30_000))]);
/// assert_eq!(open.snapshot(), [Some(8)], "its payment came when the time was over");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a pattern is not looked for until it is said what is made of its matches"]
pub struct PatternStream<T, S: KeySelector<T>, O = Dropped> {
    keyed: KeyedStream<T, S>,
    pattern: Pattern<T>,
    time: PatternTime,
    late: Option<OutputTag<T>>,
    timed_out: O,
}

impl<T, S: KeySelector<T>> PatternStream<T, S> {
    pub(super) fn new(keyed: KeyedStream<T, S>, pattern: Pattern<T>) -> Self {
        Self { keyed, pattern, time: PatternTime::Event, late: None, timed_out: Dropped }
    }

    /// Sends what `function` makes of each partial match that [`within`](Pattern::within) has ended to a side output of the operator.
    /// They are dropped otherwise. Each has the event time at which its time was over. A match that could have become a longer one is
    /// among them. Without `within` there are none.
    ///
    /// A stage that could go on with more records as well as with the next stage is two partial matches, once another record has come.
    pub fn timed_out<V: Send + 'static>(
        self,
        tag: &OutputTag<V>,
        function: impl Fn(&Matched<'_, T>) -> V + Clone + Send + 'static,
    ) -> PatternStream<T, S, impl OnTimeout<T>> {
        let Self { keyed, pattern, time, late, .. } = self;
        PatternStream { keyed, pattern, time, late, timed_out: TimedOutTo::new(tag.clone(), function) }
    }
}

impl<T, S, O> PatternStream<T, S, O>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    S: KeySelector<T, Held: 'static>,
    O: OnTimeout<T>,
{
    /// Sends late records to a side output of the operator. They are dropped otherwise. In processing time none is late.
    pub fn late_output(mut self, tag: &OutputTag<T>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// Has records looked at when they come, at the time that the job's clock shows then, and [`within`](Pattern::within) measured by
    /// it. No record is late then, and what is given has no event time. After a failure, records that come again do so at other times.
    pub fn in_processing_time(mut self) -> Self {
        self.time = PatternTime::Processing;
        self
    }

    /// Gives what `function` makes of each match.
    #[track_caller]
    pub fn select<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&Matched<'_, T>) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        self.run(id, move |matched, out| out.emit(function(matched)), Location::caller())
    }

    /// Gives what `function` emits for each match, to the stream or to side outputs.
    #[track_caller]
    pub fn flat_select<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&Matched<'_, T>, &mut Emitter<'_, U>) + Clone + Send + 'static,
    ) -> DataStream<U> {
        self.run(id, function, Location::caller())
    }

    fn run<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&Matched<'_, T>, &mut Emitter<'_, U>) + Clone + Send + 'static,
        at: &'static Location<'static>,
    ) -> DataStream<U> {
        let Self { keyed, pattern, time, late, timed_out } = self;
        for reason in pattern.mistakes() {
            keyed.mistake(GraphError::InvalidPattern { operator: id.into(), reason, at });
        }
        let automaton = Arc::new(pattern.compile(time));
        keyed.on_kernel(id, Process(PatternFunction::new(automaton, time, late, timed_out, function)), at)
    }
}

impl<T, S: KeySelector<T>, O> fmt::Debug for PatternStream<T, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PatternStream").field(&self.keyed).field(&self.pattern).finish()
    }
}
