//! How many records an operator works on between two looks at the clock.

use std::time::Duration;

use millstream_actors::contract::{BATCH_RECORDS_MAX, RunBudget};

/// Chooses slices so that one takes about a quarter of a [`RunBudget`]: whole batches for fast functions, single
/// records for slow ones. Each step works on at least one slice, so it always gets on.
#[derive(Debug)]
pub(crate) struct Slices {
    records: usize,
    left: Duration,
}

impl Slices {
    const FIRST: usize = 8;
    const TARGET: Duration = Duration::from_nanos(RunBudget::SLICE.as_nanos() as u64 / 4);

    pub(crate) fn new() -> Self {
        Self { records: Self::FIRST, left: Duration::ZERO }
    }

    /// Starts a step. What the step before it took since the last look at the clock counts for this one: looking again
    /// would cost each operator of a chain twice as much.
    pub(crate) fn start(&mut self, budget: &RunBudget) {
        self.left = budget.last_left();
    }

    /// How many of `available` records to work on next.
    pub(crate) fn next(&self, available: usize) -> usize {
        self.records.min(available)
    }

    /// After a slice of `records` records: whether there is time for another one.
    pub(crate) fn has_time_after(&mut self, records: usize, budget: &mut RunBudget) -> bool {
        let left = budget.left_after_work();
        let took = self.left.saturating_sub(left);
        self.left = left;
        if took > Self::TARGET {
            self.records = (records / 4).max(1);
        } else if !left.is_zero() && records >= self.records {
            self.records = (self.records * 8).min(BATCH_RECORDS_MAX);
        }
        !left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn run(slices: &mut Slices, per_record: Duration) -> usize {
        NOW.set(Duration::ZERO);
        let mut budget = RunBudget::start_by(Some(|| NOW.get()));
        slices.start(&budget);
        loop {
            let records = slices.next(BATCH_RECORDS_MAX);
            NOW.set(NOW.get() + per_record * records as u32);
            if !slices.has_time_after(records, &mut budget) {
                return NOW.get().as_micros() as usize;
            }
        }
    }

    #[test]
    fn fast_functions_get_whole_batches() {
        let mut slices = Slices::new();
        run(&mut slices, Duration::from_nanos(5));
        assert_eq!(slices.next(5000), BATCH_RECORDS_MAX);
        assert_eq!(slices.next(10), 10);
    }

    #[test]
    fn slow_functions_get_single_records_after_one_long_slice() {
        let mut slices = Slices::new();
        run(&mut slices, Duration::from_nanos(5));
        for _ in 0..6 {
            run(&mut slices, Duration::from_millis(1));
        }
        assert_eq!(slices.next(1024), 1);
        assert_eq!(run(&mut slices, Duration::from_millis(1)), 1000, "one record is over the budget");
    }

    #[test]
    fn steps_of_middling_functions_end_soon_after_the_budget() {
        let mut slices = Slices::new();
        for _ in 0..4 {
            run(&mut slices, Duration::from_micros(3));
        }
        assert!(run(&mut slices, Duration::from_micros(3)) < 400);
    }
}
