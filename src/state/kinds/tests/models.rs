//! Each kind of state with the plain value that it must equal, and the ways in which both are changed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Kind;
use crate::state::kinds::{Timer, Timers, TimersHandle};
use crate::state::test_kit::Random;
use crate::state::{
    AggregateFunction, AggregatingHandle, AggregatingState, ListHandle, ListState, MapHandle, MapState, ReducingHandle,
    ReducingState,
};

pub(super) struct List;

impl Kind for List {
    type State = ListState<u32>;
    type Model = Vec<u32>;

    fn state() -> Self::State {
        ListState::new("list")
    }

    fn change(random: &mut Random, list: &mut ListHandle<'_, u32>, model: &mut Vec<u32>) {
        let value = random.below(100) as u32;
        match random.below(16) {
            0..7 => {
                list.push(value);
                model.push(value);
            }
            7 => {
                let values: Vec<u32> = (0..random.below(5)).map(|n| n as u32 + value).collect();
                list.extend(values.clone());
                model.extend(values);
            }
            8 => {
                let values = vec![value; random.below(3) as usize];
                list.set(values.clone());
                *model = values;
            }
            9 => {
                list.retain(|other| other % 16 != value % 16);
                model.retain(|other| other % 16 != value % 16);
            }
            10 => {
                list.get_mut().pop();
                model.pop();
            }
            11 => {
                list.get_mut().iter_mut().for_each(|other| *other += 1);
                model.iter_mut().for_each(|other| *other += 1);
            }
            12 if value < 50 => assert_eq!(list.take(), std::mem::take(model)),
            13 if value < 50 => {
                list.clear();
                model.clear();
            }
            _ => {}
        }
        assert_eq!((list.len(), list.is_empty()), (model.len(), model.is_empty()));
    }

    fn read(list: &ListHandle<'_, u32>) -> Vec<u32> {
        assert_eq!(list.iter().len(), list.into_iter().count());
        list.get().to_vec()
    }
}

pub(super) struct Map;

impl Kind for Map {
    type State = MapState<String, u64>;
    type Model = BTreeMap<String, u64>;

    fn state() -> Self::State {
        MapState::new("map")
    }

    fn change(random: &mut Random, map: &mut MapHandle<'_, String, u64>, model: &mut BTreeMap<String, u64>) {
        let (value, most) = (random.next(), [2, 8, 60][random.below(3) as usize]);
        let key = format!("k{}", random.below(most));
        match random.below(20) {
            0..5 => assert_eq!(map.insert(key.clone(), value), model.insert(key, value)),
            5..9 => assert_eq!(map.remove(key.as_str()), model.remove(&key)),
            9 => match (map.get_mut(key.as_str()), model.get_mut(&key)) {
                (Some(of_map), Some(of_model)) => (*of_map, *of_model) = (value, value),
                (of_map, of_model) => assert_eq!(of_map, of_model),
            },
            10 => {
                *map.get_or_insert_with(key.clone(), || 7) += 1;
                *model.entry(key).or_insert(7) += 1;
            }
            11 => {
                map.retain(|_, other| other % 8 != value % 8);
                model.retain(|_, other| *other % 8 != value % 8);
            }
            12 => {
                // Many come and go, so that marks of removed ones outnumber the rest.
                (0..40).for_each(|n| assert_eq!(map.insert(format!("n{n}"), n), None));
                (0..40).for_each(|n| assert_eq!(map.remove(&format!("n{n}")), Some(n)));
            }
            13 if value % 4 == 0 => {
                map.clear();
                model.clear();
            }
            14 => {
                for _ in 0..random.below(6) {
                    assert_eq!(map.first(), model.first_key_value());
                    assert_eq!(map.pop_first(), model.pop_first());
                }
            }
            15 | 16 => {
                let other = format!("k{}", random.below(most));
                let ends = [(key.clone(), other.clone()), (other, key)][usize::from(random.below(2) == 0)].clone();
                let (from, to) = if ends.0 <= ends.1 { ends } else { (ends.1, ends.0) };
                same_range(random, map, model, (Bound::Included(&from), Bound::Excluded(&to)));
                same_range(random, map, model, (Bound::Excluded(&from), Bound::Unbounded));
                same_range(random, map, model, (Bound::Unbounded, Bound::Included(&to)));
            }
            _ => assert_eq!((map.get(&key), map.contains(&key)), (model.get(&key), model.contains_key(&key))),
        }
        assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    }

