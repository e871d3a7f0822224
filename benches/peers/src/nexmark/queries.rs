//! What the queries ask for, so far as all engines ask alike.

use super::{Auction, Bid, Person};

/// Windows of q7 and q8.
pub(crate) const WINDOW_MS: i64 = 10_000;
/// Windows of q5, and from the beginning of one to that of the next.
pub(crate) const HOT_MS: i64 = 10_000;
pub(crate) const HOT_SLIDE_MS: i64 = 2_000;

/// q1: the bid with a price in euros.
#[inline]
pub(crate) fn in_euros(bid: Bid) -> Bid {
    Bid { price: bid.price * 908 / 1_000, ..bid }
}

/// q2.
#[inline]
pub(crate) fn is_of_some_auction(bid: &Bid) -> bool {
    bid.auction.is_multiple_of(123)
}

/// q3.
#[inline]
pub(crate) fn is_in_states(person: &Person) -> bool {
    ["or", "id", "ca"].contains(&person.state.as_str())
}

/// q3.
#[inline]
pub(crate) fn is_in_category(auction: &Auction) -> bool {
    auction.category == 10
}

/// When the window of q7 and q8 begins that a time is in.
#[inline]
pub(crate) fn window_of(at: i64) -> i64 {
    at.div_euclid(WINDOW_MS) * WINDOW_MS
}
