use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use millstream_actors::contract::{Contribution, Manifest, SnapshotStore, StateError};
use millstream_actors::protocol::{Incarnation, KeyGroupRange};
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::file::WorkingFile;
use super::filter::Filter;
use super::pages::PageStore;
use super::rows::same_key;
use super::*;
use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Subtask, change, manifest, try_change};
use crate::state::{KeyedBackend, KeyedTable, State, StateKey, StateRows, StateTtl, ValueState};
use crate::testing::FaultyDisk;

const GROUPS: u32 = 4;

type Backend<K> = RedbBackend<K, ValueState<u64>>;

fn all() -> KeyGroupRange {
    KeyGroupRange { start: 0, end: GROUPS }
}

fn state() -> ValueState<u64> {
    ValueState::new("v")
}

fn subtask<K: StateKey>(dir: &std::path::Path, rows: usize) -> Subtask<K, ValueState<u64>, Backend<K>> {
    Subtask::with_backend(RedbBackend::tiny(state(), all(), GROUPS, dir, rows, false), state().names())
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    store
}

fn working_files(dir: &std::path::Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// A key whose hash says next to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Blunt(u64);

impl Hash for Blunt {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.0 % 5).hash(hasher);
    }
}

impl From<u64> for Blunt {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<&Blunt> for u64 {
    fn from(key: &Blunt) -> Self {
        key.0
    }
}

/// A key that is stored in another way each time it is made: the order of a hash map's entries is no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Unordered(HashMap<u64, u64>);

impl Hash for Unordered {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.values().sum::<u64>().hash(hasher);
    }
}

impl From<u64> for Unordered {
    fn from(number: u64) -> Self {
        Self((0..8).map(|place| (place, number)).collect())
    }
}

impl From<&Unordered> for u64 {
    fn from(key: &Unordered) -> Self {
        key.0[&0]
    }
}

/// Has rows leave the cache and come back, and compares each checkpoint's.
fn keys_are_told_apart_on_the_disk<K: StateKey + From<u64> + Clone>()
where
    for<'a> u64: From<&'a K>,
{
    let dir = tempfile::tempdir().unwrap();
    let (store, mut subtask) = (store(), subtask::<K>(dir.path(), 6));
    let mut base: Option<Manifest> = None;
    for round in 1..5u64 {
        for key in 0..100 {
            change(&mut subtask.table, &K::from(key), |mut value| {
                let before = value.get().copied();
                assert_eq!(before, (round > 1 && key % 4 != (round - 1) % 4).then(|| key + round - 1), "key {key}");
                value.set(key + round);
                if key % 4 == round % 4 {
                    value.clear();
                }
            });
        }
        let written = subtask.snapshot(&store, round, round - 1).unwrap();
        let whole = manifest(round, vec![written], base.as_ref());
        store.finalise(&whole, 1).unwrap();
        let mut restored = Subtask::<K, _>::new(state(), all(), GROUPS);
        restored.restore(&store, &whole, state()).unwrap();
        let mut rows: Vec<(u64, u64)> = (0..GROUPS)
            .flat_map(|group| restored.table.group(group))
            .map(|(key, slot)| (u64::from(key), *slot.value().unwrap()))
            .collect();
        rows.sort_unstable();
        let expected = (0..100).filter(|key| key % 4 != round % 4).map(|key| (key, key + round));
        assert!(rows.iter().copied().eq(expected), "round {round}");
        base = Some(whole);
    }
}

#[test]
fn keys_of_one_hash_are_told_apart_on_the_disk() {
    keys_are_told_apart_on_the_disk::<Blunt>();
}

#[test]
fn keys_that_are_stored_in_many_ways_are_known_on_the_disk() {
    keys_are_told_apart_on_the_disk::<Unordered>();
}

/// A key as it was once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Whole {
    stored: u64,
    left_out: u64,
}

/// A key of which a part is not read any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Partly {
    stored: u64,
    #[serde(skip)]
    left_out: u64,
}

