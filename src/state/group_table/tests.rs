use std::collections::HashMap;
use std::hash::Hasher;

use super::*;
use crate::state::test_kit::Random;
use crate::state::{StateSet, ValueState};

/// A key of which so many hash alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Alike<const KEYS: u64>(u64);

impl<const KEYS: u64> Hash for Alike<KEYS> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 / KEYS).hash(state);
    }
}

type Table<const KEYS: u64> = GroupTable<Alike<KEYS>, u64>;

fn place_of<const KEYS: u64>(table: &Table<KEYS>, key: u64) -> Option<usize> {
    table.find(stable_hash(&Alike::<KEYS>(key)), |other| other.0 == key)
}

fn insert<const KEYS: u64>(table: &mut Table<KEYS>, key: u64, row: u64) -> usize {
    let key = Alike(key);
    table.insert(stable_hash(&key), Entry { key, row })
}

/// Holds that the table has what the model has, each where it was when it came.
fn assert_same<const KEYS: u64>(table: &Table<KEYS>, model: &HashMap<u64, (u64, usize)>) {
    assert_eq!(table.len(), model.len());
    for (key, (row, place)) in model {
        assert_eq!(place_of(table, *key), Some(*place), "key {key}");
        assert_eq!(table.get(*place).map(|entry| (entry.key.0, entry.row)), Some((*key, *row)));
    }
    let mut all: Vec<u64> = table.iter().map(|entry| entry.key.0).collect();
    all.sort_unstable();
    let mut expected: Vec<u64> = model.keys().copied().collect();
    expected.sort_unstable();
    assert_eq!(all, expected);
}

/// Keys come and go at random, in waves of more and fewer.
fn behaves_as_a_map<const KEYS: u64>(seed: u64) {
    let mut random = Random(seed);
    let (mut table, mut model) = (Table::<KEYS>::default(), HashMap::<u64, (u64, usize)>::new());
    let keys = 1 + random.below(700);
    for wave in 0..12 {
        for _ in 0..random.below(1500) {
            let (key, row) = (random.below(keys), random.next());
            let stays = random.below(10) < if wave % 2 == 0 { 8 } else { 2 };
            match (place_of(&table, key), stays) {
                (Some(place), true) => {
                    table.get_mut(place).unwrap().row = row;
                    model.get_mut(&key).unwrap().0 = row;
                }
                (None, true) => {
                    let place = insert(&mut table, key, row);
                    assert_eq!(model.insert(key, (row, place)), None);
                }
                (Some(place), false) => {
                    let removed = table.remove(place).unwrap();
                    assert_eq!((removed.key.0, Some((removed.row, place))), (key, model.remove(&key)));
                    assert!(table.remove(place).is_none());
                }
                (None, false) => assert!(!model.contains_key(&key)),
            }
        }
        assert_same(&table, &model);
        match random.below(4) {
            0 => {
                table.compact();
                model.iter_mut().for_each(|(key, (_, place))| *place = place_of(&table, *key).unwrap());
                assert_eq!(table.places(), table.len());
            }
            1 => {
                let bit = random.next();
                let out = table.take_if(|entry| (entry.row ^ bit).is_multiple_of(3));
                let gone = out.iter().filter(|entry| model.remove(&entry.key.0).is_some());
                assert_eq!(gone.count(), out.len());
            }
            2 => table.reserve(random.below(2000) as usize),
            _ => {}
        }
        assert_same(&table, &model);
    }
    let all = table.into_iter().map(|entry| (entry.key.0, entry.row));
    assert_eq!(all.collect::<HashMap<_, _>>(), model.into_iter().map(|(key, (row, _))| (key, row)).collect());
}

#[test]
fn it_behaves_as_a_map() {
    for seed in 0..60 {
        behaves_as_a_map::<1>(seed);
    }
}

#[test]
fn it_behaves_as_a_map_where_hashes_collide() {
    for seed in 0..30 {
        behaves_as_a_map::<16>(seed);
        behaves_as_a_map::<{ u64::MAX }>(seed);
    }
}

#[test]
fn a_key_that_is_there_is_where_it_probably_is() {
    let mut table = Table::<1>::default();
    for key in 0..100_000 {
        insert(&mut table, key, key);
    }
    let hit = |key: &u64| table.probable(stable_hash(&Alike::<1>(*key))) as usize == place_of(&table, *key).unwrap();
    let hits = (0..100_000).filter(hit).count();
    assert!(hits > 97_000, "{hits} of 100,000");
    let misses = (100_000..200_000).filter(|key| table.probable(stable_hash(&Alike::<1>(*key))) == NOWHERE).count();
    assert!(misses > 98_000, "{misses} of 100,000");
}

#[test]
fn keys_that_come_and_go_for_ever_do_not_make_it_grow() {
    let mut table = Table::<1>::default();
    for key in 0..300_000 {
        insert(&mut table, key, 0);
        if let Some(old) = key.checked_sub(100) {
            let place = place_of(&table, old).unwrap();
            table.remove(place);
        }
    }
    assert_eq!((table.len(), table.places()), (100, 101));
    assert!(table.allocated_bytes() < 10_000, "{}", table.allocated_bytes());
}

#[test]
fn an_entry_that_may_be_missing_takes_no_more_memory() {
    type Counts = Entry<u64, <ValueState<(u64, u64)> as StateSet>::Row>;
    assert_eq!(size_of::<Option<Counts>>(), size_of::<Counts>());
}

/// A table of keys that were not looked for while they came is as one of keys that were.
fn is_indexed_at_once<const KEYS: u64>(keys: u64) {
    let mut unindexed = Unindexed::default();
    for key in 0..keys {
        *unindexed.push(Entry { key: Alike::<KEYS>(key), row: 0 }) = key;
    }
    let mut table = unindexed.indexed().unwrap();
    let model = (0..keys).map(|key| (key, (key, key as usize)));
    assert_same(&table, &model.collect());
    // It goes on as any other.
    let place = insert(&mut table, keys, 1);
    assert_eq!((place as u64, place_of(&table, keys)), (keys, Some(place)));
}

#[test]
fn it_is_the_same_when_it_is_indexed_at_once() {
    for keys in [0, 1, 7, 8, 9, 32, 33, 5_000] {
        is_indexed_at_once::<1>(keys);
        is_indexed_at_once::<16>(keys);
    }
    is_indexed_at_once::<{ u64::MAX }>(500);
}

#[test]
fn a_key_that_came_twice_is_noticed() {
    for (at, of) in [(1, 2), (31, 32), (32, 33), (40, 5_000), (4_999, 5_000)] {
        let mut unindexed = Unindexed::default();
        for place in 0..of {
            let key = if place == at { 0 } else { place };
            unindexed.push(Entry { key: Alike::<16>(key), row: 0u64 });
        }
        assert!(unindexed.indexed().is_none(), "{at} of {of}");
    }
}
