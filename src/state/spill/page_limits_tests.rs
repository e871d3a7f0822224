//! How much of large maps is in memory, and what is damaged beside their pages.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use millstream_actors::contract::{Progress, SnapshotStore, StateError};
use millstream_actors::protocol::{Incarnation, KeyGroupRange};
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::pages::PageStore;
use super::shared::CacheLimits;
use super::*;
use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Subtask, all_the_time, change, try_change};
use crate::state::{KeyedBackend, MapHandle, MapState, StateRows, StateSet, group_of_key, stable_hash};

const GROUPS: u32 = 4;
const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: GROUPS };
const ROWS: usize = 4;

type Values = MapState<u64, Vec<u8>>;
type Backend = RedbBackend<u64, Values>;

fn state() -> Values {
    MapState::new("map")
}

/// A backend that may have so many bytes of pages in memory, and few rows.
fn backend(dir: &Path, map_bytes: usize) -> Backend {
    backend_of(state(), dir, map_bytes)
}

fn backend_of<S: StateSet>(state: S, dir: &Path, map_bytes: usize) -> RedbBackend<u64, S> {
    let place = SpillPlace { dir: dir.to_owned(), job: "job".to_owned(), operator: "op".into(), subtask: 0 };
    let mut limits = CacheLimits::of_rows(ROWS);
    limits.map_bytes = map_bytes;
    let mut backend = RedbBackend::with_limits(state, ALL, GROUPS, place, limits);
    backend.writes_inline = true;
    backend
}

fn fill(table: &mut Backend, key: u64, entries: u64, len: usize) {
    change(table, &key, |mut map| (0..entries).for_each(|n| drop(map.insert(n, vec![1; len]))));
}

/// Has all other rows and their pages leave the cache.
fn use_others(table: &mut Backend) {
    (1_000..1_050).for_each(|key| fill(table, key, 1, 1));
}

/// Has all that waits lie in the file.
fn flush(table: &mut Backend) -> std::sync::Arc<PageStore> {
    let pages = table.shared.pages.clone();
    table.open_disk().unwrap().poll(true).unwrap();
    table.shared.existing_file().unwrap().write(&Batch::of_pages(pages.take_waiting())).unwrap();
    // What was read before stays as it was: the next look is at the file.
    pages.arrived();
    pages
}

/// What a page holds was estimated, and no more than a page's usual bytes.
#[test]
fn pages_are_counted_as_large_as_their_values_are_however_these_grew() {
    const LEN: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let mut table = backend(dir.path(), 64 << 20);
    let is_about = |table: &Backend, bytes: usize, what: &str| {
        let held = table.shared.pages.held();
        assert!((bytes / 5 * 4..=bytes / 5 * 6).contains(&held), "{held} bytes for {bytes}, {what}");
    };
    fill(&mut table, 7, 8, LEN);
    is_about(&table, 8 * LEN, "cut");
    change(&mut table, &7, |mut map| (8..16).for_each(|n| drop(map.insert(n, vec![1; LEN]))));
    change(&mut table, &7, |mut map| {
        (16..24).for_each(|n| assert_eq!(map.get_or_insert_with(n, || vec![1; LEN]).len(), LEN));
    });
    is_about(&table, 24 * LEN, "inserted");
    change(&mut table, &7, |mut map| (0..24).for_each(|n| drop(map.insert(n, vec![1; LEN / 2]))));
    is_about(&table, 12 * LEN, "replaced by less");
    change(&mut table, &7, |mut map| (0..12).for_each(|n| drop(map.remove(&n))));
    is_about(&table, 6 * LEN, "removed");
    change(&mut table, &7, |mut map| map.clear());
    is_about(&table, 0, "cleared");
    // Little by little, in place.
    fill(&mut table, 8, 20, 1);
    for _ in 0..LEN / 100 {
        change(&mut table, &8, |mut map| {
            (0..20).for_each(|n| map.get_mut(&n).expect("it is there").extend([2; 100]));
        });
    }
    is_about(&table, 20 * LEN, "grown");
    use_others(&mut table);
    change(&mut table, &8, |map| assert_eq!(map.values().map(Vec::len).sum::<usize>(), 20 * (LEN + 1)));
    is_about(&table, 20 * LEN, "read");
}

/// A value whose bytes are counted as long as it lives.
#[derive(Serialize, Deserialize)]
#[serde(from = "Vec<u8>")]
struct Counted(Vec<u8>);

thread_local! {
    static COUNTED: Cell<usize> = const { Cell::new(0) };
}

