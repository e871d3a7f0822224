//! Rows answer as a plain map does, wherever they are and whatever is written meanwhile, and queries leave them as they are.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use millstream_actors::contract::{Asked, Manifest, SnapshotStore, StoredGroup, StoredStates};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange, QueryError};
use serde::{Deserialize, Serialize};

use super::*;
use crate::snapshot::MemoryStore;
use crate::state::codec::{StateFormat, take};
use crate::state::kinds::Timers;
use crate::state::test_kit::{Random, Subtask, all_the_time, change, manifest, no_time, operator, sections};
use crate::state::{
    AggregateFunction, AggregatingState, KeySchema, KeyedBackend, KeyedTable, ListState, MapState, RedbBackend,
    ReducingState, State, StateKey, StateRows, StateSet, StateTtl, ValueState, group_of_hash, hashes_of, stable_hash,
};

mod limits;

const GROUPS: u32 = 4;
const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: GROUPS };

type States = (ValueState<u64>, MapState<u64, u64>);
type Model = BTreeMap<u64, (Option<u64>, BTreeMap<u64, u64>)>;

fn states() -> States {
    (ValueState::new("value"), MapState::new("map"))
}

fn in_memory() -> KeyedTable<u64, States> {
    KeyedTable::new(states(), ALL, GROUPS)
}

fn spilled(dir: &Path, is_inline: bool) -> RedbBackend<u64, States> {
    RedbBackend::tiny(states(), ALL, GROUPS, dir, 6, is_inline)
}

/// What was asked, with its answer, and how values are read.
type Answered = (Ask, Option<(QueriedAs, StateFormat)>);

/// Has a request answered in the smallest slices, with a call of `between` between each two.
fn ask<K: StateKey, S: StateSet, B: LookAtRows<K, S>>(
    rows: &mut B,
    mut request: StateRequest,
    mut between: impl FnMut(&mut B),
) -> Result<Answered, QueryError> {
    while answer(rows, (&operator(), GROUPS), &mut request, &mut no_time()) == Asked::Suspended {
        between(rows);
    }
    Ok(request.answered()?.expect("all keys are this subtask's"))
}

fn keys_asked<K: StateKey>(keys: Vec<K>) -> Ask {
    let keys = keys.into_iter().map(|key| (stable_hash(&key), key)).collect();
    Ask::Keys(Box::new(KeysAsked { keys, values: Vec::new() }))
}

fn values_of<K: StateKey, V: 'static>((ask, found): Answered) -> Vec<Option<V>> {
    let ((queried_as, format), Ask::Keys(keys)) = (found.unwrap(), ask) else { panic!("keys were asked for") };
    let values = keys.downcast::<KeysAsked<K>>().unwrap().values;
    let decode = |bytes: Vec<u8>| *(queried_as.decode)(format, &bytes).unwrap().downcast::<V>().unwrap();
    values.into_iter().map(|bytes| bytes.map(decode)).collect()
}

fn get<K: StateKey + Clone, S: StateSet, V: 'static>(
    rows: &mut impl LookAtRows<K, S>,
    state: &str,
    key: &K,
) -> Result<Option<V>, QueryError> {
    let request = StateRequest::new::<K, V>(state.into(), 1_000, keys_asked(vec![key.clone()]));
    Ok(values_of::<K, V>(ask(rows, request, |_| {})?).remove(0))
}

/// All pages of a scan of the state "value", each with at most `limit` entries.
fn scan<B: LookAtRows<u64, States>>(rows: &mut B, limit: usize, mut between: impl FnMut(&mut B)) -> Vec<(u64, u64)> {
    let (mut from, mut scanned) = (0, Vec::new());
    loop {
        let asked = Ask::Scan(ScanAsked::new((from, u64::MAX), limit, ANSWER_BYTES_MAX));
        let request = StateRequest::new::<u64, u64>("value".into(), 1_000, asked);
        let (Ask::Scan(page), found) = ask(rows, request, &mut between).unwrap() else { unreachable!() };
        let (queried_as, format) = found.unwrap();
        assert!(page.entries.len() <= limit);
        for (key, value) in page.entries {
            let value = (queried_as.decode)(format, &value).unwrap();
            scanned.push((take::<u64>(&mut &*key).unwrap(), *value.downcast().unwrap()));
        }
        if page.is_done {
            return scanned;
        }
        from = page.scan.next;
        between(rows);
    }
}

