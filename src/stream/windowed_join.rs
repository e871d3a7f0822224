//! Two keyed streams that are cut into windows together.

use std::borrow::Borrow;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DataStream, JoinedStreams};
use crate::graph::GraphError;
use crate::keyed::OfEither;
use crate::operator::{Either, Emitter, KeySelector, OutputTag};
use crate::window::{CoGrouped, Trigger, WindowAssigner, WindowContext, Windowed, Windowing};

/// Two keyed streams whose records meet where they are in one window of their key. Made by [`JoinedStreams::window`].
///
/// A window has the records of both streams, and gives its results when its trigger says so, by default when event time has come to
/// its end; which results, is said by the last call. All other rules are those of
/// [`WindowedStream`](super::WindowedStream): a record of either stream that is late goes to the late output, and sessions
/// are made of the records of both.
///
/// Both sides of a window are kept as they are, until it is over. Results have the event time of the last millisecond of their
/// window.
///
/// | call | gives a result for |
/// |---|---|
/// | [`inner`](Self::inner) | each two records |
/// | [`left_outer`](Self::left_outer) | each two, and each of the first if there is none of the second |
/// | [`right_outer`](Self::right_outer) | each two, and each of the second if there is none of the first |
/// | [`full_outer`](Self::full_outer) | both |
/// | [`co_group`](Self::co_group) | what a function makes of all of both |
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("balances"));
/// # let balances = sink.handle();
/// let times = || WatermarkStrategy::monotonous(|(_, at, _): &(u32, i64, i64)| *at);
/// let paid_in = env.source_with_watermarks("in", VecSource::new(vec![(7, 100, 50), (8, 200, 9), (7, 1_200, 5)]), times());
/// let paid_out = env.source_with_watermarks("out", VecSource::new(vec![(7, 300, 20), (7, 900, 10)]), times());
/// paid_in
///     .key_by(|(account, ..)| *account)
///     .join(paid_out.key_by(|(account, ..)| *account))
///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
///     .co_group("balance", |ins, outs, ctx, out: &mut Emitter<'_, (u32, i64)>| {
///         let sum = |payments: &[(u32, i64, i64)]| payments.iter().map(|(.., amount)| amount).sum::<i64>();
///         out.emit((*ctx.key(), sum(ins) - sum(outs)));
///     })
///     .sink("balances", sink);
/// # env.start()?.await?;
/// # let mut balances = balances.snapshot();
/// # balances.sort();
/// # assert_eq!(balances, [(7, 5), (7, 20), (8, 9)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a join does nothing until it is said what is made of records that meet"]
pub struct WindowedJoin<A, SA: KeySelector<A>, B, SB: KeySelector<B, Key = SA::Key>, W, Tr> {
    joined: JoinedStreams<A, SA, B, SB>,
    windowing: Windowing<Either<A, B>, W, Tr>,
    lateness: Duration,
}

impl<A, SA, B, SB, W> WindowedJoin<A, SA, B, SB, W, W::Trigger>
where
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
    W: WindowAssigner<Either<A, B>>,
{
    pub(super) fn new(joined: JoinedStreams<A, SA, B, SB>, assigner: W) -> Self {
        let trigger = assigner.trigger();
        let windowing = Windowing { assigner, trigger, has_own_trigger: true, lateness: 0, late: None };
        Self { joined, windowing, lateness: Duration::ZERO }
    }
}

