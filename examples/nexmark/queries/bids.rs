//! Queries of bids.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use millstream::aggregates::{Count, MaxBy, TopN};
use millstream::prelude::*;

use super::{AtEnd, Digests, Events, bids, digest};
use crate::figures::Figures;

pub(crate) const TEN_SECONDS: Duration = Duration::from_secs(10);
const TWO_SECONDS: Duration = Duration::from_secs(2);
const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(crate) fn q5(events: Events) -> Digests {
    bids(events)
        .key_by(|bid| bid.auction)
        .window(SlidingWindows::event_time(TEN_SECONDS, TWO_SECONDS))
        .aggregate_with("q5-counts", Count::new(), |ctx, count| (ctx.window().start(), *ctx.key(), count))
        // What a window gives has its last millisecond as event time: those that end together are in one window of a slide.
        .window_all(TumblingWindows::event_time(TWO_SECONDS))
        .apply("q5", |counts: &[(Timestamp, u64, u64)], _, out| {
            let most = counts.iter().map(|(.., count)| *count).max();
            counts.iter().filter(|(.., count)| Some(*count) == most).for_each(|hot| out.emit(digest(hot)));
        })
}

/// Price, auction, bidder, time: what is highest comes first in the order.
type Priced = (u64, u64, u64, Timestamp);

fn give_highest(bids: &[Priced], out: &mut Emitter<'_, Priced>) {
    let highest = bids.iter().map(|(price, ..)| *price).max();
    bids.iter().filter(|(price, ..)| Some(*price) == highest).for_each(|bid| out.emit(*bid));
}

pub(crate) fn q7(events: Events) -> Digests {
    bids(events)
        .map(|bid| (bid.price, bid.auction, bid.bidder, bid.at))
        .key_by(|(_, auction, ..)| *auction)
        .window(TumblingWindows::event_time(TEN_SECONDS))
        .apply("q7-of-auctions", |bids: &[Priced], _, out| give_highest(bids, out))
        .window_all(TumblingWindows::event_time(TEN_SECONDS))
        .apply("q7", |bids: &[Priced], _, out| give_highest(bids, out))
        .map(|bid| digest(&bid))
}

pub(crate) fn q11(events: Events) -> Digests {
    bids(events).key_by(|bid| bid.bidder).window(SessionWindows::event_time(TEN_SECONDS)).aggregate_with(
        "q11",
        Count::new(),
        |ctx, count| digest(&(*ctx.key(), count, ctx.window().start(), ctx.window().end())),
    )
}

pub(crate) fn q12(events: Events) -> Digests {
    bids(events).key_by(|bid| bid.bidder).window(TumblingWindows::processing_time(TEN_SECONDS)).aggregate_with(
        "q12",
        Count::new(),
        |ctx, count| digest(&(*ctx.key(), count)),
    )
}

pub(crate) fn q16(events: Events) -> Digests {
    bids(events)
        .map(|bid| (bid.channel, bid.bidder, bid.auction, bid.price))
        .key_by_ref(|(channel, ..)| channel.as_str())
        .window(TumblingWindows::event_time(DAY))
        .apply("q16", |bids: &[(String, u64, u64, u64)], ctx, out| {
            let figures = Figures::of(bids.iter().map(|(.., price)| *price));
            let bidders: BTreeSet<u64> = bids.iter().map(|(_, bidder, ..)| *bidder).collect();
            let auctions: BTreeSet<u64> = bids.iter().map(|(_, _, auction, _)| *auction).collect();
            out.emit(digest(&(ctx.key(), ctx.window().start(), figures, bidders.len(), auctions.len())));
        })
}

pub(crate) fn q17(events: Events) -> Digests {
    bids(events)
        .map(|bid| (bid.auction, bid.price))
        .key_by(|(auction, _)| *auction)
        .window(TumblingWindows::event_time(DAY))
        .apply("q17", |bids: &[(u64, u64)], ctx, out| {
            let figures = Figures::of(bids.iter().map(|(_, price)| *price));
            out.emit(digest(&(*ctx.key(), ctx.window().start(), figures)));
        })
}

pub(crate) fn q18(events: Events) -> Digests {
    bids(events)
        .key_by(|bid| (bid.bidder, bid.auction))
        .process("q18", AtEnd(MaxBy::of(|bid: &crate::events::Bid| (bid.at, bid.number))))
        .filter_map(|(key, last)| last.map(|bid| digest(&(key, bid.price, bid.at))))
}

pub(crate) fn q19(events: Events) -> Digests {
    bids(events)
        .key_by(|bid| bid.auction)
        .process("q19", AtEnd(TopN::of(10, |bid: &crate::events::Bid| (bid.price, Reverse(bid.number)))))
        .flat_map(|(auction, top), out| {
            (1..).zip(top).for_each(|(rank, bid): (u64, _)| out.emit(digest(&(auction, rank, bid.price, bid.bidder))));
        })
}
