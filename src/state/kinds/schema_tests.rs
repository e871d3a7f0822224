use std::sync::Arc;

use millstream_actors::contract::{Manifest, SnapshotStore, StateError, StateScope};
use millstream_actors::protocol::{Incarnation, KeyGroupRange};
use serde::Deserialize;

use super::*;
use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Subtask, change, manifest, operator};
use crate::state::{State, StateTtl, ValueState};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Total {
    sum: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mean {
    sum: f64,
    #[serde(default)]
    count: u32,
}

fn v1() -> ValueState<u64> {
    ValueState::new("totals")
}

fn v2() -> ValueState<Total> {
    ValueState::new("totals").version(2).migrate(1, |sum: u64| Total { sum })
}

fn v3() -> ValueState<Mean> {
    let state = ValueState::new("totals").version(3).migrate(1, |sum: u64| Total { sum });
    state.migrate(2, |old: Total| Mean { sum: old.sum as f64, count: 1 })
}

fn subtask<S: State>(state: S) -> Subtask<u64, S> {
    Subtask::new(state, KeyGroupRange { start: 0, end: 1 }, 1)
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    store
}

/// Sets these keys, and takes a checkpoint over another.
fn checkpoint<V>(
    subtask: &mut Subtask<u64, ValueState<V>>,
    (store, id, base): (&MemoryStore, u64, Option<&Arc<Manifest>>),
    entries: impl IntoIterator<Item = (u64, V)>,
) -> Arc<Manifest>
where
    V: Serialize + DeserializeOwned + Send + 'static,
{
    entries.into_iter().for_each(|(key, value)| change(&mut subtask.table, &key, |mut handle| handle.set(value)));
    let written = subtask.snapshot(store, id, base.map_or(0, |base| base.checkpoint.0)).unwrap();
    let manifest = Arc::new(manifest(id, vec![written], base.map(|base| &**base)));
    store.finalise(&manifest, 1).unwrap();
    manifest
}

fn restored<S: State + Clone>(
    state: &S,
    store: &MemoryStore,
    manifest: &Manifest,
) -> Result<Subtask<u64, S>, StateError> {
    let mut subtask = subtask(state.clone());
    subtask.restore(store, manifest, state.clone()).map(|()| subtask)
}

fn get<V>(subtask: &mut Subtask<u64, ValueState<V>>, key: u64) -> Option<V>
where
    V: Serialize + DeserializeOwned + Clone + Send + 'static,
{
    change(&mut subtask.table, &key, |handle| handle.get().cloned())
}

#[test]
fn one_chain_of_sections_may_mix_versions_and_encodings() {
    let store = store();
    let mut first = subtask(v1());
    let numbers = checkpoint(&mut first, (&store, 1, None), (0..50).map(|key| (key, key)));

    let mut second = restored(&v2(), &store, &numbers).unwrap();
    assert_eq!(get(&mut second, 7), Some(Total { sum: 7 }));
    let structs = checkpoint(&mut second, (&store, 2, Some(&numbers)), [(7, Total { sum: 700 })]);

    let mut third = restored(&v3(), &store, &structs).unwrap();
    assert_eq!(get(&mut third, 7), Some(Mean { sum: 700.0, count: 1 }), "a step from 2");
    assert_eq!(get(&mut third, 8), Some(Mean { sum: 8.0, count: 1 }), "steps from 1 and 2");
    let means = checkpoint(&mut third, (&store, 3, Some(&structs)), [(8, Mean { sum: 0.5, count: 9 })]);

    // Without names from here on; the version stays, since the shape does.
    let compact = v3().compact();
    let mut fourth = restored(&compact, &store, &means).unwrap();
    assert_eq!(get(&mut fourth, 8), Some(Mean { sum: 0.5, count: 9 }));
    let packed = checkpoint(&mut fourth, (&store, 4, Some(&means)), [(9, Mean { sum: 1.5, count: 2 })]);
    assert_eq!(packed.chunks.len(), 4, "a whole section and three deltas");

    let mut again = restored(&v3(), &store, &packed).unwrap();
    let found = [6, 7, 8, 9].map(|key| get(&mut again, key).unwrap());
    let mean = |sum, count| Mean { sum, count };
    assert_eq!(found, [mean(6.0, 1), mean(700.0, 1), mean(0.5, 9), mean(1.5, 2)]);
}

#[test]
fn what_expires_is_migrated_too() {
    let store = store();
    let mut first = subtask(v1());
    let numbers = checkpoint(&mut first, (&store, 1, None), [(1, 5)]);
    let state = v3().with_ttl(StateTtl::processing_time(std::time::Duration::from_secs(1)));
    let mut second = restored(&state, &store, &numbers).unwrap();
    assert_eq!(change(&mut second.table, &1, |mean| mean.get().cloned()), Some(Mean { sum: 5.0, count: 1 }));
}

#[test]
fn compact_values_have_no_names() {
    let (mut named, mut compact) = (Vec::new(), Vec::new());
    let mut schema = Schema::<Total>::new();
    schema.put(&Total { sum: 3 }, &mut named).unwrap();
    let before = schema.format();
    schema.set_compact();
    schema.put(&Total { sum: 3 }, &mut compact).unwrap();
    assert_eq!((&named[..], &compact[..]), (&b"\x81\xa3sum\x03"[..], &b"\x91\x03"[..]));
    assert_ne!(schema.format(), before);
    let mut numbers = Schema::<u64>::new();
    let before = numbers.format();
    numbers.set_compact();
    assert_eq!(numbers.format(), before, "numbers are as short as they can be");
    for (stored, bytes) in [(before_compact(), &named), (schema.format(), &compact)] {
        assert_eq!(schema.take(stored, &mut &bytes[..]), Ok(Total { sum: 3 }));
    }
}

fn before_compact() -> StateFormat {
    Schema::<Total>::new().format()
}

/// What the error of a restore says, which names operator, state, key group and version.
fn refusal<S: State + Clone>(state: &S, store: &MemoryStore, manifest: &Manifest, stored: u32) -> String {
    let error = restored(state, store, manifest).err().unwrap();
    let StateError::Decode { operator: of, state, scope, version, reason } = &error else { panic!("{error}") };
    assert_eq!((of, &**state, *scope, *version), (&operator(), "totals", StateScope::KeyGroup(0), stored), "{error}");
    let shown = error.to_string();
    for part in ["'op'", "'totals'", "key group 0", &format!("version {stored}"), reason] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!error.is_retryable());
    reason.clone()
}

