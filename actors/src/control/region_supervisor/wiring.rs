//! Which channels enter and leave each subtask, and how much each may hold.
//!
//! The channels of a receiving subtask are numbered over its incoming edges, port by port, in the order of the senders'
//! task ids and then of each sender's outputs. A forward edge gives one channel, an all-to-all edge one for each subtask of the
//! sender, in order.

use std::collections::BTreeMap;

use crate::data::wiring::{AnyInputPort, ChannelTarget, EdgePattern, InputWiring, OutputWiring};
use crate::protocol::{Limits, PortId, SubtaskId, TaskId};
use crate::runtime::arbiters::ArbiterId;
use crate::task::{JobSpec, TaskSpec};

/// Ports of the subtasks started so far.
pub(super) type Ports = BTreeMap<SubtaskId, Vec<AnyInputPort>>;

/// One edge, seen from its receiver.
struct Incoming<'a> {
    from: &'a TaskSpec,
    output: usize,
    port: PortId,
    pattern: EdgePattern,
}

fn incoming(spec: &JobSpec, to: TaskId) -> Vec<Incoming<'_>> {
    let edges = spec.tasks.iter().flat_map(move |from| {
        let edges = from.outputs.iter().enumerate().filter(move |(_, edge)| edge.to == to);
        edges.map(move |(output, edge)| Incoming { from, output, port: edge.port, pattern: edge.pattern })
    });
    let mut edges: Vec<Incoming<'_>> = edges.collect();
    edges.sort_by_key(|edge| edge.port);
    edges
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
        let edges = incoming(self.spec, to.task);
        let channels = edges.iter().map(channels_of).sum();
        let mut windows = Vec::new();
        for edge in edges {
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
            let ports = ports.get(&to).expect("receivers are started before their senders");
            let port = ports.get(usize::from(edge.port.0)).expect("the graph names ports that the task has").clone();
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::wiring::EdgeSpec;
    use crate::protocol::{Partitioning, RegionId, TaskKind};
    use crate::runtime::ArbiterHandle;
    use crate::task::{StartedSubtask, SubtaskContext, TaskFactory};

    struct NotStarted;

    impl TaskFactory for NotStarted {
        fn start(&self, _: SubtaskContext, _: &ArbiterHandle, _: InputWiring, _: Vec<OutputWiring>) -> StartedSubtask {
            unreachable!("only its wiring is asked for")
        }
    }

    fn task(id: u32, parallelism: u32, outputs: Vec<EdgeSpec>) -> TaskSpec {
        TaskSpec {
            id: TaskId(id),
            name: "task".into(),
            kind: if outputs.is_empty() { TaskKind::Operator } else { TaskKind::Source },
            holds_end: false,
            operators: Vec::new(),
            parallelism,
            own_arbiters: false,
            region: RegionId(0),
            outputs,
            factory: Arc::new(NotStarted),
        }
    }

    /// Of each channel that leaves a subtask: the port it was given, and its number at the receiver.
    fn channels(wiring: &Wiring<'_>, task: u32, index: u32, ports: &Ports) -> Vec<(PortId, u32)> {
        let outputs = wiring.outputs(SubtaskId { task: TaskId(task), index }, ports);
        let targets = outputs.iter().flatten();
        targets.map(|target| (*target.port.downcast_ref().expect("a port's number"), target.channel)).collect()
    }

    #[test]
    fn channels_are_numbered_port_by_port_and_lead_to_the_port_of_their_edge() {
        use EdgePattern::{AllToAll, Forward};
        let edge = |port, pattern| EdgeSpec {
            to: TaskId(2),
            port,
            pattern,
            partitioning: Partitioning::Rebalance,
            side_output: None,
        };
        let (first, second) = (PortId::FIRST, PortId::SECOND);
        let tasks = vec![
            task(0, 3, vec![edge(second, AllToAll), edge(first, AllToAll)]),
            task(1, 2, vec![edge(second, Forward), edge(first, Forward)]),
            task(2, 2, Vec::new()),
        ];
        let spec = JobSpec {
            name: "ports".into(),
            parallelism: 2,
            tasks,
            regions: 1,
            max_parallelism: 8,
            sinks_can_withdraw: true,
        };
        let arbiter_of = |subtask: SubtaskId| ArbiterId(subtask.index.into());
        let wiring = Wiring { spec: &spec, limits: &Limits::default(), arbiter_of: &arbiter_of };
        let subtasks = (0..2).map(|index| SubtaskId { task: TaskId(2), index });
        let ports: Ports =
            subtasks.map(|subtask| (subtask, vec![Arc::new(first) as AnyInputPort, Arc::new(second)])).collect();

        // The first port has channels 0 to 2 of task 0 and 3 of task 1, the second one 4 to 6 and 7.
        assert_eq!(wiring.input(SubtaskId { task: TaskId(2), index: 1 }).windows.len(), 8);
        for from in 0..3 {
            let of_edge = |port, channel| [(port, channel); 2];
            let expected = [of_edge(second, 4 + from), of_edge(first, from)].concat();
            assert_eq!(channels(&wiring, 0, from, &ports), expected);
        }
        for from in 0..2 {
            assert_eq!(channels(&wiring, 1, from, &ports), [(second, 7), (first, 3)]);
        }
    }
}
