//! Runs a keyed function.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, BatchOperator, Clock, Output, Progress, RunBudget, Stateful};
use millstream_actors::protocol::{KeyGroupRange, Limits, Mark, NO_TIME, OperatorId, TaskError, Timestamp};

use super::every_key::EveryKey;
use super::kernel::{AtEnd, Kernel, KeyedInput};
use super::{KeyedContext, KeyedProcessFunction};
use crate::operator::{Emission, KeySelector, SideOutputs, TaskView};
use crate::state::{KeyedBackend, KeyedTable, Share, TimeDomain};
use crate::time::processing_time;

type States<S, F, In> = <F as KeyedProcessFunction<<S as KeySelector<In>>::Key, In>>::State;
type Rows<S, F, In> = KeyedTable<<S as KeySelector<In>>::Key, States<S, F, In>>;

/// A [`KeyedProcessFunction`] `F` on records of type `In`, whose keys `S` selects; `B` keeps its state.
pub struct KeyedOperator<In, S, F, B = Rows<S, F, In>>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    kernel: Kernel<S::Key, F::State, B>,
    input: KeyedInput<S, S::Held>,
    function: F,
    emission: Emission,
    task: TaskView,
    is_open: bool,
    /// The timers that a watermark has made due are firing.
    fires: bool,
    /// The next timer of processing time, and when the job's clock comes to it: as long as that is the next one it is not
    /// reckoned anew, which might give another time each time.
    alarm: Cell<Option<(Timestamp, Duration)>>,
}

impl<In, S, F> KeyedOperator<In, S, F>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
{
    /// An operator without state yet, for the keys of `key_groups` of `max_parallelism`, whose state is kept in memory.
    pub fn new(
        operator: OperatorId,
        key_groups: KeyGroupRange,
        max_parallelism: u32,
        selector: S,
        function: F,
        side_outputs: SideOutputs,
    ) -> Self {
        let table = KeyedTable::new(function.state(), key_groups, max_parallelism);
        Self::with_backend(operator, table, selector, function, side_outputs)
    }
}

impl<In, S, F, B> KeyedOperator<In, S, F, B>
where
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    /// An operator whose state `backend` keeps: that of the function's states, empty.
    pub fn with_backend(operator: OperatorId, backend: B, selector: S, function: F, side_outputs: SideOutputs) -> Self {
        let declaring = function.clone();
        let emission = Emission::new(operator.clone(), side_outputs, Limits::default().emit_per_call_max);
        let kernel = Kernel::new(operator, backend, move || declaring.state());
        Self::on(kernel, KeyedInput::new(selector), function, emission)
    }

    /// An operator on a kernel that has the states of `function`.
    pub(super) fn on(
        kernel: Kernel<S::Key, F::State, B>,
        input: KeyedInput<S, S::Held>,
        function: F,
        emission: Emission,
    ) -> Self {
        let task = kernel.task().clone();
        Self { kernel, input, function, emission, task, is_open: false, fires: false, alarm: Cell::new(None) }
    }

    /// Sets the clock by which values expire and that the function sees, by default the machine's.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.kernel.clock(clock.clone());
        self.task.clock = clock;
        self
    }

    /// Sets which subtask of how many the function sees, by default the only one.
    pub fn share(mut self, share: Share) -> Self {
        self.kernel.share(share);
        self.task.share = share;
        self
    }

    /// Sets how many records one call of the function may emit, by default that of [`Limits`].
    pub fn emit_per_call_max(mut self, records: usize) -> Self {
        self.emission.per_call_max(records);
        self
    }

    /// Sets how many bytes of a snapshot may wait to be written, by default that of [`Limits`].
    pub fn capture_bytes_max(mut self, bytes: usize) -> Self {
        self.kernel.capture_bytes_max(bytes);
        self
    }

    /// Number of keys that have state.
    pub fn keys(&self) -> usize {
        self.kernel.keys()
    }

    /// Fires the timers of `domain` up to a time.
    fn fire(
        &mut self,
        domain: TimeDomain,
        up_to: Timestamp,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        let Self { kernel, function, emission, task, .. } = self;
        kernel.fire((domain, up_to), out, budget, |timer, moment, key, states, out| {
            let mut ctx = KeyedContext::of(key, moment, task);
            emission.call(out, 0, moment.time, |out| function.on_timer(timer, states, &mut ctx, out))
        })
    }

    /// Event time has gone on. A restored stream says its last watermark again: what has been registered for times up to it
    /// waits for the next one, as without the failure.
    fn watermark(
        &mut self,
        at: Timestamp,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.fires |= self.kernel.watermark(at);
        if !self.fires {
            return Ok(Progress::Done);
        }
        let fired = self.fire(TimeDomain::Event, at, out, budget)?;
        self.fires = fired == Progress::Suspended;
        Ok(fired)
    }

    /// The input has ended, and event time with it. Values do not expire by that, and a snapshot does not have it: a job that
    /// is started again may have more input.
    fn end(&mut self, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        for (domain, up_to) in [(TimeDomain::Processing, self.now()), (TimeDomain::Event, Timestamp::MAX)] {
            if self.fire(domain, up_to, out, budget)? == Progress::Suspended {
                return Ok(Progress::Suspended);
            }
        }
        let Self { kernel, function, emission, task, .. } = self;
        let ended = kernel.end(out, budget, |moment, key, states, out| {
            let mut ctx = KeyedContext::of(key, moment, task);
            emission.call(out, 0, NO_TIME, |out| function.end_of_input(states, &mut ctx, out))?;
            Ok(if ctx.has_no_end() { AtEnd::Nothing } else { AtEnd::Next })
        })?;
        match ended {
            Progress::Suspended => Ok(Progress::Suspended),
            // What was registered in the last step.
            Progress::Done => self.fire(TimeDomain::Event, Timestamp::MAX, out, budget),
        }
    }

    /// Processing time, in milliseconds of the Unix epoch.
    fn now(&self) -> Timestamp {
        processing_time(&*self.task.clock)
    }

    /// Opens the function, before its first record or mark.
    fn open(&mut self) -> Result<(), TaskError> {
        if !std::mem::replace(&mut self.is_open, true) {
            let mut keys = EveryKey::new(&mut self.kernel);
            self.function.open(&mut keys);
            keys.outcome()?;
        }
        Ok(())
    }
}

