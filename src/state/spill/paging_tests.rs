use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_actors::contract::{Contribution, SnapshotStore, StateError};
use millstream_actors::protocol::{Incarnation, KeyGroupRange};
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::pages::ChangedPages;
use super::*;
use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Random, Subtask, change, manifest, sections, try_change};
use crate::state::{KeyedBackend, MapHandle, MapState, State, StateRows, StateTtl};

const GROUPS: u32 = 4;
const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: GROUPS };
/// Entries of a large map.
const LARGE: i64 = 100_000;
/// Rows in the cache, next to none.
const ROWS: usize = 4;

type Place = (i64, u64);
type Numbers = MapState<Place, u64>;
type Spilled = Subtask<u64, Numbers, RedbBackend<u64, Numbers>>;

fn state() -> Numbers {
    MapState::new("map")
}

fn backend(dir: &std::path::Path) -> RedbBackend<u64, Numbers> {
    RedbBackend::tiny(state(), ALL, GROUPS, dir, ROWS, true)
}

fn spilled(dir: &std::path::Path) -> Spilled {
    Subtask::with_backend(backend(dir), state().names())
}

fn in_memory() -> Subtask<u64, Numbers> {
    Subtask::new(state(), ALL, GROUPS)
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    store
}

fn fill(table: &mut impl KeyedBackend<u64, Numbers>, key: u64, entries: i64) {
    for first in (0..entries).step_by(1_000) {
        change(table, &key, |mut map| {
            (first..entries.min(first + 1_000)).for_each(|time| {
                map.insert((time, 0), time as u64);
            });
        });
    }
}

/// Has all other rows and their pages leave the cache.
fn use_others(table: &mut impl KeyedBackend<u64, Numbers>) {
    (1_000..1_050).for_each(|key| {
        change(table, &key, |mut map| {
            map.insert((0, 0), key);
        })
    });
}

fn reads(subtask: &Spilled) -> usize {
    subtask.table.shared.pages.reads.load(Ordering::Relaxed)
}

/// The pages that `work` reads.
fn read_by(subtask: &mut Spilled, work: impl FnOnce(&mut Spilled)) -> usize {
    let before = reads(subtask);
    work(subtask);
    reads(subtask) - before
}

fn bytes(written: &Contribution) -> usize {
    written.chunks.iter().map(|chunk| chunk.len as usize).sum()
}

fn held(subtask: &Spilled) -> usize {
    subtask.table.shared.pages.held()
}

/// So many bytes of pages may be in memory: the limit, and some pages of each row that is in the cache.
fn held_max() -> usize {
    ROWS * 64 + 2 * ROWS * 500
}

#[test]
fn a_record_on_a_large_map_reads_a_few_of_its_pages_and_a_checkpoint_those_that_changed() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let mut subtask = spilled(dir.path());
    fill(&mut subtask.table, 7, LARGE);
    use_others(&mut subtask.table);
    let first = manifest(1, vec![subtask.snapshot(&store, 1, 0).unwrap()], None);
    store.finalise(&first, 3).unwrap();
    assert!(held(&subtask) <= held_max(), "{} bytes of pages", held(&subtask));
    let (mut random, mut most) = (Random(3), 0);
    for n in 0..200u64 {
        if n == 100 {
            use_others(&mut subtask.table);
        }
        let time = 1_000 + random.below(LARGE as u64 - 2_000) as i64;
        let read = read_by(&mut subtask, |subtask| {
            change(&mut subtask.table, &7, |mut map| {
                let near: Vec<u64> = map.range((time, 0)..(time + 10, 0)).map(|(_, value)| *value).collect();
                assert!(near.iter().copied().eq(time as u64..time as u64 + 10), "{near:?}");
                assert_eq!(map.range(..=(time, 5)).next_back(), Some((&(time, 0), &(time as u64))));
                assert_eq!(map.get(&(-1, 0)), None);
                assert_eq!(map.insert((LARGE + n as i64, 0), n), None);
                assert_eq!(map.pop_first(), Some(((n as i64, 0), n)));
                assert_eq!(map.len(), LARGE as usize);
            });
        });
        most = most.max(read);
    }
    // With four entries to a page at most, and two at least: ten that are met, the first, the last.
    assert!(most <= 10, "{most} pages");
    use_others(&mut subtask.table);
    let mut second = None;
    let read = read_by(&mut subtask, |subtask| second = Some(subtask.snapshot(&store, 2, 1).unwrap()));
    let second = second.unwrap();
    assert!(read <= 250, "{read} pages for 200 entries that came and 200 that went");
    assert!(bytes(&second) < 12_000, "{} bytes", bytes(&second));
    let second = manifest(2, vec![second], Some(&first));
    store.finalise(&second, 3).unwrap();
    // Into memory, and into the file again.
    let (mut memory, mut restored) = (in_memory(), spilled(dir.path()));
    memory.restore(&store, &second, state()).unwrap();
    restored.restore(&store, &second, state()).unwrap();
    assert!(held(&restored) <= held_max(), "{} bytes of pages", held(&restored));
    let all = |map: MapHandle<'_, Place, u64>| map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>();
    let expected = change(&mut memory.table, &7, all);
    assert_eq!((expected.len(), expected[0].0), (LARGE as usize, (200, 0)));
    assert!(change(&mut restored.table, &7, all) == expected && change(&mut subtask.table, &7, all) == expected);
    use_others(&mut restored.table);
    assert!(held(&restored) <= held_max(), "{} bytes of pages after all were lent", held(&restored));
}

