use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use millstream_actors::contract::{Progress, SectionWriter};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange};
use serde::{Deserialize, Serialize};

use super::*;
use crate::state::backend::OneKey;
use crate::state::test_kit::{Random, no_time, operator};
use crate::state::{KeyedBackend, ValueHandle, ValueState, stable_hash};

type Counts = KeyedTable<u64, ValueState<u64>>;

fn table() -> Counts {
    KeyedTable::new(ValueState::new("v"), KeyGroupRange { start: 0, end: 8 }, 8)
}

/// Counts a record of the key, which is looked for in this place first.
fn count_in(table: &mut Counts, key: u64, place: u32) -> u64 {
    let mut count = 0;
    let mut block = OneKey::new(&key, |mut value: ValueHandle<'_, u64>| {
        *value.get_or_insert_with(|| 0) += 1;
        count = value.get().copied().unwrap_or_default();
    });
    let group = table.index_of(stable_hash(&key)) as u32;
    table.lend_rows::<_, false>(&mut block, &[Candidate { group, place }]);
    count
}

/// Where the key probably is.
fn locate(table: &Counts, key: u64) -> u32 {
    let mut candidates = Vec::new();
    table.look_up(&[stable_hash(&key)], &mut candidates);
    candidates[0].place
}

#[test]
fn wrong_and_stale_places_find_the_right_row() {
    let mut table = table();
    for key in 0..1000 {
        assert_eq!(count_in(&mut table, key, key as u32 % 7), 1);
    }
    let places: Vec<u32> = (0..1000).map(|key| locate(&table, key)).collect();
    let missed = places.iter().filter(|place| **place == NOWHERE).count();
    assert!(missed < 50, "nearly every key that is there has a candidate, {missed} of 1,000 have none");
    for key in 1000..9000 {
        count_in(&mut table, key, NOWHERE);
    }
    for key in 0..1000 {
        assert_eq!(count_in(&mut table, key, places[key as usize]), 2);
    }
    assert_eq!(table.len(), 9000);
    let place = locate(&table, 9000);
    assert_eq!(count_in(&mut table, 9000, place), 1, "whatever key is where a new one was looked for");
}

/// A key of which sixteen hash alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Clumsy(u64);

impl Hash for Clumsy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 / 16).hash(state);
    }
}

impl From<u64> for Clumsy {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

/// Sets, clears and reads values of a model, and compares what it is lent.
struct Mixed<'a, K> {
    hashes: Vec<u64>,
    keys: Vec<(u64, K)>,
    model: &'a mut HashMap<u64, u64>,
    random: &'a mut Random,
    /// Sets more often than it clears.
    grows: bool,
    left: usize,
    worked: usize,
}

impl<K: StateKey + Clone + Debug> KeyedBlock<K, ValueState<u64>> for Mixed<'_, K> {
    type Query = K;

    fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn query(&self, place: usize) -> &K {
        assert!(place >= self.worked, "record {place} has been worked on");
        &self.keys[place].1
    }

    fn own(&self, place: usize) -> K {
        self.query(place).clone()
    }

    fn work(&mut self, place: usize, key: &K, mut value: ValueHandle<'_, u64>) -> ControlFlow<()> {
        let (number, expected) = &self.keys[place];
        assert_eq!((place, key, value.get()), (self.worked, expected, self.model.get(number)));
        self.worked += 1;
        let new = self.random.next();
        match self.random.below(10) {
            0..4 => {
                value.set(new);
                self.model.insert(*number, new);
            }
            4..8 if self.grows => {
                value.set(new);
                self.model.insert(*number, new);
            }
            4..8 => {
                value.clear();
                self.model.remove(number);
            }
            _ => {}
        }
        if self.worked == self.left { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Random blocks, in which keys come twice, tables grow and shrink, and a snapshot is being taken at times.
fn check_against_a_map<K: StateKey + Clone + Debug + From<u64>>(seed: u64) {
    let random = &mut Random(seed);
    let range = KeyGroupRange { start: 0, end: 4 };
    let mut table = KeyedTable::<K, _>::new(ValueState::<u64>::new("v"), range, 4);
    let (mut model, names) = (HashMap::new(), ["v".into()]);
    let keys = [2, 30, 2_000][random.below(3) as usize];
    let mut writer = None;
    for round in 1..400 {
        let records = 1 + random.below(128);
        let keys: Vec<(u64, K)> = (0..records).map(|_| random.below(keys)).map(|n| (n, n.into())).collect();
        let hashes = keys.iter().map(|(_, key)| stable_hash(key)).collect();
        let left = 1 + random.below(200) as usize;
        let grows = round % 100 < 50;
        let mut block = Mixed { hashes, keys, model: &mut model, random, grows, left, worked: 0 };
        table.work_on_block(&mut block);
        assert_eq!(block.worked, left.min(records as usize));
        assert_eq!(table.live(), model.len(), "seed {seed}, round {round}");
        if random.below(20) == 0 {
            let mut new = SectionWriter::new(CheckpointId(round), CheckpointId(round.saturating_sub(30)), 0);
            new.set_operator(&operator());
            table.begin_snapshot(&names, &mut new);
            writer = Some(new);
        }
        if let Some(open) = &mut writer {
            let swept = table.sweep(&operator(), &names, usize::MAX, open, &mut no_time());
            if swept.expect("numbers can be written") == Progress::Done {
                writer = None;
            }
        }
    }
    let rows = range.iter().flat_map(|group| table.group(group));
    let there: Vec<&u64> = rows.filter_map(|(_, slot)| slot.value()).collect();
    assert!(there.len() == model.len() && there.iter().all(|value| model.values().any(|other| other == *value)));
}

#[test]
fn blocks_that_insert_and_remove_see_what_a_map_has() {
    (0..30).for_each(check_against_a_map::<u64>);
}

#[test]
fn keys_that_hash_alike_are_told_apart() {
    (100..120).for_each(check_against_a_map::<Clumsy>);
}
