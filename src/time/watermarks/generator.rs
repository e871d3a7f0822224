//! How event time is told from records.

use std::time::Duration;

use millstream_actors::contract::Batch;
use millstream_actors::protocol::{NO_TIME, Timestamp};

/// Tells the event time of the records of one split, and how far event time has come with them. Follows Flink's
/// `TimestampAssigner` and `WatermarkGenerator`.
///
/// Each split of each attempt has a generator of its own; where the strategy is given
/// [in mid-stream](crate::stream::DataStream::assign_timestamps_and_watermarks), a subtask stands for the split. Those that are made by the constructors of
/// [`WatermarkStrategy`](super::WatermarkStrategy) serve most streams; this is for those that have a rule of their own:
///
/// ```
/// use millstream::prelude::*;
///
/// /// Each day's records come in any order, and a record of the next day says that the day is complete.
/// #[derive(Default)]
/// struct ByDay {
///     day: Option<i64>,
/// }
///
/// const DAY: i64 = 24 * 60 * 60 * 1000;
///
/// impl WatermarkGenerator<(i64, u64)> for ByDay {
///     fn timestamp(&mut self, record: &(i64, u64), _: Option<Timestamp>) -> Timestamp {
///         self.day = self.day.max(Some(record.0.div_euclid(DAY)));
///         record.0
///     }
///
///     fn watermark(&mut self) -> Option<Timestamp> {
///         self.day.map(|day| day * DAY - 1)
///     }
///
///     fn restore(&mut self, watermark: Timestamp) {
///         self.day = Some((watermark + 1).div_euclid(DAY));
///     }
/// }
///
/// let env = StreamEnvironment::new("days");
/// let source = VecSource::new(vec![(DAY + 7, 1), (DAY + 3, 2), (2 * DAY, 3)]);
/// env.source_with_watermarks("days", source, WatermarkStrategy::custom(ByDay::default)).sink("out", CollectSink::new());
/// # env.explain().unwrap();
/// ```
pub trait WatermarkGenerator<T>: Send + 'static {
    /// The event time of the next record, which has the one in `known` already, if any. [`NO_TIME`] where it has none.
    fn timestamp(&mut self, record: &T, known: Option<Timestamp>) -> Timestamp;

    /// How far event time has come: a promise that no record of this time or an earlier one follows. Asked when records of
    /// the split have been read, or were taken in mid-stream. One that is not above what was said before says nothing; `None` says nothing yet.
    fn watermark(&mut self) -> Option<Timestamp>;

    /// What the split had said up to the checkpoint that it is restored from; in mid-stream and at another parallelism, the least
    /// of what the subtasks had said. What the generator says is compared with that in any case; one that computes from what it
    /// has seen goes on from here. Does nothing by default.
    fn restore(&mut self, watermark: Timestamp) {
        let _ = watermark;
    }
}

/// A generator, whatever its type: called for a batch at a time.
pub(crate) trait TimesBatches<T>: Send {
    /// Gives the records their times, and says how far event time has come.
    fn assign(&mut self, batch: &mut Batch<T>) -> Option<Timestamp>;

    fn restore(&mut self, watermark: Timestamp);
}

impl<T, G: WatermarkGenerator<T>> TimesBatches<T> for G {
    fn assign(&mut self, batch: &mut Batch<T>) -> Option<Timestamp> {
        batch.set_times(|record, known| self.timestamp(record, known));
        self.watermark()
    }

    fn restore(&mut self, watermark: Timestamp) {
        WatermarkGenerator::restore(self, watermark);
    }
}

/// Records have their times already.
pub(super) struct AsItComes;

impl<T> WatermarkGenerator<T> for AsItComes {
    fn timestamp(&mut self, _: &T, known: Option<Timestamp>) -> Timestamp {
        known.unwrap_or(NO_TIME)
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        None
    }
}

/// Records are out of order by a bound at most.
pub(super) struct BoundedOutOfOrderness<F> {
    timestamp: F,
    bound_ms: i64,
    latest: Timestamp,
}

