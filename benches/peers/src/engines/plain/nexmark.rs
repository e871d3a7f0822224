//! The queries of Nexmark as loops over the events in their order.

use std::collections::BTreeMap;

use crate::engines::by_hand::{Hot, LastTen, Most, Newcomers, Pairs, Sales, Timed};
use crate::events::{self, WindowCount};
use crate::nexmark::{
    Bid, CategoryMean, Event, Events, Mean, Newcomer, Offer, Sale, WINDOW_MS, in_euros, is_of_some_auction, window_of,
};
use crate::plan::{Plan, Query};
use crate::total::Part;

pub(super) fn run(query: Query, plan: Plan, part: &mut Part) {
    let events = Events::of(0, 1, plan);
    match query {
        Query::Q1 => bids(events).for_each(|bid| part.take(in_euros(bid).weigh())),
        Query::Q2 => {
            bids(events).filter(is_of_some_auction).for_each(|bid| part.take(Offer::new(bid).weigh()));
        }
        Query::Q3 => {
            let mut pairs = Pairs::default();
            events.filter(Pairs::asks_for).for_each(|event| pairs.add(event, |pair| part.take(pair.weigh())));
        }
        Query::Q4 => mean_prices(events, part),
        Query::Q5 => {
            let bids = bids(events).map(|bid| events::Event { time: bid.at, key: bid.auction });
            timed(bids, |bid| bid.time, Hot::new(), |count: WindowCount| part.take(count.weigh()));
        }
        Query::Q6 => {
            let mut sellers = LastTen::default();
            let give = |sale| part.take(sellers.next(sale).weigh());
            timed(events.filter(|event| !event.is_person()), Event::at, Sales::default(), give);
        }
        Query::Q7 => {
            let highest = Most::new(|bid: &Bid| (window_of(bid.at) + WINDOW_MS - 1, bid.price));
            timed(bids(events), |bid| bid.at, highest, |bid: Bid| part.take(bid.weigh()));
        }
        Query::Q8 => {
            let give = |newcomer: Newcomer| part.take(newcomer.weigh());
            timed(events.filter(|event| !event.is_bid()), Event::at, Newcomers::default(), give);
        }
    }
}

fn bids(events: Events) -> impl Iterator<Item = Bid> {
    events.filter_map(Event::into_bid)
}

fn mean_prices(events: Events, part: &mut Part) {
    let mut categories: BTreeMap<u64, Mean> = BTreeMap::new();
    let add = |sale: Sale| categories.entry(sale.category).or_default().add(sale.price);
    timed(events.filter(|event| !event.is_person()), Event::at, Sales::default(), add);
    for (category, mean) in categories {
        part.take(CategoryMean { category, mean: mean.get() }.weigh());
    }
}

/// Records come in the order of their times, so with each all earlier ones are there.
fn timed<O: Timed>(
    records: impl Iterator<Item = O::In>,
    at: impl Fn(&O::In) -> i64,
    mut operator: O,
    mut give: impl FnMut(O::Out),
) {
    for record in records {
        operator.fire_up_to(at(&record) - 1, &mut give);
        operator.add(record);
    }
    operator.fire_up_to(i64::MAX, give);
}
