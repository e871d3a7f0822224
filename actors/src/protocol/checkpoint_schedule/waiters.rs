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
}

impl Waiters {
    pub(super) fn add(&mut self, waiter: u64) {
        self.next.push(waiter);
    }

    /// A sink wants a checkpoint.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// When and why a checkpoint is due that a sink wants: not before this time.
    pub(super) fn awaited(&self, not_before: Duration) -> Option<(Duration, TriggerReason)> {
        self.is_wanted.then_some((not_before, TriggerReason::Awaited))
    }

    /// Whether somebody waits for a checkpoint that has not been triggered.
    pub(super) fn want_another(&self) -> bool {
        !self.next.is_empty()
    }

    /// The checkpoint for which they wait is being taken.
    pub(super) fn attach(&mut self) {
        self.attached.append(&mut self.next);
        self.is_wanted = false;
    }

    /// Answers those of the checkpoint in flight.
    pub(super) fn answer_attached(&mut self, result: &Result<CheckpointId, AbortReason>, out: &mut Vec<Command>) {
        let result = result.clone().map_err(NoCheckpoint::Aborted);
        let answer = |waiter| Command::AnswerWaiter { waiter, result: result.clone() };
        out.extend(self.attached.drain(..).map(answer));
    }

    /// Answers those of the next checkpoint: there will be none for a while.
    pub(super) fn refuse_next(&mut self, wait: RestartWait, out: &mut Vec<Command>) {
        let refuse = |waiter| Command::AnswerWaiter { waiter, result: Err(NoCheckpoint::Restarting(wait)) };
        out.extend(self.next.drain(..).map(refuse));
    }

    /// Answers those of the next checkpoint: there will be none after this one.
    pub(super) fn answer_with_last(&mut self, last: CheckpointId, out: &mut Vec<Command>) {
        out.extend(self.next.drain(..).map(|waiter| Command::AnswerWaiter { waiter, result: Ok(last) }));
    }
}
