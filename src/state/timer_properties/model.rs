//! What keys have, as a plain program keeps it, and what is done with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_actors::protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::state::kinds::{Timers, TimersHandle};
use crate::state::{Expiring, ExpiringHandle, State, StateTtl, TimeDomain, Timer, ValueHandle, ValueState};

const TTL_MS: i64 = 300;

/// A key that has its hash with another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key(pub(super) u64);

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.0 / 2).hash(state);
    }
}

pub(super) type States = (ValueState<u64>, Timers, Expiring<ValueState<u64>>);
pub(super) type Handles<'a> = (ValueHandle<'a, u64>, TimersHandle<'a>, ExpiringHandle<'a, ValueHandle<'a, u64>>);

pub(super) fn states() -> States {
    let ttl = StateTtl::processing_time(Duration::from_millis(TTL_MS as u64));
    (ValueState::new("v"), Timers::new("t"), ValueState::new("x").with_ttl(ttl))
}

/// What the keys have.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    values: BTreeMap<Key, u64>,
    pub(super) timers: BTreeMap<Key, [BTreeSet<Timestamp>; 2]>,
    /// The same by time.
    pub(super) due: [BTreeSet<(Timestamp, Key)>; 2],
    /// With the time at which each expires.
    passing: BTreeMap<Key, (u64, i64)>,
}

/// One row, as a function sees it.
pub(super) type Seen = (Option<u64>, [Vec<Timestamp>; 2], Option<u64>);

pub(super) fn seen((value, timers, passing): &Handles<'_>) -> Seen {
    let mut of = [Vec::new(), Vec::new()];
    for timer in timers.iter() {
        match timer {
            Timer::EventTime(at) => of[TimeDomain::Event as usize].push(at),
            Timer::ProcessingTime(at) => of[TimeDomain::Processing as usize].push(at),
        }
    }
    (value.get().copied(), of, passing.get().copied())
}

impl Model {
    pub(super) fn seen(&self, key: Key, now: i64) -> Seen {
        let of = |domain: usize| self.timers.get(&key).map_or(Vec::new(), |of| of[domain].iter().copied().collect());
        let passing = self.passing.get(&key).filter(|(_, deadline)| *deadline > now).map(|(number, _)| *number);
        (self.values.get(&key).copied(), [of(0), of(1)], passing)
    }

    /// Those that have state; also those of which a value has expired, if `with_expired`.
    pub(super) fn keys(&self, now: i64, with_expired: bool) -> BTreeSet<Key> {
        let passing = self.passing.iter().filter(|(_, (_, deadline))| with_expired || *deadline > now);
        self.values.keys().chain(self.timers.keys()).chain(passing.map(|(key, _)| key)).copied().collect()
    }

    fn register(&mut self, key: Key, domain: TimeDomain, at: Timestamp) {
        self.timers.entry(key).or_default()[domain as usize].insert(at);
        self.due[domain as usize].insert((at, key));
    }

    /// Whether it was there.
    pub(super) fn take_timer(&mut self, key: Key, domain: TimeDomain, at: Timestamp) -> bool {
        if let Some(of) = self.timers.get_mut(&key) {
            of[domain as usize].remove(&at);
            if of.iter().all(BTreeSet::is_empty) {
                self.timers.remove(&key);
            }
        }
        self.due[domain as usize].remove(&(at, key))
    }

    fn clear_timers(&mut self, key: Key) {
        for (due, of) in self.due.iter_mut().zip(self.timers.remove(&key).unwrap_or_default()) {
            for at in of {
                due.remove(&(at, key));
            }
        }
    }
}

/// What is done with a row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    Register(TimeDomain, Timestamp),
    Delete(TimeDomain, Timestamp),
    ClearTimers,
    Set(u64),
    SetPassing(u64),
    Clear,
    ClearAll,
    Nothing,
}

pub(super) fn act(act: Act, key: Key, now: i64, (value, timers, passing): &mut Handles<'_>, model: &mut Model) {
    match act {
        Act::Register(domain, at) => {
            timers.register(domain.timer(at));
            model.register(key, domain, at);
        }
        Act::Delete(domain, at) => {
            timers.delete(domain.timer(at));
            model.take_timer(key, domain, at);
        }
        Act::ClearTimers => {
            timers.clear();
            model.clear_timers(key);
        }
        Act::Set(number) => {
            value.set(number);
            model.values.insert(key, number);
        }
        Act::SetPassing(number) => {
            passing.set(number);
            model.passing.insert(key, (number, now + TTL_MS));
        }
        Act::Clear => {
            value.clear();
            model.values.remove(&key);
        }
        Act::ClearAll => {
            value.clear();
            timers.clear();
            passing.clear();
            model.values.remove(&key);
            model.passing.remove(&key);
            model.clear_timers(key);
        }
        Act::Nothing => {}
    }
}
