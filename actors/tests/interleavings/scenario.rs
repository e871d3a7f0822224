//! What is explored.

use millstream_actors::protocol::CheckpointMode;

use crate::graph::Graph;
use crate::rules::{Broken, Setting};

/// How the coordinator gives a checkpoint up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GiveUp {
    /// It tells every task.
    Announced,
    /// It tells nobody, as one that was restarted; the next barrier has to do.
    Silent,
}

/// When a task that has more to do lets messages in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Never: it works off what each message allows.
    Runs,
    /// After any step.
    Yields,
}

/// Which orders are explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orders {
    /// All.
    All,
    /// One of those that no task can tell apart: see [`World::essential`](crate::world::World::essential).
    OnePerTrace,
}

/// A graph, and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) graph: Graph,
    pub(crate) mode: CheckpointMode,
    /// Checkpoints that are asked for, at any moment each.
    pub(crate) checkpoints: u64,
    /// Milestones that are asked for, at any moment each.
    pub(crate) milestones: u64,
    /// How many of them may be given up at any moment, and how.
    pub(crate) give_ups: u8,
    pub(crate) give_up: GiveUp,
    pub(crate) pace: Pace,
    pub(crate) orders: Orders,
    pub(crate) uneven_rate: bool,
    pub(crate) broken: Broken,
}

impl Scenario {
    pub(crate) fn new(graph: Graph, checkpoints: u64) -> Self {
        Self {
            graph,
            mode: CheckpointMode::ExactlyOnce,
            checkpoints,
            milestones: 0,
            give_ups: 0,
            give_up: GiveUp::Announced,
            pace: Pace::Runs,
            orders: Orders::OnePerTrace,
            uneven_rate: false,
            broken: Broken::Nothing,
        }
    }

    pub(crate) fn setting(&self, task: usize) -> Setting<'_> {
        let Self { graph, broken, uneven_rate, .. } = self;
        Setting { graph, spec: &graph.tasks[task], broken: *broken, uneven_rate: *uneven_rate }
    }
}
