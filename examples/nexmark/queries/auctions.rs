//! Queries of auctions that are over, and what was paid.

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use super::{AtEnd, Digests, Events, auctions, bids, digest};
use crate::events::{Auction, Bid};

/// An auction that is over, with the highest of the bids that came in its time.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Sale {
    auction: u64,
    seller: u64,
    category: u64,
    expires: Timestamp,
    price: u64,
}

fn sales(events: Events) -> DataStream<Sale> {
    let auctions = auctions(events.clone()).key_by(|auction| auction.id);
    auctions.connect(bids(events).key_by(|bid| bid.auction)).process("sales", Sales)
}

pub(crate) fn q4(events: Events) -> Digests {
    sales(events)
        .key_by(|sale| sale.category)
        .process("q4", AtEnd(Prices))
        .map(|(category, mean)| digest(&(category, mean)))
}

/// The mean price, rounded down.
#[derive(Clone)]
struct Prices;

impl AggregateFunction for Prices {
    type In = Sale;
    type Accumulator = (u64, u64);
    type Out = u64;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (u64, u64), sale: Sale) {
        *sum += sale.price;
        *count += 1;
    }

    fn result(&self, (sum, count): &(u64, u64)) -> u64 {
        sum / count
    }

    fn merge(&self, (sum, count): &mut (u64, u64), other: (u64, u64)) {
        *sum += other.0;
        *count += other.1;
    }
}

pub(crate) fn q6(events: Events) -> Digests {
    let means = sales(events).key_by(|sale| sale.seller).process("q6", LastTen);
    means.map(|(seller, auction, mean)| digest(&(seller, auction, mean)))
}

/// Gives each auction that has had bids when it is over. Until then it keeps them; bids for an auction that is not there when their
/// time has come are for none.
#[derive(Clone)]
struct Sales;

impl KeyedCoProcessFunction<u64, Auction, Bid> for Sales {
    type Out = Sale;
    type State = (ValueState<Auction>, ListState<Bid>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("auction"), ListState::new("bids"), Timers::new("over"))
    }

    fn process_first(
        &mut self,
        auction: Auction,
        (mut open, _, mut over): CoRow<'_, Self, u64, Auction, Bid>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Sale>,
    ) {
        over.register(Timer::EventTime(auction.expires));
        open.set(auction);
    }

    fn process_second(
        &mut self,
        bid: Bid,
        (open, mut bids, mut over): CoRow<'_, Self, u64, Auction, Bid>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Sale>,
    ) {
        if open.get().is_none() {
            over.register(Timer::EventTime(bid.at));
        }
        bids.push(bid);
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut open, mut bids, _): CoRow<'_, Self, u64, Auction, Bid>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Sale>,
    ) {
        let Timer::EventTime(now) = timer else { return };
        match open.get() {
            None => {
                let later = bids.take().into_iter().filter(|bid| bid.at > now).collect();
                bids.set(later);
            }
            Some(auction) if auction.expires <= now => {
                let in_time = bids.iter().filter(|bid| (auction.at..=auction.expires).contains(&bid.at));
                if let Some(price) = in_time.map(|bid| bid.price).max() {
                    let Auction { id, seller, category, expires, .. } = *auction;
                    out.emit(Sale { auction: id, seller, category, expires, price });
                }
                open.clear();
                bids.clear();
            }
            Some(_) => {}
        }
    }
}

/// Gives the mean of a seller's last ten prices with each sale. Sales come from several subtasks, so they wait until event time has
/// come to them.
#[derive(Clone)]
struct LastTen;

impl KeyedProcessFunction<u64, Sale> for LastTen {
    type Out = (u64, u64, u64);
    type State = (MapState<(Timestamp, u64), u64>, ValueState<Vec<u64>>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("waiting"), ValueState::new("last prices"), Timers::new("over"))
    }

    fn process(
        &mut self,
        sale: Sale,
        (mut waiting, _, mut over): Row<'_, Self, u64, Sale>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        over.register(Timer::EventTime(sale.expires));
        waiting.insert((sale.expires, sale.auction), sale.price);
    }

    fn on_timer(
        &mut self,
        _: Timer,
        (mut waiting, mut prices, _): Row<'_, Self, u64, Sale>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        let due: Vec<(Timestamp, u64)> = waiting.keys().take_while(|(at, _)| *at <= ctx.watermark()).copied().collect();
        for place in due {
            let Some(price) = waiting.remove(&place) else { continue };
            let prices = prices.get_or_insert_with(Vec::new);
            prices.push(price);
            if prices.len() > 10 {
                prices.remove(0);
            }
            out.emit((*ctx.key(), place.1, prices.iter().sum::<u64>() / prices.len() as u64));
        }
    }
}
