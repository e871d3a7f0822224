//! A stage that keeps its totals in a hash map of its own. It is in no snapshot: what a user could write who does without
//! recovery.

use hashbrown::HashMap;
use hashbrown::hash_map::IntoIter;
use millstream::TaskError;
use millstream::operator::{BatchOperator, Mark, Output, Progress, RunBudget};
use millstream::source::Batch;

use crate::numbers::{Totals, update};

/// Counts and adds up; emits the totals of all keys when the input has ended.
#[derive(Default)]
pub(super) struct OwnMap {
    table: HashMap<u64, Totals>,
    left: Option<IntoIter<u64, Totals>>,
}

impl BatchOperator for OwnMap {
    type In = u64;
    type Out = Totals;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        _: &mut Output<Totals>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        for key in input.drain() {
            update(self.table.entry(key).or_default(), key);
        }
        Ok(Progress::Done)
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<Totals>, _: &mut RunBudget) -> Result<Progress, TaskError> {
        if mark == Mark::End {
            let left = self.left.get_or_insert_with(|| std::mem::take(&mut self.table).into_iter());
            while let Some((_, totals)) = left.next() {
                out.emit(totals);
                if out.is_full() {
                    return Ok(Progress::Suspended);
                }
            }
        }
        out.mark(mark);
        Ok(Progress::Done)
    }
}