#[test]
fn both_backends_write_the_same_bytes_of_a_map_whole_and_of_its_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (stores, mut memory, mut spilled) = ([store(), store()], in_memory(), spilled(dir.path()));
    let (mut random, mut bases) = (Random(11), [None, None]);
    for checkpoint in 1..20u64 {
        for _ in 0..random.below(200) {
            let (place, action) = ((random.below(40) as i64, random.below(30)), random.below(9));
            let work = |mut map: MapHandle<'_, Place, u64>| match action {
                0..5 => {
                    map.insert(place, checkpoint);
                }
                5 => drop(map.remove(&place)),
                6 => drop(map.pop_first()),
                7 => drop(map.get_mut(&place).map(|value| *value += 1)),
                _ => *map.get_or_insert_with(place, || 0) += 1,
            };
            change(&mut memory.table, &1, work);
            change(&mut spilled.table, &1, work);
        }
        // Of other keys, in other groups, there are many rows.
        let others = (1_000..1_050u64).filter(|key| group_of_key(key) != group_of_key(&1));
        others.for_each(|key| {
            change(&mut spilled.table, &key, |mut map| {
                map.insert((0, 0), key);
            })
        });
        let written = [
            memory.snapshot(&stores[0], checkpoint, checkpoint - 1).unwrap(),
            spilled.snapshot(&stores[1], checkpoint, checkpoint - 1).unwrap(),
        ];
        let mut written = written.into_iter();
        for (store, base) in stores.iter().zip(&mut bases) {
            let next = manifest(checkpoint, vec![written.next().unwrap()], base.as_ref());
            store.finalise(&next, 3).unwrap();
            *base = Some(next);
        }
        let [of_memory, of_file] = [0, 1].map(|at| {
            let all = sections(&stores[at], bases[at].as_ref().unwrap(), group_of_key(&1)).unwrap();
            all.into_iter().map(|section| section.bytes).collect::<Vec<_>>()
        });
        assert!(of_memory == of_file, "checkpoint {checkpoint}");
    }
    assert!(spilled.table.shared.pages.reads.load(Ordering::Relaxed) > 100);
}

fn group_of_key(key: &u64) -> u32 {
    crate::state::group_of_key(key, GROUPS)
}

/// Every page in the file becomes this.
fn replace_pages(subtask: &mut Spilled, page: Option<Vec<u8>>) {
    let pages = &subtask.table.shared.pages;
    drop(pages.take_waiting());
    let file = subtask.table.shared.existing_file().expect("it was used").clone();
    file.write(&Batch::of_pages((0..100_000).map(|number| (number, page.clone())).collect::<ChangedPages>())).unwrap();
    // What was read before stays as it was: the next look is at the file.
    pages.arrived();
}

#[test]
fn a_page_that_is_damaged_or_gone_ends_the_call_that_wants_it_and_gives_the_error_of_the_file() {
    for page in [None, Some(vec![1; 100]), Some(Vec::new())] {
        let dir = tempfile::tempdir().unwrap();
        let mut subtask = spilled(dir.path());
        fill(&mut subtask.table, 7, 5_000);
        use_others(&mut subtask.table);
        subtask.table.disk.as_mut().unwrap().poll(true).unwrap();
        replace_pages(&mut subtask, page);
        let mut seen = None;
        let outcome = try_change(&mut subtask.table, &7, |map| seen = Some(map.get(&(2_500, 0)).copied()));
        let error = outcome.expect_err("the page is not what was written");
        assert!(matches!(&error, StateError::WorkingFile { action: "read", .. }), "{error}");
        assert!(error.is_retryable() && seen.is_none(), "the function must not go on");
        let again = try_change(&mut subtask.table, &1_000, |_| ());
        assert!(again.is_err(), "nothing goes on after a failure");
    }
}

