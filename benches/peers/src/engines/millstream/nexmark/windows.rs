//! q5, q7 and q8: what happens in windows.

use std::marker::PhantomData;
use std::time::Duration;

use millstream::aggregates::Count;
use millstream::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::events::WindowCount;
use crate::nexmark::{Auction, Bid, HOT_MS, HOT_SLIDE_MS, Newcomer, Person, WINDOW_MS};

/// Between so many the bids are divided of which each window's highest are found first.
const SHARES: u64 = 16;

fn millis(length: i64) -> Duration {
    Duration::from_millis(length.unsigned_abs())
}

/// The auctions with the most bids in each window.
pub(super) fn hot(bids: DataStream<Bid>) -> DataStream<WindowCount> {
    let counts = bids
        .map(|bid| bid.auction)
        .key_by(|auction| *auction)
        .window(SlidingWindows::event_time(millis(HOT_MS), millis(HOT_SLIDE_MS)))
        .aggregate_with("counts", Count::new(), |ctx, count| WindowCount {
            start: ctx.window().start(),
            key: *ctx.key(),
            count,
        });
    // What a window gives has its last millisecond as event time: those that end together are in one window of a slide.
    let windows = counts.window_all(TumblingWindows::event_time(millis(HOT_SLIDE_MS)));
    each(windows.aggregate("hot", Most::by(|count: &WindowCount| count.count)))
}

/// All bids at the highest price of each window.
pub(super) fn highest(bids: DataStream<Bid>) -> DataStream<Bid> {
    let windows = || TumblingWindows::event_time(millis(WINDOW_MS));
    let highest = || Most::by(|bid: &Bid| bid.price);
    let of_shares = bids.key_by(|bid| bid.price % SHARES).window(windows()).aggregate("highest of a share", highest());
    each(each(of_shares).window_all(windows()).aggregate("highest", highest()))
}

fn each<T: Send + 'static>(stream: DataStream<Vec<T>>) -> DataStream<T> {
    stream.flat_map(|records, out| records.into_iter().for_each(|record| out.emit(record)))
}

/// Who came and opened an auction in the same window.
pub(super) fn newcomers((persons, auctions): (DataStream<Person>, DataStream<Auction>)) -> DataStream<Newcomer> {
    persons
        .key_by(|person| person.id)
        .join(auctions.key_by(|auction| auction.seller))
        .window(TumblingWindows::event_time(millis(WINDOW_MS)))
        .co_group("newcomers", |persons, auctions, ctx, out| {
            for person in persons.iter().filter(|_| !auctions.is_empty()) {
                out.emit(Newcomer::new(person, ctx.window().start()));
            }
        })
}

/// All records that have the greatest value.
struct Most<T, F> {
    value: F,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T) -> u64> Most<T, F> {
    fn by(value: F) -> Self {
        Self { value, of: PhantomData }
    }
}

impl<T, F: Clone> Clone for Most<T, F> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), of: PhantomData }
    }
}

impl<T, F> AggregateFunction for Most<T, F>
where
    T: Clone + Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&T) -> u64 + Send + 'static,
{
    type In = T;
    type Accumulator = (u64, Vec<T>);
    type Out = Vec<T>;

    fn create(&self) -> (u64, Vec<T>) {
        (0, Vec::new())
    }

    #[inline]
    fn add(&self, (most, records): &mut (u64, Vec<T>), record: T) {
        let value = (self.value)(&record);
        if value > *most {
            *most = value;
            records.clear();
        }
        if value == *most {
            records.push(record);
        }
    }

    fn result(&self, (_, records): &(u64, Vec<T>)) -> Vec<T> {
        records.clone()
    }

    fn merge(&self, so_far: &mut (u64, Vec<T>), other: (u64, Vec<T>)) {
        other.1.into_iter().for_each(|record| self.add(so_far, record));
    }
}
