//! Key groups, put together from the sections of a checkpoint on any thread, and handed to their table.

use std::fmt;
use std::sync::Arc;

use millstream_actors::contract::{GroupLoader, LoadedGroup, RestoredSection, StateError, StateScope};
use millstream_actors::protocol::{CheckpointId, KeyGroupRange, OperatorId};

use super::barrier::GroupChain;
use super::codec::{KEY_REMEDY, NEWER, PieceHeader, SectionError, StateFormat, Unfit, check_encoding, plain, take};
use super::group_table::{Entry, GroupTable, Unindexed};
use super::older_keys::OlderRows;
use super::set::KEY_TWICE;
use super::{KeySchema, KeyedTable, Stamp, StateKey, StateRows, StateSet, group_of_hash, stable_hash};

/// Loads the key groups of a table of states `S`.
pub(crate) struct TableLoader<K, S: StateSet> {
    operator: OperatorId,
    states: S,
    keys: KeySchema<K>,
    names: Vec<Arc<str>>,
    range: KeyGroupRange,
    max_parallelism: u32,
    /// It has seen keys of today's version: all of the checkpoint are.
    has_todays_keys: bool,
}

/// A group as the loader hands it over.
pub(super) struct LoadedRows<K, Row> {
    pub(super) table: GroupTable<K, Row>,
    /// The entries of the first section, while it is read: no key can have been there before it.
    first: Option<Unindexed<K, Row>>,
    /// Entries whose key belongs to another group now.
    pub(super) moved: Vec<(u64, Entry<K, Row>)>,
    pub(super) chain: GroupChain,
    /// The highest stamp of its entries.
    pub(super) top: Stamp,
    /// A key belongs to another group.
    has_foreign: bool,
    /// Changes were applied, which may have left rows with nothing in them.
    has_changes: bool,
    /// What was stored under keys of an older version.
    older: OlderRows<Row>,
    has_older: bool,
}

impl<K: StateKey, Row: Default> LoadedRows<K, Row> {
    /// Room for the entries of a piece, in proportion to the bytes they are read from.
    fn reserve(&mut self, header: &PieceHeader, bytes: usize) {
        let most = 8 * bytes / size_of::<Entry<K, Row>>().max(1);
        let more = (header.live as usize).min(most);
        match &mut self.first {
            Some(first) => first.reserve(more),
            None if header.base.is_none() => self.table.reserve(more),
            None => {}
        }
    }

    /// The row of a key, which is put there if it is not.
    #[inline]
    fn row_of(&mut self, hash: u64, key: K) -> &mut Row {
        if let Some(first) = &mut self.first {
            return first.push(Entry { key, row: Row::default() });
        }
        let place = match self.table.find(hash, |other| *other == key) {
            Some(place) => place,
            None => self.table.insert(hash, Entry { key, row: Row::default() }),
        };
        &mut self.table.get_mut(place).expect("it was found or inserted above").row
    }
}

impl<K: StateKey, S: StateSet> TableLoader<K, S> {
    /// A loader for the states of `operator` in these key groups.
    pub(crate) fn new(
        operator: OperatorId,
        states: S,
        keys: KeySchema<K>,
        range: KeyGroupRange,
        max_parallelism: u32,
    ) -> Self {
        let names = states.names();
        Self { operator, states, keys, names, range, max_parallelism, has_todays_keys: false }
    }

    /// As [`GroupLoader::needs_other_groups`]: keys of an older version may become keys of any group.
    pub(super) fn needs_other_groups(&self) -> bool {
        self.keys.has_migrations() && !self.has_todays_keys
    }

    /// The states that it was given.
    pub(super) fn states(&self) -> &S {
        &self.states
    }

