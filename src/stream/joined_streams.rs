//! Two keyed streams that are to be joined.

use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeBounds;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::windowed_join::WindowedJoin;
use super::{ConnectedKeyedStreams, DataStream};
use crate::graph::GraphError;
use crate::join::{IntervalJoin, LivingJoin, TemporalJoin, TimeBounds};
use crate::keyed::KeyedCoProcessFunction;
use crate::operator::{Either, KeySelector, OutputTag};
use crate::window::{WindowAssigner, millis};

/// Two keyed streams, of which is still to be said which records meet.
///
/// | meet | call | event time of a result |
/// |---|---|---|
/// | all that are in one window | [`window`](Self::window) | the last millisecond of the window |
/// | those whose times differ by so much | [`between`](Self::between) | the later of both |
/// | each with what a table held at its time | [`temporal`](Self::temporal) | that of the first stream's record |
/// | those that come within so much time by the job's clock | [`time_to_live`](Self::time_to_live) | that of the one that came later |
///
/// Records meet by key. Each way of joining keeps records as state until they can meet no more; its page says how long that is.
/// All take the stable id under which that state is found again, and functions that are given references, since a record may meet
/// many.
///
/// What two streams emit at the same time has no order, and neither have the results of a key: with the same input, they are the
/// same ones whatever the order, but for [`time_to_live`](Self::time_to_live).
///
/// Each call, or the page of what it gives, has an example.
#[must_use = "joined streams do nothing until it is said which records meet, and what is made of them"]
pub struct JoinedStreams<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> {
    pub(super) connected: ConnectedKeyedStreams<A, SA, B, SB>,
}

impl<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> JoinedStreams<A, SA, B, SB> {
    pub(super) fn new(connected: ConnectedKeyedStreams<A, SA, B, SB>) -> Self {
        Self { connected }
    }

    /// Has the records meet that are in one window. Follows Flink's window join and `CoGroupedStreams`.
    pub fn window<W: WindowAssigner<Either<A, B>>>(self, assigner: W) -> WindowedJoin<A, SA, B, SB, W, W::Trigger> {
        WindowedJoin::new(self, assigner)
    }

