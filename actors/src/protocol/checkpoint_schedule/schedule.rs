//! The state machine: event and moment in, commands out.

mod restores;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::participants::Participants;
use super::phase::{Finalising, Phase, STORE_RETRIES_MAX, awaited_retry_delay, retry_delay, tolerable};
use super::restart_waits::RestartWaits;
use super::retained::{RestoreChoice, Retained};
use super::waiters::Waiters;
use super::{
    AbortReason, NoRestore, Now, RestoreDecision, ScheduleCommand as Command, ScheduleEvent as Event, ScheduleSettings,
    TriggerReason,
};
use crate::protocol::pending_checkpoint::{AckVerdict, PendingCheckpoint};
use crate::protocol::{Barrier, CheckpointId, Execution, Manifest, RegionId, SnapshotError};

/// The checkpoint schedule of one job.
#[derive(Debug)]
pub(crate) struct CheckpointSchedule {
    settings: ScheduleSettings,
    phase: Phase,
    /// Between triggers; `None` if none are periodic.
    interval: Option<Duration>,
    retained: Retained,
    next_id: CheckpointId,
    reserved_up_to: CheckpointId,
    participants: Participants,
    restores: BTreeMap<RegionId, (Execution, Option<CheckpointId>)>,
    /// Regions that are to be parked.
    parks: BTreeMap<RegionId, Execution>,
    waiters: Waiters,
    restart_waits: RestartWaits,
    draining: bool,
    drained: Option<CheckpointId>,
    period_starts: Duration,
    pause_until: Duration,
    /// Failures in a row; reset by a completion.
    failures: u32,
    urgent_at: Duration,
    /// Triggered by a coordinator that was restarted.
    orphan: Option<CheckpointId>,
    announced: CheckpointId,
}

impl CheckpointSchedule {
    /// A schedule that first asks the writer. Ids up to `reserved_up_to` are in use; completion of `announced` was told;
    /// `orphan` was triggered and is neither known to be complete nor aborted.
    pub(crate) fn new(
        mut settings: ScheduleSettings,
        reserved_up_to: CheckpointId,
        announced: CheckpointId,
        orphan: Option<CheckpointId>,
        abandoned: BTreeSet<CheckpointId>,
        out: &mut Vec<Command>,
    ) -> Self {
        out.push(Command::AskWriter);
        Self {
            interval: settings.checkpointing.interval,
            participants: Participants::new(std::mem::take(&mut settings.participants)),
            settings,
            phase: Phase::Asking { unsettled: None, ask_at: None, failures: 0 },
            retained: Retained::unknown(abandoned),
            next_id: CheckpointId(reserved_up_to.0 + 1),
            reserved_up_to,
            restores: BTreeMap::new(),
            parks: BTreeMap::new(),
            waiters: Waiters::default(),
            restart_waits: RestartWaits::default(),
            draining: false,
            drained: None,
            period_starts: Duration::ZERO,
            pause_until: Duration::ZERO,
            failures: 0,
            urgent_at: Duration::ZERO,
            orphan,
            announced,
        }
    }

