//! Values with a time to live: when they expire, and what snapshots have of them.

#[path = "expiring_parts_tests.rs"]
mod parts;
#[path = "expiring_schedule_tests.rs"]
mod schedule;

use std::sync::Arc;

use millstream_actors::contract::{Manifest, SnapshotStore};
use millstream_actors::protocol::{Incarnation, KeyGroupRange};

use super::*;
use crate::snapshot::MemoryStore;
use crate::state::ValueState;
use crate::state::test_kit::{Subtask, all_the_time, change, manifest};

const GROUPS: u32 = 4;
const TTL: Duration = Duration::from_millis(1000);

type Text = Expiring<ValueState<String>>;

fn text(ttl: StateTtl) -> Text {
    ValueState::new("text").with_ttl(ttl)
}

fn subtask<S: crate::state::StateSet>(state: S) -> Subtask<u64, S> {
    Subtask::new(state, KeyGroupRange { start: 0, end: GROUPS }, GROUPS)
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    store
}

fn set(subtask: &mut Subtask<u64, Text>, key: u64, value: &str) {
    change(&mut subtask.table, &key, |mut text| text.set(value.to_owned()));
}

fn get(subtask: &mut Subtask<u64, Text>, key: u64) -> Option<String> {
    change(&mut subtask.table, &key, |text| text.get().cloned())
}

fn at(subtask: &mut Subtask<u64, Text>, processing_time: i64) {
    subtask.table.set_time(processing_time, Timestamp::MIN);
}

/// A complete checkpoint over another.
fn checkpoint<S: State>(
    subtask: &mut Subtask<u64, S>,
    store: &MemoryStore,
    id: u64,
    base: Option<&Arc<Manifest>>,
) -> Arc<Manifest> {
    let base_id = base.map_or(0, |base| base.checkpoint.0);
    let written = subtask.snapshot(store, id, base_id).unwrap();
    let manifest = Arc::new(manifest(id, vec![written], base.map(|base| &**base)));
    store.finalise(&manifest, 1).unwrap();
    manifest
}

fn restored<S: State + Clone>(state: &S, store: &MemoryStore, manifest: &Manifest) -> Subtask<u64, S> {
    let mut subtask = subtask(state.clone());
    subtask.restore(store, manifest, state.clone()).unwrap();
    subtask
}

#[test]
fn a_value_expires_when_it_was_not_changed_for_its_time() {
    let mut subtask = subtask(text(StateTtl::processing_time(TTL)));
    at(&mut subtask, 10_000);
    set(&mut subtask, 1, "a");
    set(&mut subtask, 2, "b");
    at(&mut subtask, 10_999);
    assert_eq!(get(&mut subtask, 1).as_deref(), Some("a"));
    change(&mut subtask.table, &2, |mut text| text.get_mut().unwrap().push('b'));
    at(&mut subtask, 11_000);
    assert_eq!(get(&mut subtask, 1), None, "reading does not count");
    at(&mut subtask, 11_998);
    assert_eq!(get(&mut subtask, 2).as_deref(), Some("bb"));
    at(&mut subtask, 9_000);
    set(&mut subtask, 3, "c");
    at(&mut subtask, 12_997);
    assert_eq!(get(&mut subtask, 3).as_deref(), Some("c"), "the clock was set back, time stood");
    at(&mut subtask, 12_998);
    assert_eq!((get(&mut subtask, 2), get(&mut subtask, 3)), (None, None));
    assert_eq!(subtask.table.len(), 0, "nothing is left of them");
    set(&mut subtask, 1, "again");
    assert_eq!(get(&mut subtask, 1).as_deref(), Some("again"));
}

#[test]
fn reading_refreshes_if_wanted_and_is_a_change_only_now_and_then() {
    let mut subtask = subtask(text(StateTtl::processing_time(TTL).refresh_on_read()));
    let store = store();
    at(&mut subtask, 0);
    set(&mut subtask, 1, "a");
    let first = checkpoint(&mut subtask, &store, 1, None);
    let stamp = |subtask: &mut Subtask<u64, Text>| {
        (0..GROUPS).flat_map(|group| subtask.table.group(group)).map(|(_, slot)| slot.stamp()).max().unwrap()
    };
    let written = stamp(&mut subtask);
    at(&mut subtask, 30);
    assert_eq!(get(&mut subtask, 1).as_deref(), Some("a"));
    assert_eq!(stamp(&mut subtask), written, "later by less than a 32nd");
    at(&mut subtask, 31);
    change(&mut subtask.table, &1, |_| ());
    assert_eq!(stamp(&mut subtask), written, "the record did not look");
    assert_eq!(get(&mut subtask, 1).as_deref(), Some("a"));
    assert!(stamp(&mut subtask) > written);
    let second = checkpoint(&mut subtask, &store, 2, Some(&first));
    let mut restored = restored(&text(StateTtl::processing_time(TTL)), &store, &second);
    at(&mut restored, 1030);
    assert_eq!(get(&mut restored, 1).as_deref(), Some("a"), "the deadline is stored");
    at(&mut restored, 1031);
    assert_eq!(get(&mut restored, 1), None);
}