#[test]
fn keys_that_cannot_be_told_apart_when_they_are_read_are_an_error_and_none_takes_the_place_of_another() {
    for left_out in 0..20 {
        let (store, dir) = (store(), tempfile::tempdir().unwrap());
        let mut written = Subtask::<Whole, _>::new(state(), all(), GROUPS);
        for left_out in [0, left_out] {
            change(&mut written.table, &Whole { stored: 1, left_out }, |mut value| value.set(left_out));
        }
        let whole = manifest(1, vec![written.snapshot(&store, 1, 0).unwrap()], None);
        store.finalise(&whole, 1).unwrap();
        let in_memory = Subtask::<Partly, _>::new(state(), all(), GROUPS).restore(&store, &whole, state());
        let on_disk = [1, 100].map(|rows| subtask::<Partly>(dir.path(), rows).restore(&store, &whole, state()));
        for outcome in [in_memory].into_iter().chain(on_disk) {
            match outcome {
                Ok(()) => assert_eq!(left_out, 0),
                Err(error) => assert!(error.to_string().contains("told two keys apart"), "{error}"),
            }
        }
    }
}

fn bytes(written: &Contribution) -> usize {
    written.chunks.iter().map(|chunk| chunk.len as usize).sum()
}

#[test]
fn the_cache_stays_bounded_and_a_checkpoint_costs_what_has_changed() {
    const KEYS: u64 = 20_000;
    const ROWS: usize = 1_000;
    let dir = tempfile::tempdir().unwrap();
    let (store, mut subtask) = (store(), subtask::<u64>(dir.path(), ROWS));
    assert_eq!(working_files(dir.path()), 0, "created with its first use");
    for key in 0..KEYS {
        change(&mut subtask.table, &key, |mut value| value.set(key));
        assert!(subtask.table.cached() <= ROWS + ROWS / 4 + 1);
    }
    assert_eq!(subtask.table.live(), KEYS as usize);
    let first = subtask.snapshot(&store, 1, 0).unwrap();
    store.finalise(&manifest(1, vec![first.clone()], None), 1).unwrap();
    // Keys and values below 65,536.
    assert!(bytes(&first) >= KEYS as usize * (2 + 2));
    for key in (0..KEYS).step_by(100) {
        change(&mut subtask.table, &key, |mut value| value.set(key + 1));
    }
    // Most of the changed rows leave the cache again.
    for key in 0..KEYS / 4 {
        change(&mut subtask.table, &key, |value| assert!(value.get().is_some()));
    }
    let second = subtask.snapshot(&store, 2, 1).unwrap();
    let share = bytes(&second) * 100 / bytes(&first);
    assert!((1..3).contains(&share), "1 % of the keys have changed, {share} % are written");

    let whole = manifest(2, vec![second], Some(&manifest(1, vec![first], None)));
    store.finalise(&whole, 1).unwrap();
    let mut memory = Subtask::<u64, _>::new(state(), all(), GROUPS);
    memory.restore(&store, &whole, state()).unwrap();
    let mut spilled = self::subtask::<u64>(dir.path(), ROWS);
    spilled.restore(&store, &whole, state()).unwrap();
    assert!(spilled.table.cached() <= ROWS && working_files(dir.path()) == 2);
    for key in 0..KEYS {
        let expected = Some(key + u64::from(key % 100 == 0));
        let memory: &mut KeyedTable<u64, ValueState<u64>> = &mut memory.table;
        change(memory, &key, |value| assert_eq!(value.get().copied(), expected));
        change(&mut spilled.table, &key, |value| assert_eq!(value.get().copied(), expected));
    }
}

