//! Values that expire, in random schedules of changes, time, barriers, aborts and restores, against a plain map.

use std::collections::BTreeMap;

use millstream_actors::contract::Contribution;
use millstream_actors::protocol::CheckpointId;

use super::*;
use crate::state::kinds::ValueSlot;
use crate::state::test_kit::{Random, no_time};

type Pair = (Text, ValueState<u64>);
/// Of each key the text with its deadline, and the number, which does not expire.
type Model = BTreeMap<u64, (Option<(i64, String)>, Option<u64>)>;

fn pair(ttl: StateTtl) -> Pair {
    (text(ttl), ValueState::new("number"))
}

/// Random changes, reads, time, cleaning, barriers, slices, aborts, completions and restores, against a plain map.
struct Schedule {
    random: Random,
    ttl: StateTtl,
    subtask: Subtask<u64, Pair>,
    store: MemoryStore,
    now: i64,
    model: Model,
    pending: Option<(u64, Option<Arc<Manifest>>, Model)>,
    newest: Option<(Arc<Manifest>, Model)>,
    next_id: u64,
    expired: usize,
    completed: usize,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let ttl = Duration::from_millis(40);
        let ttl = [StateTtl::processing_time(ttl), StateTtl::event_time(ttl)][random.below(2) as usize];
        let ttl = if random.below(2) == 0 { ttl } else { ttl.refresh_on_read() };
        let mut schedule = Self {
            random,
            ttl,
            subtask: subtask(pair(ttl)),
            store: store(),
            now: 0,
            model: Model::new(),
            pending: None,
            newest: None,
            next_id: 1,
            expired: 0,
            completed: 0,
        };
        schedule.advance(0);
        schedule
    }

    fn advance(&mut self, by: i64) {
        self.now += by;
        self.subtask.table.set_time(self.now, self.now);
        for (text, _) in self.model.values_mut() {
            if text.take_if(|(deadline, _)| *deadline <= self.now).is_some() {
                self.expired += 1;
            }
        }
        self.model.retain(|_, row| *row != (None, None));
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..8 => self.change(),
            8..10 => {
                let by = self.random.below(12) as i64;
                self.advance(by);
            }
            10 => self.subtask.table.clean(self.random.below(30) as usize),
            11..17 => self.slice(),
            17 => self.barrier(),
            18 if self.random.below(4) == 0 => {
                self.pending = None;
                self.subtask.abort();
            }
            19 if self.random.below(8) == 0 => self.restart(),
            _ => {}
        }
    }

    fn change(&mut self) {
        let (key, action, value) = (self.random.below(60), self.random.below(7), self.random.text());
        let number = self.random.below(9);
        let seen = change(&mut self.subtask.table, &key, |(mut text, mut count)| match action {
            0 | 1 => {
                text.set(value.clone());
                (None, None)
            }
            2 => (text.take(), None),
            3 => {
                count.set(number);
                (None, None)
            }
            4 => (None, count.take()),
            _ => (text.get().cloned(), count.get().copied()),
        });
        let expected = self.model.entry(key).or_default();
        let deadline = self.now + 40;
        let expected_text = expected.0.as_ref().map(|(_, text)| text.clone());
        match action {
            0 | 1 => expected.0 = Some((deadline, value)),
            2 => {
                assert_eq!(seen.0, expected_text, "key {key}");
                expected.0 = None;
            }
            3 => expected.1 = Some(number),
            4 => assert_eq!(seen.1, expected.1.take(), "key {key}"),
            _ => {
                assert_eq!(seen, (expected_text, expected.1), "key {key}");
                if self.ttl.on_read
                    && let Some((old, _)) = &mut expected.0
                {
                    *old = deadline;
                }
            }
        }
        if *expected == (None, None) {
            self.model.remove(&key);
        }
    }

    fn barrier(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let base = self.newest.as_ref().map(|(manifest, _)| manifest.clone());
        self.subtask.barrier(id, base.as_ref().map_or(0, |base| base.checkpoint.0));
        self.pending = Some((id, base, self.model.clone()));
    }

    fn slice(&mut self) {
        if self.pending.is_none() {
            return;
        }
        let written = self.subtask.slice(&self.store, no_time()).unwrap();
        if let Some(written) = written {
            self.complete(written);
        }
    }

    fn complete(&mut self, written: Contribution) {
        let (id, base, model) = self.pending.take().unwrap();
        if self.random.below(6) == 0 {
            self.store.discard(CheckpointId(id)).unwrap();
            return;
        }
        let manifest = Arc::new(manifest(id, vec![written], base.as_deref()));
        self.store.finalise(&manifest, 1).unwrap();
        let subtask = self.restored(&manifest);
        let rows = (0..GROUPS).flat_map(|group| subtask.table.group(group));
        let row = |(text, number): &(ExpiringSlot<ValueSlot<String>>, ValueSlot<u64>)| {
            let text = text.inner.value().map(|value| (text.deadline.get().ms(), value.clone()));
            (text, number.value().copied())
        };
        let found: Model = rows.map(|(key, slots)| (*key, row(slots))).collect();
        assert_eq!(found, model, "checkpoint {id}");
        self.newest = Some((manifest, model));
        self.completed += 1;
    }

    fn restored(&self, manifest: &Manifest) -> Subtask<u64, Pair> {
        let mut subtask = subtask(pair(self.ttl));
        subtask.restore(&self.store, manifest, pair(self.ttl)).unwrap();
        subtask
    }

    fn restart(&mut self) {
        let Some((manifest, model)) = &self.newest else { return };
        (self.subtask, self.model) = (self.restored(manifest), model.clone());
        self.pending = None;
        self.advance(0);
    }

    /// All of it expires; after that nothing is left but numbers.
    fn end(&mut self) {
        self.subtask.abort();
        self.advance(1000);
        for _ in 0..4 {
            self.barrier();
            while self.pending.is_some() {
                self.slice();
            }
        }
        assert_eq!(self.subtask.table.live(), self.model.len());
        let table = &mut self.subtask.table;
        (0..60).for_each(|key| change(table, &key, |(_, mut number)| number.clear()));
        assert_eq!(table.live(), 0);
    }
}

#[test]
fn random_schedules_agree_with_a_plain_map() {
    let first: u64 = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123);
    let (mut expired, mut completed) = (0, 0);
    for seed in first..first + 300 {
        let run = std::panic::catch_unwind(|| {
            let mut schedule = Schedule::new(seed);
            (0..1500).for_each(|_| schedule.step());
            schedule.end();
            (schedule.expired, schedule.completed)
        });
        let run = run.unwrap_or_else(|_| panic!("MILLSTREAM_SEED={seed} fails"));
        (expired, completed) = (expired + run.0, completed + run.1);
    }
    println!("seeds from {first}: {expired} values expired, {completed} checkpoints");
    assert!(expired > 10_000 && completed > 1_500, "{expired} {completed}");
}
