//! Queries of single events.

use super::{Digests, Events, bids, digest};

pub(crate) fn q0(events: Events) -> Digests {
    events.map(|(number, event)| digest(&(number, event.at())))
}

pub(crate) fn q1(events: Events) -> Digests {
    bids(events).map(|bid| digest(&(bid.auction, bid.bidder, bid.price * 908 / 1_000, bid.at)))
}

pub(crate) fn q2(events: Events) -> Digests {
    bids(events).filter(|bid| bid.auction.is_multiple_of(123)).map(|bid| digest(&(bid.auction, bid.price)))
}
