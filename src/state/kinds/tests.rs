//! Every kind of state against a plain value of the standard library, over random schedules: changes, barriers, slices,
//! aborts, completions, restarts. Every retained checkpoint restores to the plain values at its barrier (guarantee G1).

mod damage;
mod models;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use millstream_actors::contract::{Manifest, SnapshotStore};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange};

pub(crate) use models::Mean;

use self::models::{Aggregating, List, Map, OfTimers, Reducing};
use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Random, Subtask, change, manifest, no_time};
use crate::state::{KeyedBackend, KeyedTable, RedbBackend, State, ValueState};

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

#[test]
fn timers_restore_to_what_they_were_at_the_barrier() {
    check::<OfTimers>();
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
