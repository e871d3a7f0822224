use std::collections::BTreeSet;

use millstream_actors::protocol::KeyGroupRange;

use super::*;
use crate::snapshot::MemoryStore;
use crate::state::kinds::Timers;
use crate::state::test_kit::{Random, Subtask, change, manifest, no_time};
use crate::state::{KeyedBackend, Timer, ValueState};
use millstream_actors::contract::{Manifest, SnapshotStore};
use millstream_actors::protocol::Incarnation;

type States = (ValueState<u64>, Timers);
type Rows = Subtask<u64, States>;

const EVENT: TimeDomain = TimeDomain::Event;

fn states() -> States {
    (ValueState::new("v"), Timers::new("t"))
}

fn rows() -> Rows {
    Subtask::new(states(), KeyGroupRange { start: 0, end: 8 }, 8)
}

/// Sets the key's value, and a timer.
fn register(rows: &mut Rows, key: u64, at: Timestamp) {
    change(&mut rows.table, &key, |(mut value, mut timers)| {
        value.set(key);
        timers.register(Timer::EventTime(at));
    });
}

/// Fires what is next up to a time, after which the key has no value; and what that was.
fn fire_next(rows: &mut Rows, up_to: Timestamp) -> Option<(Timestamp, u64)> {
    let mut fired = None;
    while fired.is_none() && rows.table.next_timer(EVENT, up_to).unwrap().is_some() {
        let fire = rows.table.fire_timers(EVENT, |key, at, (mut value, _)| {
            value.clear();
            assert_eq!(fired.replace((at, *key)), None);
        });
        fire.unwrap();
    }
    fired
}

fn fire_all(rows: &mut Rows, up_to: Timestamp) -> Vec<(Timestamp, u64)> {
    rows.table.set_time(0, up_to);
    std::iter::from_fn(|| fire_next(rows, up_to)).collect()
}

fn is_walking(rows: &Rows) -> bool {
    rows.table.walks[EVENT as usize].is_some()
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    store
}

fn checkpoint(rows: &mut Rows, store: &MemoryStore, number: u64, base: Option<&Manifest>) -> Manifest {
    let written = rows.snapshot(store, number, base.map_or(0, |base| base.checkpoint.0)).unwrap();
    manifest(number, vec![written], base)
}

fn restored(store: &MemoryStore, from: &Manifest) -> Rows {
    let mut rows = rows();
    rows.restore(store, from, states()).unwrap();
    rows
}

/// T3. While a walk is under way keys come and go, timers of earlier times and of its own are registered, tables become smaller, and
/// snapshots are written.
#[test]
fn each_timer_fires_once_and_by_time_whatever_comes_while_rows_are_gone_through() {
    for seed in 0..40 {
        let (mut random, mut rows, mut due, store) = (Random(seed), rows(), BTreeSet::new(), store());
        let (mut walked, mut checkpoints) = (0, 0);
        for end in 1..12i64 {
            for _ in 0..random.below(900) {
                let (key, at) = (random.below(600), 100 * end - if random.below(40) == 0 { 7 } else { 0 });
                register(&mut rows, key, at);
                due.insert((at, key));
            }
            let mut last = Timestamp::MIN;
            while let Some((at, key)) = fire_next(&mut rows, 100 * end) {
                walked += usize::from(is_walking(&rows));
                assert!(due.remove(&(at, key)), "{key} fired at {at}");
                assert!(due.first().is_none_or(|(first, _)| *first >= at), "{at} is before {:?}", due.first());
                last = last.max(at);
                match random.below(30) {
                    0 => {
                        let (key, at) = (random.below(600), last - random.below(3) as i64);
                        register(&mut rows, key, at);
                        due.insert((at, key));
                    }
                    1 => {
                        let (key, at) = (1000 + random.below(600), 100 * end + 100);
                        register(&mut rows, key, at);
                        due.insert((at, key));
                    }
                    2 => {
                        let key = random.below(600);
                        change(&mut rows.table, &key, |(mut value, mut timers)| {
                            value.clear();
                            timers.clear();
                        });
                        due.retain(|(_, other)| *other != key);
                    }
                    3 => {
                        checkpoints += 1;
                        rows.barrier(checkpoints, 0);
                    }
                    4..8 => drop(rows.slice(&store, no_time()).unwrap()),
                    _ => {}
                }
            }
            assert!(due.first().is_none_or(|(at, _)| *at > 100 * end), "{:?} has not fired", due.first());
        }
        assert!(walked > 500, "{walked}");
    }
}

