//! Chaining: which operators run together in one task.

use std::collections::BTreeMap;

use millstream_actors::data::wiring::EdgePattern;
use millstream_actors::protocol::PortId;

use super::{AnyRouting, EdgeKind, GraphBuilder, InputEdge, JobSettings, NodeId, NodeKind, StreamRef};

/// The graph, cut into tasks.
pub(crate) struct ChainedGraph {
    /// Tasks in topological order.
    pub(crate) tasks: Vec<ChainedTask>,
    /// Number of connected components.
    pub(crate) regions: u32,
}

/// A task: nodes in chain order, and the edges that leave it.
pub(crate) struct ChainedTask {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) parallelism: u32,
    pub(crate) region: u32,
    pub(crate) outputs: Vec<ChainedEdge>,
}

/// An edge between two tasks.
#[derive(Clone)]
pub(crate) struct ChainedEdge {
    pub(crate) from: StreamRef,
    /// Index among the tasks.
    pub(crate) to: usize,
    pub(crate) port: PortId,
    pub(crate) kind: EdgeKind,
    pub(crate) pattern: EdgePattern,
    pub(crate) routes: AnyRouting,
}

/// Cuts the graph into tasks. An operator runs in its input's task if it has that one input, is the only consumer of
/// it, both have one parallelism, records go straight on (or by key, at parallelism 1), and neither it nor the job has
/// chaining switched off. A sink is a task of its own, and so is an operator with two inputs, with what is chained behind it.
pub(crate) fn chain(graph: &GraphBuilder, settings: &JobSettings, chaining: bool) -> ChainedGraph {
    let parallelism = |node: NodeId| graph.nodes[node].parallelism.unwrap_or(settings.parallelism);
    let mut consumers: BTreeMap<&StreamRef, usize> = BTreeMap::new();
    for edge in graph.nodes.iter().flat_map(|node| &node.inputs) {
        *consumers.entry(&edge.from).or_default() += 1;
    }
    let mut tasks: Vec<ChainedTask> = Vec::new();
    let mut task_of = vec![0; graph.nodes.len()];
    for (id, node) in graph.nodes.iter().enumerate() {
        let before = match node.inputs.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        let chained = before.filter(|edge| {
            chaining
                && node.chains
                && matches!(node.kind, NodeKind::Operator(_))
                && edge.from.port == super::PortRef::Main
                && consumers[&edge.from] == 1
                && parallelism(edge.from.node) == parallelism(id)
                && goes_straight_on(edge.kind, parallelism(id))
        });
        task_of[id] = match chained {
            Some(edge) => {
                let task = task_of[edge.from.node];
                tasks[task].nodes.push(id);
                task
            }
            None => {
                let region = tasks.len() as u32;
                tasks.push(ChainedTask { nodes: vec![id], parallelism: parallelism(id), region, outputs: Vec::new() });
                tasks.len() - 1
            }
        };
    }
    connect(graph, &task_of, &mut tasks);
    let regions = number_regions(&mut tasks);
    ChainedGraph { tasks, regions }
}

fn goes_straight_on(kind: EdgeKind, parallelism: u32) -> bool {
    match kind {
        EdgeKind::Forward => true,
        EdgeKind::KeyBy => parallelism == 1,
        EdgeKind::Rebalance | EdgeKind::Broadcast | EdgeKind::Custom => false,
    }
}

fn connect(graph: &GraphBuilder, task_of: &[usize], tasks: &mut [ChainedTask]) {
    for (id, node) in graph.nodes.iter().enumerate() {
        if tasks[task_of[id]].nodes[0] != id {
            continue;
        }
        for edge in &node.inputs {
            let (from, to) = (task_of[edge.from.node], task_of[id]);
            let straight =
                goes_straight_on(edge.kind, tasks[to].parallelism) && tasks[from].parallelism == tasks[to].parallelism;
            let pattern = if straight { EdgePattern::Forward } else { EdgePattern::AllToAll };
            let InputEdge { from: from_stream, port, kind, routes } = edge.clone();
            tasks[from].outputs.push(ChainedEdge { from: from_stream, to, port, kind, pattern, routes });
        }
    }
}

/// Gives each connected component a number, from 0 in the order of its first task.
fn number_regions(tasks: &mut [ChainedTask]) -> u32 {
    let edges: Vec<(usize, usize)> = tasks
        .iter()
        .enumerate()
        .flat_map(|(from, task)| task.outputs.iter().map(move |edge| (from, edge.to)))
        .collect();
    // Tasks start in components of their own; the lower number wins until nothing changes.
    while let Some(&(from, to)) = edges.iter().find(|&&(from, to)| tasks[from].region != tasks[to].region) {
        let (a, b) = (tasks[from].region, tasks[to].region);
        let (lower, higher) = (a.min(b), a.max(b));
        tasks.iter_mut().filter(|task| task.region == higher).for_each(|task| task.region = lower);
    }
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for task in tasks.iter_mut() {
        let next = numbers.len() as u32;
        task.region = *numbers.entry(task.region).or_insert(next);
    }
    numbers.len() as u32
}
