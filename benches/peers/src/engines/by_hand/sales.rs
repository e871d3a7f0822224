//! Auctions that are over, for q4 and q6 of Nexmark.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::Timed;
use crate::nexmark::{Auction, Bid, Event, Sale};

/// Bids without an auction that are kept before it is looked which ones may go.
const EARLY_MIN: usize = 256;

/// Gives each auction that has had bids in its time when it is over. A bid may come before its auction: bids of the same
/// millisecond do, and those of another source.
#[derive(Default)]
pub(in crate::engines) struct Sales {
    open: HashMap<u64, Open>,
    /// When open auctions expire.
    ends: BinaryHeap<Reverse<(i64, u64)>>,
    /// Bids whose auction has not come, or is over.
    early: HashMap<u64, Vec<Bid>>,
    early_bids: usize,
    /// With so many of them it is looked again.
    early_max: usize,
    /// What has fired last.
    now: i64,
}

struct Open {
    auction: Auction,
    highest: Option<u64>,
}

impl Open {
    #[inline]
    fn add(&mut self, bid: Bid) {
        if (self.auction.at..=self.auction.expires).contains(&bid.at) {
            self.highest = self.highest.max(Some(bid.price));
        }
    }
}

impl Sales {
    fn open(&mut self, auction: Auction) {
        let mut open = Open { auction, highest: None };
        for bid in self.early.remove(&auction.id).unwrap_or_default() {
            self.early_bids -= 1;
            open.add(bid);
        }
        self.ends.push(Reverse((auction.expires, auction.id)));
        self.open.insert(auction.id, open);
    }

    fn keep(&mut self, bid: Bid) {
        self.early.entry(bid.auction).or_default().push(bid);
        self.early_bids += 1;
        if self.early_bids < self.early_max.max(EARLY_MIN) {
            return;
        }
        let now = self.now;
        self.early.retain(|_, bids| {
            bids.retain(|bid| bid.at > now);
            !bids.is_empty()
        });
        self.early_bids = self.early.values().map(Vec::len).sum();
        self.early_max = 2 * self.early_bids;
    }
}

impl Timed for Sales {
    type In = Event;
    type Out = Sale;

    #[inline]
    fn add(&mut self, event: Event) {
        match event {
            Event::Auction(auction) => self.open(auction),
            Event::Bid(bid) => match self.open.get_mut(&bid.auction) {
                Some(open) => open.add(bid),
                None => self.keep(bid),
            },
            Event::Person(_) => {}
        }
    }

    #[inline]
    fn next_time(&self) -> Option<i64> {
        self.ends.peek().map(|Reverse((expires, _))| *expires)
    }

    fn fire(&mut self, mut give: impl FnMut(Sale)) {
        let Some(Reverse((expires, id))) = self.ends.pop() else { return };
        self.now = expires;
        if let Some(Open { auction, highest: Some(price) }) = self.open.remove(&id) {
            give(Sale::new(auction, price));
        }
    }
}
