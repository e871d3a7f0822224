//! From a graph to what the engine runs: the job at one parallelism.

use std::sync::Arc;

use millstream_actors::data::pipeline::PipelineBuilder;
use millstream_actors::data::wiring::{EdgePattern, EdgeSpec};
use millstream_actors::protocol::{OperatorId, Partitioning, RegionId, TaskId, TaskKind};
use millstream_actors::task::{JobSpec, OperatorInfo, TaskFactory, TaskSpec};

use super::chaining::ChainedEdge;
use super::node::{Given, Recipe};
use super::{AnyChain, AnyRouting, EdgeKind, GraphBuilder, JobSettings, Node, NodeKind, PortRef, chain};
use crate::operator::SideOutputs;

/// The job of a graph without mistakes. It may be written down again and again, with other settings too: its operators' instances
/// are made of the prototypes in the graph, and its sources and sinks are those in there.
pub(crate) fn compile(graph: &Arc<GraphBuilder>, settings: &JobSettings, chaining: bool) -> JobSpec {
    let chained = chain(graph, settings, chaining);
    let sinks_can_withdraw = graph.nodes.iter().all(|node| match &node.kind {
        NodeKind::Sink(sink) => {
            sink.guarantee() == millstream_actors::contract::SinkGuarantee::AtLeastOnce || sink.can_withdraw()
        }
        _ => true,
    });
    let tasks = chained.tasks.iter().enumerate().map(|(index, task)| {
        let nodes: Vec<&Node> = task.nodes.iter().map(|&node| &graph.nodes[node]).collect();
        let operators = nodes.iter().map(|node| OperatorInfo {
            name: node.name.clone(),
            succession: node.succession(),
            on_panic: node.panic_rules(),
        });
        let names: Vec<&str> = nodes.iter().map(|node| &*node.name).collect();
        TaskSpec {
            id: TaskId(index as u32),
            name: names.join("->").into(),
            kind: match nodes[0].kind {
                NodeKind::Source(_) => TaskKind::Source,
                NodeKind::Operator(_) => TaskKind::Operator,
                NodeKind::Sink(_) => TaskKind::Sink,
            },
            holds_end: nodes[0].holds_end,
            operators: operators.collect(),
            parallelism: task.parallelism,
            own_arbiters: nodes[0].own_arbiters,
            region: RegionId(task.region),
            outputs: task.outputs.iter().map(edge_spec).collect(),
            factory: factory(graph, task, settings),
        }
    });
    JobSpec {
        name: settings.job.as_str().into(),
        parallelism: settings.parallelism,
        tasks: tasks.collect(),
        regions: chained.regions,
        max_parallelism: settings.max_parallelism,
        sinks_can_withdraw,
    }
}

fn edge_spec(edge: &ChainedEdge) -> EdgeSpec {
    let partitioning = match (edge.pattern, edge.kind) {
        (EdgePattern::Forward, _) => Partitioning::Forward,
        (EdgePattern::AllToAll, EdgeKind::Forward | EdgeKind::Rebalance) => Partitioning::Rebalance,
        (EdgePattern::AllToAll, EdgeKind::Broadcast) => Partitioning::Broadcast,
        (EdgePattern::AllToAll, EdgeKind::KeyBy) => Partitioning::Hash,
        (EdgePattern::AllToAll, EdgeKind::Custom) => Partitioning::Custom,
    };
    let side_output = match &edge.from.port {
        PortRef::Main => None,
        PortRef::Side(tag) => Some(tag.clone()),
    };
    EdgeSpec { to: TaskId(edge.to as u32), port: edge.port, pattern: edge.pattern, partitioning, side_output }
}

fn factory(
    graph: &Arc<GraphBuilder>,
    task: &super::chaining::ChainedTask,
    settings: &JobSettings,
) -> Arc<dyn TaskFactory> {
    let head = &graph.nodes[task.nodes[0]];
    let operators: Vec<OperatorId> = task.nodes.iter().map(|&node| graph.nodes[node].id.clone()).collect();
    match &head.kind {
        NodeKind::Source(source) => source.task_factory(operators, recipe(graph, task, settings)),
        NodeKind::Operator(operator) => operator.task_factory(operators, recipe(graph, task, settings), head.holds_end),
        NodeKind::Sink(sink) => sink.task_factory(head.id.clone(), head.former_ids.clone()),
    }
}

/// Builds the chain of a task from its last link to its first.
fn recipe(graph: &Arc<GraphBuilder>, task: &super::chaining::ChainedTask, settings: &JobSettings) -> Recipe {
    let graph = graph.clone();
    let nodes = task.nodes.clone();
    let outputs = task.outputs.clone();
    let (state_backend, parallelism) = (settings.state_backend.clone(), settings.parallelism);
    Arc::new(move |builder: &mut PipelineBuilder<'_>| {
        let consumers = |node: usize, port: &PortRef| -> Vec<(u32, AnyRouting)> {
            let edges = (0u32..).zip(&outputs);
            let taken = edges.filter(|(_, edge)| edge.from.node == node && edge.from.port == *port);
            taken.map(|(output, edge)| (output, edge.routes.clone())).collect()
        };
        let last = *nodes.last().expect("a task has a node");
        let port = graph.nodes[last].main.as_ref().expect("only sinks have no output");
        let mut chain: AnyChain = port.terminal(builder, &consumers(last, &PortRef::Main));
        for &id in nodes.iter().rev() {
            let node = &graph.nodes[id];
            let mut sides = SideOutputs::default();
            for (tag, port) in &node.sides {
                let consumers = consumers(id, &PortRef::Side(tag.clone()));
                match &node.kind {
                    _ if consumers.is_empty() => {}
                    NodeKind::Source(_) => port.connect_source_side(builder, tag, &consumers),
                    _ => port.connect_side(builder, tag, &consumers, &mut sides),
                }
            }
            if let NodeKind::Operator(operator) = &node.kind {
                let mut careful_timers = None;
                if builder.subtask().careful.is_of(&node.id) {
                    let inputs = node
                        .careful_inputs(builder.subtask(), &mut sides, |port| graph.is_copied(id, port, parallelism));
                    careful_timers = node.careful_timers(builder.subtask(), &mut sides);
                    builder.work_carefully(inputs);
                }
                let state_backend = node.state_backend.as_ref().unwrap_or(&state_backend);
                let given = Given { sides, state_backend, careful_timers };
                chain = operator.link(builder, &node.id, given, chain);
            }
        }
        chain
    })
}