    /// Has the records meet of which the second stream's time is above that of the first by so many milliseconds: with
    /// `-5_000..=0` each record of the first meets those of the second that are of its time or up to five seconds before. By event
    /// time. Follows Flink's interval join.
    ///
    /// A record is kept until the watermark says that nothing comes any more that it would meet. One that is late itself, so that
    /// those that it would meet may be gone, goes to the [`late_output`](IntervalJoinedStreams::late_output).
    ///
    /// The graph refuses an interval without a millisecond, and one without a bound, which would keep records for ever.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("ads"));
    /// # let clicked = sink.handle();
    /// let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let shown = env.source_with_watermarks("shown", VecSource::new(vec![(1, 0), (2, 1_000), (3, 9_000)]), times());
    /// let clicks = env.source_with_watermarks("clicks", VecSource::new(vec![(2, 3_000), (1, 12_000)]), times());
    /// shown
    ///     .key_by(|(ad, _)| *ad)
    ///     .join(clicks.key_by(|(ad, _)| *ad))
    ///     .between(0..=10_000)                           // a click within ten seconds
    ///     .inner("clicked", |(ad, shown), (_, clicked)| (*ad, clicked - shown))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(clicked.snapshot(), [(2, 2_000)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn between(self, millis: impl RangeBounds<i64>) -> IntervalJoinedStreams<A, SA, B, SB> {
        IntervalJoinedStreams { joined: self, bounds: TimeBounds::of(&millis), late: None }
    }

    /// Has each record of the first stream meet the version of its key that held at its time: of the second stream's records
    /// with the key the one of the greatest time that is not above the record's, and of several of one time the one that came last.
    /// By event time. Follows the event-time temporal join of Flink SQL.
    ///
    /// A record waits until the watermark has come to its time, and those of a key come out by time. One that is late goes to the
    /// [`late_output`](TemporalJoinedStreams::late_output). A version that is late holds for the records that still wait or come.
    /// A version is dropped with the first record of its key that comes when a later one holds at the watermark; so there is state
    /// for each key that has ever had one.
    ///
    /// ```
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("orders"));
    /// # let priced = sink.handle();
    /// let yen = || "yen".to_owned();
    /// let orders = VecSource::new(vec![(yen(), 5, 100), (yen(), 15, 100)]);          // currency, time, amount
    /// let rates = VecSource::new(vec![(yen(), 0, 2), (yen(), 10, 3)]);               // currency, from when on, rate
    /// let orders = env.source_with_watermarks("orders", orders, WatermarkStrategy::monotonous(|(_, at, _)| *at));
    /// let rates = env.source_with_watermarks("rates", rates, WatermarkStrategy::monotonous(|(_, at, _)| *at));
    /// orders
    ///     .key_by_ref(|(currency, _, _)| currency.as_str())
    ///     .join(rates.key_by_ref(|(currency, _, _)| currency.as_str()))
    ///     .temporal()
    ///     .inner("priced", |(_, at, amount), (_, _, rate)| (*at, amount * rate))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(priced.snapshot(), [(5, 200), (15, 300)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn temporal(self) -> TemporalJoinedStreams<A, SA, B, SB> {
        TemporalJoinedStreams { joined: self, late: None }
    }

    /// Has the records meet of which the later one comes while the earlier one lives: for so long, by the job's clock, counted from
    /// when it was worked on. Whole milliseconds. Follows the regular join of Flink SQL, with state that has a time to live.
    ///
    /// It needs no event times, and what meets depends on when records come: after a failure those that come again may miss others.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("shop"));
    /// # let met = sink.handle();
    /// let orders = env.source("orders", VecSource::new(vec![(1, "tea".to_owned()), (2, "milk".to_owned())]));
    /// let customers = env.source("customers", VecSource::new(vec![(2, "Ann".to_owned()), (3, "Bo".to_owned())]));
    /// orders
    ///     .key_by(|(customer, _)| *customer)
    ///     .join(customers.key_by(|(customer, _)| *customer))
    ///     .time_to_live(Duration::from_secs(3_600))
    ///     .inner("who-ordered", |(_, item), (_, name)| format!("{name}: {item}"))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(met.snapshot(), ["Ann: milk"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn time_to_live(self, ttl: Duration) -> LivingJoinedStreams<A, SA, B, SB> {
        LivingJoinedStreams { joined: self, ttl }
    }
}

impl<A, SA, B, SB> JoinedStreams<A, SA, B, SB>
where
    A: Send + 'static,
    B: Send + 'static,
    SA: KeySelector<A, Held: 'static>,
    SB: KeySelector<B, Key = SA::Key, Held: 'static>,
    SA::Key: Borrow<SB::Query>,
{
    /// Adds a join that was made at `at`, and what is wrong with it to the mistakes of the graph.
    pub(super) fn operator<F: KeyedCoProcessFunction<SA::Key, A, B>>(
        self,
        id: &str,
        mistakes: impl IntoIterator<Item = String>,
        function: F,
        at: &'static Location<'static>,
    ) -> DataStream<F::Out> {
        for reason in mistakes {
            self.connected.mistake(GraphError::InvalidJoin { operator: id.into(), reason, at });
        }
        self.connected.operator(id, function, at)
    }
}

impl<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> fmt::Debug for JoinedStreams<A, SA, B, SB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinedStreams").field(&self.connected).finish()
    }
}

/// Two keyed streams whose records meet by the difference of their times. Made by [`JoinedStreams::between`], which has an example.
#[must_use = "a join does nothing until it is said what is made of records that meet"]
pub struct IntervalJoinedStreams<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> {
    joined: JoinedStreams<A, SA, B, SB>,
    bounds: Result<TimeBounds, String>,
    late: Option<OutputTag<Either<A, B>>>,
}

