//! How the timers of a [`Kernel`] fire.

use millstream_actors::contract::{Output, Progress, RunBudget};
use millstream_actors::protocol::{NO_TIME, TaskError, Timestamp};
use millstream_actors::runtime::guard::{note_key, noting};

use super::event_time::Moment;
use super::kernel::Kernel;
use super::key_text::key_text;
use crate::state::{KeyedBackend, StateKey, StateSet, TimeDomain, Timer};

/// A timer that has come due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firing {
    pub(crate) timer: Timer,
    /// It is not to be acted on.
    pub(crate) is_withheld: bool,
}

impl<K: StateKey, St: StateSet, B: KeyedBackend<K, St>> Kernel<K, St, B> {
    /// Fires the timers of `domain` up to `up_to`, by time: calls `function` with each, its key, and the key's states.
    /// Suspended it is to be called again, as [`BatchOperator::mark`](crate::operator::BatchOperator::mark) is; what has fired
    /// does not fire again.
    ///
    /// # Errors
    /// The first of `function`, and those of the backend.
    pub(crate) fn fire<Out>(
        &mut self,
        (domain, up_to): (TimeDomain, Timestamp),
        out: &mut Output<Out>,
        budget: &mut RunBudget,
        mut function: impl FnMut(Firing, Moment, &K, St::Handles<'_>, &mut Output<Out>) -> Result<(), TaskError>,
    ) -> Result<Progress, TaskError> {
        if const { !St::HAS_TIMERS } {
            return Ok(Progress::Done);
        }
        self.look_at_clock();
        self.slices.start(budget);
        loop {
            let (mut fired, most) = (0, self.slices.next(usize::MAX));
            while fired < most {
                if self.backend.first_timer(domain).is_none_or(|first| first > up_to) {
                    return Ok(Progress::Done);
                }
                if out.is_full() {
                    return Ok(Progress::Suspended);
                }
                let Some(group) = self.backend.next_timer(domain, up_to)? else { return Ok(Progress::Done) };
                let mut outcome = Ok(());
                let of_key = self.event_time.of(|| group);
                // At the end of input event time is ahead of the last watermark.
                let watermark = if domain == TimeDomain::Event { of_key.max(up_to) } else { of_key };
                let before = match domain {
                    TimeDomain::Event => self.event_time.before(up_to, || group),
                    TimeDomain::Processing => watermark,
                };
                let careful = &mut self.careful;
                self.backend.fire_timers(domain, |key, at, states| {
                    if outcome.is_ok() {
                        let time = if domain == TimeDomain::Event { at } else { NO_TIME };
                        let timer = domain.timer(at);
                        let is_withheld = careful.as_mut().is_some_and(|careful| careful.withholds(key, timer, time));
                        let (firing, moment) = (Firing { timer, is_withheld }, Moment { time, watermark, before });
                        let call = || function(firing, moment, key, states, out);
                        outcome = noting(call, || {
                            note_key(key_text(key), None);
                            careful.iter().for_each(|careful| careful.note(timer));
                        });
                    }
                })?;
                outcome?;
                fired += 1;
            }
            if !self.slices.has_time_after(fired, budget) {
                return Ok(Progress::Suspended);
            }
        }
    }

    /// When the next timer of processing time is due, or the queue has an entry that is to be looked at.
    #[inline]
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        if const { St::HAS_TIMERS } { self.backend.first_timer(TimeDomain::Processing) } else { None }
    }
}
