//! The records of partial matches, where what they have in common is there once.

use std::collections::BTreeMap;

use millstream_actors::protocol::Timestamp;
use serde::{Deserialize, Serialize};

/// A record of a key: its time, and its number among those of that time.
pub(crate) type EventId = (Timestamp, u64);

/// One record of a partial match. Matches that have the same records up to here share it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    event: EventId,
    stage: u32,
    previous: Option<u64>,
    /// How many links have it as their previous one, and how many matches end with it.
    references: u32,
}

/// The records of partial matches by stage, each match known by its last link. Follows Flink's `SharedBuffer`, but that a link has
/// one previous one, so that no versions are needed to tell matches apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paths {
    links: BTreeMap<u64, Link>,
    /// How many links have a record.
    uses: BTreeMap<EventId, u32>,
}

impl Paths {
    /// Adds a record behind what ends with `previous`. The link is there as long as it is [held](Self::hold).
    pub(super) fn add(&mut self, previous: Option<u64>, stage: u32, event: EventId) -> u64 {
        let number = self.links.last_key_value().map_or(0, |(last, _)| last + 1);
        self.links.insert(number, Link { event, stage, previous, references: 0 });
        *self.uses.entry(event).or_default() += 1;
        previous.into_iter().for_each(|previous| self.hold(previous));
        number
    }

    /// One more refers to this link.
    pub(super) fn hold(&mut self, number: u64) {
        self.link(number).references += 1;
    }

    /// One less refers to this link. What nothing refers to any more is dropped, and the records that no link has any more are added
    /// to `released`.
    pub(super) fn release(&mut self, number: u64, released: &mut Vec<EventId>) {
        let mut next = Some(number);
        while let Some(number) = next {
            let link = self.link(number);
            link.references -= 1;
            if link.references > 0 {
                return;
            }
            let (event, previous) = (link.event, link.previous);
            self.links.remove(&number);
            let uses = self.uses.get_mut(&event).expect("a link's record is in use");
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&event);
                released.push(event);
            }
            next = previous;
        }
    }

    /// The records that end with this link, each with its stage, the first first.
    pub(super) fn of(&self, last: u64) -> Vec<(u32, EventId)> {
        let links = std::iter::successors(self.links.get(&last), |link| self.links.get(&link.previous?));
        let mut path: Vec<_> = links.map(|link| (link.stage, link.event)).collect();
        path.reverse();
        path
    }

    /// Whether a link has this record.
    pub(super) fn uses(&self, event: EventId) -> bool {
        self.uses.contains_key(&event)
    }

    /// Whether there is no link.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.uses.is_empty()
    }

    fn link(&mut self, number: u64) -> &mut Link {
        self.links.get_mut(&number).expect("what refers to a link holds it")
    }
}
