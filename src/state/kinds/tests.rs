//! Every kind of state against a plain value of the standard library, over random schedules: changes, barriers, slices,
//! aborts, completions, restarts. Every retained checkpoint restores to the plain values at its barrier (guarantee G1).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use millstream_actors::contract::{Manifest, SnapshotStore};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange};

use crate::snapshot::MemoryStore;
use crate::state::codec::Written;
use crate::state::test_kit::{Random, Subtask, change, manifest, no_time};
use crate::state::{
    Access, AggregateFunction, AggregatingState, KeyedBackend, KeyedTable, ListState, MapState, RedbBackend,
    ReducingState, Span, State, ValueState,
};

const GROUPS: u32 = 4;
const RETAINED: usize = 3;

/// A kind of state, and the plain value that it must equal.
trait Kind {
    type State: State;
    /// By default what a key without state has.
    type Model: Clone + Debug + Default + PartialEq;

    fn state() -> Self::State;

    /// Changes both in one way.
    fn change(random: &mut Random, handle: &mut <Self::State as State>::Handle<'_>, model: &mut Self::Model);

    fn read(handle: &<Self::State as State>::Handle<'_>) -> Self::Model;
}

struct List;

impl Kind for List {
    type State = ListState<u32>;
    type Model = Vec<u32>;

    fn state() -> Self::State {
        ListState::new("list")
    }

    fn change(random: &mut Random, list: &mut crate::state::ListHandle<'_, u32>, model: &mut Vec<u32>) {
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

    fn read(list: &crate::state::ListHandle<'_, u32>) -> Vec<u32> {
        assert_eq!(list.iter().len(), list.into_iter().count());
        list.get().to_vec()
    }
}

struct Map;

impl Kind for Map {
    type State = MapState<String, u64>;
    type Model = BTreeMap<String, u64>;

    fn state() -> Self::State {
        MapState::new("map")
    }

    fn change(
        random: &mut Random,
        map: &mut crate::state::MapHandle<'_, String, u64>,
        model: &mut BTreeMap<String, u64>,
    ) {
        let (value, most) = (random.next(), [2, 8, 60][random.below(3) as usize]);
        let key = format!("k{}", random.below(most));
        match random.below(16) {
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
            _ => assert_eq!((map.get(&key), map.contains(&key)), (model.get(&key), model.contains_key(&key))),
        }
        assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    }

    fn read(map: &crate::state::MapHandle<'_, String, u64>) -> BTreeMap<String, u64> {
        let entries: Vec<(&String, &u64)> = map.iter().collect();
        assert!(entries.is_sorted());
        assert_eq!(map.range::<str>(..).collect::<Vec<_>>(), entries);
        assert!(map.keys().zip(map.values()).eq(entries.iter().copied()));
        map.iter().map(|(key, value)| (key.clone(), *value)).collect()
    }
}

struct Reducing;

impl Kind for Reducing {
    type State = ReducingState<String>;
    type Model = Option<String>;

    fn state() -> Self::State {
        ReducingState::new("joined", |a: String, b: String| a + &b)
    }

    fn change(random: &mut Random, joined: &mut crate::state::ReducingHandle<'_, String>, model: &mut Option<String>) {
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

    fn read(joined: &crate::state::ReducingHandle<'_, String>) -> Option<String> {
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

struct Aggregating;

impl Kind for Aggregating {
    type State = AggregatingState<Mean>;
    type Model = Option<(u64, u64)>;

    fn state() -> Self::State {
        AggregatingState::new("mean", Mean)
    }

    fn change(random: &mut Random, mean: &mut crate::state::AggregatingHandle<'_, Mean>, model: &mut Self::Model) {
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

    fn read(mean: &crate::state::AggregatingHandle<'_, Mean>) -> Self::Model {
        mean.accumulator().copied()
    }
}

type Models<K> = BTreeMap<u64, <K as Kind>::Model>;

struct Schedule<K: Kind, B> {
    backend: Box<dyn Fn() -> B>,
    random: Random,
    keys: u64,
    store: MemoryStore,
    subtask: Subtask<u64, K::State, B>,
    models: Models<K>,
    pending: Option<(u64, Models<K>)>,
    retained: VecDeque<(Arc<Manifest>, Models<K>)>,
    next_id: u64,
    deltas: u64,
    restores: u64,
}

const GROUPS_ALL: KeyGroupRange = KeyGroupRange { start: 0, end: GROUPS };

fn subtask<K: Kind>() -> Subtask<u64, K::State> {
    Subtask::new(K::state(), GROUPS_ALL, GROUPS)
}

impl<K: Kind, B: KeyedBackend<u64, K::State>> Schedule<K, B> {
    fn new(seed: u64, backend: Box<dyn Fn() -> B>) -> Self {
        let mut random = Random(seed);
        let keys = [1, 12, 60][random.below(3) as usize];
        let store = MemoryStore::new();
        store.open_job("job", Incarnation(1)).unwrap();
        Self {
            random,
            keys,
            store,
            subtask: Subtask::with_backend(backend(), vec![K::state().name().clone()]),
            backend,
            models: BTreeMap::new(),
            pending: None,
            retained: VecDeque::new(),
            next_id: 1,
            deltas: 0,
            restores: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..66 => self.change(),
            66..86 => self.slice(),
            86..95 => self.barrier(),
            95..98 => self.abort(),
            _ => self.restart(),
        }
    }

    fn change(&mut self) {
        let key = self.random.below(self.keys);
        let model = self.models.entry(key).or_default();
        change(&mut self.subtask.table, &key, |mut handle| {
            assert_eq!(K::read(&handle), *model, "key {key}");
            K::change(&mut self.random, &mut handle, model);
            assert_eq!(K::read(&handle), *model, "key {key}");
        });
        if *model == K::Model::default() {
            self.models.remove(&key);
        }
    }

    fn barrier(&mut self) {
        if self.pending.is_some() && self.random.below(4) > 0 {
            return;
        }
        let base = self.retained.back().map_or(0, |(manifest, _)| manifest.checkpoint.0);
        self.subtask.barrier(self.next_id, base);
        self.pending = Some((self.next_id, self.models.clone()));
        self.next_id += 1;
    }

    fn slice(&mut self) {
        for _ in 0..self.random.below(12) {
            let written = self.subtask.slice(&self.store, no_time()).unwrap();
            if let Some(written) = written {
                let (id, models) = self.pending.take().unwrap();
                // Some are complete for the task, but not for the coordinator.
                if self.random.below(6) > 0 {
                    self.deltas += u64::from(!written.carried.is_empty());
                    let base = self.retained.back().map(|(manifest, _)| manifest.clone());
                    self.complete(Arc::new(manifest(id, vec![written], base.as_deref())), models);
                }
            }
        }
    }

    fn complete(&mut self, manifest: Arc<Manifest>, models: Models<K>) {
        self.store.finalise(&manifest, RETAINED).unwrap();
        self.retained.push_back((manifest, models));
        if self.retained.len() > RETAINED {
            self.retained.pop_front();
        }
        for (manifest, models) in &self.retained {
            let mut restored = subtask::<K>();
            restored.restore(&self.store, manifest, K::state()).unwrap();
            assert_same::<K>(&mut restored, models, manifest.checkpoint);
        }
    }

    fn abort(&mut self) {
        if let Some((id, _)) = self.pending.take() {
            self.subtask.abort();
            self.store.discard(CheckpointId(id)).unwrap();
        }
    }

    /// A new attempt from the newest checkpoint.
    fn restart(&mut self) {
        self.abort();
        self.subtask = Subtask::with_backend((self.backend)(), vec![K::state().name().clone()]);
        self.models = match self.retained.back() {
            None => BTreeMap::new(),
            Some((manifest, models)) => {
                self.subtask.restore(&self.store, manifest, K::state()).unwrap();
                self.restores += 1;
                models.clone()
            }
        };
    }
}

fn assert_same<K: Kind>(
    restored: &mut Subtask<u64, K::State, impl KeyedBackend<u64, K::State>>,
    models: &Models<K>,
    checkpoint: CheckpointId,
) {
    assert_eq!(restored.table.live(), models.len(), "keys of checkpoint {checkpoint}");
    for (key, model) in models {
        let value = change(&mut restored.table, key, |handle| K::read(&handle));
        assert_eq!(value, *model, "key {key} of checkpoint {checkpoint}");
    }
}

fn check<K: Kind>() {
    check_in::<K, _>(150, |_| Box::new(|| KeyedTable::new(K::state(), GROUPS_ALL, GROUPS)));
    // Next to nothing in the cache; written by a thread, or later than at once.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    check_in::<K, _>(30, |seed| {
        let (path, rows, is_inline) = (path.clone(), [1, 4, 12][seed as usize % 3], seed % 4 > 0);
        Box::new(move || RedbBackend::tiny(K::state(), GROUPS_ALL, GROUPS, &path, rows, is_inline))
    });
}

fn check_in<K: Kind, B: KeyedBackend<u64, K::State>>(schedules: u64, backend: impl Fn(u64) -> Box<dyn Fn() -> B>) {
    const FIRST: u64 = 20_261_122;
    let (mut deltas, mut restores) = (0, 0);
    for seed in FIRST..FIRST + schedules {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut schedule = Schedule::<K, B>::new(seed, backend(seed));
            (0..400).for_each(|_| schedule.step());
            assert_same::<K>(&mut schedule.subtask, &schedule.models, CheckpointId(schedule.next_id));
            (schedule.deltas, schedule.restores)
        }));
        let (more_deltas, more_restores) = run.unwrap_or_else(|_| panic!("seed {seed} fails"));
        deltas += more_deltas;
        restores += more_restores;
    }
    assert!(deltas > 2 * schedules && restores > 2 * schedules, "{deltas} deltas, {restores} restores");
}

#[test]
fn lists_restore_to_what_they_were_at_the_barrier() {
    check::<List>();
}

#[test]
fn maps_restore_to_what_they_were_at_the_barrier() {
    check::<Map>();
}

#[test]
fn reductions_restore_to_what_they_were_at_the_barrier() {
    check::<Reducing>();
}

#[test]
fn aggregates_restore_to_what_they_were_at_the_barrier() {
    check::<Aggregating>();
}

/// A slot after random changes under two stamps, what is stored of it whole, and of the second stamp's changes.
fn stored<K: Kind>(random: &mut Random) -> Option<(Vec<u8>, Vec<u8>)> {
    let (state, mut model) = (K::state(), K::Model::default());
    let mut slot = <K::State as State>::Slot::default();
    let (mut whole, mut delta) = (Vec::new(), Vec::new());
    for stamp in [1, 2] {
        let access = Access { stamp, processing_time: 0, watermark: 0 };
        (0..12).for_each(|_| K::change(random, &mut state.handle(&mut slot, access), &mut model));
        if stamp == 1 && state.write(&mut slot, Span { after: 0, up_to: 1 }, &mut whole) != Ok(Written::Live) {
            return None;
        }
    }
    let written = state.write(&mut slot, Span { after: 1, up_to: 2 }, &mut delta);
    (written == Ok(Written::Live)).then_some((whole, delta))
}

/// Loads one over the other. Never a panic; an error, or no more than the bytes.
fn load<K: Kind>(whole: &[u8], delta: &[u8]) -> Result<K::Model, String> {
    let state = K::state();
    let mut slot = <K::State as State>::Slot::default();
    for (stamp, mut bytes) in [(1, whole), (2, delta)] {
        state.load(&mut slot, stamp, state.format(), stamp == 2, &mut bytes)?;
        if !bytes.is_empty() {
            return Err(format!("{} bytes follow", bytes.len()));
        }
    }
    Ok(K::read(&state.handle(&mut slot, Access { stamp: 3, processing_time: 0, watermark: 0 })))
}

fn check_damage<K: Kind>() {
    const SEED: u64 = 20_261_123;
    let mut random = Random(SEED);
    let (mut accepted, mut refused, mut cases) = (0, 0, 0);
    while cases < 60 {
        let Some((whole, delta)) = stored::<K>(&mut random) else { continue };
        cases += 1;
        load::<K>(&whole, &delta).unwrap();
        (0..whole.len()).for_each(|len| assert!(load::<K>(&whole[..len], &delta).is_err(), "{len} bytes, seed {SEED}"));
        (0..delta.len()).for_each(|len| assert!(load::<K>(&whole, &delta[..len]).is_err(), "{len} bytes, seed {SEED}"));
        for _ in 0..200 {
            let (mut damaged_whole, mut damaged_delta) = (whole.clone(), delta.clone());
            let bytes = if random.below(2) == 0 { &mut damaged_whole } else { &mut damaged_delta };
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                match random.below(3) {
                    0 => bytes[at] = random.next() as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, random.next() as u8),
                }
            }
            match load::<K>(&damaged_whole, &damaged_delta) {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(accepted > 0 && refused > 1000, "{accepted} accepted, {refused} refused");
}

#[test]
fn damaged_bytes_are_refused_or_give_other_values() {
    check_damage::<List>();
    check_damage::<Map>();
    check_damage::<Reducing>();
    check_damage::<Aggregating>();
}

#[test]
fn one_kind_does_not_read_what_another_has_stored() {
    let mut random = Random(5);
    let mut next = || loop {
        if let (Some((list, _)), Some((map, _))) = (stored::<List>(&mut random), stored::<Map>(&mut random)) {
            return (list, map);
        }
    };
    let (list, map) = next();
    let mut slot = Default::default();
    let error = List::state().load(&mut slot, 1, Map::state().format(), false, &mut &map[..]).unwrap_err();
    assert_eq!(error, "encoding 101 was stored, the state is of a kind with encoding 100");
    let error =
        ListState::<u64>::new("list").load(&mut Default::default(), 1, List::state().format(), false, &mut &list[..]);
    assert!(error.unwrap_err().contains("u64"));
    let format = ValueState::<u64>::new("v").format();
    assert!(Map::state().load(&mut Default::default(), 1, format, false, &mut &map[..]).is_err());
    // Both hold one value.
    let mut reduced = Default::default();
    let (sum, mut bytes) = (ReducingState::<u64>::new("sum", |a, b| a + b), &7u64.to_le_bytes()[..]);
    sum.load(&mut reduced, 1, format, false, &mut bytes).unwrap();
    assert_eq!(reduced.value(), Some(&7));
}

#[test]
fn appending_to_every_list_costs_what_is_appended() {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    let (mut subtask, mut base) = (subtask::<List>(), None);
    let mut bytes = Vec::new();
    for checkpoint in 1..=2 {
        for key in 0..40 {
            let values = if checkpoint == 1 { 1000 } else { 1 };
            change(&mut subtask.table, &key, |mut list| list.extend(0..values));
        }
        let before = store.chunk_bytes();
        let written = subtask.snapshot(&store, checkpoint, checkpoint - 1).unwrap();
        bytes.push(store.chunk_bytes() - before);
        let next = manifest(checkpoint, vec![written], base.as_ref());
        store.finalise(&next, RETAINED).unwrap();
        base = Some(next);
    }
    assert!(bytes[0] > 160_000 && bytes[1] < 1_500, "{bytes:?}");
}

#[test]
fn a_state_that_is_declared_later_is_written_whole_first() {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    let range = KeyGroupRange { start: 0, end: GROUPS };
    let old = || (ValueState::<u64>::new("old"),);
    let both = || (ValueState::<u64>::new("old"), List::state());
    let mut first = Subtask::new(old(), range, GROUPS);
    (0..100u64).for_each(|key| change(&mut first.table, &key, |(mut old,)| old.set(key)));
    let first = manifest(1, vec![first.snapshot(&store, 1, 0).unwrap()], None);
    store.finalise(&first, RETAINED).unwrap();
    let mut second = Subtask::new(both(), range, GROUPS);
    second.restore(&store, &first, both()).unwrap();
    change(&mut second.table, &7u64, |(_, mut list)| list.push(1));
    let second = manifest(2, vec![second.snapshot(&store, 2, 1).unwrap()], Some(&first));
    store.finalise(&second, RETAINED).unwrap();
    let mut third = Subtask::new(both(), range, GROUPS);
    third.restore(&store, &second, both()).unwrap();
    change(&mut third.table, &7u64, |(old, list)| assert_eq!((old.get(), list.get()), (Some(&7), &[1][..])));
    assert_eq!(third.table.live(), 100);
}
