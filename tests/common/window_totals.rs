//! Numbered records in windows by key, in a job and in a plain loop.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream::prelude::*;

use super::{CountedPanics, time_of};

const KEYS: u64 = 23;
const WINDOW_MS: i64 = 500;

/// Key, window, number of records, sum of their numbers.
pub(crate) type Total = (u64, Window, u64, u64);

/// What a plain loop makes of the numbers below `end`, sorted.
pub(crate) fn plain_totals(end: u64) -> Vec<Total> {
    let mut totals: BTreeMap<(u64, Window), (u64, u64)> = BTreeMap::new();
    for id in 0..end {
        let start = time_of(id).div_euclid(WINDOW_MS) * WINDOW_MS;
        let total = totals.entry((id % KEYS, Window::new(start, start + WINDOW_MS))).or_default();
        *total = (total.0 + 1, total.1 + id);
    }
    totals.into_iter().map(|((key, window), (count, sum))| (key, window, count, sum)).collect()
}

/// What windows make of numbers, of which none is late. Panics are of results.
pub(crate) fn window_totals(numbers: DataStream<u64>, results: CountedPanics, sink: CollectSink<Total>) {
    let late = OutputTag::new("late");
    let totals = numbers
        .key_by(|id| id % KEYS)
        .window(TumblingWindows::event_time(Duration::from_millis(WINDOW_MS as u64)))
        .late_output(&late)
        .apply("totals", move |ids: &[u64], ctx, out: &mut Emitter<'_, Total>| {
            results.count_and_panic();
            out.emit((*ctx.key(), ctx.window(), ids.len() as u64, ids.iter().sum()));
        });
    totals.side_output(&late).for_each("late", |id| panic!("{id} is late, though it is within the bound"));
    totals.sink("totals-of-windows", sink);
}