    pub(super) fn load_rows(
        &mut self,
        group: u32,
        sections: &[RestoredSection],
    ) -> Result<LoadedRows<K, S::Row>, StateError> {
        let mut rows = LoadedRows {
            table: GroupTable::default(),
            first: None,
            moved: Vec::new(),
            chain: GroupChain::default(),
            top: 0,
            has_foreign: false,
            has_changes: false,
            older: OlderRows::default(),
            has_older: false,
        };
        let mut newest: Vec<Option<CheckpointId>> = vec![None; self.names.len()];
        for section in sections {
            let mismatch = |reason| StateError::Mismatch { operator: self.operator.clone(), reason };
            let state = &section.state;
            let Some(index) = self.names.iter().position(|name| name == state) else {
                return Err(mismatch(undeclared(state)));
            };
            let loaded = self.load_section(&mut rows, index, group, newest[index], section);
            loaded.map_err(|error| StateError::Decode {
                operator: self.operator.clone(),
                state: state.clone(),
                scope: StateScope::KeyGroup(group),
                version: error.version,
                reason: error.reason,
            })?;
            newest[index] = Some(section.checkpoint);
        }
        if newest.iter().any(Option::is_none) || rows.has_older || sections.iter().any(|section| section.is_renamed) {
            // Changes of a state that has no whole section, or has it under another name or other keys, could not be read:
            // the group is written in full first.
            rows.chain = GroupChain::default();
        }
        if rows.has_changes {
            rows.table.take_if(|entry| S::is_clear(&entry.row));
        }
        if !self.range.contains(group) && !rows.has_older {
            // It was read for its older keys, and has none.
            rows.table = GroupTable::default();
        } else if rows.has_older {
            self.adopt_older(&mut rows, group)?;
        } else if rows.has_foreign {
            self.take_moved(&mut rows, group)?;
        }
        Ok(rows)
    }

    /// Whether keys may be of an older version.
    pub(super) fn migrates_keys(&self) -> bool {
        self.keys.has_migrations()
    }

    /// The rows of a group, for a query. `None` if the sections have keys of an older version, or of other groups by now.
    pub(super) fn load_for_query(
        &mut self,
        group: u32,
        sections: &[RestoredSection],
    ) -> Result<Option<GroupTable<K, S::Row>>, StateError> {
        let rows = self.load_rows(group, sections)?;
        let is_as_today = !rows.has_older && rows.moved.is_empty();
        Ok(Some(rows.table).filter(|_| is_as_today))
    }

    /// One section: the whole of a state, or changes to what was loaded before. Each section has a stamp of its own,
    /// by which a key that is in it twice is noticed.
    fn load_section(
        &mut self,
        rows: &mut LoadedRows<K, S::Row>,
        index: usize,
        group: u32,
        newest: Option<CheckpointId>,
        section: &RestoredSection,
    ) -> Result<(), SectionError> {
        let mut version = 0;
        let result = (|| {
            let bytes = plain(&section.bytes)?;
            let mut bytes = &*bytes;
            rows.top += 1;
            let (mut entries, mut is_delta) = (0, false);
            rows.first = (newest.is_none() && rows.table.len() == 0).then(Unindexed::default);
            while !bytes.is_empty() {
                let header = PieceHeader::read(&mut bytes)?;
                header.check_known().map_err(|unknown| format!("{unknown}; {NEWER}"))?;
                version = header.format.version;
                let is_older = header.key_version != self.keys.version();
                if !is_older {
                    check_encoding::<K>(header.keys).map_err(unfit_key)?;
                }
                is_delta = check_chain(&header, section.checkpoint, newest)?;
                entries += (header.live + header.dead) as usize;
                if is_older {
                    self.load_older_piece(rows, index, &header, &mut bytes)?;
                    continue;
                }
                self.has_todays_keys = true;
                rows.reserve(&header, bytes.len());
                self.load_piece(rows, index, group, &header, &mut bytes)?;
            }
            if let Some(first) = rows.first.take() {
                rows.table = first.indexed().ok_or(KEY_TWICE)?;
            }
            let chain = &mut rows.chain;
            match is_delta {
                true => *chain = chain.with_delta(entries),
                false => chain.whole = chain.whole.max(entries),
            }
            Ok(())
        })();
        result.map_err(|reason| SectionError { version, reason })
    }

    fn load_piece(
        &self,
        rows: &mut LoadedRows<K, S::Row>,
        index: usize,
        group: u32,
        header: &PieceHeader,
        bytes: &mut &[u8],
    ) -> Result<(), String> {
        let is_delta = header.base.is_some();
        for _ in 0..header.live {
            let key: K = take(bytes).map_err(unfit_key)?;
            let hash = stable_hash(&key);
            rows.has_foreign |= group_of_hash(hash, self.max_parallelism) != group;
            let stamp = rows.top;
            let loaded = self.states.load_state(index, rows.row_of(hash, key), stamp, (header.format, is_delta), bytes);
            loaded.map_err(Unfit::with_remedy)?;
        }
        rows.has_changes |= is_delta;
        for _ in 0..header.dead {
            let key: K = take(bytes).map_err(unfit_key)?;
            let place = rows.table.find(stable_hash(&key), |other| *other == key);
            if let Some(entry) = place.and_then(|place| rows.table.get_mut(place)) {
                self.states.unload_state(index, &mut entry.row);
            }
        }
        Ok(())
    }

