//! Which channels enter and leave each subtask, and how much each may hold.
//!
//! The channels of a receiving subtask are numbered over its incoming edges, in the order of the senders' task ids and
//! then of each sender's outputs. A forward edge gives one channel, an all-to-all edge one for each subtask of the
//! sender, in order.

use std::collections::BTreeMap;

use crate::data::wiring::{ChannelTarget, EdgePattern, InputWiring, OutputWiring};
use crate::protocol::{Limits, SubtaskId, TaskId};
use crate::runtime::arbiters::ArbiterId;
use crate::task::{JobSpec, TaskSpec};

/// Ports of the subtasks started so far.
pub(super) type Ports = BTreeMap<SubtaskId, std::sync::Arc<dyn std::any::Any + Send + Sync>>;

/// One edge, seen from its receiver.
struct Incoming<'a> {
    from: &'a TaskSpec,
    output: usize,
    pattern: EdgePattern,
}

fn incoming(spec: &JobSpec, to: TaskId) -> impl Iterator<Item = Incoming<'_>> {
    spec.tasks.iter().flat_map(move |from| {
        let edges = from.outputs.iter().enumerate().filter(move |(_, edge)| edge.to == to);
        edges.map(move |(output, edge)| Incoming { from, output, pattern: edge.pattern })
    })
}

fn channels_of(edge: &Incoming<'_>) -> u32 {
    match edge.pattern {
        EdgePattern::Forward => 1,
        EdgePattern::AllToAll => edge.from.parallelism,
    }
}

/// The wiring of a job on given arbiters.
pub(super) struct Wiring<'a> {
    pub(super) spec: &'a JobSpec,
    pub(super) limits: &'a Limits,
    /// The arbiter of a subtask.
    pub(super) arbiter_of: &'a dyn Fn(SubtaskId) -> ArbiterId,
}

impl Wiring<'_> {
    /// The channels that enter a subtask.
    pub(super) fn input(&self, to: SubtaskId) -> InputWiring {
        let channels = incoming(self.spec, to.task).map(|edge| channels_of(&edge)).sum();
        let mut windows = Vec::new();
        for edge in incoming(self.spec, to.task) {
            let window = |index: u32| self.window(SubtaskId { task: edge.from.id, index }, to, channels);
            match edge.pattern {
                EdgePattern::Forward => windows.push(window(to.index)),
                EdgePattern::AllToAll => {
                    windows.extend((0..edge.from.parallelism).map(window));
                }
            }
        }
        InputWiring { windows }
    }

    /// The channels that leave a subtask, edge by edge. Every receiver has its port.
    pub(super) fn outputs(&self, from: SubtaskId, ports: &Ports) -> Vec<OutputWiring> {
        let task = &self.spec.tasks[from.task.0 as usize];
        (0..task.outputs.len()).map(|output| self.output(task, output, from, ports)).collect()
    }

    fn output(&self, task: &TaskSpec, output: usize, from: SubtaskId, ports: &Ports) -> OutputWiring {
        let edge = &task.outputs[output];
        let mut first = 0;
        let mut channels = 0;
        for incoming in incoming(self.spec, edge.to) {
            if incoming.from.id == task.id && incoming.output == output {
                first = channels;
            }
            channels += channels_of(&incoming);
        }
        let target = |index: u32, channel: u32| {
            let to = SubtaskId { task: edge.to, index };
            let port = ports.get(&to);
            let port = port.expect("receivers are started before their senders").clone();
            ChannelTarget { port, channel, window: self.window(from, to, channels) }
        };
        match edge.pattern {
            EdgePattern::Forward => vec![target(from.index, first)],
            EdgePattern::AllToAll => {
                let receivers = self.spec.tasks[edge.to.0 as usize].parallelism;
                (0..receivers).map(|to| target(to, first + from.index)).collect()
            }
        }
    }

    fn window(&self, from: SubtaskId, to: SubtaskId, channels: u32) -> u32 {
        let limits = self.limits;
        let same_arbiter = (self.arbiter_of)(from) == (self.arbiter_of)(to);
        let most = if same_arbiter { limits.credits_same_arbiter } else { limits.credits_per_channel_max };
        let share = limits.credits_per_task / channels.max(1);
        most.min(share.max(limits.credits_per_channel_min)).max(1)
    }
}
