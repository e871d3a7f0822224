//! Starts the subtasks of one attempt: receivers before senders, so that ports exist.

use std::sync::Arc;

use actix::{AsyncContext, Context};

use super::RegionSupervisor;
use super::times::ReadingTimes;
use super::wiring::{Ports, Wiring};
use crate::contract::{CarefulWork, Fence, Manifest, Step, SubtaskInfo};
use crate::control::job_context::Child;
use crate::control::lock::lock;
use crate::protocol::{Attempt, CheckpointId, KeyGroupRange, RegionEvent, SubtaskId};
use crate::task::{JobSpec, RestorePlan, SubtaskContext, TaskReports, TaskSpec};

impl RegionSupervisor {
    pub(super) fn start_subtasks(
        &mut self,
        manifest: Option<Arc<Manifest>>,
        withdraw: Vec<CheckpointId>,
        ctx: &mut Context<Self>,
    ) {
        if !self.go(RegionEvent::RestoreChosen) {
            return;
        }
        self.reached(Step::RegionStarting);
        let job = self.seed.job.clone();
        job.events.region_starts(self.seed.region);
        self.fence = Fence::default();
        self.ready.clear();
        let layout = job.layout();
        let successions: Arc<[_]> = layout.spec.successions().cloned().collect();
        let plan = |manifest: Arc<Manifest>| RestorePlan { store: job.chunks_of(&manifest), manifest, successions };
        let restore = manifest.clone().map(plan);
        let checkpoint = manifest.as_ref().map(|manifest| manifest.checkpoint);
        let careful = self.go_back_to(checkpoint);
        // An older one than the newest, if that is damaged.
        job.queries.set_newest(manifest.clone());
        self.restored = manifest;
        // Of all its tasks: channels are wired by where both ends would sit, also where only sinks are started.
        let berths = layout.berths(self.seed.region);
        let arbiter_of = |subtask: SubtaskId| berths[&subtask].id();
        let wiring = Wiring { spec: &layout.spec, limits: &job.limits, arbiter_of: &arbiter_of };
        let reports = self.reports(ctx);
        let only_sinks = job.only_settles(checkpoint);
        let times = ReadingTimes::new(layout.tasks_of(self.seed.region, only_sinks));
        let (mut ports, mut subtasks) = (Ports::new(), Vec::new());
        for task in layout.tasks_of(self.seed.region, only_sinks).rev() {
            for index in 0..task.parallelism {
                let subtask = SubtaskId { task: task.id, index };
                let berth = berths[&subtask].clone();
                // A job that had ended starts its sinks alone: their channels stay silent.
                let restores = (restore.clone(), withdraw.clone());
                let mut cx = self.subtask_context(&layout.spec, (task, index), &reports, restores, &times);
                cx.info.careful = careful.clone();
                let (input, outputs) = (wiring.input(subtask), wiring.outputs(subtask, &ports));
                let key = (self.execution.attempt, subtask);
                let (attempt, name, fence) = (self.execution.attempt, cx.info.name.clone(), self.fence.clone());
                let arbiter = berth.arbiter();
                lock(self.memory()).children.insert(key, Child { attempt, name, berth, fence, stop: None });
                let started = task.factory.start(cx, &arbiter, input, outputs);
                if let Some(child) = lock(self.memory()).children.get_mut(&key) {
                    child.stop = Some(started.address.stop.clone());
                }
                ports.insert(subtask, started.ports);
                subtasks.push(started.address);
            }
        }
        self.subtasks = subtasks.into();
        self.check_ready();
    }

    /// An attempt begins from this checkpoint: what is done carefully in it.
    fn go_back_to(&mut self, checkpoint: Option<CheckpointId>) -> Arc<CarefulWork> {
        let mut memory = lock(self.memory());
        let known = Self::known_as(&mut memory, checkpoint);
        let rewinds = memory.progress.restored(known);
        memory.answered.restored(known);
        let careful = Self::begin_careful_work(&mut memory, known);
        drop(memory);
        self.rewinds = (self.execution.attempt > Attempt(1)).then_some(rewinds);
        careful
    }

    fn reports(&self, ctx: &Context<Self>) -> TaskReports {
        let ports = &self.seed.task_ports;
        TaskReports {
            acknowledge: ports.acknowledge.clone(),
            decline: ports.decline.clone(),
            halted: ports.halted.clone(),
            committed: ports.committed.clone(),
            wanted: ports.wanted.clone(),
            chunks: ports.chunks.clone(),
            ready: ctx.address().recipient(),
            restoring: ctx.address().recipient(),
            exit: ctx.address().recipient(),
        }
    }

    fn subtask_context(
        &self,
        spec: &JobSpec,
        (task, index): (&TaskSpec, u32),
        reports: &TaskReports,
        (restore, withdraw): (Option<RestorePlan>, Vec<CheckpointId>),
        times: &ReadingTimes,
    ) -> SubtaskContext {
        let job = &self.seed.job;
        let max_parallelism = spec.max_parallelism;
        // A task without keys may have more subtasks than there are key groups.
        let key_groups = if task.parallelism <= max_parallelism {
            KeyGroupRange::of_subtask(index, task.parallelism, max_parallelism)
        } else {
            KeyGroupRange { start: 0, end: 0 }
        };
        let subtask = SubtaskId { task: task.id, index };
        let (counters, event_times) = job.figures.begin(task, subtask, self.execution.attempt);
        let info = SubtaskInfo {
            job: spec.name.clone(),
            subtask,
            name: job.name_of(subtask),
            parallelism: task.parallelism,
            max_parallelism,
            key_groups,
            execution: self.execution,
            limits: job.limits.clone(),
            clock: job.clock.clone(),
            counters,
            event_times,
            reading: times.of(task.id),
            careful: Arc::default(),
        };
        SubtaskContext {
            info,
            mode: job.checkpointing.mode,
            takes_checkpoints: job.checkpointing.interval.is_some(),
            probe: job.probe.clone(),
            reports: reports.clone(),
            restore,
            withdraw,
            accepts_repeats: job.checkpointing.accept_repeats,
            fence: self.fence.clone(),
            queries: job.queries.begin(task, subtask, self.execution),
            slice_clock: job.slice_clock,
            tells_host: job.tells_host,
            behind: times.behind(task.id),
        }
    }
}
