//! Tasks with two ports: what comes on channels of one is tagged for it, and alignment counts the channels of both.

use millstream_actors::protocol::{CheckpointMode, PortId};

use crate::graph::Emit::{Idle, Record, Watermark};
use crate::graph::{Emit, Graph, Routing};
use crate::rules::Broken;
use crate::scenario::{GiveUp, Pace, Scenario};
use crate::world::Promise;
use crate::{breaks, holds, records, with_sink};

/// S -> J by its second port, T -> J by its first.
fn two_ports(window: u32, second: &[Emit], first: &[Emit]) -> Graph {
    let mut graph = Graph::new(window);
    let (second, first) = (graph.source(second), graph.source(first));
    let join = graph.task();
    graph.edge_into(second, join, PortId::SECOND);
    graph.edge_into(first, join, PortId::FIRST);
    graph
}

/// S -> A -> J by its second port, S -> B -> J by its first.
fn diamond_of_ports(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let [left, right, join] = std::array::from_fn(|_| graph.task());
    graph.edge(source, left);
    graph.edge_into(left, join, PortId::SECOND);
    graph.edge(source, right);
    graph.edge_into(right, join, PortId::FIRST);
    graph
}

/// S -> J by both ports: a stream connected with itself.
fn both_ports(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let join = graph.task();
    graph.edge_into(source, join, PortId::SECOND);
    graph.edge_into(source, join, PortId::FIRST);
    graph
}

/// S and T to each of J and K, S by their second port and T by their first.
fn exchange_of_ports(routing: Routing) -> Graph {
    let mut graph = Graph::new(1);
    let sources = [(records(0..2), PortId::SECOND), (records(2..4), PortId::FIRST)];
    let sources = sources.map(|(script, port)| (graph.source(&script), port));
    let joins = [graph.task(), graph.task()];
    for (source, port) in sources {
        joins.iter().for_each(|&join| graph.edge_into(source, join, port));
        graph.tasks[source].routing = routing;
    }
    graph
}

#[test]
fn two_sources_of_two_ports_keep_every_promise() {
    for window in [1, 2] {
        let graph = two_ports(window, &records(0..2), &records(2..4));
        holds("two ports", &Scenario::new(graph.clone(), 2));
        holds("two ports and a sink", &Scenario::new(with_sink(graph), 1));
    }
    let graph = two_ports(1, &records(0..1), &records(1..3));
    holds("two ports, yields", &Scenario { pace: Pace::Yields, ..Scenario::new(graph.clone(), 1) });
    let mode = CheckpointMode::AtLeastOnce;
    holds("two ports, at least once", &Scenario { mode, give_ups: 1, ..Scenario::new(graph, 2) });
}

#[test]
fn branches_into_two_ports_keep_every_promise() {
    holds("diamond of ports", &Scenario::new(diamond_of_ports(1, 3), 2));
    for give_up in [GiveUp::Announced, GiveUp::Silent] {
        holds("both ports, given up", &Scenario { give_ups: 1, give_up, ..Scenario::new(both_ports(1, 2), 3) });
    }
    let given_up = Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(diamond_of_ports(1, 1), 2) };
    holds("diamond of ports, given up", &given_up);
    holds("both ports", &Scenario::new(both_ports(2, 3), 2));
    holds("exchange of ports", &Scenario::new(exchange_of_ports(Routing::ById), 1));
}

#[test]
fn port_whose_input_ends_early_keeps_every_promise() {
    for (second, first) in [(records(0..1), records(1..4)), (records(0..3), Vec::new())] {
        holds("one port ends early", &Scenario::new(two_ports(1, &second, &first), 2));
        for give_up in [GiveUp::Announced, GiveUp::Silent] {
            let graph = two_ports(1, &second[..1], &first[..first.len().min(2)]);
            holds("one port ends early, given up", &Scenario { give_ups: 1, give_up, ..Scenario::new(graph, 2) });
        }
    }
    let mut graph = two_ports(1, &records(0..2), &records(2..4));
    graph.tasks[0].ends = false;
    holds("one port's source stopped", &Scenario::new(graph, 2));
}

#[test]
fn watermarks_and_idleness_of_two_ports_keep_every_promise() {
    let script = [Watermark(1), Record(0), Watermark(3), Idle];
    let other = [Record(1), Watermark(2), Idle, Watermark(5)];
    holds("watermarks of two ports", &Scenario::new(two_ports(1, &script, &other), 1));
    let short = [Watermark(1), Record(2)];
    holds("watermarks, one port ends early", &Scenario::new(with_sink(two_ports(1, &short, &other)), 1));
}

#[test]
fn suspended_step_of_a_task_with_two_ports_is_finished_first() {
    let mut graph = with_sink(two_ports(1, &records(0..1), &records(1..2)));
    graph.tasks[2].burst = 2;
    holds("bursts of two ports", &Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(graph, 2) });
}

#[test]
fn batch_at_the_wrong_port_is_noticed() {
    let graph = two_ports(1, &records(0..1), &records(1..2));
    breaks(Promise::Channel, Broken::ChannelsOfPorts, Scenario::new(graph, 1));
}

#[test]
fn alignment_of_one_port_mixes_two_checkpoints() {
    let graph = two_ports(1, &records(0..1), &records(1..2));
    breaks(Promise::Consistency, Broken::AlignmentOfOnePort, Scenario::new(graph, 1));
}