#[test]
fn tables_take_no_more_than_their_part_of_the_cache_however_many_rows_come_and_go() {
    const CACHE_BYTES: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let place = SpillPlace { dir: dir.path().to_owned(), job: "job".into(), operator: "op".into(), subtask: 0 };
    let mut table = RedbBackend::new(state(), all(), GROUPS, place, CACHE_BYTES);
    let (mut most, mut most_cached) = (0, 0);
    // Each key once, then all again in another order, so that rows also come back.
    let keys = (0..40_000u64).chain((0..20_000).map(|n| n * 7 % 40_000));
    for (n, key) in keys.enumerate() {
        change(&mut table, &key, |mut value| *value.get_or_insert_with(|| key) += 1);
        if n % 64 == 0 {
            most = most.max(table.groups.iter().map(|group| group.table.allocation_size()).sum());
            most_cached = most_cached.max(table.cached());
        }
    }
    assert!(most <= CACHE_BYTES / 4 * 3, "{most} bytes in tables");
    assert!(most_cached > 8_000, "{most_cached} rows at most");
    assert_eq!(table.live(), 40_000);
}

#[test]
fn a_directory_that_is_gone_is_an_error_with_operator_and_file() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let mut table: Backend<u64> = RedbBackend::tiny(state(), all(), GROUPS, &missing, 4, false);
    let failed = (0..100u64).find_map(|key| try_change(&mut table, &key, |mut value| value.set(key)).err());
    let error = failed.expect("the cache is full before the hundredth key");
    let StateError::WorkingFile { operator, file, action, .. } = &error else { panic!("{error}") };
    assert_eq!((operator.as_str(), *action, file.as_path()), ("op", "create a file in", missing.as_path()));
    assert!(error.is_retryable(), "a restart may find it again");
    let again = try_change(&mut table, &1u64, |_| ());
    assert!(again.is_err(), "nothing goes on after a failure");
}

#[test]
fn a_full_disk_fails_the_next_block_of_records() {
    let disk = FaultyDisk::new();
    let file = WorkingFile::on("op".into(), disk.handle(), same_key::<u64>);
    let dir = tempfile::tempdir().unwrap();
    let mut table: Backend<u64> = RedbBackend::tiny(state(), all(), GROUPS, dir.path(), 50, false);
    let pages = table.shared.pages.clone();
    table.disk = Some(Disk::new(Arc::new(file), Arc::new(Filter::new(1 << 10)), pages).unwrap());
    let mut fill = |keys: std::ops::Range<u64>| {
        keys.clone().try_for_each(|key| try_change(&mut table, &key, |mut value| value.set(key)))
    };
    fill(0..1_000).unwrap();
    disk.limit(Some(0));
    let error = fill(1_000..100_000).expect_err("what is evicted has no room");
    assert!(matches!(&error, StateError::WorkingFile { action: "write to", .. }), "{error}");
    assert!(error.to_string().contains("look after the disk"), "{error}");
    disk.limit(None);
    assert!(fill(0..1).is_err(), "rows are lost: only a restart helps");
}

thread_local! {
    static REFUSES: Cell<bool> = const { Cell::new(false) };
}

/// A value that is read back until [`REFUSES`] is set.
#[derive(Serialize)]
struct Moody(String);

impl<'de> Deserialize<'de> for Moody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if REFUSES.get() { Err(serde::de::Error::custom("in no mood")) } else { Ok(Self(text)) }
    }
}

#[test]
fn a_row_that_its_type_does_not_read_is_not_blamed_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = RedbBackend::tiny(ValueState::<Moody>::new("v"), all(), GROUPS, dir.path(), 20, true);
    for key in 0..500u64 {
        change(&mut table, &key, |mut value| value.set(Moody(key.to_string())));
    }
    REFUSES.set(true);
    let error = (0..500u64).find_map(|key| try_change(&mut table, &key, |_| ()).err()).expect("it is read");
    let StateError::Unreadable { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("in no mood") && !error.is_retryable(), "{error}");
    assert!(!error.to_string().contains("look after the disk"), "{error}");
}

/// What is not read back as it was never leaves memory.
#[test]
fn a_row_that_would_not_read_back_fails_its_eviction() {
    let dir = tempfile::tempdir().unwrap();
    let state = ValueState::<Moody>::new("v").version(5);
    let mut table = RedbBackend::tiny(state, all(), GROUPS, dir.path(), 20, true);
    REFUSES.set(true);
    let mut set = |key: u64| try_change(&mut table, &key, |mut value| value.set(Moody(key.to_string())));
    let error = (0..500).find_map(|key| set(key).err()).expect("it is to leave");
    let StateError::Encode { state, version: 5, reason, .. } = &error else { panic!("{error}") };
    assert!(&**state == "v" && reason.contains("in no mood") && !error.is_retryable(), "{error}");
}