#[test]
fn event_time_counts_from_the_first_watermark() {
    let mut subtask = subtask(text(StateTtl::event_time(TTL)));
    let watermark = |subtask: &mut Subtask<u64, Text>, to| subtask.table.set_time(0, to);
    set(&mut subtask, 1, "before the first");
    watermark(&mut subtask, 5_000_000);
    assert!(get(&mut subtask, 1).is_some());
    set(&mut subtask, 2, "after");
    watermark(&mut subtask, 5_000_999);
    assert!(get(&mut subtask, 1).is_some() && get(&mut subtask, 2).is_some());
    watermark(&mut subtask, 5_001_000);
    assert!(get(&mut subtask, 1).is_none() && get(&mut subtask, 2).is_none());
    set(&mut subtask, 3, "x");
    watermark(&mut subtask, Timestamp::MAX);
    assert!(get(&mut subtask, 3).is_none(), "at the end everything has expired");
}

#[test]
fn what_expired_before_the_barrier_is_not_in_its_checkpoint() {
    let (state, store) = (text(StateTtl::event_time(TTL)), store());
    let mut subtask = subtask(state.clone());
    subtask.table.set_time(0, 0);
    set(&mut subtask, 1, "in the base");
    let base = checkpoint(&mut subtask, &store, 1, None);
    set(&mut subtask, 2, "dirty");
    subtask.table.set_time(0, 500);
    set(&mut subtask, 3, "alive");
    subtask.table.set_time(0, 1000);
    subtask.barrier(2, 1);
    // What the sweep has not reached is written first, as it was at the barrier: expired, and then set anew.
    subtask.table.set_time(0, 1400);
    set(&mut subtask, 1, "after the barrier");
    let written = loop {
        if let Some(written) = subtask.slice(&store, all_the_time()).unwrap() {
            break written;
        }
    };
    let second = Arc::new(manifest(2, vec![written], Some(&base)));
    store.finalise(&second, 1).unwrap();
    // No watermark has come to the restored ones: what was forgotten would be there again.
    let mut again = restored(&text(StateTtl::event_time(100 * TTL)), &store, &second);
    assert_eq!([1, 2, 3].map(|key| get(&mut again, key)), [None, None, Some("alive".to_owned())]);
    assert_eq!(get(&mut subtask, 1).as_deref(), Some("after the barrier"));
    assert_eq!((subtask.table.live(), subtask.table.len()), (2, 3), "one mark of a removal is left");
    let third = checkpoint(&mut subtask, &store, 3, Some(&second));
    checkpoint(&mut subtask, &store, 4, Some(&third));
    assert_eq!((subtask.table.live(), subtask.table.len()), (2, 2));
}

#[test]
fn a_group_of_which_all_has_expired_can_be_a_base() {
    let (state, store) = (text(StateTtl::processing_time(TTL)), store());
    let mut subtask = subtask(state.clone());
    (0..40).for_each(|key| set(&mut subtask, key, "expires"));
    at(&mut subtask, 1000);
    let first = checkpoint(&mut subtask, &store, 1, None);
    (0..4).for_each(|key| set(&mut subtask, key, "lives"));
    let second = checkpoint(&mut subtask, &store, 2, Some(&first));
    let mut again = restored(&state, &store, &second);
    assert_eq!(again.table.live(), 4);
    assert_eq!(get(&mut again, 3).as_deref(), Some("lives"));
}

#[test]
fn a_longer_time_after_a_restart_brings_nothing_back() {
    let store = store();
    let mut subtask = subtask(text(StateTtl::processing_time(TTL)));
    at(&mut subtask, 0);
    set(&mut subtask, 1, "a");
    set(&mut subtask, 2, "b");
    let taken = checkpoint(&mut subtask, &store, 1, None);
    let mut again = restored(&text(StateTtl::processing_time(1000 * TTL)), &store, &taken);
    at(&mut again, 999);
    assert_eq!(get(&mut again, 2).as_deref(), Some("b"));
    set(&mut again, 2, "b");
    at(&mut again, 1000);
    assert_eq!(get(&mut again, 1), None);
    at(&mut again, 1_000_000);
    assert_eq!(get(&mut again, 2).as_deref(), Some("b"), "used since, so the new time counts");
}

