//! What tests of state need: rows changed one at a time, and checkpoints as the engine makes them.

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{
    Contribution, Manifest, Progress, RestoredSection, RestoredState, RunBudget, SectionWriter, SnapshotError,
    SnapshotStore, StateError, StateScope,
};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange, OperatorId};

use super::backend::OneKey;
use super::{KeySchema, KeyedBackend, KeyedTable, StateKey, StateRows, StateSet, group_of_hash, stable_hash};

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn text(&mut self) -> String {
        (0..self.below(40)).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

pub(crate) fn operator() -> OperatorId {
    "op".into()
}

/// The group of a key.
pub(crate) fn group_of_key<K: Hash + ?Sized>(key: &K, max_parallelism: u32) -> u32 {
    group_of_hash(stable_hash(key), max_parallelism)
}

/// The handles of a key's states, as a function gets them.
pub(crate) fn change<K: StateKey + Clone, S: StateSet, R>(
    table: &mut impl KeyedBackend<K, S>,
    key: &K,
    change: impl FnOnce(S::Handles<'_>) -> R,
) -> R {
    try_change(table, key, change).expect("the backend works")
}

/// The same of a backend that may have failed.
pub(crate) fn try_change<K: StateKey + Clone, S: StateSet, R>(
    table: &mut impl KeyedBackend<K, S>,
    key: &K,
    change: impl FnOnce(S::Handles<'_>) -> R,
) -> Result<R, StateError> {
    let mut result = None;
    table.work_on(&mut OneKey::new(key, |states: S::Handles<'_>| result = Some(change(states))))?;
    Ok(result.expect("a block of one key is worked on"))
}

/// A budget that is exhausted at the first look.
pub(crate) fn no_time() -> RunBudget {
    use std::cell::Cell;
    thread_local! {
        static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    RunBudget::start_by(Some(|| {
        CLOCK.set(CLOCK.get() + Duration::from_secs(1));
        CLOCK.get()
    }))
}

pub(crate) fn all_the_time() -> RunBudget {
    RunBudget::start_by(Some(|| Duration::ZERO))
}

/// One subtask with its table and the snapshot that it is taking.
pub(crate) struct Subtask<K, S: StateSet, B = KeyedTable<K, S>> {
    pub(crate) table: B,
    names: Vec<Arc<str>>,
    writer: Option<SectionWriter>,
    of: PhantomData<(K, S)>,
}

impl<K: StateKey, S: StateSet> Subtask<K, S> {
    pub(crate) fn new(states: S, range: KeyGroupRange, max_parallelism: u32) -> Self {
        let names = states.names();
        Self::with_backend(KeyedTable::new(states, range, max_parallelism), names)
    }
}

impl<K: StateKey, S: StateSet, B: KeyedBackend<K, S>> Subtask<K, S, B> {
    pub(crate) fn with_backend(table: B, names: Vec<Arc<str>>) -> Self {
        Self { table, names, writer: None, of: PhantomData }
    }

    /// The barrier of `checkpoint` over `base`. What is still written for an earlier one is given up.
    pub(crate) fn barrier(&mut self, checkpoint: u64, base: u64) {
        let mut writer = SectionWriter::new(CheckpointId(checkpoint), CheckpointId(base), 0);
        writer.set_operator(&operator());
        self.table.begin_snapshot(&self.names, &mut writer);
        self.writer = Some(writer);
    }

    /// A slice of the snapshot; what it consists of, when it is all written.
    pub(crate) fn slice(
        &mut self,
        store: &dyn SnapshotStore,
        mut budget: RunBudget,
    ) -> Result<Option<Contribution>, StateError> {
        let Some(mut writer) = self.writer.take() else { return Ok(None) };
        let progress = self.table.sweep(&operator(), &self.names, usize::MAX, &mut writer, &mut budget)?;
        store.put_chunks(&writer.take_chunks()).expect("the store takes chunks");
        if progress == Progress::Suspended {
            self.writer = Some(writer);
            return Ok(None);
        }
        let (chunks, written) = writer.finish();
        store.put_chunks(&chunks).expect("the store takes chunks");
        Ok(Some(written))
    }

    /// The checkpoint is not wanted any more.
    pub(crate) fn abort(&mut self) {
        self.writer = None;
        self.table.abandon_snapshot(None);
    }

    /// The whole snapshot at once.
    pub(crate) fn snapshot(
        &mut self,
        store: &dyn SnapshotStore,
        checkpoint: u64,
        base: u64,
    ) -> Result<Contribution, StateError> {
        self.barrier(checkpoint, base);
        loop {
            if let Some(written) = self.slice(store, all_the_time())? {
                return Ok(written);
            }
        }
    }

    /// Loads its groups from a checkpoint.
    pub(crate) fn restore(
        &mut self,
        store: &dyn SnapshotStore,
        manifest: &Manifest,
        states: S,
    ) -> Result<(), StateError> {
        let range = self.table.range();
        let mut loader = self.table.loader(operator(), states, KeySchema::default());
        for group in range.iter() {
            let sections = sections(store, manifest, group).expect("the store has what the manifest names");
            if !sections.is_empty() {
                self.table.restore_group(loader.load(group, &sections)?);
            }
        }
        self.table.restored(&operator(), manifest.checkpoint)
    }
}

/// What a checkpoint has of a key group.
pub(crate) fn sections(
    store: &dyn SnapshotStore,
    manifest: &Manifest,
    group: u32,
) -> Result<Vec<RestoredSection>, SnapshotError> {
    let mut chunks = Vec::new();
    for chunk in manifest.chunks.iter().filter(|chunk| chunk.address.scope == StateScope::KeyGroup(group)) {
        chunks.push((chunk.address.clone(), store.read_chunk(chunk)?));
    }
    Ok(RestoredState::from_chunks(chunks).take(&operator()))
}

pub(crate) fn manifest(checkpoint: u64, written: Vec<Contribution>, base: Option<&Manifest>) -> Manifest {
    Manifest {
        checkpoint: CheckpointId(checkpoint),
        job: "job".to_owned(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 0,
        max_parallelism: 0,
        is_final: false,
        durations: millstream_actors::contract::CheckpointDurations::default(),
        chunks: Contribution::compose(written, base),
    }
}
