//! A graph as text and as Graphviz, before and after chaining.

use std::fmt::{self, Write};

use millstream_actors::data::wiring::EdgePattern;
use millstream_actors::protocol::PortId;

use super::{ChainedGraph, EdgeKind, GraphBuilder, JobSettings, NodeKind, PortRef};

/// A job's graph, printed. `Display` gives the text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    text: String,
    graphviz: String,
}

impl Explanation {
    /// The graph in Graphviz's language: one cluster per task, for `dot -Tsvg`.
    pub fn graphviz(&self) -> &str {
        &self.graphviz
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(crate) fn explain(graph: &GraphBuilder, chained: &ChainedGraph, settings: &JobSettings) -> Explanation {
    let mut text = String::new();
    let mut graphviz = String::new();
    // Writing to a string cannot fail.
    let _ = write_text(&mut text, graph, chained, settings);
    let _ = write_graphviz(&mut graphviz, graph, chained, settings);
    Explanation { text, graphviz }
}

fn write_text(text: &mut String, graph: &GraphBuilder, chained: &ChainedGraph, settings: &JobSettings) -> fmt::Result {
    writeln!(text, "job {}, max parallelism {}", settings.job, settings.max_parallelism)?;
    writeln!(text, "operators:")?;
    for node in &graph.nodes {
        let parallelism = node.parallelism.unwrap_or(settings.parallelism);
        write!(text, "  {} {} x{parallelism}", kind_name(&node.kind), node.id)?;
        for (index, edge) in node.inputs.iter().enumerate() {
            let begins_port = index == 0 || node.inputs[index - 1].port != edge.port;
            let join = if begins_port { " <-" } else { "," };
            write!(text, "{join} {}", graph.nodes[edge.from.node].id)?;
            if let PortRef::Side(tag) = &edge.from.port {
                write!(text, "[{tag}]")?;
            }
            write!(text, " ({})", edge_name(edge.kind))?;
        }
        writeln!(text)?;
    }
    writeln!(text, "tasks:")?;
    for (index, task) in chained.tasks.iter().enumerate() {
        write!(text, "  {index} {} x{} region {}", task_name(graph, &task.nodes), task.parallelism, task.region)?;
        for edge in &task.outputs {
            write!(text, ", to {}{} by {}", edge.to, input_name(edge.port), pattern_name(edge.kind, edge.pattern))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_graphviz(
    dot: &mut String,
    graph: &GraphBuilder,
    chained: &ChainedGraph,
    settings: &JobSettings,
) -> fmt::Result {
    writeln!(dot, "digraph {:?} {{\n  rankdir=LR; node [shape=box];", settings.job)?;
    for (index, task) in chained.tasks.iter().enumerate() {
        writeln!(dot, "  subgraph cluster_{index} {{ label=\"task {index} x{}\";", task.parallelism)?;
        for &node in &task.nodes {
            let label = format!("{} {}", kind_name(&graph.nodes[node].kind), graph.nodes[node].id);
            writeln!(dot, "    n{node} [label={label:?}];")?;
        }
        writeln!(dot, "  }}")?;
    }
    for (id, node) in graph.nodes.iter().enumerate() {
        for edge in &node.inputs {
            let label = match &edge.from.port {
                PortRef::Main => edge_name(edge.kind).to_owned(),
                PortRef::Side(tag) => format!("{tag}: {}", edge_name(edge.kind)),
            };
            let label = label + input_name(edge.port);
            writeln!(dot, "  n{} -> n{id} [label={label:?}];", edge.from.node)?;
        }
    }
    writeln!(dot, "}}")
}

fn task_name(graph: &GraphBuilder, nodes: &[usize]) -> String {
    let names: Vec<&str> = nodes.iter().map(|&node| &*graph.nodes[node].name).collect();
    names.join("->")
}

fn kind_name(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Source(_) => "source",
        NodeKind::Operator(_) => "operator",
        NodeKind::Sink(_) => "sink",
    }
}

fn edge_name(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Forward => "forward",
        EdgeKind::Rebalance => "rebalance",
        EdgeKind::Broadcast => "broadcast",
        EdgeKind::KeyBy => "key by",
        EdgeKind::Custom => "partition by",
    }
}

/// Names the input that an edge serves, where it is not the only or the first one.
fn input_name(port: PortId) -> &'static str {
    if port == PortId::FIRST { "" } else { " (second input)" }
}

fn pattern_name(kind: EdgeKind, pattern: EdgePattern) -> &'static str {
    match (pattern, kind) {
        (EdgePattern::Forward, _) => "forward",
        (EdgePattern::AllToAll, EdgeKind::Forward) => "rebalance",
        (EdgePattern::AllToAll, kind) => edge_name(kind),
    }
}
