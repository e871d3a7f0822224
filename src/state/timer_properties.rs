//! Random schedules of all that can come between two timers, against a plain set of timers: records, timers of both domains that
//! register, delete and clear others when they fire, values that expire beside them, keys with one hash, barriers, slices, aborts,
//! restores at other parallelisms, visits of all keys, and queries. Each timer fires once, by ascending time; each checkpoint has what
//! was there at its barrier, and nobody sees the row of a key that has no state (T3, G1).

mod figures;
mod model;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use millstream_actors::contract::{Contribution, Manifest, Progress, SnapshotStore};
use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange, Timestamp, subtask_of_group};

use self::figures::Figures;
use self::model::{Act, Key, Model, States, act, seen, states};
use super::query::GroupScan;
use super::test_kit::{Random, Subtask, all_the_time, change, manifest, no_time};
use super::{KeyedBackend, KeyedTable, RedbBackend, StateRows, TimeDomain, group_of_key, hashes_of, stable_hash};
use crate::snapshot::MemoryStore;

const GROUPS: u32 = 8;
struct Pending {
    id: u64,
    base: Option<Arc<Manifest>>,
    model: Model,
    written: Vec<Option<Contribution>>,
}

struct Schedule<B> {
    backend: Box<dyn Fn(KeyGroupRange) -> B>,
    is_walking: fn(&B) -> bool,
    random: Random,
    keys: u64,
    store: MemoryStore,
    subtasks: Vec<Subtask<Key, States, B>>,
    model: Model,
    /// The watermark, and the clock.
    reached: [Timestamp; 2],
    pending: Option<Pending>,
    newest: Option<(Arc<Manifest>, Model)>,
    next_id: u64,
    has_checkpoints: bool,
    figures: Figures,
}

impl<B: KeyedBackend<Key, States>> Schedule<B> {
    fn new(seed: u64, backend: Box<dyn Fn(KeyGroupRange) -> B>, is_walking: fn(&B) -> bool) -> Self {
        let mut random = Random(seed);
        let store = MemoryStore::new();
        store.open_job("job", Incarnation(1)).unwrap();
        let mut schedule = Self {
            backend,
            is_walking,
            keys: [4, 60, 400, 1500][random.below(4) as usize],
            has_checkpoints: random.below(4) > 0,
            random,
            store,
            subtasks: Vec::new(),
            model: Model::default(),
            reached: [0, 1000],
            pending: None,
            newest: None,
            next_id: 1,
            figures: Figures::default(),
        };
        schedule.subtasks = schedule.fresh(1);
        schedule
    }

    fn fresh(&self, parallelism: u32) -> Vec<Subtask<Key, States, B>> {
        let range = |index| KeyGroupRange::of_subtask(index, parallelism, GROUPS);
        let subtask = |index| Subtask::with_backend((self.backend)(range(index)), states().names());
        let mut subtasks: Vec<_> = (0..parallelism).map(subtask).collect();
        subtasks.iter_mut().for_each(|subtask| subtask.table.set_time(self.reached[1], self.reached[0]));
        subtasks
    }

