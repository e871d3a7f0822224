//! How a table is written at barriers while it goes on changing. `docs/architecture.md` has the invariants.
//!
//! A barrier closes a stamp; what changes later has a higher one. The capture then writes what the barrier has closed:
//! all of it, or what has changed since the base. [`Sweep`] does so in slices; an entry that is
//! worked on before the sweep has come to it is written first.

use std::hash::Hash;
use std::sync::Arc;

use millstream_actors::contract::{SectionWriter, StateError};

use super::barrier::{Barriers, GroupAtBarrier, Reach, Sweep};
use super::changes::Changes;
use super::group_table::{Entry, GroupTable};
use super::table::shrink;
use super::{KeyedTable, Stamp, StateKey, StateRows, StateSet};

/// Entries between two looks at the clock: some 5 us. In tests few, so that much happens within a group.
const ENTRIES_PER_LOOK: usize = if cfg!(test) { 3 } else { 512 };

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// The barrier: what changes from now on belongs to the next checkpoint. A capture that still runs is given up.
    pub(crate) fn begin_snapshot(&mut self, names: &[Arc<str>], writer: &mut SectionWriter) {
        self.barriers.abandon(Some(writer));
        let now = self.access();
        let Self { states, groups, changes, barriers, range, .. } = self;
        barriers.begin::<K, S>(states, names, range.start, now, writer, |closed, base| {
            let tables = groups.0.iter().zip(changes);
            let at_barrier = tables.map(|(table, changes)| {
                changes.close(closed, base);
                let (keys, is_whole) = (table.len(), base < changes.full_floor);
                GroupAtBarrier { keys, live: keys - changes.tombstones, changes: changes.count(), is_whole }
            });
            at_barrier.collect()
        });
    }

    /// Looks at up to `most` entries of a group; true when it is through.
    fn sweep_group(&mut self, group: usize, most: usize) -> bool {
        let Self { states, groups, changes, barriers: Barriers { capture, .. }, len, visited, .. } = self;
        let (table, changes) = (&mut groups.0[group], &mut changes[group]);
        let is_visited = visited.is_some_and(|(visited, _)| visited == group);
        let capture = capture.as_mut().expect("a sweep needs a capture");
        let (after, settled) = (capture.span(group).after, capture.settled);
        match std::mem::replace(&mut capture.reach[group], Reach::Done) {
            Reach::Done => true,
            Reach::Ahead => {
                forget_settled::<K, S>(table, changes, len, settled);
                // What has expired is on no list.
                let scans = after == 0 || states.expires();
                let listed = if scans { None } else { changes.list() };
                capture.reach[group] = listed.map_or(Reach::Scan(0..table.places()), |places| Reach::List(places, 0));
                false
            }
            Reach::Scan(ahead) => {
                let to = ahead.end.min(ahead.start + most);
                let keys = table.len();
                let expires = states.expires();
                let mut writer = capture.group(group);
                for place in ahead.start..to {
                    let Some(Entry { key, row }) = table.get_mut(place) else { continue };
                    let (stamp, was_clear) = (S::stamp(row), S::is_clear(row));
                    writer.write(states, key, row);
                    if expires {
                        changes.tombstones += usize::from(!was_clear && S::is_clear(row));
                        if S::stamp(row) != stamp {
                            changes.record(place, keys);
                        }
                    }
                    if S::is_clear(row) && S::stamp(row) <= settled {
                        remove(table, changes, len, place);
                    }
                }
                if to < ahead.end {
                    capture.reach[group] = Reach::Scan(to..ahead.end);
                    return false;
                }
                shrink(table, changes, !is_visited);
                true
            }
            Reach::List(places, from) => {
                let to = places.len().min(from + most);
                let mut writer = capture.group(group);
                for place in &places[from..to] {
                    if let Some(Entry { key, row }) = table.get_mut(*place as usize) {
                        writer.write(states, key, row);
                    }
                }
                let is_through = to == places.len();
                if !is_through {
                    capture.reach[group] = Reach::List(places, to);
                }
                is_through
            }
        }
    }
}

impl<K: StateKey, S: StateSet> Sweep<K> for KeyedTable<K, S> {
    fn barriers(&mut self) -> &mut Barriers {
        &mut self.barriers
    }

    fn sweep_some(&mut self, group: usize) -> Result<bool, StateError> {
        Ok(self.sweep_group(group, ENTRIES_PER_LOOK))
    }
}

