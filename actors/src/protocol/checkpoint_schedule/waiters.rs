//! Callers who asked for a checkpoint and wait for its outcome.

use std::time::Duration;

use super::{AbortReason, NoCheckpoint, RestartWait, ScheduleCommand as Command, TriggerReason};
use crate::protocol::CheckpointId;

#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Wait for the next checkpoint.
    next: Vec<u64>,
    /// Wait for the one in flight.
    attached: Vec<u64>,
    /// A sink wants the next one, and is not told of it.
    is_wanted: bool,
    /// A sink wants the one in flight: if that fails, the next one.
    attached_wanted: bool,
    /// Somebody wants one to be the last before the job is rescaled.
    for_rescale: ForRescale,
    /// The last one failed: that which is wanted is not taken before.
    wait_until: Duration,
}

/// Whether the next checkpoint, or the one in flight, is to be followed by none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ForRescale {
    #[default]
    No,
    Next,
    /// Or it is complete.
    InFlight,
}

impl Waiters {
    /// Somebody waits for the next checkpoint, from which the job goes on with other tasks.
    pub(super) fn add_for_rescale(&mut self, waiter: u64) {
        self.add(waiter);
        self.for_rescale = ForRescale::Next;
    }

    /// The job has its other tasks, or nothing comes of them.
    pub(super) fn rescale_over(&mut self) {
        self.for_rescale = ForRescale::No;
    }

    /// Whether no checkpoint is to be taken until the job has other tasks: it would be cut off.
    pub(super) fn hold_others(&self) -> bool {
        self.for_rescale == ForRescale::InFlight
    }

    pub(super) fn add(&mut self, waiter: u64) {
        self.next.push(waiter);
    }

    /// A sink wants a checkpoint.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// A checkpoint has failed: one that sinks want is not taken before this time, unless another is.
    pub(super) fn wait_until(&mut self, at: Duration) {
        self.wait_until = at;
    }

    /// When and why the next checkpoint is due: one that a sink wants, not before this time, or the periodic one.
    pub(super) fn awaited_or(
        &self,
        not_before: Duration,
        periodic: Option<Duration>,
    ) -> Option<(Duration, TriggerReason)> {
        let awaited = self.is_wanted.then_some((not_before.max(self.wait_until), TriggerReason::Awaited));
        let periodic = periodic.map(|at| (at, TriggerReason::Periodic));
        awaited.into_iter().chain(periodic).min_by_key(|(at, _)| *at)
    }

    /// Whether somebody waits for a checkpoint that has not been triggered.
    pub(super) fn want_another(&self) -> bool {
        !self.next.is_empty()
    }

    /// The checkpoint for which they wait is being taken.
    pub(super) fn attach(&mut self) {
        self.attached.append(&mut self.next);
        self.attached_wanted |= std::mem::take(&mut self.is_wanted);
        if self.for_rescale == ForRescale::Next {
            self.for_rescale = ForRescale::InFlight;
        }
    }

    /// Answers those of the checkpoint in flight. What sinks want is one that is complete.
    pub(super) fn answer_attached(&mut self, result: &Result<CheckpointId, AbortReason>, out: &mut Vec<Command>) {
        let was_wanted = std::mem::take(&mut self.attached_wanted);
        match result {
            Ok(_) => self.wait_until = Duration::ZERO,
            Err(_) => {
                self.is_wanted |= was_wanted;
                if self.hold_others() {
                    self.rescale_over();
                }
            }
        }
        let result = result.clone().map_err(NoCheckpoint::Aborted);
        let answer = |waiter| Command::AnswerWaiter { waiter, result: result.clone() };
        out.extend(self.attached.drain(..).map(answer));
    }

    /// Answers those of the next checkpoint: there will be none for a while.
    pub(super) fn refuse_next(&mut self, wait: RestartWait, out: &mut Vec<Command>) {
        if self.for_rescale == ForRescale::Next {
            self.rescale_over();
        }
        let refuse = |waiter| Command::AnswerWaiter { waiter, result: Err(NoCheckpoint::Restarting(wait)) };
        out.extend(self.next.drain(..).map(refuse));
    }

    /// Answers those of the next checkpoint: nobody is left who would take part.
    pub(super) fn refuse_all_parked(&mut self, out: &mut Vec<Command>) {
        let refuse = |waiter| Command::AnswerWaiter { waiter, result: Err(NoCheckpoint::AllParked) };
        out.extend(self.next.drain(..).map(refuse));
    }

    /// Answers those of the next checkpoint: there will be none after this one.
    pub(super) fn answer_with_last(&mut self, last: CheckpointId, out: &mut Vec<Command>) {
        out.extend(self.next.drain(..).map(|waiter| Command::AnswerWaiter { waiter, result: Ok(last) }));
    }
}
