//! Random schedules of everything that can happen to keyed state, against a plain map that is cloned at each barrier:
//! changes, barriers, slices, aborts, completions, checkpoints of unknown outcome, kills, restores at other
//! parallelisms. Every retained checkpoint restores to the map as it was at its barrier, and nothing that no retained
//! checkpoint names stays in the store (guarantees G1, G3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{ChunkAddress, Contribution, Manifest, Progress, SnapshotStore};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange, subtask_of_group};

use super::test_kit::{Random, Subtask, change, manifest, no_time};
use super::{KeyedBackend, KeyedTable, MapHandle, MapState, RedbBackend, StateRows, ValueState, group_of_key};
use crate::snapshot::MemoryStore;

const GROUPS: u32 = 8;
const RETAINED: usize = 3;

type States = (ValueState<u64>, ValueState<String>, MapState<u8, u64>);
/// What a key has.
type Kept = (Option<u64>, Option<String>, BTreeMap<u8, u64>);
type Model = BTreeMap<u64, Kept>;

fn states() -> States {
    (ValueState::new("count"), ValueState::new("text"), MapState::new("map"))
}

/// A checkpoint that has been triggered.
struct Pending {
    id: u64,
    base: Option<Arc<Manifest>>,
    model: Model,
    written: Vec<Option<Contribution>>,
}

struct Schedule<B> {
    backend: Box<dyn Fn(KeyGroupRange) -> B>,
    random: Random,
    keys: u64,
    /// Some larger than a chunk.
    has_large_texts: bool,
    store: MemoryStore,
    subtasks: Vec<Subtask<u64, States, B>>,
    model: Model,
    pending: Option<Pending>,
    /// What the coordinator believes, oldest first.
    retained: VecDeque<(Arc<Manifest>, Model)>,
    next_id: u64,
    figures: Figures,
}

/// What a run has met, so that a run that meets nothing is noticed.
#[derive(Debug, Default)]
struct Figures {
    completed: u64,
    aborted: u64,
    restores: u64,
    deltas: u64,
    removed: u64,
    visited: u64,
}

impl<B: KeyedBackend<u64, States>> Schedule<B> {
    fn new(seed: u64, backend: Box<dyn Fn(KeyGroupRange) -> B>) -> Self {
        let mut random = Random(seed);
        // Some with few keys, so that groups are empty and refilled; some in which tables grow.
        let keys = [3, 40, 400, 3000][random.below(4) as usize];
        let store = MemoryStore::new();
        store.open_job("job", Incarnation(1)).expect("a new store");
        let mut schedule = Self {
            has_large_texts: keys == 3 && random.below(16) == 0,
            backend,
            random,
            keys,
            store,
            subtasks: Vec::new(),
            model: Model::new(),
            pending: None,
            retained: VecDeque::new(),
            next_id: 1,
            figures: Figures::default(),
        };
        schedule.subtasks = schedule.fresh(1);
        schedule
    }

