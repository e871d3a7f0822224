//! The contract of an operator: batches and marks in, batches and marks out, suspendable.

use std::task::Waker;
use std::time::Duration;

use super::{Batch, Output, RunBudget, Stateful};
use crate::protocol::{Mark, TaskError};

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// The step is finished.
    Done,
    /// The step wants to be called again with the same input: its output is full, or its time is up.
    Suspended,
}

/// What an operator takes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Whatever comes.
    Any,
    /// From when a checkpoint is triggered until its barrier has come, all that comes before that; nothing else.
    BeforeBarrier,
    /// Nothing, and so a barrier waits that has something before it: for an operator that would hold more than it may.
    Nothing,
}

/// How far an operator that holds records back is with those that it was restored with and those that it was given since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// So many of the first, in the order of their coming, have led to all that they lead to.
    pub done_in_a_row: u64,
    /// So many of all have.
    pub done: u64,
    /// How many there are in all.
    pub of: u64,
}

/// One operator of a chain. The engine calls it from one thread at a time, never concurrently, and never again after
/// it panicked or failed.
///
/// Order promise: records, marks and snapshots reach it in the order of its input; what it emits leaves in the order of
/// emission. A step that was [`Progress::Done`] is not repeated, whatever becomes of what it has emitted.
///
/// An operator with state gives it to the engine by [`stateful`](Self::stateful):
///
/// ```
/// use millstream::TaskError;
/// use millstream::operator::*;
///
/// /// Passes on each second record.
/// #[derive(Default)]
/// struct EachSecond {
///     passes: bool,
/// }
///
/// impl BatchOperator for EachSecond {
///     type In = u64;
///     type Out = u64;
///
///     fn process(
///         &mut self,
///         input: &mut Batch<u64>,
///         out: &mut Output<u64>,
///         _: &mut RunBudget,
///     ) -> Result<Progress, TaskError> {
///         if out.is_full() {
///             return Ok(Progress::Suspended);
///         }
///         for record in input.drain() {
///             if self.passes {
///                 out.emit(record);
///             }
///             self.passes = !self.passes;
///         }
///         Ok(Progress::Done)
///     }
///
///     fn stateful(&mut self) -> Option<&mut dyn Stateful> {
///         Some(self)
///     }
/// }
///
/// impl Stateful for EachSecond {
///     fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
///         writer.subtask(&"passes".into()).put(&[u8::from(self.passes)]);
///         Ok(Progress::Done)
///     }
///
///     fn restore(&mut self, sections: Vec<RestoredSection>) -> Result<(), StateError> {
///         self.passes = sections.iter().any(|section| section.bytes == [1]);
///         Ok(())
///     }
/// }
/// ```
pub trait BatchOperator: 'static {
    /// Its input.
    type In: Send + 'static;
    /// Its output.
    type Out: Send + 'static;

    /// Whether operators of this type may hold the end back, as one does that waits for answers from outside. [`mark`](Self::mark) may
    /// then be done with [`Mark::End`] without passing it on; a later [`wake`](Self::wake) does. Barriers go on meanwhile, and the job's
    /// final checkpoint waits. Such an operator begins a task.
    fn may_hold_end() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Called once, before everything else: `waker` has [`due`](Self::due) asked again, from any thread. For an operator that waits for
    /// something that is neither input nor time: futures are polled with it.
    fn attach(&mut self, waker: Waker) {
        let _ = waker;
    }

    /// Takes records off the front of `input` and emits. [`Progress::Done`] means that `input` is empty.
    /// [`Progress::Suspended`] leaves the rest in `input`; the same batch is given again once there is room and time.
    /// Looks at `out.is_full()` between records, and at `budget` at least every 64 records or before work that may take
    /// long.
    ///
    /// # Errors
    /// What an operator of one's own has to say is a [`TaskError::User`]. Those that are shipped answer:
    ///
    /// | error | because |
    /// |---|---|
    /// | [`TaskError::EmitLimit`] | one call of a user's function emitted more records than [`Limits::emit_per_call_max`] allows |
    /// | [`TaskError::State`] | a key belongs to another subtask ([`StateError::ForeignKey`]), or rows that are not in memory cannot be read or written |
    /// | [`TaskError::Unanswered`] | an asynchronous function has no answer for a record |
    ///
    /// The task fails with it, and so does its attempt; whether the region restarts is decided by [`TaskError::is_retryable`].
    ///
    /// [`Limits::emit_per_call_max`]: crate::protocol::Limits::emit_per_call_max
    /// [`StateError::ForeignKey`]: crate::protocol::StateError::ForeignKey
    fn process(
        &mut self,
        input: &mut Batch<Self::In>,
        out: &mut Output<Self::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError>;

    /// A mark has come. By default it passes on: `out.mark(mark)`. An operator that holds it back does not emit it, and
    /// may emit it, or other marks, in any later call; a barrier does not wait for it. Whoever overrides this passes on
    /// the marks that it does not know.
    ///
    /// After [`Progress::Suspended`] it is called again with the same mark. [`Mark::End`] is the last call, in which
    /// everything that is held back has to go: it is passed on, behind that, by the call that is [`Progress::Done`], unless
    /// it [may hold it back](Self::may_hold_end).
    ///
    /// # Errors
    /// Those of [`process`](Self::process): of timers that a watermark makes due, and of what is done at the end of the input.
    fn mark(&mut self, mark: Mark, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let _ = budget;
        out.mark(mark);
        Ok(Progress::Done)
    }

    /// The earliest time of the job's clock, as [`Clock::now`](super::Clock::now) tells it, at which
    /// [`wake`](Self::wake) is to be called. `None`: at no time, until a record or mark changes that. A time that has passed
    /// means as soon as possible.
    ///
    /// Asked after each run of steps, so it has to be cheap. The answer has to stay the same until another method is called, or the
    /// [waker](Self::attach): each other answer has the task's timer set anew. The clock starts anew with each process: in a
    /// snapshot a time is kept by the wall clock, [`Clock::unix_ms`](super::Clock::unix_ms).
    ///
    /// The testing kit's `OperatorHarness::clocked` has an example.
    fn due(&self) -> Option<Duration> {
        None
    }

    /// The time that [`due`](Self::due) tells has come. May emit records and marks, but [`Mark::End`] only if that has come and is held
    /// back, as the last thing in a call that is [`Progress::Done`]. Called between two elements of the input, or without any; never in
    /// the middle of a step, before its state is restored, or after [`Mark::End`] was passed on.
    ///
    /// After [`Progress::Suspended`] it is called again before anything else, once there is room and time. If the time that
    /// `due` tells has passed still after [`Progress::Done`], other input has its turn before the next call. A clock that
    /// jumps over several times leads to one call. A call may come late, as long as the output is blocked, and after a restart
    /// as long as the job was down; a barrier does not wait for it.
    ///
    /// If [`Mark::Idle`] was the last to come and is passed on, what is emitted does not change that the stream is idle: the
    /// engine says so again behind it.
    ///
    /// # Errors
    /// Those of [`process`](Self::process): of timers, and of answers that have come.
    fn wake(&mut self, out: &mut Output<Self::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        let _ = (out, budget);
        Ok(Progress::Done)
    }

    /// Called before its task wakes operators, if there is input in front of the task that this may not take: on a channel that has
    /// delivered a barrier which others have not. For an operator that tells whether its input is silent.
    fn input_waits(&mut self) {}

    /// What it takes now. An operator that has all it wants to hold takes only what comes before a barrier: other batches and marks then
    /// wait in the channels before the task, and hold back who sends them. Asked before each element, of an operator that
    /// [may hold the end back](Self::may_hold_end); what changes the answer is another call of the operator.
    fn demand(&self) -> Demand {
        Demand::Any
    }

    /// How far it is with its records. Asked of an operator that [may hold the end back](Self::may_hold_end): a failure counts as overcome
    /// once a checkpoint has nothing in it that had come by then.
    fn held(&self) -> Held {
        Held::default()
    }

    /// Its state; `None` if it has none. The same answer every time.
    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        None
    }
}
