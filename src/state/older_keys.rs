//! Rows whose keys were stored as an older version of their type: put together under the keys as they were, and brought
//! over to today's keys when all of a key group is read.

use hashbrown::HashTable;

use super::StateRows;
use super::keys::{KeySchema, OldKey};

/// The rows of a key group under keys of an older version.
pub(super) struct OlderRows<Row> {
    rows: HashTable<(Box<dyn OldKey>, Row)>,
    /// The version of all keys; 0 if there are none.
    version: u32,
}

impl<Row> Default for OlderRows<Row> {
    fn default() -> Self {
        Self { rows: HashTable::new(), version: 0 }
    }
}

impl<Row: Default> OlderRows<Row> {
    /// The next keys are of this version.
    ///
    /// # Errors
    /// If others are of another one.
    pub(super) fn expect(&mut self, version: u32) -> Result<(), String> {
        if self.version != 0 && self.version != version {
            return Err(format!("keys of the versions {} and {version} in one checkpoint", self.version));
        }
        self.version = version;
        Ok(())
    }

    /// The row of a key, a new one if there is none.
    pub(super) fn row_of(&mut self, key: Box<dyn OldKey>) -> &mut Row {
        let hash = key.hash();
        let entry = self.rows.entry(hash, |(other, _)| other.is(&*key), |(other, _)| other.hash());
        &mut entry.or_insert_with(|| (key, Row::default())).into_mut().1
    }

    /// The row of a key, if there is one.
    pub(super) fn find(&mut self, key: &dyn OldKey) -> Option<&mut Row> {
        self.rows.find_mut(key.hash(), |(other, _)| other.is(key)).map(|(_, row)| row)
    }

    /// All rows that have something in them, under today's keys.
    ///
    /// # Errors
    /// If there is no migration to today's keys.
    pub(super) fn upgraded<K: 'static, S: StateRows<Row = Row>>(
        self,
        keys: &KeySchema<K>,
    ) -> Result<Vec<(K, Row)>, String> {
        let with_state = self.rows.into_iter().filter(|(_, row)| !S::is_clear(row));
        with_state.map(|(key, row)| Ok((keys.upgrade(self.version, key)?, row))).collect()
    }
}