impl<In, S, F, B> BatchOperator for KeyedOperator<In, S, F, B>
where
    In: Send + 'static,
    S: KeySelector<In>,
    F: KeyedProcessFunction<S::Key, In>,
    S::Held: 'static,
    B: KeyedBackend<S::Key, States<S, F, In>>,
{
    type In = In;
    type Out = F::Out;

    fn process(
        &mut self,
        input: &mut Batch<In>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        self.open()?;
        let Self { kernel, input: keys, function, emission, task, .. } = self;
        kernel.process(keys, input, out, budget, |record, moment, key, states, out| {
            let mut ctx = KeyedContext::of(key, moment, task);
            emission.call(out, 0, moment.time, |out| function.process(record, states, &mut ctx, out))
        })
    }

    fn mark(&mut self, mark: Mark, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.open()?;
        let acted = match mark {
            Mark::Watermark(at) => self.watermark(at, out, budget)?,
            Mark::End => self.end(out, budget)?,
            _ => Progress::Done,
        };
        if acted == Progress::Done {
            out.mark(mark);
        }
        Ok(acted)
    }

    fn due(&self) -> Option<Duration> {
        let next = self.kernel.next_timer()?;
        if let Some((at, due)) = self.alarm.get()
            && at == next
        {
            return Some(due);
        }
        let wait = u64::try_from(next.saturating_sub(self.now())).unwrap_or(0);
        let due = if wait == 0 { Duration::ZERO } else { self.task.clock.now() + Duration::from_millis(wait) };
        self.alarm.set(Some((next, due)));
        Some(due)
    }

    /// Fires what is due by the clock, as far as there is time and room. What is left is due still, so that other input,
    /// and barriers, have their turn between two timers.
    fn wake(&mut self, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.open()?;
        self.alarm.set(None);
        let _ = self.fire(TimeDomain::Processing, self.now(), out, budget)?;
        Ok(Progress::Done)
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.kernel)
    }
}

#[cfg(test)]
#[path = "operator_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "ttl_tests.rs"]
mod ttl_tests;

#[cfg(test)]
#[path = "end_tests.rs"]
mod end_tests;

#[cfg(test)]
#[path = "timer_tests.rs"]
mod timer_tests;
