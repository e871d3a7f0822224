//! The tables of a subtask's key groups, and how old ones are dropped: off the path of recovery, one entry at a
//! time.

use std::mem;
use std::thread;

use millstream_actors::runtime::guard::catch_panic;

use super::group_table::GroupTable;

/// Fewer entries are dropped in less time than a thread is started and the next attempt is ready.
const ENTRIES_ELSEWHERE_MIN: usize = 1 << 14;

/// One table per key group.
///
/// A `Drop` of an entry that panics is survived, however many there are: entries are dropped one after the other, since
/// a second panic while the first unwinds would abort the process.
#[derive(Debug)]
pub(super) struct Groups<K, Row>(pub(super) Vec<GroupTable<K, Row>>);

impl<K, Row> Groups<K, Row> {
    pub(super) fn new(groups: usize) -> Self {
        let mut tables = Vec::new();
        tables.resize_with(groups, GroupTable::default);
        Self(tables)
    }
}

impl<K: Send + 'static, Row: Send + 'static> Groups<K, Row> {
    /// Drops the entries, on a thread of their own if they are many: ten million with values on the heap take a
    /// second, which a restart must not wait for.
    pub(super) fn drop_elsewhere(self) {
        let entries: usize = self.0.iter().map(GroupTable::len).sum();
        if entries < ENTRIES_ELSEWHERE_MIN {
            return;
        }
        // If the thread is refused, the closure is dropped here, and the entries with it.
        let _ = thread::Builder::new().name("millstream-drop".to_owned()).spawn(move || drop(self));
    }
}

impl<K, Row> Drop for Groups<K, Row> {
    fn drop(&mut self) {
        if !mem::needs_drop::<(K, Row)>() {
            return;
        }
        let mut entries = mem::take(&mut self.0).into_iter().flatten();
        while let Err(report) = catch_panic(|| entries.by_ref().for_each(drop)) {
            log::warn!(target: "millstream::supervisor", "dropping an entry of old state panicked: {report}");
        }
    }
}
