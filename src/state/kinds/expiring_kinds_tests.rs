//! Lists and maps that expire, and whose values have versions: both write changes of a key in parts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Manifest, SnapshotStore};
use millstream_actors::protocol::{Incarnation, KeyGroupRange, Timestamp};
use serde::{Deserialize, Serialize};

use crate::snapshot::MemoryStore;
use crate::state::test_kit::{Random, Subtask, change, manifest, no_time};
use crate::state::{Expiring, ListState, MapState, State, StateSet, StateTtl};

const GROUPS: u32 = 2;

fn subtask<S: StateSet>(states: S) -> Subtask<u64, S> {
    Subtask::new(states, KeyGroupRange { start: 0, end: GROUPS }, GROUPS)
}

fn store() -> MemoryStore {
    let store = MemoryStore::new();
    store.open_job("job", Incarnation(1)).unwrap();
    store
}

fn checkpoint<S: StateSet>(
    subtask: &mut Subtask<u64, S>,
    store: &MemoryStore,
    id: u64,
    base: Option<&Arc<Manifest>>,
) -> Arc<Manifest> {
    let written = subtask.snapshot(store, id, base.map_or(0, |base| base.checkpoint.0)).unwrap();
    let manifest = Arc::new(manifest(id, vec![written], base.map(|base| &**base)));
    store.finalise(&manifest, 1).unwrap();
    manifest
}

type Pair = (Expiring<ListState<u32>>, Expiring<MapState<u32, String>>);

fn pair() -> Pair {
    let ttl = StateTtl::processing_time(Duration::from_millis(40));
    (ListState::new("list").with_ttl(ttl), MapState::new("map").with_ttl(ttl.refresh_on_read()))
}

/// Of each key the list and the map, each with its deadline.
type Model = BTreeMap<u64, ((i64, Vec<u32>), (i64, BTreeMap<u32, String>))>;

struct Schedule {
    random: Random,
    subtask: Subtask<u64, Pair>,
    store: MemoryStore,
    now: i64,
    model: Model,
    pending: Option<(u64, Option<Arc<Manifest>>, Model)>,
    newest: Option<(Arc<Manifest>, Model)>,
    next_id: u64,
    expired: u64,
    completed: u64,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            subtask: subtask(pair()),
            store: store(),
            now: 0,
            model: Model::new(),
            pending: None,
            newest: None,
            next_id: 1,
            expired: 0,
            completed: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..9 => self.change(),
            9 | 10 => {
                let by = self.random.below(10) as i64;
                self.advance(by);
            }
            11 => self.subtask.table.clean(self.random.below(20) as usize),
            12..17 => self.slice(),
            17 => self.barrier(),
            18 if self.random.below(8) == 0 => self.restart(),
            _ => {}
        }
    }

    fn advance(&mut self, by: i64) {
        self.now += by;
        self.subtask.table.set_time(self.now, Timestamp::MIN);
        for ((list_until, list), (map_until, map)) in self.model.values_mut() {
            if *list_until <= self.now && !list.is_empty() {
                list.clear();
                self.expired += 1;
            }
            if *map_until <= self.now && !map.is_empty() {
                map.clear();
                self.expired += 1;
            }
        }
        self.model.retain(|_, ((_, list), (_, map))| !list.is_empty() || !map.is_empty());
    }

    fn change(&mut self) {
        let (key, action, number) = (self.random.below(20), self.random.below(8), self.random.below(6) as u32);
        let (value, until) = (self.random.text(), self.now + 40);
        let ((list_until, list), (map_until, map)) = self.model.entry(key).or_default();
        change(&mut self.subtask.table, &key, |(mut list_handle, mut map_handle)| match action {
            0 | 1 => {
                list_handle.push(number);
                list.push(number);
                *list_until = until;
            }
            2 => {
                list_handle.clear();
                list.clear();
            }
            // A change that changes nothing moves the deadline all the same.
            3 => {
                list_handle.extend([]);
                *list_until = until;
            }
            4 => {
                assert_eq!(map_handle.insert(number, value.clone()), map.insert(number, value));
                *map_until = until;
            }
            5 => {
                assert_eq!(map_handle.remove(&number), map.remove(&number));
                *map_until = until;
            }
            6 => {
                assert_eq!(map_handle.get(&number), map.get(&number));
                *map_until = until;
            }
            _ => assert_eq!(list_handle.get(), &list[..], "key {key}"),
        });
        if list.is_empty() && map.is_empty() {
            self.model.remove(&key);
        }
    }

    fn barrier(&mut self) {
        let (id, base) = (self.next_id, self.newest.as_ref().map(|(manifest, _)| manifest.clone()));
        self.next_id += 1;
        self.subtask.barrier(id, base.as_ref().map_or(0, |base| base.checkpoint.0));
        self.pending = Some((id, base, self.model.clone()));
    }

    fn slice(&mut self) {
        if self.pending.is_none() {
            return;
        }
        let Some(written) = self.subtask.slice(&self.store, no_time()).unwrap() else { return };
        let (id, base, model) = self.pending.take().unwrap();
        let manifest = Arc::new(manifest(id, vec![written], base.as_deref()));
        self.store.finalise(&manifest, 1).unwrap();
        self.completed += 1;
        assert_eq!(self.contents(&manifest), shown(&model), "checkpoint {id}");
        self.newest = Some((manifest, model));
    }

    fn restored(&self, manifest: &Manifest) -> Subtask<u64, Pair> {
        let mut restored = subtask(pair());
        restored.restore(&self.store, manifest, pair()).unwrap();
        restored
    }

    /// What a checkpoint has of each key, seen at the time at which nothing has expired.
    fn contents(&self, manifest: &Manifest) -> Vec<Shown> {
        let mut restored = self.restored(manifest);
        let keys = 0..20;
        let read = keys.map(|key| {
            change(&mut restored.table, &key, |(list, map)| {
                let map: BTreeMap<u32, String> = map.iter().map(|(key, value)| (*key, value.clone())).collect();
                (key, list.get().to_vec(), map)
            })
        });
        read.filter(|(_, list, map)| !list.is_empty() || !map.is_empty()).collect()
    }

    fn restart(&mut self) {
        let Some((manifest, model)) = &self.newest else { return };
        (self.subtask, self.model) = (self.restored(manifest), model.clone());
        self.pending = None;
        // With the deadlines that were stored, and not those of what was lost.
        self.advance(0);
    }
}