#[test]
fn the_file_is_removed_with_its_last_user() {
    let dir = tempfile::tempdir().unwrap();
    let place = SpillPlace { dir: dir.path().into(), job: "job".to_owned(), operator: "op".into(), subtask: 0 };
    let file = Arc::new(WorkingFile::create(&place, 1 << 20, same_key::<u64>).unwrap());
    let disk = Disk::inline(file.clone(), Arc::new(Filter::new(64)), Arc::new(PageStore::new(place, 0)));
    assert_eq!(working_files(dir.path()), 1);
    drop(file);
    drop(disk);
    assert_eq!(working_files(dir.path()), 0);
}

#[test]
fn values_that_expire_are_gone_from_cache_disk_and_checkpoints() {
    const KEYS: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let store = store();
    let state =
        || ValueState::<u64>::new("v").with_ttl(StateTtl::processing_time(std::time::Duration::from_millis(100)));
    let table = RedbBackend::tiny(state(), all(), GROUPS, dir.path(), 20, true);
    let mut subtask: Subtask<u64, _, _> = Subtask::with_backend(table, vec!["v".into()]);
    subtask.table.set_time(1_000, 0);
    for key in 0..KEYS {
        change(&mut subtask.table, &key, |mut value| value.set(key));
    }
    let first = manifest(1, vec![subtask.snapshot(&store, 1, 0).unwrap()], None);
    store.finalise(&first, 3).unwrap();
    subtask.table.set_time(1_050, 0);
    for key in (0..KEYS).step_by(2) {
        change(&mut subtask.table, &key, |mut value| value.set(key + 1));
    }
    subtask.table.set_time(1_120, 0);
    let second = manifest(2, vec![subtask.snapshot(&store, 2, 1).unwrap()], Some(&first));
    store.finalise(&second, 3).unwrap();
    for key in 0..KEYS {
        let expected = (key % 2 == 0).then_some(key + 1);
        change(&mut subtask.table, &key, |value| assert_eq!(value.get().copied(), expected, "key {key}"));
    }
    assert_eq!(subtask.table.live(), KEYS as usize / 2);
    // Whatever time it is there: what had expired at the barrier is not in the checkpoint.
    let mut restored = Subtask::<u64, _>::new(state(), all(), GROUPS);
    restored.restore(&store, &second, state()).unwrap();
    assert_eq!(restored.table.live(), KEYS as usize / 2);
}

/// A sweep clears what has expired by its barrier. Where the value was set under the stamp that the barrier closed, the
/// row's stamp stays what it was, and the removal was not counted.
#[test]
fn a_value_that_expires_in_the_interval_in_which_it_was_set_is_counted_as_gone() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let state =
        || ValueState::<u64>::new("v").with_ttl(StateTtl::processing_time(std::time::Duration::from_millis(100)));
    let table = RedbBackend::tiny(state(), all(), GROUPS, dir.path(), 20, true);
    let mut subtask: Subtask<u64, _, _> = Subtask::with_backend(table, vec!["v".into()]);
    let mut base = None;
    for round in 1..4u64 {
        subtask.table.set_time(round as i64 * 1_000, 0);
        (0..60u64).for_each(|key| change(&mut subtask.table, &key, |mut value| value.set(key)));
        (50..60u64).for_each(|key| change(&mut subtask.table, &key, |value| assert!(value.get().is_some())));
        subtask.table.set_time(round as i64 * 1_000 + 200, 0);
        let next = manifest(round, vec![subtask.snapshot(&store, round, round - 1).unwrap()], base.as_ref());
        store.finalise(&next, 3).unwrap();
        base = Some(next);
        (0..60u64).for_each(|key| change(&mut subtask.table, &key, |value| assert_eq!(value.get(), None)));
        assert_eq!(subtask.table.live(), 0, "round {round}");
    }
}
