//! The contract of an operator with two inputs, which may differ in type.

use std::time::Duration;

use super::{Batch, Output, Progress, RunBudget, Stateful};
use crate::protocol::{Mark, TaskError};

/// An operator with two inputs: the first of its chain, whatever the types of its inputs. Follows Flink's
/// `TwoInputStreamOperator`, and is called as a [`BatchOperator`](super::BatchOperator) is.
///
/// Order promise: the records of one input reach it in their order; between those of both there is none, and it cannot
/// choose which it takes next. A barrier has come on all channels of both inputs before its state is written.
///
/// It is not told when one of its inputs ends: from then on event time is that of the other one, which is what an
/// operator with a bound in event time needs to know. [`Mark::End`] comes when both have ended.
///
/// ```
/// use millstream::TaskError;
/// use millstream::operator::*;
///
/// /// Passes words on, and the lengths of texts as words.
/// struct Words;
///
/// impl TwoInputOperator for Words {
///     type First = String;
///     type Second = Vec<u8>;
///     type Out = String;
///
///     fn process_first(
///         &mut self,
///         input: &mut Batch<String>,
///         out: &mut Output<String>,
///         _: &mut RunBudget,
///     ) -> Result<Progress, TaskError> {
///         Ok(if out.pass_on(input) { Progress::Done } else { Progress::Suspended })
///     }
///
///     fn process_second(
///         &mut self,
///         input: &mut Batch<Vec<u8>>,
///         out: &mut Output<String>,
///         _: &mut RunBudget,
///     ) -> Result<Progress, TaskError> {
///         if out.is_full() {
///             return Ok(Progress::Suspended);
///         }
///         input.drain().for_each(|text| out.emit(text.len().to_string()));
///         Ok(Progress::Done)
///     }
/// }
/// ```
pub trait TwoInputOperator: 'static {
    /// Its first input.
    type First: Send + 'static;
    /// Its second input.
    type Second: Send + 'static;
    /// Its output.
    type Out: Send + 'static;

    /// Takes records off the front of `input` and emits, as [`BatchOperator::process`](super::BatchOperator::process)
    /// does. After [`Progress::Suspended`] nothing but the same batch is given, until the answer is [`Progress::Done`].
    ///
    /// # Errors
    /// Those of [`BatchOperator::process`](super::BatchOperator::process).
    fn process_first(
        &mut self,
        input: &mut Batch<Self::First>,
        out: &mut Output<Self::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError>;

    /// The same for a batch of the second input.
    ///
    /// # Errors
    /// Those of [`process_first`](Self::process_first).
    fn process_second(
        &mut self,
        input: &mut Batch<Self::Second>,
        out: &mut Output<Self::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError>;

    /// A mark has come, merged over all channels of both inputs: a watermark is the minimum over those that are neither
    /// idle nor ended. By default it passes on; for all else see [`BatchOperator::mark`](super::BatchOperator::mark).
    ///
    /// # Errors
    /// Those of [`BatchOperator::mark`](super::BatchOperator::mark).
    fn mark(&mut self, mark: Mark, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let _ = budget;
        out.mark(mark);
        Ok(Progress::Done)
    }

    /// The earliest time of the job's clock at which [`wake`](Self::wake) is to be called; see
    /// [`BatchOperator::due`](super::BatchOperator::due).
    fn due(&self) -> Option<Duration> {
        None
    }

    /// The time that [`due`](Self::due) tells has come; see [`BatchOperator::wake`](super::BatchOperator::wake).
    ///
    /// # Errors
    /// Those of [`BatchOperator::wake`](super::BatchOperator::wake).
    fn wake(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let _ = (out, budget);
        Ok(Progress::Done)
    }

    /// Its state; `None` if it has none. The same answer every time.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }
}
