//! When windows give results.

use std::fmt;
use std::time::Duration;

use millstream_actors::contract::Clock;
use millstream_actors::protocol::{NO_TIME, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Window, WindowTime, millis};
use crate::state::Timer;
use crate::time::processing_time;

/// What becomes of a window after its [`Trigger`] was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// It gives a result of what is in it.
    Fire,
    /// What is in it is dropped.
    Purge,
    /// Both, in this order.
    FireAndPurge,
}

impl TriggerResult {
    /// Whether the window gives a result.
    pub fn fires(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    /// Whether what is in the window is dropped.
    pub fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// What a [`Trigger`] knows when it is called.
#[derive(Clone, Copy)]
pub struct TriggerContext<'a> {
    window: Window,
    time: Timestamp,
    watermark: Timestamp,
    clock: &'a dyn Clock,
}

impl<'a> TriggerContext<'a> {
    pub(super) fn new(window: Window, time: Timestamp, watermark: Timestamp, clock: &'a dyn Clock) -> Self {
        Self { window, time, watermark, clock }
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The time by which the record has come into the window: its event time, or the processing time if windows go by that.
    /// In [`Trigger::on_time`] that at which it was to be called.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The watermark up to which the key has been worked on, or is being worked on.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// What the job's clock says, in milliseconds of the Unix epoch.
    pub fn processing_time(&self) -> Timestamp {
        processing_time(self.clock)
    }
}

impl fmt::Debug for TriggerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { window, time, watermark, .. } = self;
        write!(f, "TriggerContext({window} at {time}, watermark {watermark})")
    }
}

/// Says when a window gives a result, and when what is in it is dropped. Follows Flink's `Trigger`; but where that registers
/// timers, this one says, when it is asked, at what times it wants to be called. So there is nothing to delete, and windows that
/// merge need no care.
///
/// A trigger that is set replaces the one that the windows have of their own: time then ends them (what is in them is gone
/// when they are over, and the allowed lateness), but gives no result.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{Trigger, TriggerContext, TriggerResult, TumblingWindows, Window};
///
/// /// At the end of the window, and at once with each alarm.
/// #[derive(Clone)]
/// struct WithAlarms;
///
/// impl Trigger<(u32, bool)> for WithAlarms {
///     type State = ();
///
///     fn on_element(&self, (_, is_alarm): &(u32, bool), ctx: TriggerContext<'_>, _: &mut ()) -> TriggerResult {
///         let is_complete = ctx.window().max_timestamp() <= ctx.watermark();
///         if *is_alarm || is_complete { TriggerResult::Fire } else { TriggerResult::Continue }
///     }
///
///     fn event_time(&self, window: Window, _: &(), after: Timestamp) -> Option<Timestamp> {
///         Some(window.max_timestamp()).filter(|at| *at > after)
///     }
///
///     fn on_time(&self, _: Timer, _: TriggerContext<'_>, _: &mut ()) -> TriggerResult {
///         TriggerResult::Fire
///     }
///
///     fn merge(&self, _: &mut (), _: ()) {}
/// }
///
/// # use std::time::Duration;
/// # use millstream::aggregates::Count;
/// # actix_rt::System::new().block_on(async {
/// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("alarms"));
/// # let counts = sink.handle();
/// # let strategy = WatermarkStrategy::monotonous(|(at, _): &(u32, bool)| i64::from(*at));
/// env.source_with_watermarks("events", VecSource::new(vec![(1, false), (2, true), (3, false)]), strategy)
///     .key_by(|_| ())
///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
///     .trigger(WithAlarms)
///     .aggregate("count", Count::new())
///     .sink("counts", sink);
/// # env.start()?.await?;
/// # assert_eq!(counts.snapshot(), [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a trigger for windows of records `{T}`",
    note = "a trigger is one of `millstream::window`, such as `CountTrigger::of(100)`, or a `Trigger` of your own, `Clone + Send`"
)]
pub trait Trigger<T>: Clone + Send + 'static {
    /// What it remembers of each window; it is in checkpoints. Gone when the window is, not when it is purged.
    type State: Serialize + DeserializeOwned + Default + Send + 'static;

    /// A record has come for the window.
    fn on_element(&self, record: &T, ctx: TriggerContext<'_>, state: &mut Self::State) -> TriggerResult;

    /// The first event time above `after` at which it wants to be called, if there is one.
    fn event_time(&self, window: Window, state: &Self::State, after: Timestamp) -> Option<Timestamp> {
        let _ = (window, state, after);
        None
    }

    /// The processing time at which it wants to be called, if it does. When it has been called this must be another.
    fn processing_time(&self, window: Window, state: &Self::State) -> Option<Timestamp> {
        let _ = (window, state);
        None
    }

    /// A time has come that it wanted to be called at. Times come ascending; those of event time before the watermark that has
    /// brought them goes on.
    fn on_time(&self, timer: Timer, ctx: TriggerContext<'_>, state: &mut Self::State) -> TriggerResult {
        let _ = (timer, ctx, state);
        TriggerResult::Continue
    }

    /// Two windows have become one: what is remembered of the later one is `later`.
    fn merge(&self, state: &mut Self::State, later: Self::State);

    /// Whether it can be the trigger of windows that go by this. The graph refuses what cannot.
    ///
    /// # Errors
    /// Why not.
    fn check(&self, windows: WindowTime) -> Result<(), String> {
        let _ = windows;
        Ok(())
    }

    /// Whether nothing is remembered. A window that is never over is forgotten when this is so and it is empty.
    fn is_clear(&self, state: &Self::State) -> bool {
        let _ = state;
        size_of::<Self::State>() == 0
    }
}

