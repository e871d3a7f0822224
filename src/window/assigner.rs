//! Which windows a record belongs to.

use std::time::Duration;

use millstream_actors::protocol::Timestamp;

use super::span::floor;
use super::{NeverTrigger, TimeTrigger, Trigger, Window};

/// Says to which windows a record belongs. Follows Flink's `WindowAssigner`.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{TimeTrigger, Window, WindowAssigner};
///
/// /// The first and the second half of each minute, but for its first second.
/// #[derive(Clone)]
/// struct Halves;
///
/// impl<T> WindowAssigner<T> for Halves {
///     type Trigger = TimeTrigger;
///
///     fn trigger(&self) -> TimeTrigger {
///         TimeTrigger::EventTime
///     }
///
///     fn assign(&self, _: &T, time: Timestamp, windows: &mut Vec<Window>) {
///         let minute = time.div_euclid(60_000) * 60_000;
///         match time - minute {
///             0..1_000 => {}
///             1_000..30_000 => windows.push(Window::new(minute + 1_000, minute + 30_000)),
///             _ => windows.push(Window::new(minute + 30_000, minute + 60_000)),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not assign records `{T}` to windows",
    note = "windows are `TumblingWindows::event_time(length)`, `SlidingWindows`, `SessionWindows`, `GlobalWindows`, or a `WindowAssigner` of your own"
)]
pub trait WindowAssigner<T>: Clone + Send + 'static {
    /// The trigger that its windows have of their own.
    type Trigger: Trigger<T>;

    /// That trigger.
    fn trigger(&self) -> Self::Trigger;

    /// Appends the windows to which a record belongs, each once. `time` is its event time, or processing time if windows go by
    /// that; if they go by neither it is the event time, or [`NO_TIME`](crate::NO_TIME). A record that belongs to no window is
    /// dropped.
    fn assign(&self, record: &T, time: Timestamp, windows: &mut Vec<Window>);

    /// What its windows go by.
    fn time(&self) -> WindowTime {
        WindowTime::EventTime
    }

    /// Whether windows of one key that [touch](Window::touches) become one. A record then belongs to one window.
    fn merges(&self) -> bool {
        false
    }

    /// Whether what was set fits together. The graph refuses what does not.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Whether each time is in one window, whatever the record. Only [`TumblingWindows`] say so.
    #[doc(hidden)]
    fn tumbles(&self) -> bool {
        false
    }

    /// How its windows are cut into slices that they share, if they can be. Only [`SlidingWindows`] can.
    #[doc(hidden)]
    fn slices(&self) -> Option<Slicing> {
        None
    }
}

/// What windows go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowTime {
    /// The event times of records. They are over when the watermark has come to their last millisecond and lateness is not
    /// allowed any more.
    EventTime,
    /// The job's clock. They are over when it has come to their last millisecond.
    ProcessingTime,
    /// No time: they are never over.
    Neither,
}

/// How windows of one size that begin at equal distances are cut into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicing {
    pub(super) size: i64,
    pub(super) slide: i64,
    pub(super) offset: i64,
    /// Of a slice: the greatest that divides both.
    pub(super) width: i64,
}

/// A length of time in milliseconds.
///
/// # Errors
/// What it is, if it is not whole milliseconds, one at least.
pub(crate) fn millis(length: Duration) -> Result<i64, String> {
    match i64::try_from(length.as_millis()) {
        Ok(0) => Err(format!("{length:?}, which is less than a millisecond")),
        Ok(millis) if length.subsec_nanos().is_multiple_of(1_000_000) => Ok(millis),
        Ok(_) => Err(format!("{length:?}, which is not whole milliseconds")),
        Err(_) => Err(format!("{length:?}, which is longer than time is")),
    }
}

fn check_offset(offset: i64, below: i64, of: &str) -> Result<(), String> {
    if offset.unsigned_abs() < below.unsigned_abs() {
        return Ok(());
    }
    Err(format!("the offset is {offset} ms; it must be less than the {of}, {below} ms, either way"))
}

