//! State that holds the timers of a key.

use std::fmt;
use std::sync::Arc;

use millstream_actors::protocol::Timestamp;
use serde::{Deserialize, Serialize};

use super::DueTimes;
use super::schema::Schema;
use super::times::Registered;
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::{Access, Slot, Span, Stamp, State};

/// A moment at which a function is to be called with a key: what [`KeyedProcessFunction::on_timer`] is given. Milliseconds of
/// the Unix epoch.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Gives the latest of a sensor's readings each minute, as long as there are new ones.
/// #[derive(Clone)]
/// struct EachMinute;
///
/// impl KeyedProcessFunction<u32, (u32, f64)> for EachMinute {
///     type Out = (u32, f64);
///     type State = (ValueState<f64>, Timers);
///
///     fn state(&self) -> Self::State {
///         (ValueState::new("latest"), Timers::new("minutes"))
///     }
///
///     fn process(
///         &mut self,
///         (_, reading): (u32, f64),
///         (mut latest, mut minutes): Row<'_, Self, u32, (u32, f64)>,
///         ctx: &mut KeyedContext<'_, u32>,
///         _: &mut Emitter<'_, (u32, f64)>,
///     ) {
///         latest.set(reading);
///         // The end of this minute: registered with each of its readings, it is one timer.
///         let minute = ctx.clock().unix_ms() as i64 / 60_000;
///         minutes.register(Timer::ProcessingTime((minute + 1) * 60_000));
///     }
///
///     fn on_timer(
///         &mut self,
///         timer: Timer,
///         (mut latest, _): Row<'_, Self, u32, (u32, f64)>,
///         ctx: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, (u32, f64)>,
///     ) {
///         assert!(matches!(timer, Timer::ProcessingTime(_)));
///         out.emit((*ctx.key(), latest.take().expect("there is one with each timer")));
///     }
/// }
///
/// # use std::time::Duration;
/// # use millstream::operator::ByValue;
/// use millstream::testing::OperatorHarness;
///
/// let mut run = OperatorHarness::keyed(ByValue::new(|(sensor, _): &(u32, f64)| *sensor), EachMinute).start(1);
/// run.feed([(7, 20.5), (7, 21.0)]);
/// run.advance(Duration::from_secs(60));
/// assert_eq!(run.take_output(), [(7, 21.0)]);
/// ```
///
/// [`KeyedProcessFunction::on_timer`]: crate::keyed::KeyedProcessFunction::on_timer
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// When the operator's watermark has come to this time.
    EventTime(Timestamp),
    /// When the job's clock has come to this time.
    ProcessingTime(Timestamp),
}

/// Whose passing has a timer come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDomain {
    /// That of the watermark.
    Event,
    /// That of the job's clock.
    Processing,
}

impl TimeDomain {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Event, Self::Processing];

    pub(crate) fn timer(self, at: Timestamp) -> Timer {
        match self {
            Self::Event => Timer::EventTime(at),
            Self::Processing => Timer::ProcessingTime(at),
        }
    }
}

/// Declares the timers of a key: moments at which [`KeyedProcessFunction::on_timer`] is called with its states. Follows the
/// timers of Flink's `TimerService`.
///
/// A timer is registered for a time and fires once, when the watermark or the job's clock has come to it; at one time there
/// is one timer of a key, however often it is registered. A time that has passed already fires with the next watermark,
/// or at once by the clock. A key with timers has state, until they have fired or are deleted. A function has one state of this
/// kind at most.
///
/// Timers are in snapshots as all state is: what has fired before a checkpoint does not fire after a restore from it, and all
/// others do, at whatever parallelism. A snapshot of changes has all timers of the keys whose timers have changed.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Tells of sensors from which nothing has come for a minute, by the times of the readings.
/// #[derive(Clone)]
/// struct Silent;
///
/// const MINUTE: i64 = 60_000;
///
/// impl KeyedProcessFunction<u32, (u32, i64)> for Silent {
///     type Out = (u32, i64);
///     type State = (ValueState<i64>, Timers);
///
///     fn state(&self) -> Self::State {
///         (ValueState::new("deadline"), Timers::new("timers"))
///     }
///
///     fn process(
///         &mut self,
///         (_, at): (u32, i64),
///         (mut deadline, mut timers): Row<'_, Self, u32, (u32, i64)>,
///         _: &mut KeyedContext<'_, u32>,
///         _: &mut Emitter<'_, (u32, i64)>,
///     ) {
///         let later = deadline.get().map_or(at + MINUTE, |before| (at + MINUTE).max(*before));
///         if let Some(before) = deadline.take() {
///             timers.delete(Timer::EventTime(before));
///         }
///         timers.register(Timer::EventTime(later));
///         deadline.set(later);
///     }
///
///     fn on_timer(
///         &mut self,
///         _: Timer,
///         (mut deadline, _): Row<'_, Self, u32, (u32, i64)>,
///         ctx: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, (u32, i64)>,
///     ) {
///         let since = deadline.take().map_or(0, |deadline| deadline - MINUTE);
///         out.emit((*ctx.key(), since));
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let silent = sink.handle();
/// let env = StreamEnvironment::new("sensors");
/// let readings = VecSource::new(vec![(1, 0), (2, 10_000), (2, 65_000), (2, 120_000)]);
/// env.source_with_watermarks("readings", readings, WatermarkStrategy::monotonous(|(_, at): &(u32, i64)| *at))
///     .key_by(|(sensor, _)| *sensor)
///     .process("silent", Silent)
///     .sink("alarms", sink);
/// env.start()?.await?;
/// // At the end of input time has come to its end, for both.
/// assert_eq!(silent.snapshot(), [(1, 0), (2, 120_000)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// [`KeyedProcessFunction::on_timer`]: crate::keyed::KeyedProcessFunction::on_timer
pub struct Timers {
    name: Arc<str>,
    schema: Schema<Registered>,
}

