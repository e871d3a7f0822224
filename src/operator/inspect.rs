//! The records as they are, shown to a function.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, BatchOperator, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::slices::Slices;

/// Shows each record to a function and passes it on; keeps the order. After a failure records are shown again.
#[derive(Debug)]
pub struct Inspect<T, F> {
    function: F,
    slices: Slices,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T)> Inspect<T, F> {
    /// An operator that calls `function` with each record.
    pub fn new(function: F) -> Self {
        Self { function, slices: Slices::new(), of: PhantomData }
    }
}

impl<T: Send + 'static, F: Fn(&T) + 'static> BatchOperator for Inspect<T, F> {
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
            let records = self.slices.next(input.len().min(out.room()));
            input.as_slice()[..records].iter().for_each(&self.function);
            if records == input.len() {
                out.pass_on(input);
            } else {
                input.move_front(records, out.open_batch());
                out.close_if_full();
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
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::testing::OperatorHarness;

    #[test]
    fn every_way_of_running_shows_each_record_once_in_order() {
        let seen: Rc<RefCell<Vec<u64>>> = Rc::default();
        let show = {
            let seen = seen.clone();
            move |x: &u64| seen.borrow_mut().push(*x)
        };
        OperatorHarness::stateless(move || Inspect::new(show.clone())).batch(0..2000).batch(2000..2500).check(0..2500);
        let seen = seen.borrow();
        assert!(seen.len() >= 2500 && seen.len().is_multiple_of(2500));
        assert!(seen.chunks(2500).all(|run| run.iter().copied().eq(0..2500)));
    }
}