/// Gives a result when a window is complete: when the watermark has come to its last millisecond, and with each record that
/// comes later, as far as lateness is allowed; or when the job's clock has. The trigger that windows of time have of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTrigger {
    /// By the watermark.
    EventTime,
    /// By the job's clock.
    ProcessingTime,
}

impl<T> Trigger<T> for TimeTrigger {
    type State = ();

    #[inline]
    fn on_element(&self, _: &T, ctx: TriggerContext<'_>, (): &mut ()) -> TriggerResult {
        match self {
            Self::EventTime if ctx.window().max_timestamp() <= ctx.watermark() => TriggerResult::Fire,
            _ => TriggerResult::Continue,
        }
    }

    #[inline]
    fn event_time(&self, window: Window, (): &(), after: Timestamp) -> Option<Timestamp> {
        let is_event_time = *self == Self::EventTime;
        Some(window.max_timestamp()).filter(|at| is_event_time && *at > after)
    }

    #[inline]
    fn processing_time(&self, window: Window, (): &()) -> Option<Timestamp> {
        (*self == Self::ProcessingTime).then(|| window.end())
    }

    fn on_time(&self, _: Timer, _: TriggerContext<'_>, (): &mut ()) -> TriggerResult {
        TriggerResult::Fire
    }

    fn merge(&self, (): &mut (), (): ()) {}