#[test]
fn a_page_that_is_damaged_ends_a_visit_of_all_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut subtask = spilled(dir.path());
    fill(&mut subtask.table, 7, 5_000);
    use_others(&mut subtask.table);
    subtask.table.disk.as_mut().unwrap().poll(true).unwrap();
    replace_pages(&mut subtask, Some(vec![1; 100]));
    let mut seen = 0;
    let outcome = subtask.table.visit_group(group_of_key(&7), |_, map| {
        seen = map.values().count().max(seen);
        ControlFlow::Continue(())
    });
    let error = outcome.expect_err("the pages are not what was written");
    assert!(matches!(&error, StateError::WorkingFile { action: "read", .. }), "{error}");
    assert!(seen < 5_000, "the function must not go on");
    assert!(try_change(&mut subtask.table, &1_000, |_| ()).is_err(), "nothing goes on after a failure");
}

#[test]
fn a_page_that_a_checkpoint_cannot_read_is_the_error_of_the_file() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let mut subtask = spilled(dir.path());
    fill(&mut subtask.table, 7, 5_000);
    use_others(&mut subtask.table);
    subtask.table.disk.as_mut().unwrap().poll(true).unwrap();
    replace_pages(&mut subtask, Some(vec![1; 100]));
    let error = subtask.snapshot(&store, 1, 0).expect_err("the pages are not what was written");
    assert!(matches!(&error, StateError::WorkingFile { action: "read", .. }), "{error}");
    assert!(try_change(&mut subtask.table, &1_000, |_| ()).is_err(), "nothing goes on after a failure");
}

#[test]
fn a_panic_of_the_function_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut subtask = spilled(dir.path());
    fill(&mut subtask.table, 7, 100);
    let outcome = catch_unwind(AssertUnwindSafe(|| change(&mut subtask.table, &7, |_| panic!("of the function"))));
    assert_eq!(outcome.expect_err("it panics").downcast_ref::<&str>(), Some(&"of the function"));
}

#[test]
fn clearing_a_large_map_frees_its_pages_and_the_key_goes_with_them() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let mut subtask = spilled(dir.path());
    let mut base = None;
    for round in 1..6u64 {
        fill(&mut subtask.table, 7, 1_000);
        use_others(&mut subtask.table);
        change(&mut subtask.table, &7, |mut map| match round % 2 {
            0 => map.clear(),
            _ => map.retain(|_, _| false),
        });
        use_others(&mut subtask.table);
        let next = manifest(round, vec![subtask.snapshot(&store, round, round - 1).unwrap()], base.as_ref());
        store.finalise(&next, 3).unwrap();
        base = Some(next);
        assert_eq!(subtask.table.live(), 50);
        change(&mut subtask.table, &7, |map| assert!(map.is_empty() && map.iter().next().is_none()));
    }
    use_others(&mut subtask.table);
    assert_eq!(pages_in_file(&mut subtask), 0, "pages are left");
}

/// Pages in the file, when those that wait are there.
fn pages_in_file(subtask: &mut Spilled) -> u64 {
    let pages = subtask.table.shared.pages.clone();
    subtask.table.open_disk().unwrap().poll(true).unwrap();
    subtask.table.shared.existing_file().unwrap().write(&Batch::of_pages(pages.take_waiting())).unwrap();
    // What was read before stays as it was: the next look is at the file.
    pages.arrived();
    redb::ReadableTableMetadata::len(&subtask.table.shared.existing_file().unwrap().read_pages().unwrap()).unwrap()
}

/// Pages in which nothing was left but marks of removals stayed for good, if the row was in the cache at the barrier that
/// settled them.
#[test]
fn a_map_that_is_used_as_a_queue_has_no_more_pages_after_many_checkpoints() {
    const ENTRIES: i64 = 200;
    const EACH: i64 = 40;
    for is_resident in [true, false] {
        let (dir, store) = (tempfile::tempdir().unwrap(), store());
        let mut subtask = spilled(dir.path());
        let mut base = None;
        fill(&mut subtask.table, 7, ENTRIES);
        use_others(&mut subtask.table);
        for round in 1..41u64 {
            for n in 0..EACH {
                let first = (round as i64 - 1) * EACH + n;
                change(&mut subtask.table, &7, |mut map| {
                    map.insert((ENTRIES + first, 0), 0);
                    assert_eq!(map.pop_first().map(|(key, _)| key), Some((first, 0)));
                });
            }
            if !is_resident {
                use_others(&mut subtask.table);
            }
            let next = manifest(round, vec![subtask.snapshot(&store, round, round - 1).unwrap()], base.as_ref());
            store.finalise(&next, 3).unwrap();
            base = Some(next);
            // Those of the last two rounds. Of a row that was out of the cache at barriers, they stayed for good.
            let marks = change(&mut subtask.table, &7, |map| map.marks());
            assert!(marks <= 3 * EACH as usize, "{marks} marks, is_resident: {is_resident}");
        }
        // At least two entries to a page, and marks of what went in the last two rounds.
        let pages = pages_in_file(&mut subtask);
        assert!(pages <= (ENTRIES + 2 * EACH) as u64 / 2 + 2, "{pages} pages, is_resident: {is_resident}");
    }
}