/// Forgets removed keys that every base to come knows of.
fn forget_settled<K: StateKey, S: StateSet>(
    table: &mut GroupTable<K, S::Row>,
    changes: &mut Changes,
    len: &mut usize,
    base: Stamp,
) {
    for place in changes.take_settled() {
        let row = table.get(place as usize).map(|entry| &entry.row);
        if row.is_some_and(|row| S::is_clear(row) && S::stamp(row) <= base) {
            remove(table, changes, len, place as usize);
        }
    }
}

fn remove<K: Hash, Row>(table: &mut GroupTable<K, Row>, changes: &mut Changes, len: &mut usize, place: usize) {
    if table.remove(place).is_some() {
        changes.tombstones -= 1;
        *len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millstream_actors::contract::{Progress, RunBudget, SnapshotStore};
    use millstream_actors::protocol::{CheckpointId, Incarnation, KeyGroupRange};

    use super::*;
    use crate::snapshot::MemoryStore;
    use crate::state::test_kit::{Subtask, change, manifest, operator};
    use crate::state::{KeyedBackend, ValueState};

    const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 8 };
    const KEYS: u64 = 500;

    fn table() -> KeyedTable<u64, ValueState<String>> {
        let mut table = KeyedTable::new(ValueState::new("v"), GROUPS, 8);
        for key in 0..KEYS {
            change(&mut table, &key, |mut value| value.set("x".repeat(1_000)));
        }
        table
    }

    fn sweep(
        table: &mut KeyedTable<u64, ValueState<String>>,
        held_max: usize,
        writer: &mut SectionWriter,
    ) -> Result<Progress, StateError> {
        let names = ["v".into()];
        table.sweep(&operator(), &names, held_max, writer, &mut RunBudget::start_by(Some(|| Duration::ZERO)))
    }

    #[test]
    fn a_capture_that_may_not_hold_more_gives_up_and_the_next_has_everything() {
        const HELD_MAX: usize = 100_000;
        let mut table = table();
        let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
        writer.set_operator(&operator());
        writer.set_room(0);
        table.begin_snapshot(&["v".into()], &mut writer);
        assert_eq!(sweep(&mut table, HELD_MAX, &mut writer).unwrap(), Progress::Suspended);
        // The store takes nothing, and records ask for rows that must be written first.
        for key in 0..KEYS {
            change(&mut table, &key, |mut value| value.set("y".to_owned()));
        }
        let error = sweep(&mut table, HELD_MAX, &mut writer).unwrap_err();
        let StateError::CaptureFull { bytes, limit, .. } = error else { panic!("{error}") };
        assert!(limit == HELD_MAX && bytes > HELD_MAX && bytes < HELD_MAX + 2_000, "{bytes} of {limit}");
        assert!(writer.take_chunks().is_empty());
        let mut writer = SectionWriter::new(CheckpointId(2), CheckpointId::NONE, 0);
        writer.set_operator(&operator());
        table.begin_snapshot(&["v".into()], &mut writer);
        assert_eq!(sweep(&mut table, HELD_MAX, &mut writer).unwrap(), Progress::Done);
        let store = MemoryStore::new();
        store.open_job("job", Incarnation(1)).unwrap();
        let (chunks, written) = writer.finish();
        store.put_chunks(&chunks).unwrap();
        let mut restored = Subtask::<u64, _>::new(ValueState::<String>::new("v"), GROUPS, 8);
        restored.restore(&store, &manifest(2, vec![written], None), ValueState::new("v")).unwrap();
        assert_eq!(restored.table.live() as u64, KEYS);
    }

    #[test]
    fn a_capture_waits_for_room_and_goes_on() {
        let mut table = table();
        let mut writer = SectionWriter::new(CheckpointId(1), CheckpointId::NONE, 0);
        writer.set_operator(&operator());
        table.begin_snapshot(&["v".into()], &mut writer);
        let (mut bytes, mut rounds) = (0, 0);
        loop {
            writer.set_room(50_000);
            let progress = sweep(&mut table, usize::MAX, &mut writer).unwrap();
            let taken: usize = writer.take_chunks().iter().map(|chunk| chunk.bytes.len()).sum();
            assert!(taken < 50_000 + 100_000, "one piece may go beyond what there is room for: {taken}");
            (bytes, rounds) = (bytes + taken, rounds + 1);
            if progress == Progress::Done {
                break;
            }
        }
        assert!(rounds >= 8 && bytes > 500 * 1_000, "{bytes} bytes in {rounds} rounds");
    }
}
