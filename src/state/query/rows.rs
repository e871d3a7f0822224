//! Rows that can be looked at, and those of a table in memory.

use millstream_actors::contract::{Progress, RunBudget, StateError};

use super::scan::{Gathering, Least};
use super::{GroupScan, Nearest};
use crate::state::group_table::GroupTable;
use crate::state::{Access, KeyedTable, StateKey, StateRows, StateSet, hashes_of, stable_hash};

/// Places that are passed between two looks at the clock.
const PLACES_AT_A_TIME: usize = 256;

/// Hashes of a group that are gathered in a pass, at least: rows that do not have the state that is asked for must not cost a pass each.
pub(crate) const GATHERED_MIN: usize = if cfg!(test) { 16 } else { 1_024 };

/// Is shown a row that has state: key, states, row and moment. It changes nothing. Gives whether more are wanted.
pub(crate) type Show<'a, K, S> = &'a mut dyn FnMut(&K, &S, &mut <S as StateSet>::Row, Access) -> bool;

/// Rows that can be looked at without a use or a change of them.
pub trait LookAtRows<K: StateKey, S: StateSet> {
    /// The declared states.
    fn declared(&self) -> &S;

    /// Whether a key with this hash can be here.
    fn may_have(&self, hash: u64) -> bool;

    /// Shows the row of a key, if it has state. It can be here.
    ///
    /// # Errors
    /// If it cannot be read.
    fn look_at(&mut self, hash: u64, key: &K, show: Show<'_, K, S>) -> Result<(), StateError>;

    /// Shows the next rows of a group that have state, from the scan's next hash on, by ascending hash, until no more are
    /// wanted or after some; keys that have one hash are shown together. `most` are likely to be wanted. [`Progress::Done`]: there are no others. [`Progress::Suspended`]: it is to be called again, and
    /// anything may happen to the rows meanwhile.
    ///
    /// # Errors
    /// If they cannot be read.
    fn look_through(
        &mut self,
        group: u32,
        scan: &mut GroupScan,
        most: usize,
        budget: &mut RunBudget,
        show: Show<'_, K, S>,
    ) -> Result<Progress, StateError>;
}

impl<K: StateKey, S: StateSet> LookAtRows<K, S> for KeyedTable<K, S> {
    fn declared(&self) -> &S {
        self.states()
    }

    fn may_have(&self, hash: u64) -> bool {
        crate::state::KeyedBackend::check_group(self, hash).is_ok()
    }

    fn look_at(&mut self, hash: u64, key: &K, show: Show<'_, K, S>) -> Result<(), StateError> {
        let (access, index) = (self.access(), self.index_of(hash));
        look_at_key(&mut self.groups.0[index], (&self.states, access), (hash, key), show);
        Ok(())
    }

    fn look_through(
        &mut self,
        group: u32,
        scan: &mut GroupScan,
        most: usize,
        budget: &mut RunBudget,
        show: Show<'_, K, S>,
    ) -> Result<Progress, StateError> {
        let (access, last) = (self.access(), hashes_of(group, self.max_parallelism).1);
        let table = &mut self.groups.0[(group - self.range.start) as usize];
        Ok(look_through_table(table, (&self.states, access), scan, (most, last), budget, show))
    }
}

/// Shows the row of a key, if it has state.
pub(super) fn look_at_key<K: StateKey, S: StateSet>(
    table: &mut GroupTable<K, S::Row>,
    (states, access): (&S, Access),
    (hash, key): (u64, &K),
    show: Show<'_, K, S>,
) {
    let place = table.find(hash, |other| other == key);
    if let Some(entry) = place.and_then(|place| table.get_mut(place))
        && !S::is_clear(&entry.row)
    {
        show(&entry.key, states, &mut entry.row, access);
    }
}

/// [`LookAtRows::look_through`] of one table, all of whose hashes are up to `last`.
pub(super) fn look_through_table<K: StateKey, S: StateSet>(
    table: &mut GroupTable<K, S::Row>,
    (states, access): (&S, Access),
    scan: &mut GroupScan,
    (most, last): (usize, u64),
    budget: &mut RunBudget,
    show: Show<'_, K, S>,
) -> Progress {
    if scan.nearest.is_none() {
        match gather::<K, S>(table, scan, (most, last), budget) {
            Some(nearest) => scan.nearest = Some(nearest),
            None => return Progress::Suspended,
        }
    }
    let Some(Nearest { hashes, up_to }) = &mut scan.nearest else { return Progress::Suspended };
    let (up_to, mut wants_more) = (*up_to, true);
    while let Some(hash) = hashes.pop_front() {
        for place in table.places_of(hash) {
            if let Some(entry) = table.get_mut(place).filter(|entry| !S::is_clear(&entry.row)) {
                wants_more &= show(&entry.key, states, &mut entry.row, access);
            }
        }
        scan.next = hash.saturating_add(1);
        if (!wants_more || budget.check()) && !hashes.is_empty() {
            return Progress::Suspended;
        }
    }
    scan.shown_to(up_to);
    if up_to == last { Progress::Done } else { Progress::Suspended }
}

/// The least hashes from the scan's next on. `None` when the time is up.
fn gather<K: StateKey, S: StateSet>(
    table: &GroupTable<K, S::Row>,
    scan: &mut GroupScan,
    (most, last): (usize, u64),
    budget: &mut RunBudget,
) -> Option<Nearest> {
    let anew = || Gathering { place: 0, moves: table.moves(), least: Least::new(most.max(GATHERED_MIN)) };
    // Entries that were moved may have come behind the place.
    let before = scan.gathering.take().filter(|before| before.moves == table.moves());
    let mut gathering = before.unwrap_or_else(anew);
    while gathering.place < table.places() {
        let to = table.places().min(gathering.place + PLACES_AT_A_TIME);
        for entry in (gathering.place..to).filter_map(|place| table.get(place)) {
            let hash = stable_hash(&entry.key);
            if hash >= scan.next && !S::is_clear(&entry.row) {
                gathering.least.push(hash);
            }
        }
        gathering.place = to;
        if budget.check() && to < table.places() {
            scan.gathering = Some(gathering);
            return None;
        }
    }
    Some(gathering.least.nearest(last))
}
