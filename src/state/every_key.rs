//! How a [`KeyedTable`] lends the rows of all keys of a group.

use std::ops::ControlFlow;

use millstream_actors::contract::Progress;

use super::table::shrink;
use super::{Access, KeyedTable, StateKey, StateRows, StateSet};

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// Lends rows of a group; see [`KeyedBackend::visit_group`](super::KeyedBackend::visit_group).
    ///
    /// Entries stay where they are until all are lent: no key comes, and a table from which keys go becomes smaller only
    /// at the end.
    pub(super) fn lend_group(
        &mut self,
        group: u32,
        mut each: impl FnMut(&K, S::Handles<'_>) -> ControlFlow<()>,
    ) -> Progress {
        let (index, access) = ((group - self.range.start) as usize, self.access());
        let first = self.visited.filter(|(visited, _)| *visited == index).map_or(0, |(_, next)| next);
        for place in first..self.groups.0[index].places() {
            self.visited = Some((index, place + 1));
            let lend = |key: &K, (), states: S::Handles<'_>| each(key, states);
            if self.has_state(index, place, access) && self.lend_row(index, place, access, |_, _| (), lend).is_break() {
                return Progress::Suspended;
            }
        }
        self.visited = None;
        let may_move = self.may_move();
        shrink(&mut self.groups.0[index], &mut self.changes[index], may_move);
        Progress::Done
    }

    /// Whether there is a row in a place that has any state, after what has expired is cleared.
    fn has_state(&mut self, index: usize, place: usize, access: Access) -> bool {
        if self.states.expires() {
            self.expire_row(index, place, access);
        }
        self.groups.0[index].get(place).is_some_and(|entry| !S::is_clear(&entry.row))
    }
}