impl<A, SA, B, SB> IntervalJoinedStreams<A, SA, B, SB>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    SA: KeySelector<A, Held: 'static>,
    SB: KeySelector<B, Key = SA::Key, Held: 'static>,
    SA::Key: Borrow<SB::Query>,
{
    /// Sends late records of both streams to a side output of the operator. They are dropped otherwise.
    pub fn late_output(mut self, tag: &OutputTag<Either<A, B>>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// Gives what `function` makes of each two records that meet.
    #[track_caller]
    pub fn inner<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&A, &B) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        let Self { joined, bounds, late } = self;
        let mistake = bounds.as_ref().err().cloned();
        let join = IntervalJoin::new(bounds.unwrap_or_default(), late, function);
        joined.operator(id, mistake, join, Location::caller())
    }
}

impl<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> fmt::Debug for IntervalJoinedStreams<A, SA, B, SB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IntervalJoinedStreams").field(&self.joined).field(&self.bounds).finish()
    }
}

/// Two keyed streams, the second of which has the versions of a table. Made by [`JoinedStreams::temporal`], which has an example.
#[must_use = "a join does nothing until it is said what is made of records that meet"]
pub struct TemporalJoinedStreams<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> {
    joined: JoinedStreams<A, SA, B, SB>,
    late: Option<OutputTag<A>>,
}

impl<A, SA, B, SB> TemporalJoinedStreams<A, SA, B, SB>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    SA: KeySelector<A, Held: 'static>,
    SB: KeySelector<B, Key = SA::Key, Held: 'static>,
    SA::Key: Borrow<SB::Query>,
{
    /// Sends late records of the first stream to a side output of the operator. They are dropped otherwise.
    pub fn late_output(mut self, tag: &OutputTag<A>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// Gives what `function` makes of each record for which there is a version.
    #[track_caller]
    pub fn inner<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&A, &B) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        let matched = move |record: &A, version: Option<&B>| version.map(|version| function(record, version));
        self.joined.operator(id, None, TemporalJoin::new(self.late, matched), Location::caller())
    }

    /// Gives what `function` makes of each record, and the version if there is one.
    #[track_caller]
    pub fn left_outer<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&A, Option<&B>) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        let matched = move |record: &A, version: Option<&B>| Some(function(record, version));
        self.joined.operator(id, None, TemporalJoin::new(self.late, matched), Location::caller())
    }
}

impl<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> fmt::Debug for TemporalJoinedStreams<A, SA, B, SB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TemporalJoinedStreams").field(&self.joined).finish()
    }
}

/// Two keyed streams whose records meet while they live. Made by [`JoinedStreams::time_to_live`], which has an example.
#[must_use = "a join does nothing until it is said what is made of records that meet"]
pub struct LivingJoinedStreams<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> {
    joined: JoinedStreams<A, SA, B, SB>,
    ttl: Duration,
}

impl<A, SA, B, SB> LivingJoinedStreams<A, SA, B, SB>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    SA: KeySelector<A, Held: 'static>,
    SB: KeySelector<B, Key = SA::Key, Held: 'static>,
    SA::Key: Borrow<SB::Query>,
{
    /// Gives what `function` makes of each two records that meet. A result has the event time of the record that came later.
    #[track_caller]
    pub fn inner<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&A, &B) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        let ttl = millis(self.ttl).map_err(|reason| format!("the time to live is {reason}"));
        let mistake = ttl.as_ref().err().cloned();
        let join = LivingJoin::new(ttl.unwrap_or(1), function);
        self.joined.operator(id, mistake, join, Location::caller())
    }
}

impl<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>> fmt::Debug for LivingJoinedStreams<A, SA, B, SB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LivingJoinedStreams").field(&self.joined).field(&self.ttl).finish()
    }
}
