//! How fast a task works, and how much it may therefore have before it.
//!
//! A batch that a task works on cannot be left when a barrier comes, and what waits in its channels is worked off first.
//! So both are measured in time, and a slow task gets few records at a time, down to one. Before anything is known of it it
//! gets one, and then as many more as it has worked off: a slow start, as in TCP (Jacobson, SIGCOMM 1988). What a task passes
//! on to a slow one counts as its own work until that has taken it, so the pace of the slowest task comes upstream.

use std::time::Duration;

use super::{BATCH_RECORDS_MAX, Limits};

/// Most records of a batch of a task of which nothing is known.
pub(super) const RECORDS_AT_FIRST: u32 = 1;
/// Most records of any batch.
const RECORDS_MAX: u32 = BATCH_RECORDS_MAX as u32;

/// What the sender of a channel may have under way on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Batches.
    pub credits: u32,
    /// Records in each, at least one.
    pub records: u32,
}

/// The rate at which a task works batches off, and what each of its channels may hold by that.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkRate {
    backlog_max: Duration,
    credits_min: u32,
    channels: u32,
    cost: BatchCost,
}

impl WorkRate {
    /// A rate of a task with this many input channels; fast until measured.
    pub fn new(limits: &Limits, channels: u32) -> Self {
        Self {
            backlog_max: limits.channel_backlog_max,
            credits_min: limits.credits_per_channel_min,
            channels: channels.max(1),
            cost: BatchCost::default(),
        }
    }

    /// A batch of so many records took this long.
    pub fn measured(&mut self, took: Duration, records: usize) {
        if records > 0 {
            self.cost.add(records as f64, took.as_secs_f64());
        }
    }

    /// What each channel may hold, so that all together hold no more than the allowed backlog, as far as two batches of one
    /// record are no more.
    ///
    /// Where a batch costs much however small it is, as in a sink that makes a request for each, smaller ones would add to
    /// the work: there the records of a batch may take as long again as the batch by itself.
    pub fn target(&self) -> Grant {
        let share = self.backlog_max.as_secs_f64() / f64::from(self.channels);
        let Estimate { per_batch, per_record, trial } = self.cost.estimate();
        let for_records = (share / 2.0 - per_batch).max(per_batch);
        // Casts of floats to integers go to the nearest bound.
        let fitting = if per_record > 0.0 { (for_records / per_record) as u32 } else { RECORDS_MAX };
        let records = fitting.clamp(1, RECORDS_MAX);
        let batch = per_batch + per_record * f64::from(records);
        let credits = if batch > 0.0 { (share / batch) as u32 } else { u32::MAX };
        let least = if records > 1 { self.credits_min.max(1) } else { 1 };
        // What is much smaller than before shows as much as what is larger.
        let tries = trial <= records.saturating_mul(3);
        let records = if tries { records.max(trial.min(RECORDS_MAX)) } else { records };
        Grant { credits: credits.max(least), records }
    }
}

/// What a batch costs: something by itself, and something for each record. A line through the newest batches by least
/// squares, in which each batch counts for 7/8 of the next one.
#[derive(Clone, Debug, Default, PartialEq)]
struct BatchCost {
    batches: f64,
    records: f64,
    seconds: f64,
    records_squared: f64,
    records_by_seconds: f64,
}

impl BatchCost {
    const KEPT: f64 = 7.0 / 8.0;
    /// Relative to the square of their mean. Where the sizes of batches vary less they show nothing: all cost is taken for
    /// that of records, and a larger batch is tried.
    const VARIANCE_MIN: f64 = 0.01;
    /// How much larger it is: enough to be seen.
    const TRIAL: f64 = 1.5;
    /// The least share of a batch's cost that is taken for that of its records: by chance slow batches may be small ones.
    const SHARE_MIN: f64 = 1.0 / 8.0;

    fn add(&mut self, records: f64, seconds: f64) {
        self.batches = self.batches * Self::KEPT + 1.0;
        self.records = self.records * Self::KEPT + records;
        self.seconds = self.seconds * Self::KEPT + seconds;
        self.records_squared = self.records_squared * Self::KEPT + records * records;
        self.records_by_seconds = self.records_by_seconds * Self::KEPT + records * seconds;
    }

    fn estimate(&self) -> Estimate {
        if self.batches == 0.0 {
            return Estimate::default();
        }
        let (records, seconds) = (self.records / self.batches, self.seconds / self.batches);
        let all = seconds / records;
        let variance = self.records_squared / self.batches - records * records;
        if variance < Self::VARIANCE_MIN * records * records {
            return Estimate { per_batch: 0.0, per_record: all, trial: (records * Self::TRIAL).ceil() as u32 };
        }
        let covariance = self.records_by_seconds / self.batches - records * seconds;
        let per_record = (covariance / variance).clamp(all * Self::SHARE_MIN, all);
        Estimate { per_batch: seconds - per_record * records, per_record, trial: 0 }
    }
}

/// What is known of a batch's cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Estimate {
    /// Seconds for the batch by itself.
    per_batch: f64,
    /// Seconds for each of its records besides.
    per_record: f64,
    /// Records of a batch that would show more.
    trial: u32,
}

/// How many records a source reads at a time: what it and the operators chained to it have done, and the tasks behind it
/// have taken, in half of the allowed backlog.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadPortion {
    rate: WorkRate,
    records: u32,
}