fn change_both(table: &mut impl KeyedBackend<u64, States>, model: &mut Model, key: u64, random: &mut Random) {
    let entry = model.entry(key).or_default();
    let number = random.next();
    change(table, &key, |(mut value, mut map)| match random.below(5) {
        0 => {
            value.clear();
            entry.0 = None;
        }
        1 => {
            map.clear();
            entry.1.clear();
        }
        2 => {
            value.set(number);
            entry.0 = Some(number);
        }
        _ => {
            for place in 0..random.below(9) {
                map.insert(place, number);
                entry.1.insert(place, number);
            }
        }
    });
}

fn check_keys(rows: &mut impl LookAtRows<u64, States>, model: &Model, keys: Vec<u64>) {
    let expected: Vec<_> = keys.iter().map(|key| model.get(key).cloned().unwrap_or_default()).collect();
    let request = StateRequest::new::<u64, u64>("value".into(), 1_000, keys_asked(keys.clone()));
    let values = values_of::<u64, u64>(ask(rows, request, |_| {}).unwrap());
    assert_eq!(values, expected.iter().map(|(value, _)| *value).collect::<Vec<_>>());
    let request = StateRequest::new::<u64, BTreeMap<u64, u64>>("map".into(), 1_000, keys_asked(keys));
    let maps = values_of::<u64, BTreeMap<u64, u64>>(ask(rows, request, |_| {}).unwrap());
    let expected = expected.into_iter().map(|(_, map)| Some(map).filter(|map| !map.is_empty()));
    assert_eq!(maps, expected.collect::<Vec<_>>());
}

/// Changes, barriers that are written slice by slice, and queries between all of it.
fn schedule<B: KeyedBackend<u64, States>>(table: B, seed: u64) {
    let (mut random, mut model) = (Random(seed), Model::new());
    let mut subtask = Subtask::with_backend(table, states().names());
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    let mut checkpoint = 0;
    for _ in 0..300 {
        match random.below(12) {
            0 => {
                checkpoint += 1;
                subtask.barrier(checkpoint, 0);
            }
            1 => drop(subtask.slice(&store, no_time()).unwrap()),
            2 => subtask.abort(),
            3 => check_keys(&mut subtask.table, &model, (0..random.below(9)).map(|_| random.below(70)).collect()),
            4 => {
                let mut expected: Vec<_> =
                    model.iter().filter_map(|(key, (value, _))| Some((*key, (*value)?))).collect();
                expected.sort_unstable_by_key(|(key, _)| stable_hash(key));
                assert_eq!(scan(&mut subtask.table, 1 + random.below(9) as usize, |_| {}), expected, "seed {seed}");
            }
            _ => {
                let key = random.below(60);
                change_both(&mut subtask.table, &mut model, key, &mut random);
            }
        }
    }
    // What is looked at is in no snapshot because of that, and what has changed is in it.
    subtask.abort();
    let whole = manifest(1_000, vec![subtask.snapshot(&store, 1_000, 0).unwrap()], None);
    check_keys(&mut subtask.table, &model, (0..70).collect());
    scan(&mut subtask.table, 4, |_| {});
    let changes = subtask.snapshot(&store, 1_001, 1_000).unwrap();
    assert!(changes.chunks.is_empty(), "seed {seed}: {:?}", changes.chunks);
    check_stored(&store, &whole, &model, seed);
}

