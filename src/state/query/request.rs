//! What is asked, and the answer: what travels to a task and back.

use std::any::{Any, TypeId, type_name};
use std::sync::Arc;

use millstream_actors::protocol::QueryError;

use super::{GroupScan, QueriedAs};
use crate::state::StateKey;
use crate::state::codec::StateFormat;

/// Bytes of the values of one answer, about: a page ends early, several keys are refused.
pub(crate) const ANSWER_BYTES_MAX: usize = if cfg!(test) { 32 << 10 } else { 64 << 20 };

/// A query of one state. The engine carries it without a look inside.
#[derive(Debug)]
pub(crate) struct StateRequest {
    pub(super) state: Arc<str>,
    /// The types that are asked for, and their names.
    pub(super) key: (TypeId, &'static str),
    pub(super) value: (TypeId, &'static str),
    /// A list or a map may have so many entries.
    pub(super) entries_max: usize,
    pub(super) ask: Ask,
    /// Where the state is in its set, and how its values are read: known once the types have been compared.
    pub(super) found: Option<(usize, QueriedAs, StateFormat)>,
    pub(super) error: Option<QueryError>,
    /// A key is another subtask's: the parallelism has changed since.
    pub(super) is_misplaced: bool,
}

/// What was asked, with its answer, and how values are read: known where the state was found.
pub(crate) type Answered = (Ask, Option<(QueriedAs, StateFormat)>);

/// What is asked of a state.
#[derive(Debug)]
pub(crate) enum Ask {
    /// The values of some keys, of type `KeysAsked<K>`.
    Keys(Box<dyn Any + Send>),
    /// Those of all keys, by hash.
    Scan(ScanAsked),
}

/// Keys, each with its hash, and the bytes of the values of the first of them.
#[derive(Debug)]
pub(crate) struct KeysAsked<K> {
    pub(crate) keys: Vec<(u64, K)>,
    pub(crate) values: Vec<Option<Vec<u8>>>,
}

/// A page of a scan.
#[derive(Debug)]
pub(crate) struct ScanAsked {
    /// Keys with hashes from this on are wanted.
    first: u64,
    /// And up to this.
    pub(crate) last: u64,
    /// So many, at least 1.
    pub(crate) limit: usize,
    /// And so many bytes of them, about.
    pub(crate) bytes_max: usize,
    /// From which hash on, and what is known of the group at hand.
    pub(crate) scan: GroupScan,
    /// The bytes of keys and values, by hash.
    pub(crate) entries: Vec<(Vec<u8>, Vec<u8>)>,
    /// How many they are.
    pub(crate) bytes: usize,
    /// There is nothing up to `last` that was not shown.
    pub(crate) is_done: bool,
}

impl ScanAsked {
    pub(crate) fn new((first, last): (u64, u64), limit: usize, bytes_max: usize) -> Self {
        let scan = GroupScan::from(first);
        Self { first, last, limit, bytes_max, scan, entries: Vec::new(), bytes: 0, is_done: false }
    }
}

impl StateRequest {
    pub(crate) fn new<K: StateKey, V: 'static>(state: Arc<str>, entries_max: usize, ask: Ask) -> Self {
        Self {
            state,
            key: (TypeId::of::<K>(), type_name::<K>()),
            value: (TypeId::of::<V>(), type_name::<V>()),
            entries_max,
            ask,
            found: None,
            error: None,
            is_misplaced: false,
        }
    }

    /// Forgets what was answered.
    pub(super) fn begin_anew<K: StateKey>(&mut self) {
        (self.error, self.is_misplaced) = (None, false);
        match &mut self.ask {
            Ask::Keys(keys) => keys.downcast_mut::<KeysAsked<K>>().into_iter().for_each(|asked| asked.values.clear()),
            Ask::Scan(asked) => {
                asked.scan = GroupScan::from(asked.first);
                asked.entries.clear();
                asked.bytes = 0;
                asked.is_done = false;
            }
        }
    }

    pub(super) fn fail(&mut self, error: QueryError) {
        self.error = Some(error);
    }

    /// What was asked, with its answer, and how its values are read. `None` if a key is another subtask's.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) fn answered(self) -> Result<Option<Answered>, QueryError> {
        match self.error {
            Some(error) => Err(error),
            None if self.is_misplaced => Ok(None),
            None => Ok(Some((self.ask, self.found.map(|(_, queried_as, format)| (queried_as, format))))),
        }
    }
}