impl<A, SA, B, SB, W, Tr> WindowedJoin<A, SA, B, SB, W, Tr>
where
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    /// Has another trigger say when windows give results.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    /// use millstream::window::CountTrigger;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("rides"));
    /// # let given = sink.handle();
    /// # let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let orders = env.source_with_watermarks("orders", VecSource::new(vec![(1, 100), (2, 500)]), times());
    /// let drivers = env.source_with_watermarks("drivers", VecSource::new(vec![(1, 300), (3, 900)]), times());
    /// orders
    ///     .key_by(|(place, _)| *place)
    ///     .join(drivers.key_by(|(place, _)| *place))
    ///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
    ///     .trigger(CountTrigger::of(2))                        // as soon as there are two
    ///     .inner("met", |(place, ordered), (_, free)| (*place, free - ordered))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # let mut given = given.snapshot();
    /// # given.sort();
    /// # assert_eq!(given, [(1, 200)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn trigger<Other: Trigger<Either<A, B>>>(self, trigger: Other) -> WindowedJoin<A, SA, B, SB, W, Other> {
        let Self { joined, windowing: Windowing { assigner, late, .. }, lateness } = self;
        let windowing = Windowing { assigner, trigger, has_own_trigger: false, lateness: 0, late };
        WindowedJoin { joined, windowing, lateness }
    }

    /// Keeps windows of event time for so long after they were complete: each record that comes in that time has its windows give
    /// all their results once more. Whole milliseconds; none by default.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("rides"));
    /// # let given = sink.handle();
    /// # let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let orders = env.source_with_watermarks("orders", VecSource::new(vec![(1, 100), (2, 500)]), times());
    /// let drivers = env.source_with_watermarks("drivers", VecSource::new(vec![(1, 300), (3, 900)]), times());
    /// orders
    ///     .key_by(|(place, _)| *place)
    ///     .join(drivers.key_by(|(place, _)| *place))
    ///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
    ///     .allowed_lateness(Duration::from_secs(60))
    ///     .inner("met", |(place, ordered), (_, free)| (*place, free - ordered))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # let mut given = given.snapshot();
    /// # given.sort();
    /// # assert_eq!(given, [(1, 200)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Sends the records of both streams that come after all their windows were over to a side output of the operator. They are
    /// dropped otherwise.
    pub fn late_output(mut self, tag: &OutputTag<Either<A, B>>) -> Self {
        self.windowing.late = Some(tag.clone());
        self
    }
}

