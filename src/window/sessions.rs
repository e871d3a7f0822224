//! Windows that end when nothing comes.

use std::fmt;
use std::time::Duration;

use millstream_actors::protocol::Timestamp;

use super::assigner::{WindowAssigner, WindowTime, millis};
use super::{TimeTrigger, Window};

/// Windows that end when no record has come for a gap of time: each record opens one from its time up to a gap later, and those of
/// one key that touch become one. So two records that are just the gap apart are in one window. Follows Flink's
/// `EventTimeSessionWindows` and `ProcessingTimeSessionWindows`.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::SessionWindows;
/// use millstream::aggregates::Count;
///
/// # actix_rt::System::new().block_on(async {
/// let sink = CollectSink::new();
/// let sessions = sink.handle();
/// let env = StreamEnvironment::new("sessions");
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(Duration::from_secs(1), |at: &i64| *at);
/// env.source_with_watermarks("clicks", VecSource::new(vec![0, 800, 300, 2_000, 2_500]), strategy)
///     .key_by(|_| ())
///     .window(SessionWindows::event_time(Duration::from_millis(500)))
///     .aggregate_with("clicks-of-session", Count::new(), |ctx, count| (ctx.window().to_string(), count))
///     .sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(sessions.snapshot(), [("[0, 1300)".to_owned(), 3), ("[2000, 3000)".to_owned(), 2)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows<G = Duration> {
    time: TimeTrigger,
    gap: G,
}

impl SessionWindows {
    /// By the event times of records. `gap` is whole milliseconds; the graph refuses others.
    pub fn event_time(gap: Duration) -> Self {
        Self { time: TimeTrigger::EventTime, gap }
    }

    /// By the job's clock.
    pub fn processing_time(gap: Duration) -> Self {
        Self { time: TimeTrigger::ProcessingTime, gap }
    }
}

/// The gap of each record, as a function says.
#[derive(Clone, Copy)]
pub struct GapOf<F>(F);

impl<F> fmt::Debug for GapOf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GapOf(..)")
    }
}

impl<F> SessionWindows<GapOf<F>> {
    /// By the event times of records, with a gap for each record, as `gap` says. One of less than a millisecond counts as a
    /// millisecond, and parts of a millisecond do not count.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::aggregates::Count;
    /// use millstream::prelude::*;
    /// use millstream::window::SessionWindows;
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let (sink, env) = (CollectSink::new(), StreamEnvironment::new("visits"));
    /// # let visits = sink.handle();
    /// // Page and time. Whoever reads an article is not gone for a while.
    /// let pages = VecSource::new(vec![("home", 0), ("article", 900), ("home", 5_000), ("home", 7_000)]);
    /// let strategy = WatermarkStrategy::monotonous(|(_, at): &(&str, i64)| *at);
    /// let gap = |(page, _): &(&str, i64)| Duration::from_secs(if *page == "article" { 10 } else { 1 });
    /// env.source_with_watermarks("pages", pages, strategy)
    ///     .key_by(|_| ())
    ///     .window(SessionWindows::event_time_by(gap))
    ///     .aggregate_with("pages-of-visit", Count::new(), |ctx, count| (ctx.window().to_string(), count))
    ///     .sink("out", sink);
    /// # env.start()?.await?;
    /// # assert_eq!(visits.snapshot(), [("[0, 10900)".to_owned(), 4)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn event_time_by<T>(gap: F) -> Self
    where
        F: Fn(&T) -> Duration,
    {
        Self { time: TimeTrigger::EventTime, gap: GapOf(gap) }
    }

    /// By the job's clock, with a gap for each record, as [`event_time_by`](Self::event_time_by).
    pub fn processing_time_by<T>(gap: F) -> Self
    where
        F: Fn(&T) -> Duration,
    {
        Self { time: TimeTrigger::ProcessingTime, gap: GapOf(gap) }
    }
}

/// How long a session goes on after a record: always the same [`Duration`], or as a function says.
pub trait Gap<T>: Clone + Send + 'static {
    /// After this one.
    fn of(&self, record: &T) -> Duration;

    /// Whether it can be.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl<T> Gap<T> for Duration {
    #[inline]
    fn of(&self, _: &T) -> Duration {
        *self
    }

    fn check(&self) -> Result<(), String> {
        millis(*self).map(drop).map_err(|reason| format!("the gap between sessions is {reason}"))
    }
}

impl<T, F: Fn(&T) -> Duration + Clone + Send + 'static> Gap<T> for GapOf<F> {
    #[inline]
    fn of(&self, record: &T) -> Duration {
        (self.0)(record)
    }
}

impl<T, G: Gap<T>> WindowAssigner<T> for SessionWindows<G> {
    type Trigger = TimeTrigger;

    fn trigger(&self) -> TimeTrigger {
        self.time
    }

    #[inline]
    fn assign(&self, record: &T, time: Timestamp, windows: &mut Vec<Window>) {
        let gap = i64::try_from(self.gap.of(record).as_millis()).unwrap_or(i64::MAX).max(1);
        // A record of the very last millisecond still has a window.
        let start = time.min(Timestamp::MAX - 1);
        windows.push(Window::new(start, start.saturating_add(gap)));
    }

    fn time(&self) -> WindowTime {
        self.time.of_windows()
    }

    fn merges(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        self.gap.check()
    }
}