#[test]
fn large_maps_that_expire_are_gone_from_cache_file_and_checkpoints() {
    const KEYS: u64 = 40;
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let state = || MapState::<u64, u64>::new("map").with_ttl(StateTtl::processing_time(Duration::from_millis(100)));
    let table = RedbBackend::tiny(state(), ALL, GROUPS, dir.path(), ROWS, true);
    let mut subtask: Subtask<u64, _, _> = Subtask::with_backend(table, vec!["map".into()]);
    subtask.table.set_time(1_000, 0);
    for key in 0..KEYS {
        change(&mut subtask.table, &key, |mut map| {
            (0..100).for_each(|n| {
                map.insert(n, key);
            })
        });
    }
    let first = manifest(1, vec![subtask.snapshot(&store, 1, 0).unwrap()], None);
    store.finalise(&first, 3).unwrap();
    subtask.table.set_time(1_050, 0);
    for key in (0..KEYS).step_by(2) {
        change(&mut subtask.table, &key, |mut map| {
            map.insert(50, key + 1);
        });
    }
    subtask.table.set_time(1_120, 0);
    let second = manifest(2, vec![subtask.snapshot(&store, 2, 1).unwrap()], Some(&first));
    store.finalise(&second, 3).unwrap();
    // What had expired has been freed only where the row knows of it.
    let mut restored = Subtask::<u64, _>::new(state(), ALL, GROUPS);
    restored.table.set_time(1_120, 0);
    restored.restore(&store, &second, state()).unwrap();
    assert_eq!(restored.table.live(), KEYS as usize / 2);
    for key in 0..KEYS {
        let entries = (0..100u64).map(|n| (n, key + u64::from(n == 50)));
        let expected: Vec<(u64, u64)> = if key % 2 == 0 { entries.collect() } else { Vec::new() };
        for _ in 0..2 {
            change(&mut subtask.table, &key, |map| {
                assert!(map.iter().map(|(n, value)| (*n, *value)).eq(expected.iter().copied()), "key {key}");
            });
        }
        change(&mut restored.table, &key, |map| assert_eq!(map.len(), expected.len(), "key {key}"));
    }
    assert_eq!(subtask.table.live(), KEYS as usize / 2);
}

/// A value as it was once.
#[derive(Serialize, Deserialize)]
struct Old {
    amount: u32,
}

/// And as it is now.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct New {
    cents: u64,
}

#[test]
fn a_large_map_of_an_older_version_is_migrated_into_pages() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let old = || MapState::<u64, Old>::new("map");
    let new = || {
        MapState::<u64, New>::new("map").version(2).migrate(1, |old: Old| New { cents: u64::from(old.amount) * 100 })
    };
    let mut written =
        Subtask::with_backend(RedbBackend::tiny(old(), ALL, GROUPS, dir.path(), ROWS, true), old().names());
    for key in 0..30u64 {
        change(&mut written.table, &key, |mut map| {
            (0..50).for_each(|n| {
                map.insert(n, Old { amount: n as u32 });
            });
        });
    }
    let whole = manifest(1, vec![written.snapshot(&store, 1, 0).unwrap()], None);
    store.finalise(&whole, 3).unwrap();
    let table = RedbBackend::tiny(new(), ALL, GROUPS, dir.path(), ROWS, true);
    let mut restored: Subtask<u64, _, _> = Subtask::with_backend(table, new().names());
    restored.restore(&store, &whole, new()).unwrap();
    for key in 0..30u64 {
        change(&mut restored.table, &key, |map| {
            assert!(map.iter().all(|(n, value)| *value == New { cents: n * 100 }) && map.len() == 50);
        });
    }
    assert!(restored.table.shared.pages.reads.load(Ordering::Relaxed) > 30);
}
