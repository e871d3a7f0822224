//! q8 of Nexmark.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use super::Timed;
use crate::nexmark::{Event, Newcomer, Person, WINDOW_MS, window_of};

/// Who came and opened an auction in the same window.
#[derive(Default)]
pub(in crate::engines) struct Newcomers {
    /// By their starts.
    windows: BTreeMap<i64, Window>,
}

#[derive(Default)]
struct Window {
    persons: HashMap<u64, Box<Person>>,
    sellers: HashSet<u64>,
}

impl Timed for Newcomers {
    type In = Event;
    type Out = Newcomer;

    #[inline]
    fn add(&mut self, event: Event) {
        let window = self.windows.entry(window_of(event.at())).or_default();
        match event {
            Event::Person(person) => {
                window.persons.insert(person.id, person);
            }
            Event::Auction(auction) => {
                window.sellers.insert(auction.seller);
            }
            Event::Bid(_) => {}
        }
    }

    #[inline]
    fn next_time(&self) -> Option<i64> {
        self.windows.first_key_value().map(|(start, _)| start + WINDOW_MS - 1)
    }

    fn fire(&mut self, mut give: impl FnMut(Newcomer)) {
        let Some((start, window)) = self.windows.pop_first() else { return };
        let persons = window.persons.iter().filter(|(id, _)| window.sellers.contains(*id));
        persons.for_each(|(_, person)| give(Newcomer::new(person, start)));
    }
}
