//! The times of a key's timers.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use millstream_actors::protocol::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::timers::TimeDomain;

/// More times than these are in a tree: to make room among them would take too long.
const FEW_MAX: usize = if cfg!(test) { 4 } else { 256 };

/// Times, ascending, each once. As a rule there is one, or they come and go in their order.
#[derive(Clone, Debug, Default)]
pub(super) enum Times {
    #[default]
    None,
    One(Timestamp),
    #[allow(clippy::box_collection, reason = "a deque has four words, and most keys have one time")]
    Few(Box<VecDeque<Timestamp>>),
    #[allow(clippy::box_collection, reason = "a set has three words, and most keys have one time")]
    Many(Box<BTreeSet<Timestamp>>),
}

impl Times {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    #[inline]
    pub(super) fn first(&self) -> Option<Timestamp> {
        match self {
            Self::None => None,
            Self::One(at) => Some(*at),
            Self::Few(times) => times.front().copied(),
            Self::Many(times) => times.first().copied(),
        }
    }

    pub(super) fn contains(&self, at: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => *one == at,
            Self::Few(times) => times.binary_search(&at).is_ok(),
            Self::Many(times) => times.contains(&at),
        }
    }

    /// False if it was there.
    #[inline]
    pub(super) fn insert(&mut self, at: Timestamp) -> bool {
        match self {
            Self::None => *self = Self::One(at),
            Self::One(one) if *one == at => return false,
            Self::One(one) => *self = Self::Few(Box::new([at.min(*one), at.max(*one)].into())),
            Self::Few(times) => {
                // As a rule it is the last one.
                let place = if times.back() < Some(&at) { Err(times.len()) } else { times.binary_search(&at) };
                let Err(place) = place else { return false };
                times.insert(place, at);
                if times.len() > FEW_MAX {
                    *self = Self::Many(Box::new(times.drain(..).collect()));
                }
            }
            Self::Many(times) => return times.insert(at),
        }
        true
    }

    /// False if it was not there.
    #[inline]
    pub(super) fn remove(&mut self, at: Timestamp) -> bool {
        match self {
            Self::One(one) if *one == at => *self = Self::None,
            Self::None | Self::One(_) => return false,
            Self::Few(times) => {
                let place = if times.front() == Some(&at) { Ok(0) } else { times.binary_search(&at) };
                let Ok(place) = place else { return false };
                times.remove(place);
                if let (1, Some(one)) = (times.len(), times.front().copied()) {
                    *self = Self::One(one);
                }
            }
            Self::Many(times) => {
                if !times.remove(&at) {
                    return false;
                }
                if times.len() <= FEW_MAX / 2 {
                    *self = Self::Few(Box::new(std::mem::take(&mut **times).into_iter().collect()));
                }
            }
        }
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Timestamp> {
        let (one, few, many) = match self {
            Self::None => (None, None, None),
            Self::One(at) => (Some(*at), None, None),
            Self::Few(times) => (None, Some(times.iter().copied()), None),
            Self::Many(times) => (None, None, Some(times.iter().copied())),
        };
        one.into_iter().chain(few.into_iter().flatten()).chain(many.into_iter().flatten())
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().collect::<Vec<_>>())
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Times;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("times")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Times, A::Error> {
                let mut times = Times::None;
                while let Some(at) = seq.next_element()? {
                    times.insert(at);
                }
                Ok(times)
            }
        }
        deserializer.deserialize_seq(Each)
    }
}

/// The timers of a key: those of event time, and those of processing time.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Registered(Times, Times);

impl Registered {
    pub(super) fn of(&self, domain: TimeDomain) -> &Times {
        match domain {
            TimeDomain::Event => &self.0,
            TimeDomain::Processing => &self.1,
        }
    }

    pub(super) fn of_mut(&mut self, domain: TimeDomain) -> &mut Times {
        match domain {
            TimeDomain::Event => &mut self.0,
            TimeDomain::Processing => &mut self.1,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty() && self.1.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::test_kit::Random;

    #[test]
    fn times_are_a_sorted_set_however_many_there_are() {
        let (mut random, mut times, mut all) = (Random(5), Times::default(), BTreeSet::new());
        for round in 0..4000u64 {
            // Few and many, in turn.
            let (adds, at) =
                (random.below(100) < if round % 400 < 200 { 60 } else { 40 }, random.below(12) as Timestamp - 6);
            match random.below(3) {
                0 if !adds => {
                    let first = all.pop_first();
                    assert_eq!(times.first(), first);
                    assert_eq!(first.is_some_and(|first| times.remove(first)), first.is_some());
                }
                _ if adds => assert_eq!(times.insert(at), all.insert(at)),
                _ => assert_eq!(times.remove(at), all.remove(&at)),
            }
            assert!(times.iter().eq(all.iter().copied()));
            assert_eq!((times.first(), times.contains(at)), (all.first().copied(), all.contains(&at)));
            assert_eq!(times.is_empty(), all.is_empty());
        }
    }
}
