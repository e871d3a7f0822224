//! Some of the records, as they are.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::batches::{count_filled, pass_on, room, take_bytes};
use super::slices::Slices;

/// Keeps the records for which `function` is true; keeps the order.
#[derive(Debug)]
pub struct Filter<T, F> {
    function: F,
    slices: Slices,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T) -> bool> Filter<T, F> {
    /// An operator that keeps what `function` accepts.
    pub fn new(function: F) -> Self {
        Self { function, slices: Slices::new(), of: PhantomData }
    }
}

/// Keeps what `function` accepts, in order, without a branch on its answer, which cannot be predicted: every record
/// changes places with the first one that was refused.
#[inline]
fn compact<T>(records: &mut Vec<T>, function: impl Fn(&T) -> bool) {
    let mut kept = 0;
    for index in 0..records.len() {
        let keep = function(&records[index]);
        records.swap(kept, index);
        kept += usize::from(keep);
    }
    records.truncate(kept);
}

impl<T: Send + 'static, F: Fn(&T) -> bool + 'static> BatchOperator for Filter<T, F> {
    type In = T;
    type Out = T;

    fn process(
        &mut self,
        input: &mut Batch<T>,
        out: &mut Output<T>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.slices.start(budget);
        while !input.is_empty() {
            if out.is_full() {
                return Ok(Progress::Suspended);
            }
            let records = self.slices.next(input.len());
            if records == input.len() && out.open_batch().is_empty() {
                compact(&mut input.records, &self.function);
                input.bytes = input.bytes * input.len() / records;
                pass_on(input, out);
            } else {
                let records = records.min(room(out));
                let bytes = take_bytes(input, records);
                let open = out.open_batch();
                let before = open.len();
                open.records.extend(input.records.drain(..records).filter(&self.function));
                let kept = open.len() - before;
                count_filled(out, bytes * kept / records);
            }
            if !self.slices.has_time_after(records, budget) && !input.is_empty() {
                return Ok(Progress::Suspended);
            }
        }
        Ok(Progress::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::OperatorHarness;

    #[test]
    fn every_way_of_running_keeps_the_same_records_in_order() {
        let keep = |x: &u64| !x.is_multiple_of(3);
        OperatorHarness::stateless(move || Filter::new(keep))
            .batch(0..1000)
            .batch(1000..5000)
            .check((0..5000).filter(keep));
        OperatorHarness::stateless(move || Filter::new(|_: &u64| false)).batch(0..100).check([]);
    }

    #[test]
    fn compacting_keeps_order_and_drops_each_refused_record_once() {
        use std::rc::Rc;
        let counted: Vec<Rc<u32>> = (0..100).map(Rc::new).collect();
        let mut records = counted.clone();
        compact(&mut records, |record| **record % 7 < 3);
        assert_eq!(records, counted.iter().filter(|record| ***record % 7 < 3).cloned().collect::<Vec<_>>());
        for record in &counted {
            assert_eq!(Rc::strong_count(record), 1 + usize::from(**record % 7 < 3));
        }
    }

    #[test]
    fn kept_records_take_their_share_of_the_bytes() {
        let mut out = Output::new();
        let mut filter = Filter::new(|x: &u64| *x < 5);
        let mut budget = RunBudget::start(millstream_actors::runtime::time::monotonic);
        let mut input = Batch { records: (0..1000).collect(), bytes: 200_000 };
        while filter.process(&mut input, &mut out, &mut budget).unwrap() == Progress::Suspended {}
        let bytes = out.open_batch().bytes;
        assert!((900..=1000).contains(&bytes), "{bytes}");
    }
}