#[test]
fn a_time_to_live_can_be_added_and_removed() {
    let (plain, expiring, store) = (ValueState::<String>::new("text"), text(StateTtl::processing_time(TTL)), store());
    let mut before = subtask(plain.clone());
    change(&mut before.table, &1, |mut text| text.set("a".to_owned()));
    let without = checkpoint(&mut before, &store, 1, None);

    let mut with = restored(&expiring, &store, &without);
    at(&mut with, 70_000);
    assert_eq!(get(&mut with, 1).as_deref(), Some("a"), "counts as used now");
    at(&mut with, 70_999);
    set(&mut with, 2, "b");
    assert!(get(&mut with, 1).is_some());
    // A delta with deadlines over a section without them.
    let mixed = checkpoint(&mut with, &store, 2, Some(&without));
    at(&mut with, 71_000);
    assert!(get(&mut with, 1).is_none());

    let mut again = restored(&expiring, &store, &mixed);
    at(&mut again, 71_000);
    assert_eq!([1, 2].map(|key| get(&mut again, key)), [None, Some("b".to_owned())], "dated, and stored so");
    let mut removed = restored(&plain, &store, &mixed);
    let mut get = |key| change(&mut removed.table, &key, |text| text.get().cloned());
    assert_eq!([1, 2].map(&mut get), [Some("a".to_owned()), Some("b".to_owned())]);
}

/// Entries and bytes of a table that is filled and expires in rounds, with a checkpoint after each step or without.
fn rounds(with_checkpoints: bool) {
    const KEYS: u64 = 4000;
    let (state, store) = (text(StateTtl::processing_time(TTL)), store());
    let mut subtask = subtask(state);
    let figures =
        |subtask: &Subtask<u64, Text>| (subtask.table.live(), subtask.table.len(), subtask.table.allocated_bytes());
    set(&mut subtask, u64::MAX, "stays");
    let before = figures(&subtask);
    let (mut now, mut id, mut base) = (0, 0, None);
    let mut step = |subtask: &mut Subtask<u64, Text>, now| {
        at(subtask, now);
        set(subtask, u64::MAX, "stays");
        if with_checkpoints {
            id += 1;
            base = Some(checkpoint(subtask, &store, id, base.as_ref()));
        } else {
            // As with batches: a few at a time, until all were looked at.
            (0..KEYS).for_each(|_| subtask.table.clean(4));
        }
    };
    for round in 0..3 {
        for key in 0..KEYS {
            set(&mut subtask, round * KEYS + key, "expires");
        }
        step(&mut subtask, now + 999);
        let (live, len, bytes) = figures(&subtask);
        assert_eq!((live, len), (KEYS as usize + 1, KEYS as usize + 1), "round {round}");
        assert!(bytes > 20 * before.2);
        now += 2000;
        // The first has the marks of removal, the second completes over it, the third sees that they are not needed.
        (0..3).for_each(|_| step(&mut subtask, now));
        let after = figures(&subtask);
        assert_eq!((after.0, after.1), (1, 1), "round {round}");
        assert!(after.2 <= before.2 + 4 * 64 * size_of::<(u64, ExpiringSlot<String>)>() * 2, "{before:?} {after:?}");
    }
}

#[test]
fn memory_returns_to_its_level_when_keys_expire() {
    rounds(true);
    rounds(false);
}

#[test]
fn cleaning_looks_at_no_more_than_it_may_and_goes_round() {
    let mut subtask = subtask(text(StateTtl::processing_time(TTL)));
    (0..1000).for_each(|key| set(&mut subtask, key, "x"));
    at(&mut subtask, 1000);
    subtask.table.clean(100);
    let left = subtask.table.len();
    assert!((900..1000).contains(&left), "{left}");
    (0..100).for_each(|_| subtask.table.clean(100));
    assert_eq!(subtask.table.len(), 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let check = |ttl| State::check(&text(ttl));
    assert!(check(StateTtl::event_time(Duration::from_micros(999))).unwrap_err().contains("millisecond"));
    assert!(check(StateTtl::event_time(Duration::MAX)).is_ok());
    let twice = text(StateTtl::event_time(TTL)).with_ttl(StateTtl::event_time(TTL));
    assert_eq!(State::check(&twice).unwrap_err(), "two times to live");
}
