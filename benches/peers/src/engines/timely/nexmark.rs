//! The queries of Nexmark in Timely.

use hashbrown::HashMap;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::{Scope, StreamVec};

use super::tally;
use super::timed::{timed, timed_source};
use crate::engines::by_hand::{Hot, LastTen, Most, Newcomers, Pairs, Sales};
use crate::events::{self, WindowCount};
use crate::nexmark::{
    Bid, CategoryMean, Event, Events, HOT_MS, HOT_SLIDE_MS, Mean, Newcomer, Offer, Pair, Sale, SellerMean, WINDOW_MS,
    in_euros, is_of_some_auction, window_of,
};
use crate::plan::Query;
use crate::total::Part;

pub(super) fn build(query: Query, scope: Scope<'_, u64>, events: Events, part: Part) {
    // Of one time there may be more.
    let events = timed_source(scope, events, |event| event.at() - 1);
    match query {
        Query::Q1 => tally(bids(events).map_in_place(|bid| *bid = in_euros(*bid)), Bid::weigh, part),
        Query::Q2 => tally(bids(events).filter(is_of_some_auction).map(Offer::new), Offer::weigh, part),
        Query::Q3 => tally(pairs(events), Pair::weigh, part),
        Query::Q4 => tally(mean_prices(sales(events)), CategoryMean::weigh, part),
        Query::Q5 => tally(hot(bids(events)), WindowCount::weigh, part),
        Query::Q6 => {
            tally(timed(sales(events), |sale| sale.seller, LastTen::default()), SellerMean::weigh, part);
        }
        Query::Q7 => {
            // Each worker's highest ones, and the highest of those.
            let of = |bid: &Bid| (window_of(bid.at) + WINDOW_MS - 1, bid.price);
            let highest = timed(bids(events), |bid| bid.auction, Most::new(of));
            let route = |bid: &Bid| (window_of(bid.at) / WINDOW_MS).cast_unsigned();
            tally(timed(highest, route, Most::new(of)), Bid::weigh, part);
        }
        Query::Q8 => {
            let others = events.filter(|event| !event.is_bid());
            tally(timed(others, person, Newcomers::default()), Newcomer::weigh, part);
        }
    }
}

fn bids(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Bid> {
    events.flat_map(Event::into_bid)
}

/// Who has come, or sells.
fn person(event: &Event) -> u64 {
    match event {
        Event::Person(person) => person.id,
        Event::Auction(auction) => auction.seller,
        Event::Bid(bid) => bid.bidder,
    }
}

fn auction(event: &Event) -> u64 {
    match event {
        Event::Person(_) => 0,
        Event::Auction(auction) => auction.id,
        Event::Bid(bid) => bid.auction,
    }
}

fn pairs(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Pair> {
    events.filter(Pairs::asks_for).unary(Exchange::new(person), "pairs", |_, _| {
        let mut pairs = Pairs::default();
        move |input, output| {
            input.for_each_stamp(|time, data| {
                let mut session = output.session(&time);
                for event in data.flat_map(|events| events.drain(..)) {
                    pairs.add(event, |pair| session.give(pair));
                }
            });
        }
    })
}

fn sales(events: StreamVec<'_, u64, Event>) -> StreamVec<'_, u64, Sale> {
    timed(events.filter(|event| !event.is_person()), auction, Sales::default())
}

fn mean_prices(sales: StreamVec<'_, u64, Sale>) -> StreamVec<'_, u64, CategoryMean> {
    sales.unary_frontier(Exchange::new(|sale: &Sale| sale.category), "means", |capability, _| {
        let mut means: HashMap<u64, Mean> = HashMap::new();
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each_stamp(|_, data| {
                for sale in data.flat_map(|sales| sales.drain(..)) {
                    means.entry(sale.category).or_default().add(sale.price);
                }
            });
            if frontier.is_empty()
                && let Some(capability) = capability.take()
            {
                let mut session = output.session(&capability);
                means.drain().for_each(|(category, mean)| session.give(CategoryMean { category, mean: mean.get() }));
            }
        }
    })
}

/// The auctions with the most bids of each worker, and of those the ones with the most.
fn hot(bids: StreamVec<'_, u64, Bid>) -> StreamVec<'_, u64, WindowCount> {
    let bids = bids.map(|bid| events::Event { time: bid.at, key: bid.auction });
    let of_workers = timed(bids, |bid| bid.key, Hot::new());
    let most = Most::new(|count: &WindowCount| (count.start + HOT_MS - 1, count.count));
    timed(of_workers, |count| (count.start / HOT_SLIDE_MS).cast_unsigned(), most)
}
