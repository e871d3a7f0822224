use std::collections::BTreeMap;

use crate::keyed::{KeyedContext, KeyedProcessFunction, Row};
use crate::operator::{ByValue, Emitter};
use crate::state::kinds::tests::Mean;
use crate::state::{AggregatingState, ListState, MapState, ReducingState, StateRows, ValueState};
use crate::testing::OperatorHarness;

crate::state_set! {
    /// More than a tuple takes, of every kind.
    struct Everything {
        a: ValueState<u64>,
        b: ValueState<String>,
        c: ValueState<i64>,
        d: ValueState<(u64, u64)>,
        list: ListState<u64>,
        texts: ListState<String>,
        map: MapState<u64, u64>,
        sum: ReducingState<u64>,
        mean: AggregatingState<Mean>,
        /// The tenth.
        last: ValueState<bool>,
    }
}

#[derive(Clone)]
struct UsesEverything;

type Seen = (u64, u64, Vec<u64>, usize, Vec<(u64, u64)>, u64, f64, bool);

impl KeyedProcessFunction<u64, u64> for UsesEverything {
    type Out = Seen;
    type State = Everything;

    fn state(&self) -> Everything {
        Everything {
            a: ValueState::new("a"),
            b: ValueState::new("b"),
            c: ValueState::new("c"),
            d: ValueState::new("d"),
            list: ListState::new("list"),
            texts: ListState::new("texts"),
            map: MapState::new("map"),
            sum: ReducingState::new("sum", |a, b| a + b),
            mean: AggregatingState::new("mean", Mean),
            last: ValueState::new("last"),
        }
    }

    fn process(
        &mut self,
        n: u64,
        mut states: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Seen>,
    ) {
        if n.is_multiple_of(37) {
            states.map.clear();
            states.sum.clear();
            states.b.clear();
        }
        *states.a.get_or_insert_with(|| 0) += 1;
        states.b.get_or_insert_with(String::new).push('x');
        states.c.set(-1);
        states.d.update(|d| Some(d.map_or((n, n), |(a, b)| (a.min(n), b.max(n)))));
        states.list.push(n);
        if states.list.len() > 5 {
            states.list.get_mut().remove(0);
        }
        states.texts.push(n.to_string());
        if n.is_multiple_of(3) {
            states.map.remove(&(n / 3 % 7));
        }
        states.map.insert(n % 7, n);
        let sum = *states.sum.add(n);
        states.mean.add(n as u32);
        let was = states.last.get().copied().unwrap_or(false);
        states.last.set(n.is_multiple_of(2));
        let map = states.map.iter().map(|(key, value)| (*key, *value)).collect();
        let mean = states.mean.get().unwrap();
        out.emit((*ctx.key(), sum, states.list.get().to_vec(), states.texts.len(), map, n, mean, was));
    }
}

fn expected(records: &[u64]) -> Vec<Seen> {
    let mut keys: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut maps: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
    let mut seen = Vec::new();
    for &n in records {
        let (all, map) = (keys.entry(n % 11).or_default(), maps.entry(n % 11).or_default());
        let was = all.last().is_some_and(|n| n % 2 == 0);
        all.push(n);
        if n % 37 == 0 {
            map.clear();
        }
        if n % 3 == 0 {
            map.remove(&(n / 3 % 7));
        }
        map.insert(n % 7, n);
        let start = all.iter().rposition(|n| n % 37 == 0).unwrap_or(0);
        let sum = all[start..].iter().sum();
        let mean = all.iter().sum::<u64>() as f64 / all.len() as f64;
        let list = all[all.len().saturating_sub(5)..].to_vec();
        seen.push((n % 11, sum, list, all.len(), map.clone().into_iter().collect(), n, mean, was));
    }
    seen
}

#[test]
fn a_function_with_ten_states_of_all_kinds_gives_the_same_in_every_way_of_running() {
    let records: Vec<u64> = (0..1500).collect();
    OperatorHarness::keyed(ByValue::new(|n: &u64| n % 11), UsesEverything)
        .batch(records.clone())
        .check_by(|seen| seen.0, expected(&records));
}

#[test]
fn names_and_formats_are_in_the_order_of_declaration() {
    let states = UsesEverything.state();
    let names: Vec<String> = states.names().iter().map(|name| name.to_string()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "list", "texts", "map", "sum", "mean", "last"]);
    let values: Vec<u8> = states.formats().iter().map(|format| format.values.0).collect();
    assert_eq!(values, [4, 0, 9, 21, 100, 100, 101, 4, 21, 13]);
    assert!(!states.expires());
}
