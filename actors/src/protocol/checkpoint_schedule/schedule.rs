//! The state machine: event and moment in, commands out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{
    AbortReason, NoRestore, Now, Participant, RestoreDecision, ScheduleCommand as Command, ScheduleEvent as Event,
    TriggerReason,
};
use crate::protocol::pending_checkpoint::{AckVerdict, PendingCheckpoint};
use crate::protocol::{
    Barrier, CheckpointId, Checkpointing, Execution, Incarnation, RegionId, SourceState, SubtaskId, TaskKind,
};
use crate::protocol::{Manifest, SnapshotError};

/// Delay before the store is asked again after a failure, doubling.
const STORE_RETRY_FIRST: Duration = Duration::from_millis(10);
/// Longest delay before a final checkpoint or a call of the store is tried again.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);
/// Failed calls of the store in a row, outside checkpoints, after which the job fails.
const STORE_RETRIES_MAX: u32 = 8;

/// What does not change while a job runs.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleSettings {
    pub(crate) job: Arc<str>,
    pub(crate) incarnation: Incarnation,
    pub(crate) max_parallelism: u32,
    pub(crate) checkpointing: Checkpointing,
    /// Ids reserved at a time.
    pub(crate) ids_per_block: u64,
    /// Whether falling back to an older checkpoint keeps the output right, or repeats are accepted.
    pub(crate) may_fall_back: bool,
    pub(crate) participants: Vec<Participant>,
    /// The savepoint that the job begins with while it has no checkpoint of its own.
    pub(crate) origin: Option<Arc<Manifest>>,
}

/// A manifest that the writer was asked to make durable.
#[derive(Clone, Debug)]
struct Finalising {
    manifest: Arc<Manifest>,
    all_halted: bool,
    triggered_at: Duration,
}

#[derive(Debug)]
enum Phase {
    /// What is durable is not known: waits for the writer, which is asked (again) at `ask_at`, if set.
    Asking { unsettled: Option<Finalising>, ask_at: Option<Duration>, failures: u32 },
    /// Nothing is in flight.
    Idle,
    /// Waits for ids.
    Reserving,
    /// Waits for acknowledgements.
    InFlight { pending: PendingCheckpoint, deadline: Duration },
    /// Waits for the manifest.
    Finalising(Finalising),
    /// Waits for newer checkpoints to be marked abandoned.
    Abandoning { above: CheckpointId, retry_at: Option<Duration>, failures: u32 },
    /// The job was told its end.
    Over,
}