    /// As [`load_piece`](Self::load_piece), where keys are of an older version.
    fn load_older_piece(
        &self,
        rows: &mut LoadedRows<K, S::Row>,
        index: usize,
        header: &PieceHeader,
        bytes: &mut &[u8],
    ) -> Result<(), String> {
        let stored = StateFormat { values: header.keys, version: header.key_version };
        let read = |bytes: &mut &[u8]| self.keys.take_older(stored, bytes).map_err(|reason| format!("keys: {reason}"));
        rows.has_older = true;
        rows.older.expect(header.key_version)?;
        for _ in 0..header.live {
            let row = rows.older.row_of(read(bytes)?);
            let loaded = self.states.load_state(index, row, rows.top, (header.format, header.base.is_some()), bytes);
            loaded.map_err(Unfit::with_remedy)?;
        }
        for _ in 0..header.dead {
            if let Some(row) = rows.older.find(&*read(bytes)?) {
                self.states.unload_state(index, row);
            }
        }
        Ok(())
    }

    /// Brings what was stored under older keys over to today's, as far as these are this subtask's: the others find it,
    /// too.
    fn adopt_older(&self, rows: &mut LoadedRows<K, S::Row>, group: u32) -> Result<(), StateError> {
        let mismatch = |reason| StateError::Mismatch { operator: self.operator.clone(), reason };
        let older = std::mem::take(&mut rows.older).upgraded::<K, S>(&self.keys).map_err(mismatch)?;
        let mut table = GroupTable::<K, S::Row>::default();
        for (key, row) in older {
            let hash = stable_hash(&key);
            if table.find(hash, |other: &K| *other == key).is_some() {
                return Err(stored_twice(&self.operator, group));
            }
            table.insert(hash, Entry { key, row });
        }
        for entry in table {
            let hash = stable_hash(&entry.key);
            let of = group_of_hash(hash, self.max_parallelism);
            if of == group && self.range.contains(group) {
                rows.table.insert(hash, entry);
            } else if self.range.contains(of) {
                rows.moved.push((hash, entry));
            }
        }
        Ok(())
    }

    /// Sorts out the entries whose key belongs to another group than the one they are stored under.
    fn take_moved(&self, rows: &mut LoadedRows<K, S::Row>, group: u32) -> Result<(), StateError> {
        let of = |entry: &Entry<K, S::Row>| group_of_hash(stable_hash(&entry.key), self.max_parallelism);
        for entry in rows.table.take_if(|entry| of(entry) != group) {
            let actual = of(&entry);
            if !self.range.contains(actual) {
                return Err(StateError::Decode {
                    operator: self.operator.clone(),
                    state: self.names.join(", ").into(),
                    scope: StateScope::KeyGroup(group),
                    version: 0,
                    reason: format!(
                        "a key now hashes to group {actual}, which another subtask owns: the Hash of its type has changed; restore once at parallelism 1, whose next checkpoint has every key in its group"
                    ),
                });
            }
            rows.moved.push((stable_hash(&entry.key), entry));
        }
        if !rows.moved.is_empty() {
            log::warn!(
                target: "millstream::state",
                "operator={} group={group}: {} keys belong to other groups now and were moved: the key's Hash has changed",
                self.operator,
                rows.moved.len()
            );
        }
        Ok(())
    }
}

fn unfit_key(reason: String) -> String {
    format!("keys: {reason}; {KEY_REMEDY}")
}

/// Whether the piece is a delta, which must follow what it builds on.
fn check_chain(header: &PieceHeader, checkpoint: CheckpointId, newest: Option<CheckpointId>) -> Result<bool, String> {
    match (header.base, newest) {
        (None, None) => Ok(false),
        (Some(base), Some(newest)) if newest <= base && base < checkpoint => Ok(true),
        (base, newest) => {
            let shown = |id: Option<CheckpointId>| id.map_or("nothing".to_owned(), |id| format!("checkpoint {id}"));
            Err(format!("checkpoint {checkpoint} has changes over {}, read was {}", shown(base), shown(newest)))
        }
    }
}