type Shown = (u64, Vec<u32>, BTreeMap<u32, String>);

fn shown(model: &Model) -> Vec<Shown> {
    model.iter().map(|(key, ((_, list), (_, map)))| (*key, list.clone(), map.clone())).collect()
}

#[test]
fn lists_and_maps_expire_as_a_plain_map_of_them_does() {
    let first: u64 = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let (mut expired, mut completed) = (0, 0);
    for seed in first..first + 300 {
        let run = std::panic::catch_unwind(|| {
            let mut schedule = Schedule::new(seed);
            (0..1000).for_each(|_| schedule.step());
            (schedule.expired, schedule.completed)
        });
        let run = run.unwrap_or_else(|_| panic!("MILLSTREAM_SEED={seed} fails"));
        (expired, completed) = (expired + run.0, completed + run.1);
    }
    println!("seeds from {first}: {expired} expired, {completed} checkpoints");
    assert!(expired > 5_000 && completed > 2_000, "{expired} {completed}");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Named {
    number: u32,
}

#[test]
fn values_of_lists_and_maps_are_migrated_in_chains_of_mixed_versions() {
    type States<V> = (ListState<V>, MapState<String, V>);
    let old = || -> States<u32> { (ListState::new("list"), MapState::new("map")) };
    let new = || -> States<Named> {
        let named = |number: u32| Named { number };
        (
            ListState::new("list").version(2).migrate(1, named),
            MapState::new("map").version(2).migrate(1, named).compact(),
        )
    };
    let store = store();
    let mut before = subtask(old());
    for key in 0..50 {
        change(&mut before.table, &key, |(mut list, mut map)| {
            list.push(1);
            map.insert("a".to_owned(), 1);
        });
    }
    let first = checkpoint(&mut before, &store, 1, None);
    change(&mut before.table, &7, |(mut list, mut map)| {
        list.push(2);
        map.insert("b".to_owned(), 2);
    });
    let second = checkpoint(&mut before, &store, 2, Some(&first));

    let mut after = subtask(new());
    after.restore(&store, &second, new()).unwrap();
    change(&mut after.table, &7, |(mut list, mut map)| {
        list.push(Named { number: 3 });
        map.insert("c".to_owned(), Named { number: 3 });
    });
    let third = checkpoint(&mut after, &store, 3, Some(&second));
    let mut again = subtask(new());
    again.restore(&store, &third, new()).unwrap();
    let numbers = |subtask: &mut Subtask<u64, States<Named>>, key| {
        change(&mut subtask.table, &key, |(list, map)| {
            let list: Vec<u32> = list.iter().map(|named| named.number).collect();
            let map: Vec<u32> = map.iter().map(|(_, named)| named.number).collect();
            (list, map)
        })
    };
    assert_eq!(numbers(&mut again, 7), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(numbers(&mut again, 8), (vec![1], vec![1]));

    let bare = || -> States<Named> { (ListState::new("list"), MapState::new("map")) };
    let error = subtask(bare()).restore(&store, &second, bare()).unwrap_err().to_string();
    assert!(error.contains("'list'") && error.contains("version 1") && error.contains("key group 0"), "{error}");
}