/// What tumbling and sliding windows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aligned {
    time: TimeTrigger,
    size: Duration,
    slide: Duration,
    offset: i64,
    size_ms: i64,
    slide_ms: i64,
}

impl Aligned {
    fn new(time: TimeTrigger, size: Duration, slide: Duration) -> Self {
        // What is no length is refused when the graph is checked, before a record comes.
        let [size_ms, slide_ms] = [size, slide].map(|length| millis(length).unwrap_or(1));
        Self { time, size, slide, offset: 0, size_ms, slide_ms }
    }
}

/// Windows of one size, one behind the other: each record belongs to one. They begin at multiples of their size from the epoch,
/// in UTC, or an offset from there. Follows Flink's `TumblingEventTimeWindows` and `TumblingProcessingTimeWindows`.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::TumblingWindows;
/// use millstream::aggregates::Count;
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let counts = sink.handle();
/// let env = StreamEnvironment::new("visits");
/// let visits = VecSource::new(vec![("home", 100), ("shop", 900), ("home", 700), ("home", 1_000)]);
/// let strategy = WatermarkStrategy::monotonous(|(_, at): &(&str, i64)| *at);
/// env.source_with_watermarks("visits", visits, strategy)
///     .key_by(|(page, _)| *page == "home")
///     .window(TumblingWindows::event_time(Duration::from_secs(1)))
///     .aggregate_with("count", Count::new(), |ctx, count| (*ctx.key(), ctx.window().start(), count))
///     .sink("counts", sink);
/// env.start()?.await?;
/// let mut counts = counts.snapshot();
/// counts.sort();
/// assert_eq!(counts, [(false, 0, 1), (true, 0, 2), (true, 1_000, 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingWindows(Aligned);

impl TumblingWindows {
    /// By the event times of records. `size` is whole milliseconds; the graph refuses others.
    pub fn event_time(size: Duration) -> Self {
        Self(Aligned::new(TimeTrigger::EventTime, size, size))
    }

    /// By the job's clock.
    pub fn processing_time(size: Duration) -> Self {
        Self(Aligned::new(TimeTrigger::ProcessingTime, size, size))
    }

    /// Has them begin so many milliseconds later, or earlier: less than their size. Days in China begin at -8 hours.
    pub fn offset(mut self, millis: i64) -> Self {
        self.0.offset = millis;
        self
    }
}

impl<T> WindowAssigner<T> for TumblingWindows {
    type Trigger = TimeTrigger;

    fn trigger(&self) -> TimeTrigger {
        self.0.time
    }

    #[inline]
    fn assign(&self, _: &T, time: Timestamp, windows: &mut Vec<Window>) {
        windows.push(Window::last_before(time, self.0.size_ms, self.0.size_ms, self.0.offset));
    }

    fn time(&self) -> WindowTime {
        self.0.time.of_windows()
    }

    fn check(&self) -> Result<(), String> {
        let size = millis(self.0.size).map_err(|reason| format!("the size of the windows is {reason}"))?;
        check_offset(self.0.offset, size, "size")
    }

    #[inline]
    fn tumbles(&self) -> bool {
        true
    }
}

/// Windows of one size that begin at a distance from each other which may be shorter: each record belongs to several. If it is
/// longer there is time between them, and records of that are dropped. Follows Flink's `SlidingEventTimeWindows` and
/// `SlidingProcessingTimeWindows`.
///
/// With [`reduce`](crate::stream::WindowedStream::reduce) and [`aggregate`](crate::stream::WindowedStream::aggregate), and the
/// trigger that they have of their own, windows share the work: a record is added once, to a slice of time, and what a window
/// gives is merged of the slices in it.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::SlidingWindows;
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let highest = sink.handle();
/// let env = StreamEnvironment::new("bids");
/// let strategy = WatermarkStrategy::monotonous(|(at, _): &(i64, u32)| *at);
/// env.source_with_watermarks("bids", VecSource::new(vec![(500, 7), (1_200, 3), (2_700, 5)]), strategy)
///     .key_by(|_| ())
///     .window(SlidingWindows::event_time(Duration::from_secs(2), Duration::from_secs(1)))
///     .reduce("highest", |one, other| if one.1 >= other.1 { one } else { other })
///     .map(|(_, bid)| bid)
///     .sink("highest-bids", sink);
/// env.start()?.await?;
/// assert_eq!(highest.snapshot(), [7, 7, 5, 5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows(Aligned);