impl<K: StateKey, S: StateSet> GroupLoader for TableLoader<K, S> {
    fn load(&mut self, group: u32, sections: &[RestoredSection]) -> Result<LoadedGroup, StateError> {
        let rows = self.load_rows(group, sections)?;
        let entries = (rows.table.len() + rows.moved.len()) as u64;
        Ok(LoadedGroup { group, entries, state: Box::new(rows) })
    }

    fn needs_other_groups(&self) -> bool {
        self.needs_other_groups()
    }
}

impl<K, S: StateSet> fmt::Debug for TableLoader<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableLoader({}, {:?})", self.operator, self.range)
    }
}

/// The error of a key that is in the checkpoint under two key groups.
pub(super) fn stored_twice(operator: &OperatorId, group: u32) -> StateError {
    StateError::Mismatch {
        operator: operator.clone(),
        reason: format!(
            "the checkpoint has two rows of one key of group {group}: migrate_keys(..) gives one key for two, or serde leaves out what told two keys apart when they were written, as a field that is skipped; tell them apart, or store that too and start from an older checkpoint or from none"
        ),
    }
}

/// Why a state that the checkpoint has cannot be restored.
pub(crate) fn undeclared(state: &str) -> String {
    format!(
        "the checkpoint holds a state '{state}', which the function does not declare; if it has another name now, say \
         formerly(\"{state}\") on it, and if it is not wanted any more, drop_state(\"{state}\") on the operator"
    )
}

/// Groups that are loaded, until all are there.
#[derive(Debug)]
pub(super) struct Arrived<K, Row> {
    moved: Vec<(u64, Entry<K, Row>)>,
    chains: Vec<GroupChain>,
    top: Stamp,
}

impl<K, Row> Default for Arrived<K, Row> {
    fn default() -> Self {
        Self { moved: Vec::new(), chains: Vec::new(), top: 0 }
    }
}

impl<K: StateKey, S: StateSet> KeyedTable<K, S> {
    /// Takes a group that a [`TableLoader`] of this table's types has loaded. Of one that is not this table's it takes the
    /// keys that have moved.
    ///
    /// # Panics
    /// If the loader was one of other types.
    pub fn restore_group(&mut self, loaded: LoadedGroup) {
        let rows = *loaded.state.downcast::<LoadedRows<K, S::Row>>().expect("the operator's own loader made it");
        // A row that has moved keeps its stamp: one above the top would pass for changed after the next barrier.
        self.arrived.top = self.arrived.top.max(rows.top);
        if !self.range.contains(loaded.group) {
            return self.arrived.moved.extend(rows.moved);
        }
        let index = (loaded.group - self.range.start) as usize;
        self.arrived.chains.resize(self.range.len(), GroupChain::default());
        self.arrived.chains[index] = rows.chain;
        if !rows.moved.is_empty() {
            // What is stored under this group still has these keys.
            self.arrived.chains[index] = GroupChain::default();
            self.arrived.moved.extend(rows.moved);
        }
        self.len += rows.table.len();
        self.groups.0[index] = rows.table;
    }

    /// All groups are there, as of `checkpoint`: a delta may build on it.
    ///
    /// # Errors
    /// [`StateError::Mismatch`] if a key was stored twice, under two key groups.
    pub fn restored(&mut self, operator: &OperatorId, checkpoint: CheckpointId) -> Result<(), StateError> {
        let Arrived { moved, mut chains, top } = std::mem::take(&mut self.arrived);
        chains.resize(self.range.len(), GroupChain::default());
        for (hash, Entry { key, row }) in moved {
            let index = self.index_of(hash);
            let table = &mut self.groups.0[index];
            if table.find(hash, |other| *other == key).is_some() {
                return Err(stored_twice(operator, index as u32 + self.range.start));
            }
            table.insert(hash, Entry { key, row });
            self.len += 1;
            chains[index] = GroupChain::default();
        }
        self.barriers.restored(checkpoint, top, chains);
        self.enqueue_all();
        Ok(())
    }
}
