//! Queries that bring events of two kinds together.

use std::marker::PhantomData;
use std::time::Duration;

use millstream::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Digests, Events, auctions, bids, digest, persons};

pub(crate) fn q3(events: Events) -> Digests {
    let persons = persons(events.clone()).filter(|person| ["or", "id", "ca"].contains(&person.state.as_str()));
    let auctions = auctions(events).filter(|auction| auction.category == 10);
    persons
        .key_by(|person| person.id)
        .connect(auctions.key_by(|auction| auction.seller))
        .process("q3", Pairs(PhantomData))
        .map(|(person, auction)| digest(&(person.name, person.city, person.state, auction.id)))
}

pub(crate) fn q8(events: Events) -> Digests {
    persons(events.clone())
        .key_by(|person| person.id)
        .join(auctions(events).key_by(|auction| auction.seller))
        .window(TumblingWindows::event_time(Duration::from_secs(10)))
        .co_group("q8", |persons, auctions, ctx, out| {
            for person in persons.iter().filter(|_| !auctions.is_empty()) {
                out.emit(digest(&(person.id, &person.name, ctx.window().start())));
            }
        })
}

pub(crate) fn q20(events: Events) -> Digests {
    let auctions = auctions(events.clone()).filter(|auction| auction.category == 10);
    bids(events)
        .key_by(|bid| bid.auction)
        .connect(auctions.key_by(|auction| auction.id))
        .process("q20", Pairs(PhantomData))
        .map(|(bid, auction)| digest(&(bid.number, bid.bidder, bid.price, auction.item, auction.seller)))
}

/// Gives each record of the first stream with each of the second that has its key, as soon as both are there. Keeps all.
#[derive(Clone)]
struct Pairs<A, B>(PhantomData<fn(A, B)>);

impl<K, A, B> KeyedCoProcessFunction<K, A, B> for Pairs<A, B>
where
    A: Clone + Serialize + DeserializeOwned + Send + 'static,
    B: Clone + Serialize + DeserializeOwned + Send + 'static,
{
    type Out = (A, B);
    type State = (ListState<A>, ListState<B>);

    fn state(&self) -> Self::State {
        (ListState::new("first"), ListState::new("second"))
    }

    fn process_first(
        &mut self,
        record: A,
        (mut firsts, seconds): CoRow<'_, Self, K, A, B>,
        _: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, (A, B)>,
    ) {
        seconds.iter().for_each(|second| out.emit((record.clone(), second.clone())));
        firsts.push(record);
    }

    fn process_second(
        &mut self,
        record: B,
        (firsts, mut seconds): CoRow<'_, Self, K, A, B>,
        _: &mut KeyedContext<'_, K>,
        out: &mut Emitter<'_, (A, B)>,
    ) {
        firsts.iter().for_each(|first| out.emit((first.clone(), record.clone())));
        seconds.push(record);
    }
}