impl From<Vec<u8>> for Counted {
    fn from(bytes: Vec<u8>) -> Self {
        COUNTED.set(COUNTED.get() + bytes.len());
        Self(bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTED.set(COUNTED.get() - self.0.len());
    }
}

#[test]
fn maps_of_large_values_stay_within_the_bytes_for_pages() {
    const LEN: usize = 100_000;
    const MAX: usize = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut table = backend_of(MapState::<u64, Counted>::new("map"), dir.path(), MAX);
    for key in (0..20).chain(0..20) {
        change(&mut table, &key, |mut map| (0..8).for_each(|n| drop(map.insert(n, vec![1; LEN].into()))));
        // What one call has touched, beside what there may be.
        let bytes = COUNTED.get();
        assert!(bytes <= MAX / 4 * 5 + 9 * LEN, "{bytes} bytes");
    }
}

/// Pages that wait were sent between two records of a block, but not between two rows of a visit.
#[test]
fn pages_that_wait_are_bounded_while_all_keys_are_visited() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = backend(dir.path(), 256);
    let key_of = |group| move |key: &u64| group_of_key(key, GROUPS) == group;
    let keys: Vec<u64> = (0..400).filter(key_of(1)).collect();
    keys.iter().for_each(|key| fill(&mut table, *key, 200, 20));
    let (pages, mut most, mut visited) = (flush(&mut table), 0, 0);
    let progress = table.visit_group(1, |_, mut map| {
        most = most.max(pages.waiting_bytes());
        visited += 1;
        map.retain(|n, _| n % 2 == 0);
        ControlFlow::Continue(())
    });
    assert_eq!(progress.unwrap(), Progress::Done);
    assert_eq!(visited, keys.len());
    // What one call has written is on its way before the next.
    assert!(most < 1_000, "{most} bytes");
}

#[test]
fn a_map_of_few_large_entries_goes_into_pages_and_out_of_them_only_as_its_size_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = backend(dir.path(), 256);
    fill(&mut table, 7, 2, 5_000);
    for _ in 0..3 {
        use_others(&mut table);
        change(&mut table, &7, |map| assert_eq!(map.values().map(Vec::len).sum::<usize>(), 10_000));
    }
    let reads = table.pages_read();
    assert_eq!(reads(), 0, "one page would be no better than the row");
    fill(&mut table, 8, 10, 5_000);
    change(&mut table, &8, |mut map| map.retain(|n, _| *n == 3));
    use_others(&mut table);
    let pages = flush(&mut table);
    for _ in 0..3 {
        change(&mut table, &8, |map| assert_eq!(map.get(&3).map(Vec::len), Some(5_000)));
        assert_eq!(pages.waiting_bytes(), 0, "a look frees and writes nothing");
        use_others(&mut table);
    }
    assert!(reads() >= 3, "it was in memory");
    change(&mut table, &8, |mut map| drop(map.insert(3, vec![1])));
    use_others(&mut table);
    let before = reads();
    change(&mut table, &8, |map| assert_eq!(map.get(&3), Some(&vec![1])));
    assert_eq!(reads(), before, "it is small");
}

/// Where the list of a map's pages was damaged, its bytes might decode, and the row be gone on with.
#[test]
fn a_row_whose_list_of_pages_is_damaged_is_the_error_of_the_file() {
    let mut at = 0;
    loop {
        let dir = tempfile::tempdir().unwrap();
        let mut table = backend(dir.path(), 256);
        fill(&mut table, 7, 10, 20);
        use_others(&mut table);
        flush(&mut table);
        let hash = stable_hash(&7u64);
        let found = table.disk.as_mut().unwrap().get(hash).unwrap();
        let (whole, slots) = {
            let row = found.rows().next().unwrap().unwrap();
            (row.whole.to_vec(), row.slots.len())
        };
        drop(found);
        if at >= slots {
            break;
        }
        let mut damaged = whole;
        let place = damaged.len() - slots + at;
        damaged[place] ^= 1;
        let mut batch = Batch::default();
        let put = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(&damaged);
            Ok::<_, ()>(())
        };
        batch.push(hash, put).unwrap();
        table.send(batch).unwrap();
        flush(&mut table);
        let outcome = try_change(&mut table, &7, |mut map: MapHandle<'_, u64, Vec<u8>>| drop(map.remove(&5)));
        let error = outcome.expect_err("the row is not what was written");
        assert!(matches!(&error, StateError::WorkingFile { action: "read", .. }), "byte {at}: {error}");
        at += 7;
    }
    assert!(at > 30, "there is a list");
}

#[test]
fn a_page_that_was_lost_before_a_slice_ends_the_capture() {
    let (dir, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
    store.open_job("job", Incarnation(1)).unwrap();
    let mut subtask: Subtask<u64, Values, Backend> = Subtask::with_backend(backend(dir.path(), 256), state().names());
    fill(&mut subtask.table, 7, 10, 20);
    subtask.barrier(1, 0);
    subtask.table.shared.own_pages.pager.unreadable("it is gone".to_owned());
    let error = subtask.slice(&store, all_the_time()).expect_err("a page was lost");
    assert!(matches!(&error, StateError::Unreadable { .. }), "{error}");
    assert!(subtask.table.barriers.capture.is_none(), "nothing more is written");
}