impl<F> BoundedOutOfOrderness<F> {
    pub(super) fn new(bound: Duration, timestamp: F) -> Self {
        Self { timestamp, bound_ms: i64::try_from(bound.as_millis()).unwrap_or(i64::MAX), latest: NO_TIME }
    }
}

impl<T, F: Fn(&T) -> Timestamp + Send + 'static> WatermarkGenerator<T> for BoundedOutOfOrderness<F> {
    #[inline]
    fn timestamp(&mut self, record: &T, _: Option<Timestamp>) -> Timestamp {
        let time = (self.timestamp)(record);
        self.latest = self.latest.max(time);
        time
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        // A record as late as the bound is not late, so the watermark is just below it.
        (self.latest != NO_TIME).then(|| self.latest.saturating_sub(self.bound_ms).saturating_sub(1))
    }

    fn restore(&mut self, watermark: Timestamp) {
        self.latest = watermark.saturating_add(self.bound_ms).saturating_add(1);
    }
}

/// Some records carry watermarks.
pub(super) struct Punctuated<F, P> {
    timestamp: F,
    punctuation: P,
    newest: Option<Timestamp>,
}

impl<F, P> Punctuated<F, P> {
    pub(super) fn new(timestamp: F, punctuation: P) -> Self {
        Self { timestamp, punctuation, newest: None }
    }
}

impl<T, F, P> WatermarkGenerator<T> for Punctuated<F, P>
where
    F: Fn(&T) -> Timestamp + Send + 'static,
    P: Fn(&T, Timestamp) -> Option<Timestamp> + Send + 'static,
{
    #[inline]
    fn timestamp(&mut self, record: &T, _: Option<Timestamp>) -> Timestamp {
        let time = (self.timestamp)(record);
        self.newest = self.newest.max((self.punctuation)(record, time));
        time
    }

    fn watermark(&mut self) -> Option<Timestamp> {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(generator: &mut dyn TimesBatches<i64>, times: &[i64]) -> Option<Timestamp> {
        let mut batch: Batch<i64> = times.iter().copied().collect();
        let watermark = generator.assign(&mut batch);
        assert!((0..times.len()).all(|place| batch.time(place).unwrap_or(NO_TIME) == times[place]));
        watermark
    }

    #[test]
    fn watermark_stays_a_bound_behind_the_latest_record() {
        let mut bounded = BoundedOutOfOrderness::new(Duration::from_millis(5), |time: &i64| *time);
        assert_eq!(told(&mut bounded, &[]), None, "nothing is known");
        assert_eq!(told(&mut bounded, &[NO_TIME]), None, "a record without a time tells nothing");
        assert_eq!(told(&mut bounded, &[10, 7, 12, 8]), Some(6));
        assert_eq!(told(&mut bounded, &[1]), Some(6), "it does not go back");
        TimesBatches::<i64>::restore(&mut bounded, 20);
        assert_eq!(told(&mut bounded, &[22]), Some(20), "it goes on from what it is restored to");
        assert_eq!(told(&mut bounded, &[27]), Some(21));
    }

    #[test]
    fn times_at_the_ends_of_their_range_do_not_wrap() {
        let mut bounded = BoundedOutOfOrderness::new(Duration::MAX, |time: &i64| *time);
        assert_eq!(told(&mut bounded, &[i64::MIN + 1]), Some(i64::MIN));
        assert_eq!(told(&mut bounded, &[i64::MAX]), Some(-1));
        let mut monotonous = BoundedOutOfOrderness::new(Duration::ZERO, |time: &i64| *time);
        assert_eq!(told(&mut monotonous, &[i64::MAX]), Some(i64::MAX - 1));
        TimesBatches::<i64>::restore(&mut monotonous, i64::MAX);
        assert_eq!(told(&mut monotonous, &[3]), Some(i64::MAX - 1));
    }

    #[test]
    fn punctuation_moves_time_and_nothing_else_does() {
        let mut punctuated = Punctuated::new(|time: &i64| *time, |_: &i64, time| (time % 10 == 0).then_some(time));
        assert_eq!(told(&mut punctuated, &[7, 13]), None);
        assert_eq!(told(&mut punctuated, &[20, 25, 10]), Some(20));
        assert_eq!(told(&mut punctuated, &[99]), Some(20));
    }
}
