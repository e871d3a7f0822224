//! What keyed operators do, on however many inputs their records come.

use std::borrow::Borrow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{Batch, Clock, Output, Progress, RunBudget};
use millstream_actors::protocol::{Limits, Mark, NO_TIME, OperatorId, TaskError, Timestamp};
use millstream_actors::runtime::guard::{note_of_none, noting};

use super::KeyedContext;
use super::calls::KeyedCalls;
use super::every_key::EveryKey;
use super::kernel::{AtEnd, Kernel, KeyedInput};
use crate::operator::{Emission, Emitter, KeySelector, SideOutputs, TaskView};
use crate::state::{KeyedBackend, Share, StateKey, StateSet, TimeDomain};
use crate::time::processing_time;

/// A function `F` on a kernel. Operators have it work on the records of their inputs, and all else they leave to it.
pub(super) struct KeyedRun<K: StateKey, F: KeyedCalls<K>, B: KeyedBackend<K, F::State>> {
    pub(super) kernel: Kernel<K, F::State, B>,
    pub(super) function: F,
    pub(super) emission: Emission,
    pub(super) task: TaskView,
    is_open: bool,
    /// The timers that a watermark has made due are firing.
    fires: bool,
    /// The next timer of processing time, and when the job's clock comes to it: as long as that is the next one it is not
    /// reckoned anew, which might give another time each time.
    alarm: Cell<Option<(Timestamp, Duration)>>,
}

impl<K: StateKey, F: KeyedCalls<K>, B: KeyedBackend<K, F::State>> KeyedRun<K, F, B> {
    /// A function on a kernel that has its states.
    pub(super) fn on(kernel: Kernel<K, F::State, B>, function: F, emission: Emission) -> Self {
        let task = kernel.task().clone();
        Self { kernel, function, emission, task, is_open: false, fires: false, alarm: Cell::new(None) }
    }

    /// A function whose states `backend` keeps, empty.
    pub(super) fn with_backend(operator: OperatorId, backend: B, function: F, side_outputs: SideOutputs) -> Self {
        let declaring = function.clone();
        let emission = Emission::new(operator.clone(), side_outputs, Limits::default().emit_per_call_max);
        Self::on(Kernel::new(operator, backend, move || declaring.state()), function, emission)
    }

    /// Sets the clock by which values expire and that the function sees.
    pub(super) fn clock(&mut self, clock: Arc<dyn Clock>) {
        self.kernel.clock(clock.clone());
        self.task.clock = clock;
    }

    /// Sets which subtask of how many the function sees.
    pub(super) fn share(&mut self, share: Share) {
        self.kernel.share(share);
        self.task.share = share;
    }

    /// Works a batch off, as [`BatchOperator::process`](crate::operator::BatchOperator::process) is to: calls `call` with each
    /// record.
    #[inline]
    pub(super) fn process<In, S>(
        &mut self,
        keys: &mut KeyedInput<S, S::Held>,
        input: &mut Batch<In>,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
        mut call: impl FnMut(
            &mut F,
            In,
            <F::State as StateSet>::Handles<'_>,
            &mut KeyedContext<'_, K>,
            &mut Emitter<'_, F::Out>,
        ),
    ) -> Result<Progress, TaskError>
    where
        S: KeySelector<In, Key = K>,
        K: Borrow<S::Query>,
    {
        self.open()?;
        let Self { kernel, function, emission, task, .. } = self;
        kernel.process(keys, input, out, budget, |record, moment, key, states, out| {
            let mut ctx = KeyedContext::of(key, moment, task);
            emission.call(out, 0, moment.time, |out| call(function, record, states, &mut ctx, out))
        })
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
        kernel.fire((domain, up_to), out, budget, |firing, moment, key, states, out| {
            let (mut ctx, timer) = (KeyedContext::of(key, moment, task), firing.timer);
            emission.call(out, 0, moment.time, |out| {
                if firing.is_withheld {
                    function.timer_withheld(timer, states, &mut ctx, out);
                } else {
                    function.on_timer(timer, states, &mut ctx, out);
                }
            })
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
    #[inline]
    pub(super) fn open(&mut self) -> Result<(), TaskError> {
        if !std::mem::replace(&mut self.is_open, true) {
            let Self { kernel, function, .. } = self;
            let mut keys = EveryKey::new(kernel);
            let open = || {
                function.open(&mut keys);
                keys.outcome()
            };
            noting(open, note_of_none)?;
        }
        Ok(())
    }

    /// As [`BatchOperator::mark`](crate::operator::BatchOperator::mark) is to.
    pub(super) fn mark(
        &mut self,
        mark: Mark,
        out: &mut Output<F::Out>,
        budget: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
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

    /// As [`BatchOperator::due`](crate::operator::BatchOperator::due) is to.
    pub(super) fn due(&self) -> Option<Duration> {
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
    pub(super) fn wake(&mut self, out: &mut Output<F::Out>, budget: &mut RunBudget) -> Result<Progress, TaskError> {
        self.open()?;
        self.alarm.set(None);
        let _ = self.fire(TimeDomain::Processing, self.now(), out, budget)?;
        Ok(Progress::Done)
    }
}