#[test]
fn few_keys_among_many_are_looked_up() {
    let mut rows = rows();
    (0..2000).for_each(|key| register(&mut rows, key, if key < 20 { 5 } else { 1000 }));
    assert!(fire_next(&mut rows, 5).is_some() && !is_walking(&rows));
    assert_eq!(fire_all(&mut rows, 5).len(), 19);
    assert!(fire_next(&mut rows, 1000).is_some() && is_walking(&rows));
    assert_eq!(rows.table.queued_timers(), 1979, "what a walk will come to counts");
    assert_eq!(fire_all(&mut rows, 1000).len(), 1979);
}

/// A million keys each of which comes once: those of one time are there, and for a while those of the one before.
#[test]
fn keys_that_do_not_come_again_do_not_stay() {
    const KEYS: usize = 10_000;
    let mut rows = rows();
    for window in 0..100u64 {
        let at = window as Timestamp;
        (0..KEYS as u64).for_each(|key| register(&mut rows, window * KEYS as u64 + key, at));
        assert!(rows.table.len() <= 2 * KEYS, "{} rows", rows.table.len());
        assert_eq!((fire_all(&mut rows, at).len(), rows.table.live()), (KEYS, 0));
    }
    assert!(rows.table.allocated_bytes() < 4_000_000, "{}", rows.table.allocated_bytes());
    assert_eq!(rows.table.len(), KEYS, "they wait for their next records");
    // Nothing is due any more: they go, a group or two at a time.
    for left in (0..8).rev() {
        let before = rows.table.len();
        rows.table.set_time(0, 1000);
        assert!(before - rows.table.len() < KEYS / 4, "{before}, then {}", rows.table.len());
        assert!(rows.table.len() <= left * KEYS / 7, "{left}: {}", rows.table.len());
    }
    assert_eq!(rows.table.len(), 0);
}

#[test]
fn rows_that_a_walk_has_emptied_go_also_if_no_walk_follows() {
    let mut rows = rows();
    (0..1000).for_each(|key| register(&mut rows, key, 5));
    (1000..1010).for_each(|key| register(&mut rows, key, key as Timestamp));
    assert_eq!((fire_all(&mut rows, 5).len(), rows.table.len(), rows.table.live()), (1000, 1010, 10));
    assert_eq!((fire_all(&mut rows, 1000).len(), rows.table.len()), (1, 9));
}

/// G1. What a walk has emptied is in no checkpoint, whether the base has it or there is none, and comes back as a new key.
#[test]
fn checkpoints_know_that_rows_were_emptied() {
    let (mut rows, store) = (rows(), store());
    (0..500).for_each(|key| register(&mut rows, key, 5));
    assert_eq!(fire_all(&mut rows, 5).len(), 500);
    (0..100).for_each(|key| register(&mut rows, key, 7));
    let first = checkpoint(&mut rows, &store, 1, None);
    assert_eq!(restored(&store, &first).table.len(), 100);
    assert_eq!(fire_all(&mut restored(&store, &first), 7).len(), 100);
    assert_eq!(fire_all(&mut rows, 7).len(), 100);
    (50..80).for_each(|key| register(&mut rows, key, 9));
    let second = checkpoint(&mut rows, &store, 2, Some(&first));
    let mut again = restored(&store, &second);
    assert_eq!((again.table.live(), fire_all(&mut again, 8).len(), fire_all(&mut again, 9).len()), (30, 0, 30));
    let third = checkpoint(&mut rows, &store, 3, Some(&second));
    let fourth = checkpoint(&mut rows, &store, 4, Some(&third));
    assert_eq!(restored(&store, &fourth).table.live(), 30);
    assert_eq!(rows.table.live(), 30);
}