/// Checks what a checkpoint answers of each key.
fn check_stored(store: &MemoryStore, manifest: &Manifest, model: &Model, seed: u64) {
    let mut stored = StoredRows::new(operator(), states(), KeySchema::<u64>::default(), GROUPS);
    for key in 0..70 {
        let group = group_of_hash(stable_hash(&key), GROUPS);
        let mut ask = |state: &str, request: StateRequest| {
            let mut query: Box<dyn std::any::Any + Send> = Box::new(request);
            let all = sections(store, manifest, group).unwrap();
            let sections: Vec<_> = all.into_iter().filter(|section| *section.state == *state).collect();
            let checkpoint = manifest.checkpoint;
            let of_group = StoredGroup { checkpoint, is_of_this_run: true, group, sections: &sections };
            // Asked twice it answers anew.
            stored.query(of_group, &mut *query);
            stored.query(of_group, &mut *query);
            query.downcast::<StateRequest>().unwrap().answered().unwrap().unwrap()
        };
        let (value, map) = model.get(&key).cloned().unwrap_or_default();
        let answered = ask("value", StateRequest::new::<u64, u64>("value".into(), 1_000, keys_asked(vec![key])));
        assert_eq!(values_of::<u64, u64>(answered), [value], "seed {seed}, key {key}");
        let request = StateRequest::new::<u64, BTreeMap<u64, u64>>("map".into(), 1_000, keys_asked(vec![key]));
        let expected = Some(map).filter(|map| !map.is_empty());
        assert_eq!(values_of::<u64, _>(ask("map", request)), [expected], "seed {seed}, key {key}");
    }
}

/// A whole snapshot and changes over changes, with keys and entries that have gone, and some that have come again.
fn chain_of_changes<B: KeyedBackend<u64, States>>(table: B, seed: u64) {
    let (mut random, mut model) = (Random(seed), Model::new());
    let mut subtask = Subtask::with_backend(table, states().names());
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    let mut newest = None::<Manifest>;
    for checkpoint in 1..=5 {
        for _ in 0..30 {
            let key = random.below(40);
            change_both(&mut subtask.table, &mut model, key, &mut random);
        }
        let written = subtask.snapshot(&store, checkpoint, checkpoint - 1).unwrap();
        let manifest = manifest(checkpoint, vec![written], newest.as_ref());
        check_stored(&store, &manifest, &model, seed);
        newest = Some(manifest);
    }
}

#[test]
fn checkpoint_of_changes_over_changes_answers_as_a_map_does() {
    for seed in 0..6 {
        chain_of_changes(in_memory(), seed);
        let dir = tempfile::tempdir().unwrap();
        chain_of_changes(spilled(dir.path(), seed % 2 == 0), seed);
    }
}

#[test]
fn rows_in_memory_answer_as_a_map_does_and_stay_as_they_are() {
    (0..12).for_each(|seed| schedule(in_memory(), seed));
}

#[test]
fn rows_in_cache_and_file_answer_as_a_map_does_and_stay_as_they_are() {
    for seed in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        schedule(spilled(dir.path(), seed % 2 == 0), seed);
    }
}