    fn read(map: &MapHandle<'_, String, u64>) -> BTreeMap<String, u64> {
        let entries: Vec<(&String, &u64)> = map.iter().collect();
        assert!(entries.is_sorted());
        assert_eq!(map.range::<str>(..).collect::<Vec<_>>(), entries);
        assert!(map.keys().zip(map.values()).eq(entries.iter().copied()));
        assert!(map.iter().rev().eq(entries.iter().rev().copied()));
        assert_eq!(map.first(), entries.first().copied());
        map.iter().map(|(key, value)| (key.clone(), *value)).collect()
    }
}

/// Compares a range, taken from both ends in any order.
fn same_range(
    random: &mut Random,
    map: &MapHandle<'_, String, u64>,
    model: &BTreeMap<String, u64>,
    range: (Bound<&String>, Bound<&String>),
) {
    let (mut of_map, mut of_model) = (map.range::<String>(range), model.range::<String, _>(range));
    loop {
        let (one, other) = match random.below(2) {
            0 => (of_map.next(), of_model.next()),
            _ => (of_map.next_back(), of_model.next_back()),
        };
        assert_eq!(one, other);
        if one.is_none() {
            return;
        }
    }
}

pub(super) struct Reducing;

impl Kind for Reducing {
    type State = ReducingState<String>;
    type Model = Option<String>;

    fn state() -> Self::State {
        ReducingState::new("joined", |a: String, b: String| a + &b)
    }

    fn change(random: &mut Random, joined: &mut ReducingHandle<'_, String>, model: &mut Option<String>) {
        match random.below(8) {
            0..5 => {
                let text = random.text();
                *model.get_or_insert_default() += &text;
                assert_eq!(Some(joined.add(text)), model.as_ref());
            }
            5 => assert_eq!(joined.take(), model.take()),
            6 => {
                joined.clear();
                *model = None;
            }
            _ => assert_eq!(joined.get(), model.as_ref()),
        }
    }

    fn read(joined: &ReducingHandle<'_, String>) -> Option<String> {
        joined.get().cloned()
    }
}

/// Sum and number, from which the mean is made.
#[derive(Clone)]
pub(crate) struct Mean;

impl AggregateFunction for Mean {
    type In = u32;
    type Accumulator = (u64, u64);
    type Out = f64;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (u64, u64), value: u32) {
        (*sum, *count) = (*sum + u64::from(value), *count + 1);
    }

    fn result(&self, (sum, count): &(u64, u64)) -> f64 {
        *sum as f64 / *count as f64
    }

    fn merge(&self, (sum, count): &mut (u64, u64), other: (u64, u64)) {
        (*sum, *count) = (*sum + other.0, *count + other.1);
    }
}

pub(super) struct Aggregating;

impl Kind for Aggregating {
    type State = AggregatingState<Mean>;
    type Model = Option<(u64, u64)>;

    fn state() -> Self::State {
        AggregatingState::new("mean", Mean)
    }

    fn change(random: &mut Random, mean: &mut AggregatingHandle<'_, Mean>, model: &mut Self::Model) {
        let value = random.below(1000) as u32;
        match random.below(8) {
            0..4 => {
                mean.add(value);
                let (sum, count) = model.get_or_insert_default();
                (*sum, *count) = (*sum + u64::from(value), *count + 1);
            }
            4 => {
                mean.merge((u64::from(value), 2));
                let (sum, count) = model.get_or_insert_default();
                (*sum, *count) = (*sum + u64::from(value), *count + 2);
            }
            5 => {
                mean.clear();
                *model = None;
            }
            6 => assert_eq!(mean.take(), model.take()),
            _ => {}
        }
        assert_eq!(mean.get(), model.map(|(sum, count)| sum as f64 / count as f64));
    }

    fn read(mean: &AggregatingHandle<'_, Mean>) -> Self::Model {
        mean.accumulator().copied()
    }
}

/// Timers, and their times.
pub(super) struct OfTimers;

impl Kind for OfTimers {
    type State = Timers;
    type Model = BTreeSet<Timer>;

    fn state() -> Timers {
        Timers::new("timers")
    }

    fn change(random: &mut Random, timers: &mut TimersHandle<'_>, model: &mut BTreeSet<Timer>) {
        let at = random.below(6) as i64 - 2;
        let timer = if random.below(3) == 0 { Timer::ProcessingTime(at) } else { Timer::EventTime(at) };
        match random.below(8) {
            0 => {
                timers.clear();
                model.clear();
            }
            1..4 => {
                timers.delete(timer);
                model.remove(&timer);
            }
            _ => {
                timers.register(timer);
                model.insert(timer);
            }
        }
    }

    fn read(timers: &TimersHandle<'_>) -> BTreeSet<Timer> {
        timers.iter().collect()
    }
}