    fn fresh(&self, parallelism: u32) -> Vec<Subtask<u64, States, B>> {
        let range = |index| KeyGroupRange::of_subtask(index, parallelism, GROUPS);
        let subtask = |index| Subtask::with_backend((self.backend)(range(index)), states().names());
        (0..parallelism).map(subtask).collect()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..60 => self.change(),
            60..86 => self.slices(),
            86..94 => self.barrier(),
            94 => self.abort(),
            95 => self.grow_or_shrink(),
            96 => self.visit(),
            97..99 => self.kill(),
            _ => self.rewind(),
        }
    }

    /// One record: changes, clears or reads a key's states.
    fn change(&mut self) {
        let key = self.random.below(self.keys);
        let action = self.random.below(14);
        self.apply(key, action);
    }

    fn apply(&mut self, key: u64, action: u64) {
        let (number, mut text) = (self.random.next(), self.random.text());
        if self.has_large_texts {
            text = text.repeat(self.random.below(8_000) as usize);
        }
        let subtask = subtask_of_group(group_of_key(&key, GROUPS), self.subtasks.len() as u32, GROUPS);
        let table = &mut self.subtasks[subtask as usize].table;
        let expected = self.model.entry(key).or_default();
        let seen = change(table, &key, |(mut count, mut name, mut map)| {
            let seen = (count.get().copied(), name.get().cloned(), all_of(&map));
            match action {
                0..3 => count.set(number),
                3 => count.update(|count| count.map(|count| count + 1)),
                4 => *name.get_or_insert_with(String::new) += &text,
                5 => {
                    count.clear();
                    name.clear();
                    map.clear();
                }
                6 => {
                    name.take();
                }
                7 => {
                    count.set(number);
                    name.set(text.clone());
                    name.clear();
                }
                10..12 => (0..12).for_each(|place| {
                    map.insert((number >> place) as u8 % 60, number);
                }),
                12 => drop((map.remove(&(number as u8 % 60)), map.pop_first())),
                13 => map.retain(|_, value| *value % 4 > 0),
                _ => {}
            }
            seen
        });
        assert_eq!(seen, *expected, "key {key}");
        match action {
            0..3 => expected.0 = Some(number),
            3 => expected.0 = expected.0.map(|count| count + 1),
            4 => *expected.1.get_or_insert_with(String::new) += &text,
            5 => *expected = Kept::default(),
            6 => expected.1 = None,
            7 => (expected.0, expected.1) = (Some(number), None),
            10..12 => (0..12).for_each(|place| {
                expected.2.insert((number >> place) as u8 % 60, number);
            }),
            12 => drop((expected.2.remove(&(number as u8 % 60)), expected.2.pop_first())),
            13 => expected.2.retain(|_, value| *value % 4 > 0),
            _ => {}
        }
        if *expected == Kept::default() {
            self.model.remove(&key);
            self.figures.removed += 1;
        }
    }

    /// Many keys at once: so that tables grow and shrink in the middle of a sweep.
    fn grow_or_shrink(&mut self) {
        let (first, action) = (self.random.below(self.keys), self.random.below(2) * 5);
        for key in first..(first + self.keys / 3).min(self.keys) {
            self.apply(key, action);
        }
    }

    /// Goes through all keys of a key group, in parts, between which a snapshot is written on: changes some, clears others.
    fn visit(&mut self) {
        let group = self.random.below(u64::from(GROUPS)) as u32;
        let subtask = subtask_of_group(group, self.subtasks.len() as u32, GROUPS) as usize;
        let is_of_group = |key: &u64| group_of_key(key, GROUPS) == group;
        let expected: BTreeSet<u64> = self.model.keys().copied().filter(is_of_group).collect();
        let (mut seen, mut left) = (BTreeSet::new(), usize::MAX);
        while left > 0 {
            let Self { random, model, subtasks, figures, .. } = self;
            let visited = subtasks[subtask].table.visit_group(group, |key, (mut count, mut text, mut map)| {
                assert!(seen.insert(*key), "key {key} is lent twice");
                let known = model.get_mut(key).unwrap_or_else(|| panic!("key {key} has no state"));
                assert_eq!((count.get().copied(), text.get().cloned(), all_of(&map)), *known, "key {key}");
                match random.below(4) {
                    0 => {
                        count.clear();
                        text.clear();
                        map.clear();
                        model.remove(key);
                        figures.removed += 1;
                    }
                    1 => {
                        let number = random.next();
                        count.set(number);
                        known.0 = Some(number);
                    }
                    _ => {}
                }
                if random.below(3) == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            left = if visited.expect("the backend works") == Progress::Done { 0 } else { left - 1 };
            for _ in 0..self.random.below(3) {
                self.slice();
            }
        }
        assert_eq!(seen, expected, "the keys of group {group}");
        self.figures.visited += seen.len() as u64;
    }

    fn barrier(&mut self) {
        if self.pending.is_some() {
            // As a rule one ends before the next begins.
            if self.random.below(4) > 0 {
                return;
            }
            self.abort();
        }
        let id = self.next_id;
        self.next_id += 1;
        let base = self.retained.back().map(|(manifest, _)| manifest.clone());
        let base_id = base.as_ref().map_or(0, |manifest| manifest.checkpoint.0);
        self.subtasks.iter_mut().for_each(|subtask| subtask.barrier(id, base_id));
        let written = self.subtasks.iter().map(|_| None).collect();
        self.pending = Some(Pending { id, base, model: self.model.clone(), written });
    }

    fn slices(&mut self) {
        for _ in 0..=self.random.below(self.keys / 6 + 16) {
            self.slice();
        }
    }

    fn slice(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        let index = self.random.below(self.subtasks.len() as u64) as usize;
        let written = self.subtasks[index].slice(&self.store, no_time()).expect("every value can be written");
        if let Some(written) = written {
            pending.written[index] = Some(written);
        }
        if pending.written.iter().all(Option::is_some) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        let Pending { id, base, model, written } = self.pending.take().expect("looked at by the caller");
        let written: Vec<Contribution> = written.into_iter().flatten().collect();
        self.figures.deltas += u64::from(written.iter().any(|written| !written.carried.is_empty()));
        let manifest = Arc::new(manifest(id, written, base.as_deref()));
        // The commit may fail before it is durable; or it is durable and nobody hears of it before the next trigger,
        // which is the same to the tasks as a lost notification.
        if self.random.below(8) == 0 {
            self.store.discard(CheckpointId(id)).expect("a store in memory");
            self.figures.aborted += 1;
            return;
        }
        self.store.finalise(&manifest, RETAINED).expect("every chunk was stored");
        self.retained.push_back((manifest, model));
        if self.retained.len() > RETAINED {
            self.retained.pop_front();
        }
        self.figures.completed += 1;
        self.check_store();
        self.check_restores();
    }

    fn abort(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        // A task may hear of it, or only see the next barrier.
        for subtask in &mut self.subtasks {
            if self.random.below(2) == 0 {
                subtask.abort();
            }
        }
        self.store.discard(CheckpointId(pending.id)).expect("a store in memory");
        self.figures.aborted += 1;
    }

    /// The process ends and starts again at another parallelism, from the newest checkpoint.
    fn kill(&mut self) {
        self.pending = None;
        let parallelism = [1, 3, 2, 4, 8][self.random.below(5) as usize];
        let opened = self.store.clone();
        opened.open_job("job", Incarnation(1)).expect("a store in memory");
        self.store = opened;
        let mut subtasks = self.fresh(parallelism);
        self.model = match self.retained.back() {
            None => Model::new(),
            Some((manifest, model)) => {
                for subtask in &mut subtasks {
                    subtask.restore(&self.store, manifest, states()).expect("what was written is read");
                }
                model.clone()
            }
        };
        self.subtasks = subtasks;
        self.figures.restores += 1;
        self.check_store();
    }

    /// The newest checkpoint is given up for an older one.
    fn rewind(&mut self) {
        if self.retained.len() > 1 {
            self.retained.pop_back();
            let newest = self.retained.back().expect("more than one").0.checkpoint;
            self.store.abandon_above(newest).expect("a store in memory");
            self.kill();
        }
    }

    /// Nothing is in the store but what retained checkpoints name.
    fn check_store(&self) {
        let named: BTreeSet<(&ChunkAddress, u32)> = self
            .retained
            .iter()
            .flat_map(|(manifest, _)| &manifest.chunks)
            .map(|chunk| (&chunk.address, chunk.len))
            .collect();
        let bytes: u64 = named.iter().map(|(_, len)| u64::from(*len)).sum();
        assert_eq!(self.store.chunk_bytes(), bytes, "bytes in the store, and bytes that a checkpoint names");
    }

    fn check_restores(&mut self) {
        for (manifest, model) in &self.retained {
            let parallelism = 1 + self.random.below(4) as u32;
            let mut restored = Model::new();
            for index in 0..parallelism {
                // Whatever wrote it, it is read into memory.
                let range = KeyGroupRange::of_subtask(index, parallelism, GROUPS);
                let mut subtask = Subtask::new(states(), range, GROUPS);
                subtask.restore(&self.store, manifest, states()).expect("what was written is read");
                let keys: Vec<u64> =
                    range.iter().flat_map(|group| subtask.table.group(group)).map(|row| *row.0).collect();
                for key in keys {
                    let kept = change(&mut subtask.table, &key, |(count, text, map)| {
                        (count.get().copied(), text.get().cloned(), all_of(&map))
                    });
                    restored.insert(key, kept);
                }
            }
            assert_eq!(restored, *model, "checkpoint {} at parallelism {parallelism}", manifest.checkpoint);
        }
    }
}

fn all_of(map: &MapHandle<'_, u8, u64>) -> BTreeMap<u8, u64> {
    map.iter().map(|(key, value)| (*key, *value)).collect()
}

/// Runs one schedule; a panic names its seed.
fn run<B: KeyedBackend<u64, States>>(seed: u64, steps: u64, backend: Box<dyn Fn(KeyGroupRange) -> B>) -> Figures {
    let mut schedule = Schedule::new(seed, backend);
    for _ in 0..steps {
        schedule.step();
    }
    for (index, subtask) in (0..).zip(&schedule.subtasks) {
        let parallelism = schedule.subtasks.len() as u32;
        let keys = schedule.model.keys().map(|key| group_of_key(key, GROUPS));
        let own = keys.filter(|group| subtask_of_group(*group, parallelism, GROUPS) == index).count();
        assert_eq!(subtask.table.live(), own, "keys counted and keys there");
    }
    // Reads every key, and some that are not there.
    const READ: u64 = 9;
    (0..schedule.keys).for_each(|key| schedule.apply(key, READ));
    schedule.figures
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn run_all<B: KeyedBackend<u64, States>>(schedules: u64, backend: impl Fn(u64) -> Box<dyn Fn(KeyGroupRange) -> B>) {
    let first = from_environment("MILLSTREAM_SEED", 20_261_122);
    let run_of = from_environment("MILLSTREAM_SCHEDULES", schedules);
    let mut total = Figures::default();
    for seed in first..first + run_of {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, 300, backend(seed))));
        let figures = run.unwrap_or_else(|_| panic!("MILLSTREAM_SEED={seed} MILLSTREAM_SCHEDULES=1 fails"));
        total.completed += figures.completed;
        total.aborted += figures.aborted;
        total.restores += figures.restores;
        total.deltas += figures.deltas;
        total.removed += figures.removed;
        total.visited += figures.visited;
    }
    println!("seeds from {first}: {total:?}");
    if run_of >= schedules {
        let least = schedules * 5 / 2;
        assert!(total.completed > least && total.aborted > least && total.restores > least, "{total:?}");
        assert!(total.deltas > schedules && total.removed > schedules * 25, "{total:?}");
        assert!(total.visited > schedules * 25, "{total:?}");
    }
}

#[test]
fn every_retained_checkpoint_restores_to_the_state_at_its_barrier() {
    run_all(1_000, |_| Box::new(|range| KeyedTable::new(states(), range, GROUPS)));
}

#[test]
fn every_retained_checkpoint_of_state_larger_than_memory_restores_to_the_state_at_its_barrier() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_owned();
    run_all(60, |seed| {
        // From next to nothing in the cache to most of it; written by a thread, and later than at once.
        let (path, rows, is_inline) = (path.clone(), [1, 8, 30, 100, 400][seed as usize % 5], seed % 4 > 0);
        Box::new(move |range| RedbBackend::tiny(states(), range, GROUPS, &path, rows, is_inline))
    });
    let left = std::fs::read_dir(&path).expect("it is there").count();
    assert!(left <= 4, "{left} working files are left: more than threads can be about to remove");
}