    /// Takes one event. Commands are appended in the order in which they must be carried out.
    pub(crate) fn apply(&mut self, now: Now, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Tick => self.tick(now, out),
            Event::WriterReported { retained } => self.writer_reported(now, retained, out),
            Event::RegionRunning { execution, restored } => self.region_running(now, execution, restored),
            Event::RegionDown { execution, failed, restarts_at } => {
                self.region_down(now, execution, failed, out);
                self.restart_waits.told(execution.region, restarts_at);
            }
            Event::RestoreRequested { execution, damaged } => self.restore_requested(now, execution, damaged, out),
            Event::ParkRequested { execution } => drop(self.parks.insert(execution.region, execution)),
            Event::IsParked { region, newest } => self.participants.park(region, newest),
            Event::SourceHalted { execution, subtask, state } => {
                self.participants.source_halted(execution, subtask, state);
            }
            Event::Acknowledged { execution, subtask, checkpoint, written, facts } => {
                if let Phase::InFlight { pending, .. } = &mut self.phase
                    && pending.acknowledge(execution, subtask, checkpoint, written, facts) == AckVerdict::Complete
                {
                    self.finalise(now, out);
                }
            }
            Event::Declined { execution, subtask, checkpoint, reason } => {
                if let Phase::InFlight { pending, .. } = &self.phase
                    && pending.judge(execution, subtask, checkpoint) == AckVerdict::First
                {
                    self.abort(now, AbortReason::Declined { subtask, reason }, out);
                }
            }
            Event::SinkCommitted { subtask, checkpoint } => self.participants.sink_committed(subtask, checkpoint),
            Event::CheckpointRequested { waiter } => self.waiters.add(waiter),
            Event::CheckpointWanted => self.waiters.want(),
            Event::Rescale(step) => step.apply(&mut self.waiters, &mut self.participants),
            Event::DrainRequested => self.draining = true,
            Event::DrainCancelled => self.resume(),
            Event::IdsReserved { up_to } => {
                self.reserved_up_to = up_to.max(self.reserved_up_to);
                if matches!(self.phase, Phase::Reserving) {
                    self.phase = Phase::Idle;
                }
            }
            Event::ReserveFailed { error, retained } => self.reserve_failed(now, error, retained, out),
            Event::Finalised { checkpoint } => self.finalised(now, checkpoint, out),
            Event::FinaliseFailed { checkpoint, error, retained } if self.finalises(checkpoint) => {
                self.settle_finalising(now, AbortReason::Store(error), retained, out);
            }
            Event::FinaliseFailed { .. } => {}
            Event::ChunksFailed { checkpoint, error, retained } => {
                if matches!(&self.phase, Phase::InFlight { pending, .. } if pending.id() == checkpoint) {
                    self.abort(now, AbortReason::Store(error), out);
                    self.settle_retained(now, retained, out);
                }
            }
            Event::Abandoned { above, completed } => self.abandoned(above, completed),
            Event::AbandonFailed { error } => self.abandon_failed(now, error, out),
        }
        self.advance(now, out);
    }

    /// Sets the interval; it counts from the last trigger.
    pub(crate) fn keep_interval(&mut self, interval: Option<Duration>) {
        self.interval = interval;
    }

    /// How many subtasks have not acknowledged the checkpoint that is in flight.
    pub(crate) fn missing(&self) -> usize {
        match &self.phase {
            Phase::InFlight { pending, .. } => pending.missing(),
            _ => 0,
        }
    }

    /// When [`Event::Tick`] is due next.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Asking { ask_at, .. } => *ask_at,
            Phase::Abandoning { retry_at, .. } => *retry_at,
            Phase::InFlight { deadline, .. } => Some(*deadline),
            Phase::Idle => self.due_at().map(|(at, _)| at),
            Phase::Reserving | Phase::Finalising(_) | Phase::Over => None,
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Command>) {
        match &mut self.phase {
            Phase::Asking { ask_at, .. } if ask_at.is_some_and(|at| at <= now.at) => {
                *ask_at = None;
                out.push(Command::AskWriter);
            }
            Phase::Abandoning { above, retry_at, .. } if retry_at.is_some_and(|at| at <= now.at) => {
                *retry_at = None;
                out.push(Command::AbandonAbove { checkpoint: *above, completed: Vec::new() });
            }
            Phase::InFlight { pending, deadline } if *deadline <= now.at => {
                let missing = pending.missing();
                self.abort(now, AbortReason::TimedOut { missing }, out);
            }
            _ => {}
        }
    }

    fn region_running(&mut self, now: Now, execution: Execution, restored: CheckpointId) {
        self.participants.region_runs(execution, restored);
        self.restores.remove(&execution.region);
        self.period_starts = now.at;
    }

    fn region_down(&mut self, now: Now, execution: Execution, failed: bool, out: &mut Vec<Command>) {
        let region = execution.region;
        if !self.participants.runs_anew(execution) {
            let reason = if failed { AbortReason::RegionFailed(region) } else { AbortReason::RegionStopped(region) };
            self.forget_region(now, reason, region, out);
        }
    }

    fn forget_region(&mut self, now: Now, reason: AbortReason, region: RegionId, out: &mut Vec<Command>) {
        self.participants.region_ended(region);
        if matches!(self.phase, Phase::InFlight { .. }) {
            self.abort(now, reason, out);
        }
    }

    /// The writer was restarted, or has answered: its word replaces whatever was outstanding.
    fn writer_reported(&mut self, now: Now, retained: Option<Vec<Arc<Manifest>>>, out: &mut Vec<Command>) {
        match &self.phase {
            Phase::Finalising(_) => return self.settle_finalising(now, AbortReason::WriterRestarted, retained, out),
            Phase::InFlight { .. } => self.abort(now, AbortReason::WriterRestarted, out),
            Phase::Abandoning { above, failures, .. } => {
                let (above, failures) = (*above, *failures);
                self.phase = Phase::Abandoning { above, retry_at: None, failures };
                out.push(Command::AbandonAbove { checkpoint: above, completed: Vec::new() });
                return;
            }
            Phase::Asking { unsettled: Some(_), .. } => {
                return self.settle_finalising(now, AbortReason::WriterRestarted, retained, out);
            }
            Phase::Reserving => self.phase = Phase::Idle,
            Phase::Over => return,
            Phase::Asking { .. } | Phase::Idle => {}
        }
        self.settle_retained(now, retained, out);
    }

    /// Takes over what the store retains; asks again later if it could not say.
    fn settle_retained(&mut self, now: Now, retained: Option<Vec<Arc<Manifest>>>, out: &mut Vec<Command>) {
        let Some(retained) = retained else { return self.ask_later(now, None, out) };
        let first_answer = matches!(self.phase, Phase::Asking { .. });
        self.retained.replace(retained);
        if !matches!(self.phase, Phase::Over) {
            self.phase = Phase::Idle;
        }
        if first_answer {
            self.take_over(now, out);
        }
    }

    /// What a coordinator that was restarted owes: the fate of what its predecessor triggered, and the newest
    /// completion, which may have reached nobody.
    fn take_over(&mut self, now: Now, out: &mut Vec<Command>) {
        let newest = self.retained.newest().cloned();
        if let Some(orphan) = self.orphan.take()
            && newest.as_ref().is_none_or(|manifest| manifest.checkpoint != orphan)
        {
            out.push(Command::Abort { checkpoint: orphan, reason: AbortReason::CoordinatorRestarted });
            out.push(Command::Discard { checkpoint: orphan });
        }
        let Some(manifest) = newest else { return };
        if manifest.checkpoint > self.announced {
            self.announced = manifest.checkpoint;
            self.retained.forget_abandoned();
            out.push(Command::Complete { manifest, triggered_at: now.at });
        } else {
            out.push(Command::RepeatComplete { checkpoint: manifest.checkpoint });
        }
    }

    fn ask_later(&mut self, now: Now, unsettled: Option<Finalising>, out: &mut Vec<Command>) {
        if matches!(self.phase, Phase::Over) {
            return;
        }
        let failures = match &self.phase {
            Phase::Asking { failures, .. } => failures + 1,
            _ => 1,
        };
        if failures > STORE_RETRIES_MAX {
            self.phase = Phase::Over;
            out.push(Command::StoreLost);
            return;
        }
        let ask_at = Some(now.at + retry_delay(failures));
        self.phase = Phase::Asking { unsettled, ask_at, failures };
    }

    fn finalise(&mut self, now: Now, out: &mut Vec<Command>) {
        let Phase::InFlight { pending, .. } = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let settings = &self.settings;
        let done = pending.finalise(now.at, &settings.job, settings.incarnation, settings.max_parallelism);
        let manifest = Arc::new(done.manifest);
        out.push(Command::Finalise { manifest: manifest.clone() });
        self.phase =
            Phase::Finalising(Finalising { manifest, all_halted: done.all_halted, triggered_at: done.triggered_at });
    }

    fn finalises(&self, checkpoint: CheckpointId) -> bool {
        matches!(&self.phase, Phase::Finalising(finalising) if finalising.manifest.checkpoint == checkpoint)
    }

    fn finalised(&mut self, now: Now, checkpoint: CheckpointId, out: &mut Vec<Command>) {
        if self.finalises(checkpoint)
            && let Phase::Finalising(done) = std::mem::replace(&mut self.phase, Phase::Idle)
        {
            self.retained.add(done.manifest.clone(), self.settings.checkpointing.retained);
            self.completed(now, done, out);
        }
    }

    /// A finalisation whose outcome was unknown: the store's list tells.
    fn settle_finalising(
        &mut self,
        now: Now,
        reason: AbortReason,
        retained: Option<Vec<Arc<Manifest>>>,
        out: &mut Vec<Command>,
    ) {
        let unsettled = match &mut self.phase {
            Phase::Finalising(finalising) => Some(finalising.clone()),
            Phase::Asking { unsettled, .. } => unsettled.take(),
            _ => None,
        };
        let Some(retained) = retained else {
            return match unsettled {
                Some(lost) if reason.is_final() => self.report_abort(now, lost.manifest.checkpoint, reason, out),
                unsettled => self.ask_later(now, unsettled, out),
            };
        };
        self.retained.replace(retained);
        self.phase = Phase::Idle;
        let Some(finalising) = unsettled else { return };
        let checkpoint = finalising.manifest.checkpoint;
        if self.retained.newest_id() == checkpoint {
            self.completed(now, finalising, out);
        } else {
            self.report_abort(now, checkpoint, reason, out);
        }
    }

    fn completed(&mut self, now: Now, done: Finalising, out: &mut Vec<Command>) {
        let checkpoint = done.manifest.checkpoint;
        if self.draining && done.all_halted && !done.manifest.is_final {
            self.drained = Some(checkpoint);
        }
        self.announced = checkpoint;
        self.retained.forget_abandoned();
        self.failures = 0;
        self.urgent_at = now.at;
        self.pause_until = now.at.saturating_add(self.settings.checkpointing.min_pause);
        out.push(Command::Complete { manifest: done.manifest, triggered_at: done.triggered_at });
        self.waiters.answer_attached(&Ok(checkpoint), out);
    }

    fn abort(&mut self, now: Now, reason: AbortReason, out: &mut Vec<Command>) {
        if let Phase::InFlight { pending, .. } = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.report_abort(now, pending.id(), reason, out);
        }
    }

    fn report_abort(&mut self, now: Now, checkpoint: CheckpointId, reason: AbortReason, out: &mut Vec<Command>) {
        out.push(Command::Abort { checkpoint, reason: reason.clone() });
        out.push(Command::Discard { checkpoint });
        self.waiters.answer_attached(&Err(reason.clone()), out);
        if reason.is_checkpoint_failure() {
            self.count_failure(now, reason, out);
        }
    }

    fn count_failure(&mut self, now: Now, reason: AbortReason, out: &mut Vec<Command>) {
        self.failures = self.failures.saturating_add(1);
        self.waiters.wait_until(now.at + awaited_retry_delay(self.failures));
        // The final checkpoint is tried again at once, and then ever later: a broken store must not keep a core busy.
        let delay = if self.failures > 1 { retry_delay(self.failures - 1) } else { Duration::ZERO };
        self.urgent_at = now.at + delay;
        if self.failures > self.settings.checkpointing.tolerated_failures.min(tolerable(&reason)) {
            self.phase = Phase::Over;
            out.push(Command::GiveUp { failures: self.failures, last: reason });
        }
    }

    /// No checkpoint was triggered; those who wait for one are told the error.
    fn reserve_failed(
        &mut self,
        now: Now,
        error: Arc<SnapshotError>,
        retained: Option<Vec<Arc<Manifest>>>,
        out: &mut Vec<Command>,
    ) {
        if matches!(self.phase, Phase::Reserving) {
            self.phase = Phase::Idle;
            self.period_starts = now.at;
            self.waiters.attach();
            self.waiters.answer_attached(&Err(AbortReason::Store(error.clone())), out);
            self.count_failure(now, AbortReason::Store(error), out);
            self.settle_retained(now, retained, out);
        }
    }

    /// Does whatever can be done now that nothing is in flight.
    fn advance(&mut self, now: Now, out: &mut Vec<Command>) {
        while matches!(self.phase, Phase::Idle) {
            if let Some((_, execution)) = self.parks.pop_first() {
                self.park(execution, out);
            } else if let Some(region) = self.restores.keys().next().copied() {
                self.choose_restore(region, out);
            } else if let Some((checkpoint, is_final)) = self.last_checkpoint() {
                if self.sinks_have_committed(checkpoint) {
                    self.phase = Phase::Over;
                    out.push(Command::Settled { checkpoint, is_final });
                } else if self.draining && self.participants.sinks_at_work_have_committed(checkpoint) {
                    // What parked regions have to commit is committed by the next start.
                    self.phase = Phase::Over;
                    out.push(Command::Settled { checkpoint, is_final: false });
                }
                self.waiters.answer_with_last(checkpoint, out);
                return;
            } else if self.participants.all_are_parked() {
                self.waiters.refuse_all_parked(out);
                if !self.draining {
                    return;
                }
                self.drained = Some(self.retained.newest_id());
            } else if let Some(wait) = self.restart_waits.too_long(now.at) {
                return self.waiters.refuse_next(wait, out);
            } else if let Some((at, reason)) = self.due_at()
                && at <= now.at
            {
                self.trigger(now, reason, out);
            } else {
                return;
            }
        }
    }

    /// The checkpoint that ends the job, once complete, and whether the input had ended.
    fn last_checkpoint(&self) -> Option<(CheckpointId, bool)> {
        match self.retained.newest().or(self.settings.origin.as_ref()) {
            Some(newest) if newest.is_final => Some((newest.checkpoint, true)),
            _ => self.drained.map(|checkpoint| (checkpoint, false)),
        }
    }

    /// Whether every sink has answered for this checkpoint, or a later one.
    pub(crate) fn sinks_have_committed(&self, checkpoint: CheckpointId) -> bool {
        self.participants.sinks_have_committed(checkpoint)
    }

    /// The job goes on after the last checkpoint of a drain.
    fn resume(&mut self) {
        (self.draining, self.drained) = (false, None);
        let is_settled = |(checkpoint, _)| self.sinks_have_committed(checkpoint);
        if matches!(self.phase, Phase::Over) && !self.last_checkpoint().is_some_and(is_settled) {
            self.phase = Phase::Idle;
        }
    }

    /// When the next checkpoint is due, and why; `None` while a region is not running.
    fn due_at(&self) -> Option<(Duration, TriggerReason)> {
        let none_can_be = !self.participants.all_run() || self.last_checkpoint().is_some() || !self.restores.is_empty();
        if none_can_be || self.waiters.hold_others() {
            return None;
        }
        if self.waiters.want_another() {
            return Some((Duration::ZERO, TriggerReason::OnDemand));
        }
        if self.participants.input_has_ended() {
            return Some((self.urgent_at, TriggerReason::Final));
        }
        if self.draining && self.participants.sources_have_halted() {
            return Some((self.urgent_at, TriggerReason::Drain));
        }
        let at = |interval| self.period_starts.saturating_add(interval).max(self.pause_until);
        self.waiters.awaited_or(self.pause_until, self.interval.map(at))
    }

    fn trigger(&mut self, now: Now, reason: TriggerReason, out: &mut Vec<Command>) {
        if self.next_id > self.reserved_up_to {
            let up_to = CheckpointId(self.next_id.0 + self.settings.ids_per_block.max(1) - 1);
            self.phase = Phase::Reserving;
            out.push(Command::ReserveIds { up_to });
            return;
        }
        let barrier = Barrier { checkpoint: self.next_id, base: self.retained.newest_id() };
        self.next_id.0 += 1;
        self.period_starts = now.at;
        self.waiters.attach();
        let (expected, base) = (self.participants.running(), self.retained.newest().cloned());
        let pending = PendingCheckpoint::new(barrier, now.at, now.unix_ms, expected, base)
            .without(self.participants.parked_sections(&self.settings.operators));
        self.phase = Phase::InFlight { pending, deadline: now.at.saturating_add(self.settings.checkpointing.timeout) };
        out.push(Command::Trigger { barrier, reason });
    }
}
