//! q3 of Nexmark.

use hashbrown::HashMap;

use crate::nexmark::{Event, Pair, Person, is_in_category, is_in_states};

/// Persons of some states with their auctions of one category, each pair once as it becomes known.
#[derive(Default)]
pub(in crate::engines) struct Pairs {
    sellers: HashMap<u64, Seller>,
}

#[derive(Default)]
struct Seller {
    person: Option<Box<Person>>,
    /// That have come before the person.
    auctions: Vec<u64>,
}

impl Pairs {
    /// Whether the query asks for it.
    #[inline]
    pub(in crate::engines) fn asks_for(event: &Event) -> bool {
        match event {
            Event::Person(person) => is_in_states(person),
            Event::Auction(auction) => is_in_category(auction),
            Event::Bid(_) => false,
        }
    }

    /// Takes what the query asks for.
    pub(in crate::engines) fn add(&mut self, event: Event, mut give: impl FnMut(Pair)) {
        match event {
            Event::Person(person) => {
                let seller = self.sellers.entry(person.id).or_default();
                seller.auctions.drain(..).for_each(|auction| give(Pair::new(&person, auction)));
                seller.person = Some(person);
            }
            Event::Auction(auction) => {
                let seller = self.sellers.entry(auction.seller).or_default();
                match &seller.person {
                    Some(person) => give(Pair::new(person, auction.id)),
                    None => seller.auctions.push(auction.id),
                }
            }
            Event::Bid(_) => unreachable!("no bid is asked for"),
        }
    }
}
