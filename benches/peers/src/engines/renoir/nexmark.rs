//! Queries of Nexmark in Renoir: those that its operators and aligned windows can do.

use renoir::Stream;
use renoir::operator::{Operator, StreamElement};

use super::windows::{Aligned, in_window, watermarks};
use crate::events::{self, WindowCount};
use crate::nexmark::{
    Bid, Event, HOT_MS, HOT_SLIDE_MS, Newcomer, Offer, Pair, Person, WINDOW_MS, in_euros, is_in_category, is_in_states,
    is_of_some_auction,
};
use crate::plan::Query;
use crate::total::Part;

/// Between so many the bids are divided of which each window's highest are found first.
const SHARES: u64 = 16;

pub(super) fn build(query: Query, events: Stream<impl Operator<Out = Event> + 'static>, mut part: Part) {
    match query {
        Query::Q1 => bids(events).map(in_euros).for_each(move |bid| part.take(bid.weigh())),
        Query::Q2 => {
            let some = bids(events).filter(is_of_some_auction).map(Offer::new);
            some.for_each(move |offer| part.take(offer.weigh()));
        }
        Query::Q3 => pairs(events, part),
        Query::Q5 => hot(bids(events), part),
        Query::Q7 => highest(bids(events), part),
        Query::Q8 => newcomers(events, part),
        Query::Q4 | Query::Q6 => unreachable!("auctions that are over have no stream"),
    }
}

fn bids(events: Stream<impl Operator<Out = Event> + 'static>) -> Stream<impl Operator<Out = Bid> + 'static> {
    events.filter_map(Event::into_bid)
}

fn pairs(events: Stream<impl Operator<Out = Event> + 'static>, mut part: Part) {
    let mut streams = events.filter(|event| !event.is_bid()).split(2).into_iter();
    let [persons, auctions] = [(); 2].map(|()| streams.next().expect("there are two"));
    let persons = persons.filter_map(Event::into_person).filter(|person| is_in_states(person));
    let auctions = auctions.filter_map(Event::into_auction).filter(is_in_category);
    persons
        .join(auctions, |person| person.id, |auction| auction.seller)
        .for_each(move |(_, (person, auction))| part.take(Pair::new(&person, auction.id).weigh()));
}

/// All records that have the greatest value.
type Most<T> = (u64, Vec<T>);

fn add<T: Copy>((most, records): &mut Most<T>, value: u64, record: &T) {
    if value > *most {
        *most = value;
        records.clear();
    }
    if value == *most {
        records.push(*record);
    }
}

fn merge<T: Copy>(so_far: &mut Most<T>, (value, records): &Most<T>) {
    records.iter().for_each(|record| add(so_far, *value, record));
}

fn hot(bids: Stream<impl Operator<Out = Bid> + 'static>, mut part: Part) {
    bids.map(|bid| events::Event { time: bid.at, key: bid.auction })
        .add_timestamps(|bid| bid.time, watermarks(HOT_SLIDE_MS, 0))
        .group_by(|bid| bid.key)
        .window(Aligned::tumbling(HOT_SLIDE_MS))
        .fold(0, |count: &mut u64, _| *count += 1)
        .window(Aligned { size: HOT_MS, slide: HOT_SLIDE_MS })
        .fold(0, |count: &mut u64, slice| *count += slice)
        .rich_map_custom(|mut counts| in_window(counts.next(), HOT_MS))
        .group_by(|count| count.start)
        .window(Aligned::tumbling(HOT_SLIDE_MS))
        .fold(Most::<WindowCount>::default(), |most: &mut Most<WindowCount>, count| add(most, count.count, count))
        .for_each(move |(_, (_, counts))| counts.into_iter().for_each(|count| part.take(count.weigh())));
}

fn highest(bids: Stream<impl Operator<Out = Bid> + 'static>, mut part: Part) {
    bids.add_timestamps(|bid| bid.at, watermarks(WINDOW_MS, 0))
        .group_by(|bid| bid.price % SHARES)
        .window(Aligned::tumbling(WINDOW_MS))
        .fold(Most::<Bid>::default(), |most: &mut Most<Bid>, bid| add(most, bid.price, bid))
        .drop_key()
        .group_by(|_| 0_u64)
        .window(Aligned::tumbling(WINDOW_MS))
        .fold(Most::<Bid>::default(), merge)
        .for_each(move |(_, (_, bids))| bids.into_iter().for_each(|bid| part.take(bid.weigh())));
}

/// The person of a key, and whether there was an auction.
type Seen = (Option<Box<Person>>, bool);

fn newcomers(events: Stream<impl Operator<Out = Event> + 'static>, mut part: Part) {
    events
        .filter(|event| !event.is_bid())
        .add_timestamps(Event::at, watermarks(WINDOW_MS, 0))
        .group_by(|event| match event {
            Event::Person(person) => person.id,
            Event::Auction(auction) => auction.seller,
            Event::Bid(bid) => bid.bidder,
        })
        .window(Aligned::tumbling(WINDOW_MS))
        .fold(Seen::default(), |(known, sells): &mut Seen, event| match event {
            Event::Person(person) => *known = Some(person.clone()),
            Event::Auction(_) => *sells = true,
            Event::Bid(_) => {}
        })
        .rich_map_custom(|mut seen| newcomer(seen.next()))
        .for_each(move |newcomer| newcomer.into_iter().for_each(|newcomer| part.take(newcomer.weigh())));
}

fn newcomer(element: StreamElement<(u64, Seen)>) -> StreamElement<Option<Newcomer>> {
    let end = element.timestamp().map_or(0, |last| last + 1);
    element.map(|(_, (person, sells))| Some(Newcomer::new(&*person.filter(|_| sells)?, end - WINDOW_MS)))
}
