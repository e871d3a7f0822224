//! q4 and q6: auctions that are over, and what was paid.

use millstream::prelude::*;
use serde::{Deserialize, Serialize};

use crate::nexmark::{Auction, Bid, CategoryMean, Event, Mean, Sale, SellerMean};

pub(super) fn mean_prices(events: DataStream<Event>) -> DataStream<CategoryMean> {
    sales(events).key_by(|sale| sale.category).process("means", Means)
}

pub(super) fn of_sellers(events: DataStream<Event>) -> DataStream<SellerMean> {
    sales(events).key_by(|sale| sale.seller).process("last ten", LastTen)
}

/// What happens to an auction.
#[derive(Clone, Copy)]
enum Step {
    Opened(Auction),
    Bid(Bid),
}

impl Step {
    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Person(_) => None,
            Event::Auction(auction) => Some(Self::Opened(auction)),
            Event::Bid(bid) => Some(Self::Bid(bid)),
        }
    }

    fn auction(&self) -> u64 {
        match self {
            Self::Opened(auction) => auction.id,
            Self::Bid(bid) => bid.auction,
        }
    }
}

fn sales(events: DataStream<Event>) -> DataStream<Sale> {
    events.filter_map(Step::of).key_by(Step::auction).process("sales", Sales)
}

/// An auction that is not over, and the highest of the bids that came in its time.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Open {
    auction: Auction,
    highest: Option<u64>,
}

impl Open {
    #[inline]
    fn add(&mut self, at: Timestamp, price: u64) {
        if (self.auction.at..=self.auction.expires).contains(&at) {
            self.highest = self.highest.max(Some(price));
        }
    }
}

/// Gives each auction that has had bids when it is over. Bids that come before it are kept until event time has come to theirs:
/// those for an auction that is not there then are for none. One timer sees to all that are kept.
#[derive(Clone)]
struct Sales;

impl KeyedProcessFunction<u64, Step> for Sales {
    type Out = Sale;
    type State = (ValueState<Open>, ListState<(Timestamp, u64)>, Timers);

    fn state(&self) -> Self::State {
        (ValueState::new("open"), ListState::new("early bids"), Timers::new("over"))
    }

    #[inline]
    fn process(
        &mut self,
        step: Step,
        (mut open, mut early, mut over): Row<'_, Self, u64, Step>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, Sale>,
    ) {
        match step {
            Step::Opened(auction) => {
                over.register(Timer::EventTime(auction.expires));
                let mut opened = Open { auction, highest: None };
                early.take().into_iter().for_each(|(at, price)| opened.add(at, price));
                open.set(opened);
            }
            Step::Bid(bid) => match open.get_mut() {
                Some(open) => open.add(bid.at, bid.price),
                None => {
                    if early.is_empty() {
                        over.register(Timer::EventTime(bid.at));
                    }
                    early.push((bid.at, bid.price));
                }
            },
        }
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut open, mut early, mut over): Row<'_, Self, u64, Step>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Sale>,
    ) {
        let Timer::EventTime(now) = timer else { return };
        match open.get() {
            None => {
                let mut later = early.take();
                later.retain(|(at, _)| *at > ctx.watermark());
                if let Some((at, _)) = later.last() {
                    over.register(Timer::EventTime(*at));
                    early.set(later);
                }
            }
            Some(open_one) if open_one.auction.expires <= now => {
                if let Some(price) = open_one.highest {
                    out.emit(Sale::new(open_one.auction, price));
                }
                open.clear();
            }
            Some(_) => {}
        }
    }
}

/// Gives the mean price of a category when all input is in.
#[derive(Clone)]
struct Means;

impl KeyedProcessFunction<u64, Sale> for Means {
    type Out = CategoryMean;
    type State = ValueState<Mean>;

    fn state(&self) -> Self::State {
        ValueState::new("mean")
    }

    fn process(
        &mut self,
        sale: Sale,
        mut mean: Row<'_, Self, u64, Sale>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, CategoryMean>,
    ) {
        mean.get_or_insert_with(Mean::default).add(sale.price);
    }

    fn end_of_input(
        &mut self,
        mean: Row<'_, Self, u64, Sale>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, CategoryMean>,
    ) {
        if let Some(mean) = mean.get() {
            out.emit(CategoryMean { category: *ctx.key(), mean: mean.get() });
        }
    }
}

/// Gives the mean of a seller's last ten prices with each sale. Sales come from several subtasks, so they wait until event time has
/// come to them.
#[derive(Clone)]
struct LastTen;

impl KeyedProcessFunction<u64, Sale> for LastTen {
    type Out = SellerMean;
    type State = (MapState<(Timestamp, u64), Sale>, ValueState<Vec<u64>>, Timers);

    fn state(&self) -> Self::State {
        (MapState::new("waiting"), ValueState::new("last prices"), Timers::new("over"))
    }

    fn process(
        &mut self,
        sale: Sale,
        (mut waiting, _, mut over): Row<'_, Self, u64, Sale>,
        _: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, SellerMean>,
    ) {
        over.register(Timer::EventTime(sale.expires));
        waiting.insert((sale.expires, sale.auction), sale);
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        (mut waiting, mut prices, _): Row<'_, Self, u64, Sale>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, SellerMean>,
    ) {
        let Timer::EventTime(now) = timer else { return };
        let due: Vec<(Timestamp, u64)> = waiting.keys().take_while(|(at, _)| *at <= now).copied().collect();
        for place in due {
            let Some(sale) = waiting.remove(&place) else { continue };
            out.emit(SellerMean::next(sale, prices.get_or_insert_with(Vec::new)));
        }
    }
}
