//! What the queries give, and what that adds to the checksum. q1 and q7 give bids, q5 gives counts of windows.

use serde::{Deserialize, Serialize};

use super::{Auction, Bid, Person};
use crate::numbers::splitmix64;

/// A hash that is cheap beside the work.
#[inline]
fn mix<const N: usize>(fields: [u64; N]) -> u64 {
    fields.into_iter().fold(N as u64, |hash, field| splitmix64(hash ^ field))
}

fn of_text(text: &str) -> u64 {
    text.bytes().fold(text.len() as u64, |hash, byte| splitmix64(hash ^ u64::from(byte)))
}

impl Bid {
    #[inline]
    pub(crate) fn weigh(self) -> u64 {
        mix([self.auction, self.bidder, self.price, self.at.cast_unsigned()])
    }
}

/// q2: what was bid for an auction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    auction: u64,
    price: u64,
}

impl Offer {
    #[inline]
    pub(crate) fn new(bid: Bid) -> Self {
        Self { auction: bid.auction, price: bid.price }
    }

    #[inline]
    pub(crate) fn weigh(self) -> u64 {
        mix([self.auction, self.price])
    }
}

/// q3: who sells, and what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pair {
    name: String,
    city: String,
    state: String,
    auction: u64,
}

impl Pair {
    pub(crate) fn new(person: &Person, auction: u64) -> Self {
        let Person { name, city, state, .. } = person.clone();
        Self { name, city, state, auction }
    }

    pub(crate) fn weigh(self) -> u64 {
        mix([of_text(&self.name), of_text(&self.city), of_text(&self.state), self.auction])
    }
}

/// An auction that is over, with the highest of the bids that came in its time: what q4 and q6 are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Sale {
    pub(crate) expires: i64,
    pub(crate) auction: u64,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) price: u64,
}

impl Sale {
    pub(crate) fn new(auction: Auction, price: u64) -> Self {
        let Auction { id, seller, category, expires, .. } = auction;
        Self { expires, auction: id, seller, category, price }
    }
}

/// A mean that goes on, rounded down.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Mean {
    sum: u64,
    count: u64,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, price: u64) {
        (self.sum, self.count) = (self.sum + price, self.count + 1);
    }

    /// Of at least one price.
    pub(crate) fn get(self) -> u64 {
        self.sum / self.count
    }
}

/// q4: the mean price in a category, of all sales.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct CategoryMean {
    pub(crate) category: u64,
    pub(crate) mean: u64,
}

impl CategoryMean {
    pub(crate) fn weigh(self) -> u64 {
        mix([self.category, self.mean])
    }
}

/// q6: the mean price of a seller's last ten sales, with each sale.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct SellerMean {
    seller: u64,
    auction: u64,
    mean: u64,
}

impl SellerMean {
    /// With the last of some sales of a seller, and their prices in order; keeps the last ten.
    pub(crate) fn next(sale: Sale, prices: &mut Vec<u64>) -> Self {
        prices.push(sale.price);
        if prices.len() > 10 {
            prices.remove(0);
        }
        let mean = prices.iter().sum::<u64>() / prices.len() as u64;
        Self { seller: sale.seller, auction: sale.auction, mean }
    }

    pub(crate) fn weigh(self) -> u64 {
        mix([self.seller, self.auction, self.mean])
    }
}

/// q8: who came and opened an auction in one window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Newcomer {
    id: u64,
    name: String,
    start: i64,
}

impl Newcomer {
    pub(crate) fn new(person: &Person, start: i64) -> Self {
        Self { id: person.id, name: person.name.clone(), start }
    }

    pub(crate) fn weigh(self) -> u64 {
        mix([self.id, of_text(&self.name), self.start.cast_unsigned()])
    }
}