    fn check(&self, windows: WindowTime) -> Result<(), String> {
        match (self, windows) {
            (Self::EventTime, WindowTime::ProcessingTime) | (Self::ProcessingTime, WindowTime::EventTime) => {
                Err(format!(
                    "a trigger TimeTrigger::{self:?} is of windows that go by that time, these go by the other; take a ContinuousTrigger or one of your own"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Never gives a result. The trigger that [`GlobalWindows`](super::GlobalWindows) have of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeverTrigger;

impl<T> Trigger<T> for NeverTrigger {
    type State = ();

    fn on_element(&self, _: &T, _: TriggerContext<'_>, (): &mut ()) -> TriggerResult {
        TriggerResult::Continue
    }

    fn merge(&self, (): &mut (), (): ()) {}
}

/// Gives a result with each so many records of a window.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{CountTrigger, GlobalWindows};
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // With each hundred sales of a shop, of all that there were.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(GlobalWindows::new())
///     .trigger(CountTrigger::of(100))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountTrigger {
    records: u64,
}

impl CountTrigger {
    /// With each `records` records: one at least, the graph refuses none.
    pub fn of(records: u64) -> Self {
        Self { records }
    }
}

impl<T> Trigger<T> for CountTrigger {
    /// Records since the last result.
    type State = u64;

    fn on_element(&self, _: &T, _: TriggerContext<'_>, seen: &mut u64) -> TriggerResult {
        *seen += 1;
        if *seen < self.records {
            return TriggerResult::Continue;
        }
        *seen = 0;
        TriggerResult::Fire
    }

    fn merge(&self, seen: &mut u64, later: u64) {
        *seen += later;
    }

    fn check(&self, _: WindowTime) -> Result<(), String> {
        match self.records {
            0 => Err("a window gives a result with each 0 records; it needs one at least".to_owned()),
            _ => Ok(()),
        }
    }

    fn is_clear(&self, seen: &u64) -> bool {
        *seen == 0
    }
}

/// Gives a result each time an interval is over in which a window has records. Follows Flink's `ContinuousEventTimeTrigger` and
/// `ContinuousProcessingTimeTrigger`.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::ContinuousTrigger;
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // What there is of a day, each minute.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(TumblingWindows::event_time(Duration::from_secs(86_400)))
///     .trigger(ContinuousTrigger::event_time(Duration::from_secs(60)))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContinuousTrigger {
    time: TimeTrigger,
    interval: Duration,
    interval_ms: i64,
}

impl ContinuousTrigger {
    /// Each time the watermark has come to a multiple of `interval` behind the window's first record, and when it has come to the
    /// window's end. `interval` is whole milliseconds; the graph refuses others.
    pub fn event_time(interval: Duration) -> Self {
        Self::by(TimeTrigger::EventTime, interval)
    }

    /// When the job's clock has come to a multiple of `interval` after a record has come. What has come to a window of processing time
    /// since the last of them before its end is in no result. `interval` is whole milliseconds; the graph refuses others.
    pub fn processing_time(interval: Duration) -> Self {
        Self::by(TimeTrigger::ProcessingTime, interval)
    }

    fn by(time: TimeTrigger, interval: Duration) -> Self {
        // What is no length is refused when the graph is checked, before a record comes.
        Self { time, interval, interval_ms: millis(interval).unwrap_or(1) }
    }

    fn next(&self, after: Timestamp) -> Timestamp {
        super::span::floor(after, self.interval_ms, 0).saturating_add(self.interval_ms)
    }
}

impl<T> Trigger<T> for ContinuousTrigger {
    /// When it is to be called; if by event time, for the first time.
    type State = Option<Timestamp>;

    fn on_element(&self, record: &T, ctx: TriggerContext<'_>, next: &mut Option<Timestamp>) -> TriggerResult {
        match self.time {
            TimeTrigger::ProcessingTime => drop(next.get_or_insert(self.next(ctx.processing_time()))),
            TimeTrigger::EventTime if ctx.time() == NO_TIME => {}
            TimeTrigger::EventTime => {
                let of_record = self.next(ctx.time());
                *next = Some(next.map_or(of_record, |next| next.min(of_record)));
            }
        }
        self.time.on_element(record, ctx, &mut ())
    }

    fn event_time(&self, window: Window, first: &Option<Timestamp>, after: Timestamp) -> Option<Timestamp> {
        let first = first.filter(|_| self.time == TimeTrigger::EventTime)?;
        Some(self.next(after).max(first).min(window.max_timestamp())).filter(|at| *at > after)
    }

    fn processing_time(&self, _: Window, next: &Option<Timestamp>) -> Option<Timestamp> {
        next.filter(|_| self.time == TimeTrigger::ProcessingTime)
    }

    fn on_time(&self, _: Timer, _: TriggerContext<'_>, next: &mut Option<Timestamp>) -> TriggerResult {
        if self.time == TimeTrigger::ProcessingTime {
            *next = None;
        }
        TriggerResult::Fire
    }

    fn merge(&self, next: &mut Option<Timestamp>, later: Option<Timestamp>) {
        *next = next.iter().chain(&later).min().copied();
    }

    fn check(&self, _: WindowTime) -> Result<(), String> {
        millis(self.interval).map(drop).map_err(|reason| format!("the interval of the trigger is {reason}"))
    }

    fn is_clear(&self, next: &Option<Timestamp>) -> bool {
        self.time == TimeTrigger::EventTime || next.is_none()
    }
}

/// Gives a result when a record is farther from the last one that did so, or from the window's first, than a threshold. Follows
/// Flink's `DeltaTrigger`. Of windows that merge the later one's record counts.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{DeltaTrigger, GlobalWindows};
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // When a price is ten away from that of the last result.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(GlobalWindows::new())
///     .trigger(DeltaTrigger::new(10.0, |last: &(u32, f64), sale: &(u32, f64)| (sale.1 - last.1).abs()))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
pub struct DeltaTrigger<T, D> {
    threshold: f64,
    delta: D,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T, D: Fn(&T, &T) -> f64> DeltaTrigger<T, D> {
    /// When `delta` of the last record that gave a result, and of the new one, is above `threshold`: a number, the graph refuses what
    /// is none.
    pub fn new(threshold: f64, delta: D) -> Self {
        Self { threshold, delta, of: std::marker::PhantomData }
    }
}

impl<T, D: Clone> Clone for DeltaTrigger<T, D> {
    fn clone(&self) -> Self {
        Self { threshold: self.threshold, delta: self.delta.clone(), of: self.of }
    }
}

impl<T, D> fmt::Debug for DeltaTrigger<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTrigger").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

impl<T, D> Trigger<T> for DeltaTrigger<T, D>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    D: Fn(&T, &T) -> f64 + Clone + Send + 'static,
{
    /// The record that it compares with, if there is one.
    type State = Vec<T>;

    fn on_element(&self, record: &T, _: TriggerContext<'_>, last: &mut Vec<T>) -> TriggerResult {
        match last.first_mut() {
            None => last.push(record.clone()),
            Some(last) if (self.delta)(last, record) > self.threshold => {
                *last = record.clone();
                return TriggerResult::Fire;
            }
            Some(_) => {}
        }
        TriggerResult::Continue
    }

    fn merge(&self, last: &mut Vec<T>, later: Vec<T>) {
        if !later.is_empty() {
            *last = later;
        }
    }

    fn check(&self, _: WindowTime) -> Result<(), String> {
        if self.threshold.is_nan() { Err("the threshold of the trigger is not a number".to_owned()) } else { Ok(()) }
    }
}