impl<A, SA, B, SB, W, Tr> WindowedJoin<A, SA, B, SB, W, Tr>
where
    A: Clone + Serialize + DeserializeOwned + Send + 'static,
    B: Clone + Serialize + DeserializeOwned + Send + 'static,
    SA: KeySelector<A, Held: 'static>,
    SB: KeySelector<B, Key = SA::Key, Held: 'static>,
    SA::Key: Borrow<SB::Query>,
    W: WindowAssigner<Either<A, B>>,
    Tr: Trigger<Either<A, B>>,
{
    /// Gives what `function` makes of each two records of a window.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("rides"));
    /// # let given = sink.handle();
    /// # let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let orders = env.source_with_watermarks("orders", VecSource::new(vec![(1, 100), (2, 500)]), times());
    /// let drivers = env.source_with_watermarks("drivers", VecSource::new(vec![(1, 300), (3, 900)]), times());
    /// orders
    ///     .key_by(|(place, _)| *place)
    ///     .join(drivers.key_by(|(place, _)| *place))
    ///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
    ///     .inner("met", |(place, ordered), (_, free)| (*place, free - ordered))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # let mut given = given.snapshot();
    /// # given.sort();
    /// # assert_eq!(given, [(1, 200)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn inner<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&A, &B) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        self.co_group(id, move |firsts, seconds, _, out| {
            firsts.iter().for_each(|first| seconds.iter().for_each(|second| out.emit(function(first, second))));
        })
    }

    /// Gives what `function` makes of each two records of a window, and of each of the first stream where there is none of the
    /// second.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("rides"));
    /// # let given = sink.handle();
    /// # let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let orders = env.source_with_watermarks("orders", VecSource::new(vec![(1, 100), (2, 500)]), times());
    /// let drivers = env.source_with_watermarks("drivers", VecSource::new(vec![(1, 300), (3, 900)]), times());
    /// orders
    ///     .key_by(|(place, _)| *place)
    ///     .join(drivers.key_by(|(place, _)| *place))
    ///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
    ///     .left_outer("met-or-waits", |(place, _), driver| (*place, driver.is_some()))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # let mut given = given.snapshot();
    /// # given.sort();
    /// # assert_eq!(given, [(1, true), (2, false)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn left_outer<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&A, Option<&B>) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        self.co_group(id, move |firsts, seconds, _, out| {
            firsts.iter().for_each(|first| or_none(seconds).for_each(|second| out.emit(function(first, second))));
        })
    }

    /// Gives what `function` makes of each two records of a window, and of each of the second stream where there is none of the
    /// first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("rides"));
    /// # let given = sink.handle();
    /// # let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let orders = env.source_with_watermarks("orders", VecSource::new(vec![(1, 100), (2, 500)]), times());
    /// let drivers = env.source_with_watermarks("drivers", VecSource::new(vec![(1, 300), (3, 900)]), times());
    /// orders
    ///     .key_by(|(place, _)| *place)
    ///     .join(drivers.key_by(|(place, _)| *place))
    ///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
    ///     .right_outer("met-or-idle", |order, (place, _)| (*place, order.is_some()))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # let mut given = given.snapshot();
    /// # given.sort();
    /// # assert_eq!(given, [(1, true), (3, false)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn right_outer<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(Option<&A>, &B) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        self.co_group(id, move |firsts, seconds, _, out| {
            seconds.iter().for_each(|second| or_none(firsts).for_each(|first| out.emit(function(first, second))));
        })
    }

    /// Gives what `function` makes of each two records of a window, and of each of either stream where there is none of the other:
    /// one of both is always there.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("rides"));
    /// # let given = sink.handle();
    /// # let times = || WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at);
    /// let orders = env.source_with_watermarks("orders", VecSource::new(vec![(1, 100), (2, 500)]), times());
    /// let drivers = env.source_with_watermarks("drivers", VecSource::new(vec![(1, 300), (3, 900)]), times());
    /// orders
    ///     .key_by(|(place, _)| *place)
    ///     .join(drivers.key_by(|(place, _)| *place))
    ///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
    ///     .full_outer("all", |order, driver| (order.copied(), driver.copied()))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # let mut given = given.snapshot();
    /// # given.sort();
    /// # assert_eq!(given, [(None, Some((3, 900))), (Some((1, 100)), Some((1, 300))), (Some((2, 500)), None)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn full_outer<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(Option<&A>, Option<&B>) -> U + Clone + Send + 'static,
    ) -> DataStream<U> {
        self.co_group(id, move |firsts, seconds, _, out| {
            or_none(firsts).for_each(|first| or_none(seconds).for_each(|second| out.emit(function(first, second))));
        })
    }

    /// Gives what `function` emits for each window: it gets the records of both streams, each in the order in which they have come.
    /// One of both has some.
    #[track_caller]
    pub fn co_group<U: Send + 'static>(
        self,
        id: &str,
        function: impl Fn(&[A], &[B], &WindowContext<'_, SA::Key>, &mut Emitter<'_, U>) + Clone + Send + 'static,
    ) -> DataStream<U> {
        let (Self { joined, mut windowing, lateness }, at) = (self, Location::caller());
        for reason in windowing.check(lateness) {
            joined.connected.mistake(GraphError::InvalidWindows { operator: id.into(), reason, at });
        }
        let function = OfEither(Windowed::new(windowing, CoGrouped::new(function)));
        joined.operator(id, None, function, at).withholding_timers()
    }
}

/// Each record, or none once if there is none.
fn or_none<T>(records: &[T]) -> impl Iterator<Item = Option<&T>> {
    records.iter().map(Some).chain(records.is_empty().then_some(None))
}

impl<A, SA, B, SB, W, Tr> fmt::Debug for WindowedJoin<A, SA, B, SB, W, Tr>
where
    SA: KeySelector<A>,
    SB: KeySelector<B, Key = SA::Key>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WindowedJoin").field(&self.joined).finish()
    }
}
