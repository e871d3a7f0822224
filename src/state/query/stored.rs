//! Rows as a checkpoint has them: those of one state in one key group, loaded for one query.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Asked, Progress, RunBudget, StateError, StoredGroup, StoredStates};
use millstream_actors::protocol::{KeyGroupRange, OperatorId, QueryError, Timestamp};

use super::rows::{look_at_key, look_through_table};
use super::{GroupScan, LookAtRows, Show, StateRequest, answer};
use crate::state::group_table::GroupTable;
use crate::state::{Access, KeySchema, StateKey, StateSet, TableLoader, group_of_hash, hashes_of};

/// Answers queries of an operator's states from sections of checkpoints.
pub(crate) struct StoredRows<K, S: StateSet> {
    operator: OperatorId,
    loader: TableLoader<K, S>,
    max_parallelism: u32,
}

impl<K: StateKey, S: StateSet> StoredRows<K, S> {
    pub(crate) fn new(operator: OperatorId, states: S, keys: KeySchema<K>, max_parallelism: u32) -> Self {
        let all = KeyGroupRange { start: 0, end: max_parallelism };
        let loader = TableLoader::new(operator.clone(), states, keys, all, max_parallelism);
        Self { operator, loader, max_parallelism }
    }
}

impl<K: StateKey, S: StateSet> StoredStates for StoredRows<K, S> {
    fn query(&mut self, stored: StoredGroup<'_>, query: &mut (dyn Any + Send)) {
        let StoredGroup { checkpoint, is_of_this_run, group, sections } = stored;
        let Some(request) = query.downcast_mut::<StateRequest>() else { return };
        request.begin_anew::<K>();
        let older = || QueryError::OlderKeys { operator: self.operator.clone(), checkpoint };
        // Keys of any group may have become keys of this one.
        if !is_of_this_run && self.loader.migrates_keys() {
            return request.fail(older());
        }
        let table = match self.loader.load_for_query(group, sections) {
            Ok(Some(table)) => table,
            Ok(None) => return request.fail(older()),
            Err(error) => return request.fail(QueryError::State(Arc::new(error))),
        };
        let Self { operator, loader, max_parallelism } = self;
        let mut rows = GroupRows { states: loader.states(), table, group, max_parallelism: *max_parallelism };
        // A thread that may block has all the time.
        let mut budget = RunBudget::start_by(Some(|| Duration::ZERO));
        while answer(&mut rows, (operator, *max_parallelism), request, &mut budget) == Asked::Suspended {}
    }
}

/// The rows of a group.
struct GroupRows<'a, K, S: StateSet> {
    states: &'a S,
    table: GroupTable<K, S::Row>,
    group: u32,
    max_parallelism: u32,
}

/// Nothing in a checkpoint has expired by then.
const AS_OF_THEN: Access = Access { stamp: 0, processing_time: i64::MIN, watermark: Timestamp::MIN };

impl<K: StateKey, S: StateSet> LookAtRows<K, S> for GroupRows<'_, K, S> {
    fn declared(&self) -> &S {
        self.states
    }

    fn may_have(&self, hash: u64) -> bool {
        group_of_hash(hash, self.max_parallelism) == self.group
    }

    fn look_at(&mut self, hash: u64, key: &K, show: Show<'_, K, S>) -> Result<(), StateError> {
        look_at_key(&mut self.table, (self.states, AS_OF_THEN), (hash, key), show);
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
        let last = hashes_of(group, self.max_parallelism).1;
        Ok(look_through_table(&mut self.table, (self.states, AS_OF_THEN), scan, (most, last), budget, show))
    }
}
