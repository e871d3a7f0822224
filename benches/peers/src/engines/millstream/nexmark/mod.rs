//! The queries of Nexmark as jobs.

mod sales;
mod windows;

use std::time::Duration;

use millstream::prelude::*;
use millstream::time::WatermarkAlignment;

use super::share::Shares;
use super::sink::tally;
use crate::events::WindowCount;
use crate::nexmark::{
    Auction, Bid, CategoryMean, Event, Events, Newcomer, Offer, Pair, Person, SellerMean, in_euros, is_in_category,
    is_in_states, is_of_some_auction,
};
use crate::plan::{Plan, Query};
use crate::total::Total;

/// Sources do not run further ahead of each other: the length of the windows.
const ALIGNED_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn build(query: Query, env: &StreamEnvironment, plan: Plan, total: &Total) {
    let source = Shares(move |subtask, parallelism| Events::of(subtask, parallelism, plan));
    let events = if is_of_event_time(query) {
        let alignment = WatermarkAlignment::within(ALIGNED_WITHIN);
        let strategy = WatermarkStrategy::monotonous(Event::at).with_alignment(&alignment);
        env.source_with_watermarks("events", source, strategy)
    } else {
        env.source("events", source)
    };
    match query {
        Query::Q1 => bids(events).map(in_euros).sink("sum", tally(total, Bid::weigh)),
        Query::Q2 => bids(events).filter(is_of_some_auction).map(Offer::new).sink("sum", tally(total, Offer::weigh)),
        Query::Q3 => pairs(events).sink("sum", tally(total, Pair::weigh)),
        Query::Q4 => sales::mean_prices(events).sink("sum", tally(total, CategoryMean::weigh)),
        Query::Q5 => windows::hot(bids(events)).sink("sum", tally(total, WindowCount::weigh)),
        Query::Q6 => sales::of_sellers(events).sink("sum", tally(total, SellerMean::weigh)),
        Query::Q7 => windows::highest(bids(events)).sink("sum", tally(total, Bid::weigh)),
        Query::Q8 => windows::newcomers(persons_and_auctions(events)).sink("sum", tally(total, Newcomer::weigh)),
    };
}

/// Whether results depend on how far event time has come.
fn is_of_event_time(query: Query) -> bool {
    !matches!(query, Query::Q1 | Query::Q2 | Query::Q3)
}

fn bids(events: DataStream<Event>) -> DataStream<Bid> {
    events.filter_map(Event::into_bid)
}

/// Bids go first, so that they are not copied for both.
fn persons_and_auctions(events: DataStream<Event>) -> (DataStream<Person>, DataStream<Auction>) {
    let (persons, auctions) = events.filter(|event| !event.is_bid()).split(Event::is_person);
    (persons.filter_map(|event| event.into_person().map(|person| *person)), auctions.filter_map(Event::into_auction))
}

fn pairs(events: DataStream<Event>) -> DataStream<Pair> {
    let (persons, auctions) = persons_and_auctions(events);
    let persons = persons.filter(is_in_states).key_by(|person| person.id);
    persons.connect(auctions.filter(is_in_category).key_by(|auction| auction.seller)).process("pairs", Pairs)
}

/// Gives each pair of a person and an auction once both are there.
#[derive(Clone)]
struct Pairs;

impl KeyedCoProcessFunction<u64, Person, Auction> for Pairs {
    type Out = Pair;
    type State = (ValueState<Person>, ListState<u64>);

    fn state(&self) -> Self::State {
        (ValueState::new("person"), ListState::new("early auctions"))
    }

    fn process_first(
        &mut self,
        person: Person,
        (mut known, mut early): CoRow<'_, Self, u64, Person, Auction>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Pair>,
    ) {
        early.take().into_iter().for_each(|auction| out.emit(Pair::new(&person, auction)));
        known.set(person);
    }

    fn process_second(
        &mut self,
        auction: Auction,
        (known, mut early): CoRow<'_, Self, u64, Person, Auction>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Pair>,
    ) {
        match known.get() {
            Some(person) => out.emit(Pair::new(person, auction.id)),
            None => early.push(auction.id),
        }
    }
}
