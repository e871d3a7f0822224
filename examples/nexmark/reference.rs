//! The queries as plain loops over all events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use millstream::Timestamp;

use crate::events::{self, Auction, Bid, Nexmark, Person};
use crate::figures::Figures;
use crate::queries::digest;

const TEN_SECONDS: i64 = 10_000;
const TWO_SECONDS: i64 = 2_000;
const DAY: i64 = 24 * 3_600_000;

/// All events, by kind.
#[derive(Default)]
pub(crate) struct Reference {
    all: Vec<(u64, Timestamp)>,
    persons: Vec<Person>,
    auctions: Vec<Auction>,
    bids: Vec<Bid>,
}

fn digests<T: Hash>(results: impl IntoIterator<Item = T>) -> Vec<u64> {
    results.into_iter().map(|result| digest(&result)).collect()
}

fn start_of(at: Timestamp, size: i64) -> Timestamp {
    at.div_euclid(size) * size
}

impl Reference {
    pub(crate) fn new(events: u64) -> Self {
        let mut reference = Self::default();
        for (number, event) in (0..).zip(events::all(events)) {
            reference.all.push((number, event.at()));
            match event {
                Nexmark::Person(person) => reference.persons.push(person),
                Nexmark::Auction(auction) => reference.auctions.push(auction),
                Nexmark::Bid(bid) => reference.bids.push(bid),
            }
        }
        reference
    }

    /// Digests of the results of a query, in no order.
    pub(crate) fn results(&self, query: &str) -> Vec<u64> {
        match query {
            "q0" => digests(&self.all),
            "q1" => digests(self.bids.iter().map(|bid| (bid.auction, bid.bidder, bid.price * 908 / 1_000, bid.at))),
            "q2" => {
                let some = self.bids.iter().filter(|bid| bid.auction % 123 == 0);
                digests(some.map(|bid| (bid.auction, bid.price)))
            }
            "q3" => self.q3(),
            "q4" => self.q4(),
            "q5" => self.q5(),
            "q6" => self.q6(),
            "q7" => self.q7(),
            "q8" => self.q8(),
            "q11" => self.q11(),
            // All bids come in one window.
            "q12" => digests(self.by(|bid| bid.bidder).iter().map(|(bidder, bids)| (*bidder, bids.len() as u64))),
            "q16" => self.q16(),
            "q17" => self.q17(),
            "q18" => self.q18(),
            "q19" => self.q19(),
            "q20" => self.q20(),
            other => unreachable!("there is no query '{other}'"),
        }
    }

    /// Bids by something.
    fn by<K: Ord>(&self, key: impl Fn(&Bid) -> K) -> BTreeMap<K, Vec<&Bid>> {
        let mut groups: BTreeMap<K, Vec<&Bid>> = BTreeMap::new();
        self.bids.iter().for_each(|bid| groups.entry(key(bid)).or_default().push(bid));
        groups
    }

    fn q3(&self) -> Vec<u64> {
        let persons: BTreeMap<u64, &Person> = self.persons.iter().map(|person| (person.id, person)).collect();
        let of_category = self.auctions.iter().filter(|auction| auction.category == 10);
        let pairs = of_category.filter_map(|auction| Some((persons.get(&auction.seller)?, auction)));
        let in_states = pairs.filter(|(person, _)| ["or", "id", "ca"].contains(&person.state.as_str()));
        digests(in_states.map(|(person, auction)| (&person.name, &person.city, &person.state, auction.id)))
    }

    /// Each auction that has had bids in its time, with the highest price, by when they end.
    fn sales(&self) -> Vec<(&Auction, u64)> {
        let bids = self.by(|bid| bid.auction);
        let price = |auction: &Auction| {
            let in_time = bids.get(&auction.id)?.iter().filter(|bid| (auction.at..=auction.expires).contains(&bid.at));
            in_time.map(|bid| bid.price).max()
        };
        let mut sales: Vec<_> = self.auctions.iter().filter_map(|auction| Some((auction, price(auction)?))).collect();
        sales.sort_by_key(|(auction, _)| (auction.expires, auction.id));
        sales
    }

    fn q4(&self) -> Vec<u64> {
        let mut categories: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        self.sales().iter().for_each(|(auction, price)| categories.entry(auction.category).or_default().push(*price));
        digests(
            categories.iter().map(|(category, prices)| (*category, prices.iter().sum::<u64>() / prices.len() as u64)),
        )
    }

