//! The queries. Each gives a digest of each of its results, so that millions of them can be compared.

mod auctions;
mod bids;
mod simple;
mod together;

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
}

pub(crate) const ALL: [Query; 15] = [
    Query { name: "q0", asks: "all events as they are", run: simple::q0 },
    Query { name: "q1", asks: "bids in euros", run: simple::q1 },
    Query { name: "q2", asks: "bids for some auctions", run: simple::q2 },
    Query { name: "q3", asks: "who sells in some states, and what", run: together::q3 },
    Query { name: "q4", asks: "mean price of what was sold, by category", run: auctions::q4 },
    Query { name: "q5", asks: "auctions with most bids, of 10 s each 2 s", run: bids::q5 },
    Query { name: "q6", asks: "mean price of a seller's last ten sales", run: auctions::q6 },
    Query { name: "q7", asks: "highest bids each 10 s", run: bids::q7 },
    Query { name: "q8", asks: "who came and sold something in the same 10 s", run: together::q8 },
    Query { name: "q11", asks: "bids of a bidder until 10 s without one", run: bids::q11 },
    Query { name: "q16", asks: "figures of a channel in a day", run: bids::q16 },
    Query { name: "q17", asks: "figures of an auction in a day", run: bids::q17 },
    Query { name: "q18", asks: "last bid of a bidder for an auction", run: bids::q18 },
    Query { name: "q19", asks: "ten highest bids for each auction", run: bids::q19 },
    Query { name: "q20", asks: "bids with what is auctioned, in one category", run: together::q20 },
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