impl SlidingWindows {
    /// By the event times of records. `size` and `slide` are whole milliseconds; the graph refuses others.
    pub fn event_time(size: Duration, slide: Duration) -> Self {
        Self(Aligned::new(TimeTrigger::EventTime, size, slide))
    }

    /// By the job's clock.
    pub fn processing_time(size: Duration, slide: Duration) -> Self {
        Self(Aligned::new(TimeTrigger::ProcessingTime, size, slide))
    }

    /// Has them begin so many milliseconds later, or earlier: less than their slide.
    pub fn offset(mut self, millis: i64) -> Self {
        self.0.offset = millis;
        self
    }
}

impl<T> WindowAssigner<T> for SlidingWindows {
    type Trigger = TimeTrigger;

    fn trigger(&self) -> TimeTrigger {
        self.0.time
    }

    /// In the order in which they begin.
    fn assign(&self, _: &T, time: Timestamp, windows: &mut Vec<Window>) {
        let Aligned { size_ms, slide_ms, offset, .. } = self.0;
        let begun = windows.len();
        let mut start = floor(time, slide_ms, offset);
        while time.saturating_sub(start) < size_ms {
            windows.push(Window::last_before(start, size_ms, slide_ms, offset));
            match start.checked_sub(slide_ms) {
                Some(earlier) => start = earlier,
                None => break,
            }
        }
        windows[begun..].reverse();
    }

    fn time(&self) -> WindowTime {
        self.0.time.of_windows()
    }

    fn check(&self) -> Result<(), String> {
        millis(self.0.size).map_err(|reason| format!("the size of the windows is {reason}"))?;
        let slide = millis(self.0.slide).map_err(|reason| format!("the slide of the windows is {reason}"))?;
        check_offset(self.0.offset, slide, "slide")
    }

    fn slices(&self) -> Option<Slicing> {
        let Aligned { time, size_ms: size, slide_ms: slide, offset, .. } = self.0;
        let slicing = Slicing { size, slide, offset, width: greatest_common_divisor(size, slide) };
        (time == TimeTrigger::EventTime).then_some(slicing)
    }
}

fn greatest_common_divisor(one: i64, other: i64) -> i64 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

/// One window for each key, which never ends. It gives results only by a [trigger](crate::stream::WindowedStream::trigger).
/// Follows Flink's `GlobalWindows`.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{CountTrigger, GlobalWindows, PurgingTrigger};
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let sums = sink.handle();
/// let env = StreamEnvironment::new("sums-of-three");
/// env.source("numbers", SequenceSource::new(0..10))
///     .key_by(|_| ())
///     .window(GlobalWindows::new())
///     .trigger(PurgingTrigger::of(CountTrigger::of(3)))        // `count_window(3)` is this
///     .reduce("sum", |one, other| one + other)
///     .sink("sums", sink);
/// env.start()?.await?;
/// assert_eq!(sums.snapshot(), [3, 12, 21]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalWindows;

impl GlobalWindows {
    /// The one window.
    pub fn new() -> Self {
        Self
    }
}

impl<T> WindowAssigner<T> for GlobalWindows {
    type Trigger = NeverTrigger;

    fn trigger(&self) -> NeverTrigger {
        NeverTrigger
    }

    #[inline]
    fn assign(&self, _: &T, _: Timestamp, windows: &mut Vec<Window>) {
        windows.push(Window::GLOBAL);
    }

    fn time(&self) -> WindowTime {
        WindowTime::Neither
    }
}

impl TimeTrigger {
    pub(super) fn of_windows(self) -> WindowTime {
        match self {
            Self::EventTime => WindowTime::EventTime,
            Self::ProcessingTime => WindowTime::ProcessingTime,
        }
    }
}
