//! What a window keeps where its function wants all its records, and which of them it drops when it gives a result.

use std::fmt;
use std::time::Duration;

use millstream_actors::protocol::{NO_TIME, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Window, millis};

/// The records of a window, in the order in which they have come, each with its event time, or [`NO_TIME`].
///
/// ```
/// use millstream::window::Elements;
///
/// let mut elements: Elements<u32> = [(10, 7), (20, 8), (30, 9)].into_iter().collect();
/// elements.retain(|at, record| at > 10 && *record != 9);
/// assert_eq!((elements.records(), elements.times()), (&[8][..], &[20][..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored<T>")]
pub struct Elements<T> {
    records: Vec<T>,
    times: Vec<Timestamp>,
}

/// As it is read.
#[derive(Deserialize)]
#[serde(rename = "Elements")]
struct Stored<T> {
    records: Vec<T>,
    times: Vec<Timestamp>,
}

impl<T> TryFrom<Stored<T>> for Elements<T> {
    type Error = String;

    fn try_from(Stored { records, times }: Stored<T>) -> Result<Self, String> {
        if records.len() == times.len() {
            return Ok(Self { records, times });
        }
        Err(format!("{} records with {} times", records.len(), times.len()))
    }
}

impl<T> Default for Elements<T> {
    fn default() -> Self {
        Self { records: Vec::new(), times: Vec::new() }
    }
}

impl<T> Elements<T> {
    /// The records.
    pub fn records(&self) -> &[T] {
        &self.records
    }

    /// Their event times.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// Keeps those for which `keep`, which is given time and record, is true.
    pub fn retain(&mut self, mut keep: impl FnMut(Timestamp, &T) -> bool) {
        let Self { records, times } = self;
        let mut of_record = times.iter();
        let mut kept = Vec::with_capacity(times.len());
        records.retain(|record| {
            let at = of_record.next().copied().unwrap_or(NO_TIME);
            let keeps = keep(at, record);
            kept.extend(keeps.then_some(at));
            keeps
        });
        *times = kept;
    }

    /// Keeps the last so many.
    pub fn keep_last(&mut self, most: usize) {
        let surplus = self.records.len().saturating_sub(most);
        self.records.drain(..surplus);
        self.times.drain(..surplus);
    }

    pub(super) fn push(&mut self, record: T, time: Timestamp) {
        self.records.push(record);
        self.times.push(time);
    }

    pub(super) fn append(&mut self, mut later: Self) {
        self.records.append(&mut later.records);
        self.times.append(&mut later.times);
    }
}

impl<T> FromIterator<(Timestamp, T)> for Elements<T> {
    fn from_iter<I: IntoIterator<Item = (Timestamp, T)>>(elements: I) -> Self {
        let (times, records) = elements.into_iter().unzip();
        Self { records, times }
    }
}

/// Drops records of a window when it gives a result, before its function sees them or after. They are gone from the window.
/// Follows Flink's `Evictor`.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{CountTrigger, Elements, Evictor, GlobalWindows, Window};
///
/// /// Only the records of the last one's shop matter.
/// #[derive(Clone)]
/// struct OneShop;
///
/// impl Evictor<(u32, f64)> for OneShop {
///     fn before(&self, _: Window, elements: &mut Elements<(u32, f64)>) {
///         let last = elements.records().last().map(|(shop, _)| *shop);
///         elements.retain(|_, (shop, _)| Some(*shop) == last);
///     }
/// }
///
/// # let env = StreamEnvironment::new("shops");
/// # let sales = env.source("sales", VecSource::new(vec![(1, 2.5), (2, 1.0)]));
/// sales
///     .key_by(|_| ())
///     .window(GlobalWindows::new())
///     .trigger(CountTrigger::of(100))
///     .evictor(OneShop)
///     .apply("means", |sales, _, out| out.emit(sales.iter().map(|(_, price)| price).sum::<f64>() / sales.len() as f64))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an evictor for windows of records `{T}`",
    note = "an evictor is one of `millstream::window`, such as `CountEvictor`, or an `Evictor` of your own, `Clone + Send`"
)]
pub trait Evictor<T>: Clone + Send + 'static {
    /// The window's function is about to be called. Nothing is dropped by default.
    fn before(&self, window: Window, elements: &mut Elements<T>) {
        let _ = (window, elements);
    }

    /// It has been called. Nothing is dropped by default.
    fn after(&self, window: Window, elements: &mut Elements<T>) {
        let _ = (window, elements);
    }

    /// Whether it can be. The graph refuses what cannot.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Drops nothing: what windows have unless they are given another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoEvictor;

impl<T> Evictor<T> for NoEvictor {}

/// Keeps the last so many records, before the function is called. Follows Flink's `CountEvictor`.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{CountEvictor, CountTrigger, GlobalWindows};
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // Of the last hundred sales of a shop, with each ten.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(GlobalWindows::new())
///     .trigger(CountTrigger::of(10))
///     .evictor(CountEvictor::of(100))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountEvictor {
    records: usize,
}

impl CountEvictor {
    /// Keeps `records` records: one at least, the graph refuses none.
    pub fn of(records: usize) -> Self {
        Self { records }
    }
}

