//! The times of a key's timers.

use std::collections::BTreeSet;
use std::fmt;

use millstream_actors::protocol::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::timers::TimeDomain;

/// Times, ascending, each once. As a rule there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Times {
    #[default]
    None,
    One(Timestamp),
    #[allow(clippy::box_collection, reason = "a set has three words, and most keys have one time")]
    Many(Box<BTreeSet<Timestamp>>),
}

impl Times {
    pub(super) fn first(&self) -> Option<Timestamp> {
        match self {
            Self::None => None,
            Self::One(at) => Some(*at),
            Self::Many(times) => times.first().copied(),
        }
    }

    pub(super) fn contains(&self, at: Timestamp) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => *one == at,
            Self::Many(times) => times.contains(&at),
        }
    }

    /// False if it was there.
    pub(super) fn insert(&mut self, at: Timestamp) -> bool {
        match self {
            Self::None => *self = Self::One(at),
            Self::One(one) if *one == at => return false,
            Self::One(one) => *self = Self::Many(Box::new([*one, at].into())),
            Self::Many(times) => return times.insert(at),
        }
        true
    }

    /// False if it was not there.
    pub(super) fn remove(&mut self, at: Timestamp) -> bool {
        match self {
            Self::One(one) if *one == at => *self = Self::None,
            Self::None | Self::One(_) => return false,
            Self::Many(times) => {
                if !times.remove(&at) {
                    return false;
                }
                if let (1, Some(one)) = (times.len(), times.first().copied()) {
                    *self = Self::One(one);
                }
            }
        }
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Timestamp> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(at) => (Some(*at), None),
            Self::Many(times) => (None, Some(times.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    pub(super) fn is_empty(&self) -> bool {
        (&self.0, &self.1) == (&Times::None, &Times::None)
    }
}