/// The checkpoint schedule of one job.
#[derive(Debug)]
pub(crate) struct CheckpointSchedule {
    settings: ScheduleSettings,
    phase: Phase,
    /// Between triggers; `None` if none are periodic.
    interval: Option<Duration>,
    retained: Vec<Arc<Manifest>>,
    abandoned: BTreeSet<CheckpointId>,
    next_id: CheckpointId,
    reserved_up_to: CheckpointId,
    running: BTreeMap<RegionId, Execution>,
    restores: BTreeMap<RegionId, (Execution, Option<CheckpointId>)>,
    halted: BTreeMap<SubtaskId, (Execution, SourceState)>,
    committed: BTreeMap<SubtaskId, CheckpointId>,
    waiting: Vec<u64>,
    attached: Vec<u64>,
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
        settings: ScheduleSettings,
        reserved_up_to: CheckpointId,
        announced: CheckpointId,
        orphan: Option<CheckpointId>,
        abandoned: BTreeSet<CheckpointId>,
        out: &mut Vec<Command>,
    ) -> Self {
        out.push(Command::AskWriter);
        Self {
            interval: settings.checkpointing.interval,
            settings,
            phase: Phase::Asking { unsettled: None, ask_at: None, failures: 0 },
            retained: Vec::new(),
            abandoned,
            next_id: CheckpointId(reserved_up_to.0 + 1),
            reserved_up_to,
            running: BTreeMap::new(),
            restores: BTreeMap::new(),
            halted: BTreeMap::new(),
            committed: BTreeMap::new(),
            waiting: Vec::new(),
            attached: Vec::new(),
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
            Event::RegionDown { execution } => self.region_down(now, execution, out),
            Event::RestoreRequested { execution, damaged } => {
                self.forget_region(now, execution.region, out);
                self.restores.insert(execution.region, (execution, damaged));
            }
            Event::SourceHalted { execution, subtask, state } => {
                // A source may report before its region is known to run: kept, and compared when it counts.
                if self.halted.get(&subtask).is_none_or(|(known, _)| *known <= execution) {
                    self.halted.insert(subtask, (execution, state));
                }
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
            Event::SinkCommitted { subtask, checkpoint } => {
                let newest = self.committed.entry(subtask).or_default();
                *newest = checkpoint.max(*newest);
            }
            Event::CheckpointRequested { waiter } => self.waiting.push(waiter),
            Event::DrainRequested => self.draining = true,
            Event::DrainCancelled => self.resume(),
            Event::IdsReserved { up_to } => {
                self.reserved_up_to = up_to.max(self.reserved_up_to);
                if matches!(self.phase, Phase::Reserving) {
                    self.phase = Phase::Idle;
                }
            }
            Event::ReserveFailed { error, retained } => {
                if matches!(self.phase, Phase::Reserving) {
                    self.phase = Phase::Idle;
                    self.period_starts = now.at;
                    self.attached.append(&mut self.waiting);
                    self.count_failure(now, AbortReason::Store(error), out);
                    self.settle_retained(now, retained, out);
                }
            }
            Event::Finalised { checkpoint } => self.finalised(now, checkpoint, out),
            Event::FinaliseFailed { checkpoint, error, retained } => {
                if matches!(&self.phase, Phase::Finalising(f) if f.manifest.checkpoint == checkpoint) {
                    self.settle_finalising(now, AbortReason::Store(error), retained, out);
                }
            }
            Event::ChunksFailed { checkpoint, error, retained } => {
                if matches!(&self.phase, Phase::InFlight { pending, .. } if pending.id() == checkpoint) {
                    self.abort(now, AbortReason::Store(error), out);
                    self.settle_retained(now, retained, out);
                }
            }
            Event::Abandoned { above, completed } => {
                self.abandoned.extend(completed);
                self.retained.retain(|manifest| manifest.checkpoint <= above);
                self.drained = self.drained.filter(|drained| *drained <= above);
                if matches!(self.phase, Phase::Abandoning { above: asked, .. } if asked == above) {
                    self.phase = Phase::Idle;
                }
            }
            Event::AbandonFailed { error } => self.abandon_failed(now, error, out),
        }
        self.advance(now, out);
    }

    /// The interval from the last trigger to the next, and so on.
    pub(crate) fn keep_interval(&mut self, interval: Option<Duration>) {
        self.interval = interval;
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

    /// The newest completed checkpoint.
    pub(crate) fn newest(&self) -> CheckpointId {
        self.retained.last().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint)
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
        self.running.insert(execution.region, execution);
        self.restores.remove(&execution.region);
        for sink in self.settings.participants.iter().filter(|p| p.region == execution.region) {
            if sink.kind == TaskKind::Sink {
                let newest = self.committed.entry(sink.subtask).or_default();
                *newest = restored.max(*newest);
            }
        }
        self.period_starts = now.at;
    }

    fn region_down(&mut self, now: Now, execution: Execution, out: &mut Vec<Command>) {
        if self.running.get(&execution.region).is_none_or(|running| *running == execution) {
            self.forget_region(now, execution.region, out);
        }
    }

    fn forget_region(&mut self, now: Now, region: RegionId, out: &mut Vec<Command>) {
        self.running.remove(&region);
        if matches!(self.phase, Phase::InFlight { .. }) {
            self.abort(now, AbortReason::RegionFailed(region), out);
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
        self.retained = retained;
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
        let newest = self.retained.last().cloned();
        if let Some(orphan) = self.orphan.take()
            && newest.as_ref().is_none_or(|manifest| manifest.checkpoint != orphan)
        {
            out.push(Command::Abort { checkpoint: orphan, reason: AbortReason::CoordinatorRestarted });
            out.push(Command::Discard { checkpoint: orphan });
        }
        let Some(manifest) = newest else { return };
        if manifest.checkpoint > self.announced {
            self.announced = manifest.checkpoint;
            self.abandoned.clear();
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

    fn finalised(&mut self, now: Now, checkpoint: CheckpointId, out: &mut Vec<Command>) {
        if matches!(&self.phase, Phase::Finalising(f) if f.manifest.checkpoint == checkpoint)
            && let Phase::Finalising(done) = std::mem::replace(&mut self.phase, Phase::Idle)
        {
            self.retained.push(done.manifest.clone());
            let excess = self.retained.len().saturating_sub(self.settings.checkpointing.retained);
            self.retained.drain(..excess);
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
        let Some(retained) = retained else { return self.ask_later(now, unsettled, out) };
        self.retained = retained;
        self.phase = Phase::Idle;
        let Some(finalising) = unsettled else { return };
        let checkpoint = finalising.manifest.checkpoint;
        if self.newest() == checkpoint {
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
        self.abandoned.clear();
        self.failures = 0;
        self.urgent_at = now.at;
        self.pause_until = now.at.saturating_add(self.settings.checkpointing.min_pause);
        let result = Ok(checkpoint);
        out.push(Command::Complete { manifest: done.manifest, triggered_at: done.triggered_at });
        out.extend(self.attached.drain(..).map(|waiter| Command::AnswerWaiter { waiter, result: result.clone() }));
    }

    fn abort(&mut self, now: Now, reason: AbortReason, out: &mut Vec<Command>) {
        if let Phase::InFlight { pending, .. } = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.report_abort(now, pending.id(), reason, out);
        }
    }

    fn report_abort(&mut self, now: Now, checkpoint: CheckpointId, reason: AbortReason, out: &mut Vec<Command>) {
        out.push(Command::Abort { checkpoint, reason: reason.clone() });
        out.push(Command::Discard { checkpoint });
        if reason.is_checkpoint_failure() {
            self.count_failure(now, reason, out);
        } else {
            self.refuse_attached(&reason, out);
        }
    }

    fn count_failure(&mut self, now: Now, reason: AbortReason, out: &mut Vec<Command>) {
        self.refuse_attached(&reason, out);
        self.failures = self.failures.saturating_add(1);
        // The final checkpoint is tried again at once, and then ever later: a broken store must not keep a core busy.
        let delay = if self.failures > 1 { retry_delay(self.failures - 1) } else { Duration::ZERO };
        self.urgent_at = now.at + delay;
        // What no retry cures is not tolerated for ever: a job whose input has ended would never end.
        let tolerated = match &reason {
            AbortReason::Store(error) if !error.is_retryable() => STORE_RETRIES_MAX,
            _ => u32::MAX,
        };
        if self.failures > self.settings.checkpointing.tolerated_failures.min(tolerated) {
            self.phase = Phase::Over;
            out.push(Command::GiveUp { failures: self.failures, last: reason });
        }
    }

    fn refuse_attached(&mut self, reason: &AbortReason, out: &mut Vec<Command>) {
        let refuse = |waiter| Command::AnswerWaiter { waiter, result: Err(reason.clone()) };
        out.extend(self.attached.drain(..).map(refuse));
    }

    fn abandon_failed(&mut self, now: Now, error: Arc<SnapshotError>, out: &mut Vec<Command>) {
        let Phase::Abandoning { above, failures, .. } = self.phase else { return };
        if error.is_retryable() && failures < STORE_RETRIES_MAX {
            let failures = failures + 1;
            self.phase = Phase::Abandoning { above, retry_at: Some(now.at + retry_delay(failures)), failures };
            return;
        }
        self.phase = Phase::Idle;
        for (_, (execution, _)) in std::mem::take(&mut self.restores) {
            let decision = RestoreDecision::Refused(NoRestore::Store(error.clone()));
            out.push(Command::AnswerRestore { execution, decision });
        }
    }

    /// Does whatever can be done now that nothing is in flight.
    fn advance(&mut self, now: Now, out: &mut Vec<Command>) {
        while matches!(self.phase, Phase::Idle) {
            if let Some(region) = self.restores.keys().next().copied() {
                self.choose_restore(region, out);
            } else if let Some((checkpoint, is_final)) = self.last_checkpoint() {
                if self.sinks_have_committed(checkpoint) {
                    self.phase = Phase::Over;
                    out.push(Command::Settled { checkpoint, is_final });
                }
                out.extend(
                    self.waiting.drain(..).map(|waiter| Command::AnswerWaiter { waiter, result: Ok(checkpoint) }),
                );
                return;
            } else if let Some((at, reason)) = self.due_at()
                && at <= now.at
            {
                self.trigger(now, reason, out);
            } else {
                return;
            }
        }
    }

    fn choose_restore(&mut self, region: RegionId, out: &mut Vec<Command>) {
        let Some((execution, damaged)) = self.restores.get(&region).copied() else { return };
        let older = |manifest: &&Arc<Manifest>| damaged.is_none_or(|damaged| manifest.checkpoint < damaged);
        let own = self.retained.iter().rev().find(older);
        let chosen = own.or_else(|| self.settings.origin.iter().find(older)).cloned();
        let falls_back = damaged.is_some() && self.retained.last().is_some_and(|newest| !older(&newest));
        let decision = match chosen {
            None if damaged.is_some() => RestoreDecision::Refused(NoRestore::NoOlder),
            Some(_) if falls_back && !self.settings.may_fall_back => {
                let older = self.retained.iter().filter(older).map(|manifest| manifest.checkpoint).collect();
                RestoreDecision::Refused(NoRestore::WouldRepeat { older })
            }
            Some(manifest) if manifest.checkpoint < self.newest() => {
                let above = manifest.checkpoint;
                let completed: Vec<_> = self.retained.iter().map(|m| m.checkpoint).filter(|id| *id > above).collect();
                self.abandoned.extend(&completed);
                self.phase = Phase::Abandoning { above, retry_at: None, failures: 0 };
                out.push(Command::AbandonAbove { checkpoint: above, completed });
                return;
            }
            manifest => {
                let withdraw = self.abandoned.iter().copied().collect();
                RestoreDecision::From { manifest, withdraw }
            }
        };
        self.restores.remove(&region);
        out.push(Command::AnswerRestore { execution, decision });
    }

    /// The checkpoint that ends the job, once complete, and whether the input had ended.
    fn last_checkpoint(&self) -> Option<(CheckpointId, bool)> {
        match self.retained.last().or(self.settings.origin.as_ref()) {
            Some(newest) if newest.is_final => Some((newest.checkpoint, true)),
            _ => self.drained.map(|checkpoint| (checkpoint, false)),
        }
    }

    /// Whether every sink has answered for this checkpoint, or a later one.
    pub(crate) fn sinks_have_committed(&self, checkpoint: CheckpointId) -> bool {
        let mut sinks = self.settings.participants.iter().filter(|p| p.kind == TaskKind::Sink);
        sinks.all(|sink| self.committed.get(&sink.subtask).is_some_and(|committed| *committed >= checkpoint))
    }

    /// The job goes on after the last checkpoint of a drain.
    fn resume(&mut self) {
        (self.draining, self.drained) = (false, None);
        if matches!(self.phase, Phase::Over) && self.last_checkpoint().is_none() {
            self.phase = Phase::Idle;
        }
    }

    fn sources_are_all(&self, fits: impl Fn(SourceState) -> bool) -> bool {
        let mut sources = self.settings.participants.iter().filter(|p| p.kind == TaskKind::Source);
        sources.all(|source| {
            let halted = self.halted.get(&source.subtask);
            halted.is_some_and(|(by, state)| self.running.get(&source.region) == Some(by) && fits(*state))
        })
    }

    /// When the next checkpoint is due, and why; `None` while a region is not running.
    fn due_at(&self) -> Option<(Duration, TriggerReason)> {
        let all_running = self.settings.participants.iter().all(|p| self.running.contains_key(&p.region));
        if !all_running || self.last_checkpoint().is_some() || !self.restores.is_empty() {
            return None;
        }
        if !self.waiting.is_empty() {
            return Some((Duration::ZERO, TriggerReason::OnDemand));
        }
        if self.sources_are_all(|state| state == SourceState::Ended) {
            return Some((self.urgent_at, TriggerReason::Final));
        }
        if self.draining && self.sources_are_all(|state| state != SourceState::Reading) {
            return Some((self.urgent_at, TriggerReason::Drain));
        }
        let interval = self.interval?;
        Some((self.period_starts.saturating_add(interval).max(self.pause_until), TriggerReason::Periodic))
    }

    fn trigger(&mut self, now: Now, reason: TriggerReason, out: &mut Vec<Command>) {
        if self.next_id > self.reserved_up_to {
            let up_to = CheckpointId(self.next_id.0 + self.settings.ids_per_block.max(1) - 1);
            self.phase = Phase::Reserving;
            out.push(Command::ReserveIds { up_to });
            return;
        }
        let barrier = Barrier { checkpoint: self.next_id, base: self.newest() };
        self.next_id.0 += 1;
        self.period_starts = now.at;
        self.attached.append(&mut self.waiting);
        let expected = self.settings.participants.iter().filter_map(|participant| {
            self.running.get(&participant.region).map(|execution| (participant.subtask, *execution))
        });
        let pending =
            PendingCheckpoint::new(barrier, now.at, now.unix_ms, expected.collect(), self.retained.last().cloned());
        self.phase = Phase::InFlight { pending, deadline: now.at.saturating_add(self.settings.checkpointing.timeout) };
        out.push(Command::Trigger { barrier, reason });
    }
}

fn retry_delay(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    STORE_RETRY_FIRST.saturating_mul(factor).min(RETRY_DELAY_MAX)
}