impl<T> Evictor<T> for CountEvictor {
    fn before(&self, _: Window, elements: &mut Elements<T>) {
        elements.keep_last(self.records);
    }

    fn check(&self) -> Result<(), String> {
        match self.records {
            0 => Err("an evictor keeps 0 records, so that no window would give a result; keep one at least".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Keeps the records that are less than a length of time older than the newest, before the function is called. Follows Flink's
/// `TimeEvictor`. Records without event time stay.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::window::{CountTrigger, GlobalWindows, TimeEvictor};
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // Of the sales of the last minute, with each ten.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(GlobalWindows::new())
///     .trigger(CountTrigger::of(10))
///     .evictor(TimeEvictor::of(Duration::from_secs(60)))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEvictor {
    length: Duration,
    length_ms: i64,
}

impl TimeEvictor {
    /// Keeps those of the last `length`: whole milliseconds; the graph refuses others.
    pub fn of(length: Duration) -> Self {
        // What is no length is refused when the graph is checked, before a record comes.
        Self { length, length_ms: millis(length).unwrap_or(1) }
    }
}

impl<T> Evictor<T> for TimeEvictor {
    fn before(&self, _: Window, elements: &mut Elements<T>) {
        let newest = elements.times.iter().max().copied().unwrap_or(NO_TIME);
        elements.retain(|at, _| at == NO_TIME || at > newest.saturating_sub(self.length_ms));
    }

    fn check(&self) -> Result<(), String> {
        millis(self.length).map(drop).map_err(|reason| format!("the length of the evictor is {reason}"))
    }
}

/// Drops the records that are a threshold or more away from the last one, before the function is called. Follows Flink's
/// `DeltaEvictor`.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::window::{CountTrigger, DeltaEvictor, GlobalWindows};
///
/// # let env = StreamEnvironment::new("sales");
/// # let sales = env.source("sales", VecSource::new(vec![(1u32, 2.5f64), (2, 1.0)]));
/// // Of the sales whose price is near the last one, with each ten.
/// sales
///     .key_by(|(shop, _)| *shop)
///     .window(GlobalWindows::new())
///     .trigger(CountTrigger::of(10))
///     .evictor(DeltaEvictor::new(5.0, |sale: &(u32, f64), last: &(u32, f64)| (last.1 - sale.1).abs()))
///     .apply("sizes", |sales, _, out| out.emit(sales.len()))
///     .sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
#[derive(Clone)]
pub struct DeltaEvictor<D> {
    threshold: f64,
    delta: D,
}

impl<D> DeltaEvictor<D> {
    /// Keeps those for which `delta` of them and of the last one is below `threshold`: a number, the graph refuses what is none.
    pub fn new<T>(threshold: f64, delta: D) -> Self
    where
        D: Fn(&T, &T) -> f64,
    {
        Self { threshold, delta }
    }
}

impl<D> fmt::Debug for DeltaEvictor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaEvictor").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

impl<T, D: Fn(&T, &T) -> f64 + Clone + Send + 'static> Evictor<T> for DeltaEvictor<D> {
    fn before(&self, _: Window, elements: &mut Elements<T>) {
        let Some(last) = elements.records.last() else { return };
        let near: Vec<bool> =
            elements.records.iter().map(|record| (self.delta)(record, last) < self.threshold).collect();
        let mut near = near.into_iter();
        elements.retain(|_, _| near.next() == Some(true));
    }

    fn check(&self) -> Result<(), String> {
        if self.threshold.is_nan() { Err("the threshold of the evictor is not a number".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements() -> Elements<i32> {
        [(30, 5), (10, 1), (NO_TIME, 9), (25, 4)].into_iter().collect()
    }

    fn after(evictor: impl Evictor<i32>) -> Vec<i32> {
        let mut elements = elements();
        evictor.before(Window::GLOBAL, &mut elements);
        assert_eq!(elements.records.len(), elements.times.len());
        evictor.after(Window::GLOBAL, &mut elements);
        elements.records
    }

    #[test]
    fn evictors_keep_what_they_say() {
        assert_eq!(after(NoEvictor), [5, 1, 9, 4]);
        assert_eq!(after(CountEvictor::of(2)), [9, 4]);
        assert!(after(CountEvictor::of(0)).is_empty());
        assert_eq!(after(CountEvictor::of(9)), [5, 1, 9, 4]);
        assert_eq!(after(TimeEvictor::of(Duration::from_millis(20))), [5, 9, 4], "20 ms older is too old");
        assert_eq!(after(TimeEvictor::of(Duration::from_millis(21))), [5, 1, 9, 4]);
        assert_eq!(after(DeltaEvictor::new(3.0, |one: &i32, last: &i32| f64::from((one - last).abs()))), [5, 4]);
    }

    #[test]
    fn elements_with_another_number_of_times_are_not_read() {
        let error = serde_json::from_str::<Elements<i32>>("[[1, 2], [0]]").unwrap_err();
        assert!(error.to_string().contains("2 records with 1 times"), "{error}");
        let stored = serde_json::to_string(&elements()).unwrap();
        assert_eq!(serde_json::from_str::<Elements<i32>>(&stored).unwrap(), elements());
    }
}