    fn q5(&self) -> Vec<u64> {
        let mut counts: BTreeMap<Timestamp, BTreeMap<u64, u64>> = BTreeMap::new();
        for bid in &self.bids {
            let mut start = start_of(bid.at, TWO_SECONDS);
            while start + TEN_SECONDS > bid.at {
                *counts.entry(start).or_default().entry(bid.auction).or_default() += 1;
                start -= TWO_SECONDS;
            }
        }
        let hot = counts.iter().flat_map(|(start, counts)| {
            let most = counts.values().max();
            counts
                .iter()
                .filter(move |(_, count)| Some(*count) == most)
                .map(|(auction, count)| (*start, *auction, *count))
        });
        digests(hot)
    }

    fn q6(&self) -> Vec<u64> {
        let mut sellers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let means = self.sales().into_iter().map(|(auction, price)| {
            let prices = sellers.entry(auction.seller).or_default();
            prices.push(price);
            let last = &prices[prices.len().saturating_sub(10)..];
            (auction.seller, auction.id, last.iter().sum::<u64>() / last.len() as u64)
        });
        digests(means.collect::<Vec<_>>())
    }

    fn q7(&self) -> Vec<u64> {
        let windows = self.by(|bid| start_of(bid.at, TEN_SECONDS));
        let highest = windows.values().flat_map(|bids| {
            let price = bids.iter().map(|bid| bid.price).max();
            bids.iter().filter(move |bid| Some(bid.price) == price)
        });
        digests(highest.map(|bid| (bid.price, bid.auction, bid.bidder, bid.at)))
    }

    fn q8(&self) -> Vec<u64> {
        let of_window = |at| start_of(at, TEN_SECONDS);
        let sellers: BTreeSet<(Timestamp, u64)> =
            self.auctions.iter().map(|auction| (of_window(auction.at), auction.seller)).collect();
        let sold = self.persons.iter().filter(|person| sellers.contains(&(of_window(person.at), person.id)));
        digests(sold.map(|person| (person.id, &person.name, of_window(person.at))))
    }

    fn q11(&self) -> Vec<u64> {
        let bidders = self.by(|bid| bid.bidder);
        // Their bids are in the order of time.
        let sessions = bidders.iter().flat_map(|(bidder, bids)| {
            bids.chunk_by(|bid, next| next.at - bid.at <= TEN_SECONDS).map(move |session| {
                let (first, last) = (session[0].at, session[session.len() - 1].at);
                (*bidder, session.len() as u64, first, last + TEN_SECONDS)
            })
        });
        digests(sessions)
    }

    fn q16(&self) -> Vec<u64> {
        let days = self.by(|bid| (bid.channel.clone(), start_of(bid.at, DAY)));
        let figures = days.iter().map(|((channel, day), bids)| {
            let bidders: BTreeSet<u64> = bids.iter().map(|bid| bid.bidder).collect();
            let auctions: BTreeSet<u64> = bids.iter().map(|bid| bid.auction).collect();
            (channel, *day, Figures::of(bids.iter().map(|bid| bid.price)), bidders.len(), auctions.len())
        });
        digests(figures)
    }

    fn q17(&self) -> Vec<u64> {
        let days = self.by(|bid| (bid.auction, start_of(bid.at, DAY)));
        digests(
            days.iter().map(|((auction, day), bids)| (*auction, *day, Figures::of(bids.iter().map(|bid| bid.price)))),
        )
    }

    fn q18(&self) -> Vec<u64> {
        let last = self.by(|bid| (bid.bidder, bid.auction));
        let last = last.iter().filter_map(|(key, bids)| bids.last().map(|bid| (*key, bid.price, bid.at)));
        digests(last)
    }

    fn q19(&self) -> Vec<u64> {
        let mut auctions = self.by(|bid| bid.auction);
        let top = auctions.iter_mut().flat_map(|(auction, bids)| {
            bids.sort_by_key(|bid| (Reverse(bid.price), bid.number));
            (1..=10).zip(bids).map(|(rank, bid): (u64, _)| (*auction, rank, bid.price, bid.bidder))
        });
        digests(top)
    }

    fn q20(&self) -> Vec<u64> {
        let auctions: BTreeMap<u64, &Auction> = self
            .auctions
            .iter()
            .filter(|auction| auction.category == 10)
            .map(|auction| (auction.id, auction))
            .collect();
        let pairs = self.bids.iter().filter_map(|bid| Some((bid, auctions.get(&bid.auction)?)));
        digests(pairs.map(|(bid, auction)| (bid.number, bid.bidder, bid.price, &auction.item, auction.seller)))
    }
}
