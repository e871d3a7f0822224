//! Events of people who open auctions and bid for them, made by the `nexmark` crate before the clock starts.

use std::sync::OnceLock;
use std::thread;

use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Of the first event; a multiple of all windows.
pub(crate) const BASE_TIME: i64 = 1_500_000_000_000;

/// So many events are made. They come again and again, with higher ids and later times.
const CYCLE: u64 = 1_000_000;
const CYCLE_PERSONS: u64 = CYCLE / 50;
const CYCLE_AUCTIONS: u64 = CYCLE * 3 / 50;
const CYCLE_MS: i64 = (CYCLE / 10) as i64;

/// The events of a cycle, by source.
static SHARES: OnceLock<Vec<Vec<Event>>> = OnceLock::new();

/// Somebody who has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Person {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) at: i64,
}

/// Something is for sale until it expires.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    /// A person.
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) at: i64,
    pub(crate) expires: i64,
}

/// Somebody offers a price.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    /// A person.
    pub(crate) bidder: u64,
    /// Cents.
    pub(crate) price: u64,
    pub(crate) at: i64,
}

/// An event, with what the queries look at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    /// One of 50.
    Person(Box<Person>),
    /// Three of 50.
    Auction(Auction),
    /// All others.
    Bid(Bid),
}

impl Event {
    fn new(event: nexmark::event::Event) -> Self {
        use nexmark::event::Event as Made;
        match event {
            Made::Person(person) => Self::Person(Box::new(Person {
                id: person.id as u64,
                name: person.name,
                city: person.city,
                state: person.state,
                at: person.date_time as i64,
            })),
            Made::Auction(auction) => Self::Auction(Auction {
                id: auction.id as u64,
                seller: auction.seller as u64,
                category: auction.category as u64,
                at: auction.date_time as i64,
                expires: auction.expires as i64,
            }),
            Made::Bid(bid) => Self::Bid(Bid {
                auction: bid.auction as u64,
                bidder: bid.bidder as u64,
                price: bid.price as u64,
                at: bid.date_time as i64,
            }),
        }
    }

    /// The same in a later cycle.
    #[inline]
    fn in_cycle(&self, cycle: u64) -> Self {
        let (persons, auctions) = (cycle * CYCLE_PERSONS, cycle * CYCLE_AUCTIONS);
        let time = cycle.cast_signed() * CYCLE_MS;
        match self {
            Self::Person(person) => {
                let mut person = person.clone();
                person.id += persons;
                person.at += time;
                Self::Person(person)
            }
            Self::Auction(auction) => Self::Auction(Auction {
                id: auction.id + auctions,
                seller: auction.seller + persons,
                category: auction.category,
                at: auction.at + time,
                expires: auction.expires + time,
            }),
            Self::Bid(bid) => Self::Bid(Bid {
                auction: bid.auction + auctions,
                bidder: bid.bidder + persons,
                price: bid.price,
                at: bid.at + time,
            }),
        }
    }

    /// Milliseconds since 1970. It never goes back in a source.
    #[inline]
    pub(crate) fn at(&self) -> i64 {
        match self {
            Self::Person(person) => person.at,
            Self::Auction(auction) => auction.at,
            Self::Bid(bid) => bid.at,
        }
    }

    #[inline]
    pub(crate) fn into_person(self) -> Option<Box<Person>> {
        if let Self::Person(person) = self { Some(person) } else { None }
    }

    #[inline]
    pub(crate) fn into_auction(self) -> Option<Auction> {
        if let Self::Auction(auction) = self { Some(auction) } else { None }
    }

    #[inline]
    pub(crate) fn into_bid(self) -> Option<Bid> {
        if let Self::Bid(bid) = self { Some(bid) } else { None }
    }

    #[inline]
    pub(crate) fn is_person(&self) -> bool {
        matches!(self, Self::Person(_))
    }

    #[inline]
    pub(crate) fn is_bid(&self) -> bool {
        matches!(self, Self::Bid(_))
    }
}

/// Makes the events of a cycle, or the first `records` if those are fewer, for so many sources. To be called once.
pub(crate) fn write(records: u64, sources: u64) {
    let records = records.min(CYCLE);
    let share = |source| {
        let config = NexmarkConfig { base_time: BASE_TIME.unsigned_abs(), ..NexmarkConfig::default() };
        let events = EventGenerator::new(config).with_offset(source).with_step(sources);
        let own = (records + sources - 1 - source) / sources;
        events.take(own as usize).map(Event::new).collect()
    };
    let shares = thread::scope(|scope| {
        let makers: Vec<_> = (0..sources).map(|source| scope.spawn(move || share(source))).collect();
        makers.into_iter().map(|maker| maker.join().expect("it does not panic")).collect()
    });
    SHARES.set(shares).expect("one input in a process");
}

/// The events that one of several sources reads: they take turns, event by event.
#[derive(Clone)]
pub(crate) struct Events {
    share: &'static [Event],
    source: u64,
    sources: u64,
    records: u64,
    cycle: u64,
    /// In the share.
    next: usize,
}

impl Events {
    /// Of as many sources as the input was made for.
    pub(crate) fn of(source: u64, sources: u64, plan: Plan) -> Self {
        let shares = SHARES.get().expect("it was made at the start");
        assert_eq!(sources, shares.len() as u64, "the input is for other sources");
        Self { share: &shares[source as usize], source, sources, records: plan.records, cycle: 0, next: 0 }
    }

    /// How many of its events were read.
    pub(crate) fn position(&self) -> u64 {
        self.cycle * self.share.len() as u64 + self.next as u64
    }

    /// Goes on where so many were read.
    pub(crate) fn resume(&mut self, position: u64) {
        let len = self.share.len().max(1) as u64;
        (self.cycle, self.next) = (position / len, (position % len) as usize);
    }
}

impl Iterator for Events {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if self.next == self.share.len() {
            (self.cycle, self.next) = (self.cycle + 1, 0);
        }
        let number = self.cycle * CYCLE + self.next as u64 * self.sources + self.source;
        if number >= self.records {
            return None;
        }
        let event = self.share[self.next].in_cycle(self.cycle);
        self.next += 1;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Query, Workload};

    #[test]
    fn cycles_follow_each_other_and_sources_share_all_events() {
        let plan = Plan { records: 2 * CYCLE + 5, ..Workload::Nexmark(Query::Q1).plan() };
        write(plan.records, 3);
        let (mut read, mut persons, mut auctions) = (0, Vec::new(), Vec::new());
        for source in 0..3 {
            let mut newest = BASE_TIME;
            for event in Events::of(source, 3, plan) {
                assert!(event.at() >= newest, "{event:?} after one of {newest}");
                newest = event.at();
                read += 1;
                match event {
                    Event::Person(person) => persons.push(person.id),
                    Event::Auction(auction) => auctions.push(auction.id),
                    Event::Bid(_) => {}
                }
            }
        }
        assert_eq!(read, plan.records);
        for ids in [&mut persons, &mut auctions] {
            ids.sort_unstable();
            assert!(ids.windows(2).all(|two| two[0] + 1 == two[1]), "ids have no gaps and no repetitions");
        }
        let mut events = Events::of(1, 3, plan);
        let position = events.by_ref().take(400_000).count() as u64;
        let mut resumed = Events::of(1, 3, plan);
        resumed.resume(position);
        assert_eq!(events.position(), position);
        assert_eq!(resumed.next().map(|event| event.at()), events.next().map(|event| event.at()));
    }
}
