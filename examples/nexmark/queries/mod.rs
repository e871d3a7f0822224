//! The queries. Each gives a digest of each of its results, so that millions of them can be compared.

mod auctions;
mod bids;
mod simple;
mod together;

pub(crate) use bids::TEN_SECONDS;

use std::hash::{DefaultHasher, Hash, Hasher};

use millstream::prelude::*;

use crate::events::{Auction, Bid, Nexmark, Person};

pub(crate) type Events = DataStream<(u64, Nexmark)>;
pub(crate) type Digests = DataStream<u64>;

/// A query: its name, what it asks for, and how.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) asks: &'static str,
    pub(crate) run: fn(Events) -> Digests,
    /// It goes by processing time.
    pub(crate) by_clock: bool,
}

impl Query {
    const fn new(name: &'static str, asks: &'static str, run: fn(Events) -> Digests) -> Self {
        Self { name, asks, run, by_clock: false }
    }
}

pub(crate) const ALL: [Query; 16] = [
    Query::new("q0", "all events as they are", simple::q0),
    Query::new("q1", "bids in euros", simple::q1),
    Query::new("q2", "bids for some auctions", simple::q2),
    Query::new("q3", "who sells in some states, and what", together::q3),
    Query::new("q4", "mean price of what was sold, by category", auctions::q4),
    Query::new("q5", "auctions with most bids, of 10 s each 2 s", bids::q5),
    Query::new("q6", "mean price of a seller's last ten sales", auctions::q6),
    Query::new("q7", "highest bids each 10 s", bids::q7),
    Query::new("q8", "who came and sold something in the same 10 s", together::q8),
    Query::new("q11", "bids of a bidder until 10 s without one", bids::q11),
    Query { by_clock: true, ..Query::new("q12", "bids of a bidder each 10 s, as they come", bids::q12) },
    Query::new("q16", "figures of a channel in a day", bids::q16),
    Query::new("q17", "figures of an auction in a day", bids::q17),
    Query::new("q18", "last bid of a bidder for an auction", bids::q18),
    Query::new("q19", "ten highest bids for each auction", bids::q19),
    Query::new("q20", "bids with what is auctioned, in one category", together::q20),
];

pub(crate) fn digest(result: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    result.hash(&mut hasher);
    hasher.finish()
}

fn persons(events: Events) -> DataStream<Person> {
    events.filter_map(|(_, event)| if let Nexmark::Person(person) = event { Some(person) } else { None })
}

fn auctions(events: Events) -> DataStream<Auction> {
    events.filter_map(|(_, event)| if let Nexmark::Auction(auction) = event { Some(auction) } else { None })
}

fn bids(events: Events) -> DataStream<Bid> {
    events.filter_map(|(_, event)| if let Nexmark::Bid(bid) = event { Some(bid) } else { None })
}

/// Gives the result of an aggregate of each key once, when all input is in.
#[derive(Clone)]
struct AtEnd<G>(G);

impl<K, In, G> KeyedProcessFunction<K, In> for AtEnd<G>
where
    K: Clone + Send + 'static,
    In: Send + 'static,
    G: AggregateFunction<In = In> + Clone,
    G::Out: Send + 'static,
{
    type Out = (K, G::Out);
    type State = ValueState<G::Accumulator>;

    fn state(&self) -> Self::State {
        ValueState::new("so far")
    }

    fn process(
        &mut self,
        record: In,
        mut so_far: Row<'_, Self, K, In>,
        _: &mut KeyedContext<'_, K>,
        _: &mut Emitter<'_, Self::Out>,
    ) {
        self.0.add(so_far.get_or_insert_with(|| self.0.create()), record);
    }

    fn end_of_input(
        &mut self,
        so_far: Row<'_, Self, K, In>,
        ctx: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        if let Some(so_far) = so_far.get() {
            out.emit((ctx.key().clone(), self.0.result(so_far)));
        }
    }
}