    fn subtask_of(&self, key: Key) -> usize {
        subtask_of_group(group_of_key(&key, GROUPS), self.subtasks.len() as u32, GROUPS) as usize
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => self.record(),
            35..45 => self.many_records(),
            45..72 => {
                let most = [1, 3, 40, u64::MAX][self.random.below(4) as usize];
                self.fire(most, true);
            }
            72..80 => self.time_goes_on(),
            80..88 => (0..=self.random.below(self.keys / 3 + 8)).for_each(|_| self.slice()),
            88..92 => self.barrier(),
            92 => self.abort(),
            93..95 => self.visit(),
            95..97 => self.query(),
            97 => self.clean(),
            98 => self.many_deletions(),
            _ => self.kill(),
        }
    }

    fn clean(&mut self) {
        self.subtasks.iter_mut().for_each(|subtask| subtask.table.clean(200));
        self.figures.cleaned += 1;
    }

    fn apply(&mut self, key: Key, what: Act) {
        let (subtask, now) = (self.subtask_of(key), self.reached[1]);
        let Self { subtasks, model, .. } = self;
        let expected = model.seen(key, now);
        let before = change(&mut subtasks[subtask].table, &key, |mut handles| {
            let before = seen(&handles);
            act(what, key, now, &mut handles, model);
            before
        });
        assert_eq!(before, expected, "{key:?}");
    }

    fn domain(&mut self) -> TimeDomain {
        TimeDomain::ALL[self.random.below(2) as usize]
    }

    /// A time that is near to where its domain is; sometimes the first or the last of all.
    fn time(&mut self, domain: TimeDomain) -> Timestamp {
        let reached = self.reached[domain as usize];
        match self.random.below(60) {
            0 => Timestamp::MIN,
            1 => Timestamp::MAX,
            2..12 => reached.saturating_sub(self.random.below(50) as i64),
            12..30 => (reached / 100 + 1) * 100,
            _ => reached + self.random.below(250) as i64,
        }
    }

    fn any(&mut self) -> Act {
        let domain = self.domain();
        let (at, number) = (self.time(domain), self.random.next());
        match self.random.below(20) {
            0..8 => Act::Register(domain, at),
            8 => Act::Delete(domain, (at / 100) * 100),
            9 => Act::ClearTimers,
            10..13 => Act::Set(number),
            13..15 => Act::SetPassing(number),
            15 => Act::ClearAll,
            16 => Act::Clear,
            _ => Act::Nothing,
        }
    }

    fn record(&mut self) {
        let (key, what) = (Key(self.random.below(self.keys)), self.any());
        self.apply(key, what);
    }

    /// Many keys have something due at one time, as with windows.
    fn many_records(&mut self) {
        let domain = self.domain();
        let (at, sets) = (self.time(domain), self.random.below(2) == 0);
        let first = self.random.below(self.keys);
        for key in (first..(first + self.keys / 2).min(self.keys)).map(Key) {
            if sets {
                self.apply(key, Act::Set(7));
            }
            self.apply(key, Act::Register(domain, at));
        }
    }

    /// So that tables become smaller.
    fn many_deletions(&mut self) {
        let (first, what) =
            (self.random.below(self.keys), [Act::ClearAll, Act::ClearTimers][self.random.below(2) as usize]);
        (first..self.keys).for_each(|key| self.apply(Key(key), what));
        self.figures.deletions += 1;
    }

    fn time_goes_on(&mut self) {
        let (domain, by) = (self.domain(), self.random.below(150) as i64);
        self.reached[domain as usize] += by;
        for subtask in &mut self.subtasks {
            subtask.table.set_time(self.reached[1], self.reached[0]);
        }
    }

    /// The earliest timer of a subtask.
    fn earliest(&self, subtask: usize, domain: TimeDomain) -> Option<Timestamp> {
        let mut timers = self.model.due[domain as usize].iter();
        timers.find(|(_, key)| self.subtask_of(*key) == subtask).map(|(at, _)| *at)
    }

    /// Fires some of what is due of one domain, on one subtask.
    fn fire(&mut self, most: u64, acts: bool) {
        let (domain, subtask) = (self.domain(), self.random.below(self.subtasks.len() as u64) as usize);
        self.fire_of(subtask, domain, most, acts);
    }

    fn fire_of(&mut self, subtask: usize, domain: TimeDomain, most: u64, acts: bool) {
        let up_to = self.reached[domain as usize];
        let mut fired = 0;
        while fired < most {
            fired += 1;
            let earliest = self.earliest(subtask, domain);
            let first = self.subtasks[subtask].table.first_timer(domain);
            if let Some(earliest) = earliest {
                assert!(
                    first.is_some_and(|first| first <= earliest.max(Timestamp::MIN + 1)),
                    "{earliest} and {first:?}"
                );
            }
            let found = self.subtasks[subtask].table.next_timer(domain, up_to).unwrap();
            let Some(group) = found else {
                assert!(earliest.is_none_or(|earliest| earliest > up_to), "{earliest:?} has not fired by {up_to}");
                return;
            };
            let acting: Vec<Act> = (0..4).map(|_| self.act_of_timer(domain, acts)).collect();
            let now = self.reached[1];
            self.figures.walked += u64::from((self.is_walking)(&self.subtasks[subtask].table));
            let Self { subtasks, model, figures, .. } = self;
            let mut calls = 0;
            let fire = subtasks[subtask].table.fire_timers(domain, |key, at, mut handles| {
                assert_eq!(group_of_key(key, GROUPS), group, "{key:?}");
                assert!(model.take_timer(*key, domain, at), "{key:?} fired at {at}");
                if calls == 0 {
                    assert_eq!(Some(at), earliest, "of {key:?}");
                }
                assert!(at <= up_to, "{key:?} fired at {at}, it is {up_to}");
                assert_eq!(seen(&handles), model.seen(*key, now), "{key:?}");
                act(acting[2 * calls % 4], *key, now, &mut handles, model);
                act(acting[(2 * calls + 1) % 4], *key, now, &mut handles, model);
                calls += 1;
                figures.fired += 1;
            });
            fire.unwrap();
        }
    }

    fn act_of_timer(&mut self, domain: TimeDomain, acts: bool) -> Act {
        let reached = self.reached[domain as usize];
        if !acts {
            return Act::ClearAll;
        }
        match self.random.below(40) {
            0 => Act::Register(domain, (reached / 100) * 100),
            1..3 => Act::Register(domain, reached - self.random.below(20) as i64),
            3..5 => Act::Register(domain, reached + self.random.below(120) as i64),
            5..10 => match self.any() {
                // It would never come to an end.
                Act::Register(_, Timestamp::MIN) => Act::Nothing,
                other => other,
            },
            10..20 => Act::Nothing,
            _ => Act::Clear,
        }
    }

    fn barrier(&mut self) {
        if self.pending.is_some() || !self.has_checkpoints {
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let base = self.newest.as_ref().map(|(manifest, _)| manifest.clone());
        let base_id = base.as_ref().map_or(0, |manifest| manifest.checkpoint.0);
        self.subtasks.iter_mut().for_each(|subtask| subtask.barrier(id, base_id));
        let written = self.subtasks.iter().map(|_| None).collect();
        self.pending = Some(Pending { id, base, model: self.model.clone(), written });
    }

    fn slice(&mut self) {
        let Some(pending) = &mut self.pending else { return };
        let index = self.random.below(self.subtasks.len() as u64) as usize;
        if let Some(written) = self.subtasks[index].slice(&self.store, no_time()).unwrap() {
            pending.written[index] = Some(written);
        }
        if pending.written.iter().all(Option::is_some) {
            let Pending { id, base, model, written } = self.pending.take().unwrap();
            let manifest = Arc::new(manifest(id, written.into_iter().flatten().collect(), base.as_deref()));
            self.store.finalise(&manifest, 2).unwrap();
            self.newest = Some((manifest, model));
            self.figures.completed += 1;
            self.check_restore();
        }
    }

    fn abort(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.subtasks.iter_mut().for_each(Subtask::abort);
            self.store.discard(CheckpointId(pending.id)).unwrap();
            self.figures.aborted += 1;
        }
    }

    fn check_restore(&mut self) {
        let Some((manifest, model)) = &self.newest else { return };
        let (parallelism, now) = (1 + self.random.below(3) as u32, self.reached[1]);
        let mut found = BTreeSet::new();
        for index in 0..parallelism {
            let range = KeyGroupRange::of_subtask(index, parallelism, GROUPS);
            let mut subtask: Subtask<Key, States> = Subtask::new(states(), range, GROUPS);
            subtask.restore(&self.store, manifest, states()).unwrap();
            subtask.table.set_time(now, Timestamp::MIN);
            let keys: Vec<Key> = range.iter().flat_map(|group| subtask.table.group(group)).map(|row| *row.0).collect();
            for key in keys {
                let restored = change(&mut subtask.table, &key, |handles| seen(&handles));
                assert_eq!(restored, model.seen(key, now), "{key:?} of checkpoint {}", manifest.checkpoint);
                assert!(found.insert(key), "{key:?} twice");
            }
        }
        let missing: Vec<_> = model.keys(now, false).difference(&found).copied().collect();
        assert!(missing.is_empty(), "{missing:?} of checkpoint {}", manifest.checkpoint);
    }

    /// The process ends and starts again at another parallelism.
    fn kill(&mut self) {
        if !self.has_checkpoints {
            return;
        }
        self.abort();
        let parallelism = [1, 2, 3, 8][self.random.below(4) as usize];
        let mut subtasks = self.fresh(parallelism);
        self.model = match &self.newest {
            None => Model::default(),
            Some((manifest, model)) => {
                for subtask in &mut subtasks {
                    subtask.restore(&self.store, manifest, states()).unwrap();
                }
                model.clone()
            }
        };
        self.subtasks = subtasks;
        self.figures.restores += 1;
    }

    /// Goes through all keys of a group, between which a snapshot is written on.
    fn visit(&mut self) {
        let (group, now) = (self.random.below(u64::from(GROUPS)) as u32, self.reached[1]);
        let subtask = subtask_of_group(group, self.subtasks.len() as u32, GROUPS) as usize;
        let of_group =
            |keys: BTreeSet<Key>| keys.into_iter().filter(|key| group_of_key(key, GROUPS) == group).collect();
        let expected: BTreeSet<Key> = of_group(self.model.keys(now, false));
        let mut visited = BTreeSet::new();
        loop {
            let whats = [self.any(), self.any(), Act::ClearAll, Act::Nothing];
            let Self { random, model, subtasks, .. } = self;
            let progress = subtasks[subtask].table.visit_group(group, |key, mut handles| {
                assert!(visited.insert(*key), "{key:?} is lent twice");
                assert_eq!(seen(&handles), model.seen(*key, now), "{key:?}");
                act(whats[random.below(4) as usize], *key, now, &mut handles, model);
                if random.below(3) == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if progress.unwrap() == Progress::Done {
                break;
            }
            (0..self.random.below(3)).for_each(|_| self.slice());
        }
        assert_eq!(visited, expected, "the keys of group {group}");
        self.figures.visited += 1;
    }

    /// Queries show the rows of keys that have state, and no others.
    fn query(&mut self) {
        let now = self.reached[1];
        for index in 0..self.subtasks.len() {
            let range = KeyGroupRange::of_subtask(index as u32, self.subtasks.len() as u32, GROUPS);
            let mut shown = BTreeSet::new();
            for group in range.iter() {
                let (first, last) = hashes_of(group, GROUPS);
                let mut scan = GroupScan::from(first);
                loop {
                    let table = &mut self.subtasks[index].table;
                    let looked = table.look_through(group, &mut scan, 5, &mut all_the_time(), &mut |key, _, _, _| {
                        assert!(shown.insert(*key), "{key:?} is shown twice");
                        true
                    });
                    if looked.unwrap() == Progress::Done || scan.next > last {
                        break;
                    }
                }
            }
            let is_own = |key: &Key| self.subtask_of(*key) == index;
            let (least, most) = (self.model.keys(now, false), self.model.keys(now, true));
            assert!(least.into_iter().filter(is_own).all(|key| shown.contains(&key)));
            assert!(shown.iter().all(|key| most.contains(key)), "{shown:?} and {most:?}");
        }
        let key = Key(self.random.below(self.keys));
        let (subtask, mut is_there) = (self.subtask_of(key), false);
        let table = &mut self.subtasks[subtask].table;
        let looked = table.look_at(stable_hash(&key), &key, &mut |_, _, _, _| {
            is_there = true;
            true
        });
        looked.unwrap();
        assert!(is_there || !self.model.keys(now, false).contains(&key), "{key:?}");
        assert!(!is_there || self.model.keys(now, true).contains(&key), "{key:?}");
        self.count();
        self.figures.queried += 1;
    }

    fn count(&self) {
        let live: usize = self.subtasks.iter().map(|subtask| subtask.table.live()).sum();
        let (least, most) =
            (self.model.keys(self.reached[1], false).len(), self.model.keys(self.reached[1], true).len());
        assert!((least..=most).contains(&live), "{live} keys have state, of {least} to {most}");
    }

    /// The input ends: all that is left fires.
    fn end(&mut self) {
        self.reached = [Timestamp::MAX; 2];
        self.subtasks.iter_mut().for_each(|subtask| subtask.table.set_time(Timestamp::MAX, Timestamp::MAX));
        for _ in 0..2 {
            for subtask in 0..self.subtasks.len() {
                TimeDomain::ALL.into_iter().for_each(|domain| self.fire_of(subtask, domain, u64::MAX, false));
            }
        }
        assert!(self.model.timers.is_empty(), "{:?} have not fired", self.model.timers);
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs so many schedules, or as many as the environment says. Gives the figures of all, if those are as many at least.
fn run_all<B: KeyedBackend<Key, States>>(
    schedules: u64,
    is_walking: fn(&B) -> bool,
    backend: impl Fn(u64) -> Box<dyn Fn(KeyGroupRange) -> B>,
) -> Option<Figures> {
    let first = from_environment("MILLSTREAM_SEED", 20_261_130);
    let run_of = from_environment("MILLSTREAM_SCHEDULES", schedules);
    let mut total = Figures::default();
    for seed in first..first + run_of {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut schedule = Schedule::new(seed, backend(seed), is_walking);
            (0..250).for_each(|_| schedule.step());
            schedule.count();
            schedule.end();
            schedule.figures
        }));
        total.add(&run.unwrap_or_else(|_| panic!("MILLSTREAM_SEED={seed} MILLSTREAM_SCHEDULES=1 fails")));
    }
    println!("seeds from {first}: {total:?}");
    (run_of >= schedules).then_some(total)
}

#[test]
fn timers_fire_as_in_a_plain_set_whatever_comes_between_them() {
    let is_walking = |table: &KeyedTable<Key, States>| table.walks.iter().any(Option::is_some);
    let total = run_all(16, is_walking, |_| Box::new(|range| KeyedTable::new(states(), range, GROUPS)));
    if let Some(total) = total {
        assert!(total.has_all() && total.walked > 1000 && total.fired > total.walked, "{total:?}");
    }
}

#[test]
fn timers_of_state_larger_than_memory_fire_as_in_a_plain_set_whatever_comes_between_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let total = run_all(
        4,
        |_: &RedbBackend<Key, States>| false,
        |seed| {
            let (path, rows, is_inline) = (path.clone(), [1, 30, 400][seed as usize % 3], seed % 4 > 0);
            Box::new(move |range| RedbBackend::tiny(states(), range, GROUPS, &path, rows, is_inline))
        },
    );
    if let Some(total) = total {
        assert!(total.has_all(), "{total:?}");
    }
}