#[test]
fn what_cannot_be_decoded_names_operator_state_version_and_key_group() {
    let store = store();
    let numbers = checkpoint(&mut subtask(v1()), (&store, 1, None), [(1, 5)]);
    let refused = |reason: String, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(reason.contains(part), "{part}: {reason}"));
    };
    // The type changed, the version did not.
    refused(refusal(&ValueState::<Mean>::new("totals"), &store, &numbers, 1), &["u64 was stored", "Mean"]);
    refused(
        refusal(&ValueState::<u32>::new("totals"), &store, &numbers, 1),
        &["u64 was stored", "u32 now", "a version with a migration"],
    );
    // The version rose without a way to it, or from later on.
    refused(refusal(&v1().version(2), &store, &numbers, 1), &["version 1", "no migration"]);
    let late = ValueState::<Mean>::new("totals").version(3).migrate(2, |_: Total| Mean { sum: 0.0, count: 0 });
    assert_eq!(State::check(&late), Ok(()), "old checkpoints may be given up");
    refused(refusal(&late, &store, &numbers, 1), &["version 1", "no migration"]);
    // The migration takes something else than was stored.
    let wrong = ValueState::<Mean>::new("totals").version(2).migrate(1, |_: String| Mean { sum: 0.0, count: 0 });
    refused(refusal(&wrong, &store, &numbers, 1), &["as alloc::string::String", "u64 was stored"]);
    // Steps that the graph would have refused.
    let apart = ValueState::<Mean>::new("totals").version(2).migrate(1, |sum: u64| Total { sum });
    refused(refusal(&apart, &store, &numbers, 1), &["do not give", "Mean"]);

    let store = self::store();
    let means = checkpoint(&mut subtask(v3()), (&store, 1, None), [(1, Mean { sum: 1.0, count: 1 })]);
    refused(refusal(&v2(), &store, &means, 3), &["version 3 was stored", "version 2"]);
    // Named fields that the type does not have.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Other {
        median: f64,
    }
    let other = ValueState::<Other>::new("totals").version(3);
    refused(refusal(&other, &store, &means, 3), &["missing field `median`"]);
}

#[test]
fn versions_and_migrations_that_do_not_fit_are_found() {
    fn found<V: Serialize + DeserializeOwned + Send + 'static>(state: ValueState<V>, part: &str) {
        let reason = State::check(&state).unwrap_err();
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let new = || ValueState::<u64>::new("n");
    let same = |n: u64| n;
    for state in [new(), new().version(7), new().version(3).migrate(2, same).migrate(1, same)] {
        assert_eq!(State::check(&state), Ok(()));
    }
    assert_eq!(State::check(&v3()), Ok(()));
    found(new().version(0), "no version 0");
    found(new().version(1).migrate(0, same), "no version 0");
    found(new().migrate(1, same), "today's is 1");
    found(new().version(3).migrate(1, same), "no migration from version 2 to 3");
    found(new().version(4).migrate(1, same).migrate(3, same), "no migration from version 2");
    found(new().version(2).migrate(1, same).migrate(1, same), "two migrations from version 1");
    found(new().version(3).migrate(1, |n: u64| n as f64).migrate(2, same), "gives f64, that from 2 takes u64");
    found(new().version(2).migrate(1, |n: u64| n as f64), "gives f64, the state's values are u64");
}
