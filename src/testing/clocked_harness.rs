//! Runs an operator that wants to be woken, in every way the engine may run it.

use std::fmt::Debug;
use std::sync::Arc;

use millstream_actors::contract::{BatchOperator, Clock};

use super::operator_run::{Place, Spread};
use super::{BoxedOperator, OperatorHarness};
#[cfg(test)]
use crate::state::Share;

impl<In: Clone + Send + 'static, Out: Debug + PartialEq + Send + 'static> OperatorHarness<In, Out> {
    /// Runs an operator that is woken at times of the clock that it is made with, as a stage of a job would be of a clone of
    /// [`StreamEnvironment::clock`](crate::StreamEnvironment::clock).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::time::Duration;
    ///
    /// use millstream::operator::*;
    /// use millstream::testing::OperatorHarness;
    /// use millstream::{Clock, TaskError};
    ///
    /// /// Counts the records of a minute that begins with its first record. (For a job the count has to be in its state.)
    /// struct PerMinute {
    ///     clock: Arc<dyn Clock>,
    ///     count: u64,
    ///     until: Option<Duration>,
    /// }
    ///
    /// impl BatchOperator for PerMinute {
    ///     type In = u64;
    ///     type Out = u64;
    ///
    ///     fn process(
    ///         &mut self,
    ///         input: &mut Batch<u64>,
    ///         _: &mut Output<u64>,
    ///         _: &mut RunBudget,
    ///     ) -> Result<Progress, TaskError> {
    ///         self.until.get_or_insert(self.clock.now() + Duration::from_secs(60));
    ///         self.count += input.drain().count() as u64;
    ///         Ok(Progress::Done)
    ///     }
    ///
    ///     fn due(&self) -> Option<Duration> {
    ///         self.until
    ///     }
    ///
    ///     fn wake(&mut self, out: &mut Output<u64>, _: &mut RunBudget) -> Result<Progress, TaskError> {
    ///         if out.is_full() {
    ///             return Ok(Progress::Suspended);
    ///         }
    ///         self.until = None;
    ///         out.emit(std::mem::take(&mut self.count));
    ///         Ok(Progress::Done)
    ///     }
    /// }
    ///
    /// let mut run = OperatorHarness::clocked(|clock| PerMinute { clock, count: 0, until: None }).start(1);
    /// run.feed([7, 8]);
    /// run.advance(Duration::from_secs(59));
    /// assert!(run.take_output().is_empty());
    /// run.advance(Duration::from_secs(1));
    /// assert_eq!(run.take_output(), [2]);
    /// ```
    pub fn clocked<Op: BatchOperator<In = In, Out = Out>>(factory: impl Fn(Arc<dyn Clock>) -> Op + 'static) -> Self {
        let factory = move |place: Place| -> BoxedOperator<In, Out> { Box::new(factory(Arc::new(place.clock))) };
        Self::of(factory, Spread::Alone)
    }

    /// Runs an operator whose state is that of its subtask. At parallelisms above 1 records are dealt out in turn.
    #[cfg(test)]
    pub(crate) fn dealt<Op: BatchOperator<In = In, Out = Out>>(
        factory: impl Fn(Share, Arc<dyn Clock>) -> Op + 'static,
    ) -> Self {
        let factory =
            move |place: Place| -> BoxedOperator<In, Out> { Box::new(factory(place.share, Arc::new(place.clock))) };
        Self::of(factory, Spread::InTurn(Box::new(|_| false)))
    }
}

#[cfg(test)]
#[path = "clocked_harness_tests.rs"]
mod tests;