impl ReadPortion {
    /// A portion of one record, until more is known.
    pub fn new(limits: &Limits) -> Self {
        Self { rate: WorkRate::new(limits, 1), records: RECORDS_AT_FIRST }
    }

    /// Records to be read next, at least one.
    pub fn records(&self) -> usize {
        self.records as usize
    }

    /// What was read has all gone on, and took this long.
    pub fn gone_on(&mut self, took: Duration, records: usize) {
        self.rate.measured(took, records);
        let more = u32::try_from(records).unwrap_or(u32::MAX);
        self.records = self.records.saturating_add(more).min(self.rate.target().records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// The target of a task with so many channels after many batches as large as it may have, each of which takes `cost`.
    fn settled(channels: u32, cost: impl Fn(u32) -> Duration) -> Grant {
        let mut rate = WorkRate::new(&Limits::default(), channels);
        let mut records = RECORDS_AT_FIRST;
        for _ in 0..200 {
            rate.measured(cost(records), records as usize);
            records = (records * 2).min(rate.target().records);
        }
        rate.target()
    }

    #[test]
    fn all_channels_together_hold_no_more_than_the_allowed_backlog() {
        assert_eq!(WorkRate::new(&Limits::default(), 4).target(), Grant { credits: u32::MAX, records: RECORDS_MAX });
        let (one, five) =
            (settled(1, |records| 5 * MILLISECOND * records), settled(5, |records| 5 * MILLISECOND * records));
        // One batch in twenty is half as large again, to see whether that costs more.
        assert!(one.credits == 2 && (10..=15).contains(&one.records), "100 ms of 5 ms is {one:?}");
        assert!(five.credits == 2 && (2..=3).contains(&five.records), "a fifth of 100 ms of 5 ms is {five:?}");
        assert_eq!(
            settled(1, |records| Duration::from_micros(10) * records),
            Grant { credits: 9, records: RECORDS_MAX }
        );
    }

    #[test]
    fn slowest_task_gets_one_record() {
        let mut rate = WorkRate::new(&Limits::default(), 1);
        let (mut records, mut single) = (RECORDS_AT_FIRST, 0);
        for _ in 0..200 {
            rate.measured(3_600_000 * MILLISECOND * records, records as usize);
            let target = rate.target();
            assert!(target.credits == 1 && target.records <= 2, "an hour for a record: {target:?}");
            records = target.records;
            single += u32::from(records == 1);
        }
        assert!(single > 180, "{single} of 200 batches have one record");
    }

    #[test]
    fn batches_that_cost_much_by_themselves_stay_large() {
        let request = settled(1, |records| 60 * MILLISECOND + Duration::from_micros(1) * records);
        assert_eq!(request, Grant { credits: Limits::default().credits_per_channel_min, records: RECORDS_MAX });
        let both = settled(1, |records| 60 * MILLISECOND + 5 * MILLISECOND * records);
        assert!((8..=16).contains(&both.records), "60 ms of records is {}", both.records);
    }

    #[test]
    fn task_that_turns_slow_gets_small_batches_after_one_large_one_and_large_ones_again_when_it_is_fast() {
        let mut rate = WorkRate::new(&Limits::default(), 1);
        (0..100).for_each(|_| rate.measured(MILLISECOND, 1024));
        assert_eq!(rate.target().records, RECORDS_MAX);
        rate.measured(5 * MILLISECOND * 1024, 1024);
        let slow = rate.target().records;
        assert!((10..=100).contains(&slow), "5 s for 1,024 records is {slow}");
        let mut records = slow;
        for _ in 0..60 {
            rate.measured(Duration::from_micros(1) * records, records as usize);
            records = (records * 2).min(rate.target().records);
        }
        assert_eq!(records, RECORDS_MAX);
    }

    #[test]
    fn noise_moves_the_size_of_batches_little() {
        let mut rate = WorkRate::new(&Limits::default(), 1);
        let mut records = RECORDS_AT_FIRST;
        for round in 0..500_u32 {
            // 2 to 8 ms a record, by turns that have nothing to do with the sizes.
            let each = MILLISECOND * (2 + round * 7919 % 7);
            rate.measured(each * records, records as usize);
            records = (records * 2).min(rate.target().records);
            assert!(round < 10 || (4..=40).contains(&records), "{records} records in round {round}");
        }
    }

    #[test]
    fn portion_doubles_while_the_chain_is_fast_and_follows_its_slowest_link() {
        let mut portion = ReadPortion::new(&Limits::default());
        let mut read = 0;
        while portion.records() < RECORDS_MAX as usize {
            portion.gone_on(Duration::from_nanos(100) * portion.records() as u32, portion.records());
            read += 1;
        }
        assert_eq!(read, 10, "1, 2, 4, ... 512 records");
        let mut slow = ReadPortion::new(&Limits::default());
        let mut longest = Duration::ZERO;
        for _ in 0..50 {
            let took = 5 * MILLISECOND * slow.records() as u32;
            longest = longest.max(took);
            slow.gone_on(took, slow.records());
        }
        assert!((10..=15).contains(&slow.records()), "50 ms of 5 ms is {}", slow.records());
        assert!(longest <= 80 * MILLISECOND, "{longest:?} for a batch");
    }
}