impl Timers {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), schema: Schema::new() }
    }

    /// Says that the state had this name in older checkpoints.
    pub fn formerly(mut self, name: impl Into<Arc<str>>) -> Self {
        self.schema.add_former_name(name.into());
        self
    }
}

impl Clone for Timers {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), schema: self.schema.clone() }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timers({})", self.name)
    }
}

/// A key's place for timers.
#[derive(Clone, Debug, Default)]
pub struct TimersSlot {
    stamp: Stamp,
    due: DueTimes,
    timers: Registered,
}

impl TimersSlot {
    /// Timers of a domain have changed.
    #[inline]
    fn changed(&mut self, domain: TimeDomain, now: Stamp) {
        self.stamp = now;
        self.due.set_first(domain, self.timers.of(domain).first());
    }
}

impl Slot for TimersSlot {
    #[inline]
    fn stamp(&self) -> Stamp {
        self.stamp
    }

    #[inline]
    fn touch(&mut self, stamp: Stamp) {
        self.stamp = stamp;
    }

    #[inline]
    fn is_clear(&self) -> bool {
        self.timers.is_empty()
    }

    fn clear(&mut self, stamp: Stamp) {
        self.timers = Registered::default();
        TimeDomain::ALL.into_iter().for_each(|domain| self.changed(domain, stamp));
    }
}

impl State for Timers {
    const HAS_TIMERS: bool = true;

    type Slot = TimersSlot;
    type Handle<'a> = TimersHandle<'a>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.schema.former_names()
    }

    fn format(&self) -> StateFormat {
        self.schema.format()
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut TimersSlot, access: Access) -> TimersHandle<'a> {
        TimersHandle { slot, now: access.stamp }
    }

    fn write(&self, slot: &mut TimersSlot, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        match slot.is_clear() {
            false => self.schema.put(&slot.timers, bytes).map(|()| Written::Live),
            true if span.is_full() => Ok(Written::Nothing),
            true => Ok(Written::Dead),
        }
    }

    fn load(
        &self,
        slot: &mut TimersSlot,
        stamp: Stamp,
        stored: StateFormat,
        _: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        *slot = TimersSlot { timers: self.schema.take(stored, bytes)?, ..TimersSlot::default() };
        TimeDomain::ALL.into_iter().for_each(|domain| slot.changed(domain, stamp));
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        self.schema.check()
    }

    fn write_marks(&self, slot: &TimersSlot, bytes: &mut Vec<u8>) {
        slot.due.write_marks(bytes);
    }

    fn load_marks(&self, slot: &mut TimersSlot, bytes: &mut &[u8]) -> Result<(), String> {
        slot.due.load_marks(bytes)
    }

    #[inline]
    fn due_times<'a>(&self, slot: &'a mut TimersSlot) -> Option<&'a mut DueTimes> {
        Some(&mut slot.due)
    }

    #[inline]
    fn take_due(&self, slot: &mut TimersSlot, (domain, at): (TimeDomain, Timestamp), now: Stamp) -> Option<Timestamp> {
        slot.due.take(domain, at)?;
        let first = slot.timers.of(domain).first()?;
        slot.timers.of_mut(domain).remove(first);
        slot.changed(domain, now);
        Some(first)
    }
}

/// The timers of the current key.
#[derive(Debug)]
pub struct TimersHandle<'a> {
    slot: &'a mut TimersSlot,
    now: Stamp,
}

impl TimersHandle<'_> {
    /// Registers a timer. Nothing if it is registered.
    #[inline]
    pub fn register(&mut self, timer: Timer) {
        let (domain, at) = parts(timer);
        if self.slot.timers.of_mut(domain).insert(at) {
            self.slot.changed(domain, self.now);
        }
    }

    /// Deletes a timer: it does not fire. Nothing if it is not registered.
    #[inline]
    pub fn delete(&mut self, timer: Timer) {
        let (domain, at) = parts(timer);
        if self.slot.timers.of_mut(domain).remove(at) {
            self.slot.changed(domain, self.now);
        }
    }

    /// Deletes all timers.
    pub fn clear(&mut self) {
        if !self.slot.is_clear() {
            self.slot.clear(self.now);
        }
    }

    /// Whether a timer is registered. One that fires is not any more when its function is called.
    pub fn contains(&self, timer: Timer) -> bool {
        let (domain, at) = parts(timer);
        self.slot.timers.of(domain).contains(at)
    }

    /// The timers that are registered: those of event time, then those of processing time, each by ascending time.
    pub fn iter(&self) -> impl Iterator<Item = Timer> {
        TimeDomain::ALL
            .into_iter()
            .flat_map(|domain| self.slot.timers.of(domain).iter().map(move |at| domain.timer(at)))
    }
}

fn parts(timer: Timer) -> (TimeDomain, Timestamp) {
    match timer {
        Timer::EventTime(at) => (TimeDomain::Event, at),
        Timer::ProcessingTime(at) => (TimeDomain::Processing, at),
    }
}

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