#[test]
fn checkpoint_of_an_earlier_run_is_refused_where_keys_are_migrated() {
    let keys = || {
        let mut keys = KeySchema::<u64>::default();
        keys.set_version(2);
        keys.add_migration(1, |old: u32| u64::from(old));
        keys
    };
    let mut stored = StoredRows::new(operator(), states(), keys(), GROUPS);
    for is_of_this_run in [true, false] {
        let request = StateRequest::new::<u64, u64>("value".into(), 9, keys_asked(vec![1u64]));
        let mut query: Box<dyn std::any::Any + Send> = Box::new(request);
        let group = group_of_hash(stable_hash(&1u64), GROUPS);
        stored.query(StoredGroup { checkpoint: CheckpointId(3), is_of_this_run, group, sections: &[] }, &mut *query);
        match query.downcast::<StateRequest>().unwrap().answered() {
            Ok(Some(answered)) if is_of_this_run => assert_eq!(values_of::<u64, u64>(answered), [None]),
            Err(QueryError::OlderKeys { checkpoint: CheckpointId(3), .. }) if !is_of_this_run => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Keys that are there all the time are shown once, while others come and go and tables are compacted.
fn scan_beside_changes<B: KeyedBackend<u64, States>>(mut table: B, seed: u64) {
    let mut random = Random(seed);
    let stable: BTreeMap<u64, u64> = (0..50).map(|key| (key, key + 7)).collect();
    for (key, value) in &stable {
        change(&mut table, key, |(mut handle, _)| handle.set(*value));
    }
    (1_000..1_600u64).for_each(|key| change(&mut table, &key, |(mut handle, _)| handle.set(1)));
    let mut next = 1_000;
    let scanned = scan(&mut table, 3, |table| {
        for _ in 0..6 {
            change(table, &next, |(mut handle, _)| handle.clear());
            next += 1;
        }
        let key = 2_000 + random.below(20);
        change(table, &key, |(mut handle, _)| handle.set(2));
        let key = random.below(50);
        change(table, &key, |(handle, mut map)| {
            map.insert(1, handle.get().copied().unwrap_or_default());
        });
    });
    let mut shown = BTreeMap::new();
    for (key, value) in scanned {
        assert_eq!(shown.insert(key, value), None, "seed {seed}: key {key} is shown twice");
    }
    let missing: Vec<_> = stable.iter().filter(|(key, value)| shown.get(key) != Some(value)).collect();
    assert!(missing.is_empty(), "seed {seed}: {missing:?}");
}

#[test]
fn scan_shows_each_key_that_stays_once() {
    for seed in 0..6 {
        scan_beside_changes(in_memory(), seed);
        let dir = tempfile::tempdir().unwrap();
        scan_beside_changes(spilled(dir.path(), seed % 2 == 0), seed);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: Option<u32>,
}

#[derive(Clone, Debug)]
struct Most;

impl AggregateFunction for Most {
    type In = u64;
    type Accumulator = Option<u64>;
    type Out = u64;

    fn create(&self) -> Option<u64> {
        None
    }

    fn add(&self, most: &mut Option<u64>, value: u64) {
        *most = (*most).max(Some(value));
    }

    fn result(&self, most: &Option<u64>) -> u64 {
        most.unwrap_or(0)
    }

    fn merge(&self, most: &mut Option<u64>, other: Option<u64>) {
        *most = (*most).max(other);
    }
}

/// Sets a state of a table of its own, and asks for it.
fn of_kind<S: State + Clone, V: Debug + PartialEq + 'static>(
    state: S,
    set: impl Fn(S::Handle<'_>) + Clone,
    expected: V,
) {
    let dir = tempfile::tempdir().unwrap();
    let name = state.name().clone();
    let mut table = KeyedTable::new(state.clone(), ALL, GROUPS);
    change(&mut table, &1u64, set.clone());
    assert_eq!(get::<u64, S, V>(&mut table, &name, &1).unwrap().as_ref(), Some(&expected));
    assert_eq!(get::<u64, S, V>(&mut table, &name, &2).unwrap(), None);
    let mut backend = RedbBackend::tiny(state, ALL, GROUPS, dir.path(), 4, true);
    (1..40u64).for_each(|key| change(&mut backend, &key, set.clone()));
    for key in 1..40 {
        assert_eq!(get::<u64, S, V>(&mut backend, &name, &key).unwrap().as_ref(), Some(&expected), "key {key}");
    }
}

#[test]
fn every_kind_is_queried_as_its_own_type() {
    let order = Order { item: "tea".into(), count: Some(2) };
    of_kind(
        ValueState::<Order>::new("s").version(3),
        |mut s| s.set(Order { item: "tea".into(), count: Some(2) }),
        order.clone(),
    );
    of_kind(
        ValueState::<Order>::new("s").compact(),
        |mut s| s.set(Order { item: "tea".into(), count: Some(2) }),
        order.clone(),
    );
    let ttl = StateTtl::event_time(Duration::from_secs(1));
    of_kind(
        ListState::<String>::new("s").version(2),
        |mut s| s.extend(["a".into(), "b".into()]),
        vec!["a".to_owned(), "b".into()],
    );
    of_kind(ListState::<u64>::new("s").with_ttl(ttl), |mut s| s.push(4), vec![4u64]);
    let numbers: BTreeMap<String, u64> = (0..30).map(|n| (format!("{n}"), n)).collect();
    // More than lie in a row: they are in pages where rows may leave memory.
    of_kind(
        MapState::<String, u64>::new("s").version(2),
        |mut s| {
            (0..30).for_each(|n| {
                s.insert(format!("{n}"), n);
            })
        },
        numbers.clone(),
    );
    of_kind(
        MapState::<String, u64>::new("s").with_ttl(ttl),
        |mut s| {
            (0..30).for_each(|n| {
                s.insert(format!("{n}"), n);
            })
        },
        numbers,
    );
    of_kind(
        ReducingState::<u64>::new("s", |a, b| a + b),
        |mut s| {
            s.add(2);
            s.add(3);
        },
        5u64,
    );
    of_kind(
        AggregatingState::new("s", Most),
        |mut s| {
            s.add(2);
            s.add(9);
        },
        Some(9u64),
    );
    of_kind(ValueState::<u64>::new("s").with_ttl(ttl), |mut s| s.set(6), 6u64);
}

#[test]
fn value_that_has_expired_is_not_shown_and_being_shown_does_not_keep_one_alive() {
    let ttl = StateTtl::processing_time(Duration::from_millis(100)).refresh_on_read();
    let state = ValueState::<u64>::new("s").with_ttl(ttl);
    let mut table = KeyedTable::new(state, ALL, GROUPS);
    table.set_time(1_000, i64::MIN);
    change(&mut table, &1u64, |mut s| s.set(6));
    table.set_time(1_099, i64::MIN);
    assert_eq!(get::<u64, _, u64>(&mut table, "s", &1).unwrap(), Some(6));
    table.set_time(1_100, i64::MIN);
    assert_eq!(get::<u64, _, u64>(&mut table, "s", &1).unwrap(), None);
    assert_eq!(table.len(), 1, "a query removes nothing");
}

#[test]
fn what_does_not_fit_is_an_error_that_names_what_is_there() {
    type Set = (ValueState<u64>, ListState<String>, Timers);
    let mut table: KeyedTable<u64, Set> =
        KeyedTable::new((ValueState::new("sum"), ListState::new("lines"), Timers::new("ends")), ALL, GROUPS);
    change(&mut table, &1u64, |(_, mut lines, _)| (0..11).for_each(|n| lines.push(format!("{n}"))));
    let unknown = get::<u64, _, u64>(&mut table, "total", &1).unwrap_err();
    assert_eq!(unknown.to_string(), "operator 'op' has no state 'total'; it has 'sum', 'lines', 'ends'");
    let value = get::<u64, _, i64>(&mut table, "sum", &1).unwrap_err();
    assert_eq!(value.to_string(), "state 'sum' of operator 'op' is queried as u64, not as i64");
    let request = StateRequest::new::<String, u64>("sum".into(), 9, keys_asked(vec!["a".to_owned()]));
    let key = ask(&mut table, request, |_| {}).unwrap_err();
    assert_eq!(key.to_string(), "the keys of operator 'op' are u64, not alloc::string::String");
    let request = StateRequest::new::<u64, Vec<String>>("lines".into(), 10, keys_asked(vec![1u64]));
    let large = ask(&mut table, request, |_| {}).unwrap_err();
    assert!(matches!(large, QueryError::TooLarge { entries: 11, max: 10, .. }), "{large}");
    let timers = get::<u64, _, u64>(&mut table, "ends", &1).unwrap_err();
    assert!(matches!(timers, QueryError::NotQueryable { .. }), "{timers}");
}

#[test]
fn key_of_another_subtask_is_told_and_not_looked_for() {
    let range = KeyGroupRange { start: 0, end: 1 };
    let mut table: KeyedTable<u64, States> = KeyedTable::new(states(), range, GROUPS);
    let foreign = (0u64..).find(|key| group_of_hash(stable_hash(key), GROUPS) == 2).unwrap();
    let first = hashes_of(2, GROUPS).0;
    for asked in [keys_asked(vec![foreign]), Ask::Scan(ScanAsked::new((first, u64::MAX), 5, ANSWER_BYTES_MAX))] {
        let mut request = StateRequest::new::<u64, u64>("value".into(), 9, asked);
        let asked = answer(&mut table, (&operator(), GROUPS), &mut request, &mut all_the_time());
        assert_eq!(asked, Asked::Answered);
        assert!(request.answered().unwrap().is_none());
    }
}
