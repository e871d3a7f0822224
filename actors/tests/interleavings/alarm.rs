//! Tasks that hold records back until their alarm: it may go off between any two messages, or never, and nothing waits
//! for it. What is held back at a barrier is in the task's snapshot, and goes behind the barrier.

use millstream_actors::protocol::PortId;

use crate::graph::Graph;
use crate::rules::Broken;
use crate::scenario::{GiveUp, Pace, Scenario};
use crate::world::Promise;
use crate::{breaks, holds, reaches_the_ends_of_all_orders, records};

/// S -> A -> J, where A holds back.
fn alarmed_chain(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let (alarmed, sink) = (graph.task(), graph.task());
    graph.path(&[source, alarmed, sink]);
    graph.tasks[alarmed].holds_back = true;
    graph
}

/// S -> J, where S holds back: operators that are chained to it.
fn alarmed_source(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let sink = graph.task();
    graph.edge(source, sink);
    graph.tasks[source].holds_back = true;
    graph
}

/// S -> A by its second port, T -> A by its first, A -> J, where A holds back.
fn alarmed_join(window: u32, second: u8, first: u8) -> Graph {
    let mut graph = Graph::new(window);
    let (second, first) = (graph.source(&records(0..second)), graph.source(&records(second..second + first)));
    let (alarmed, sink) = (graph.task(), graph.task());
    graph.edge_into(second, alarmed, PortId::SECOND);
    graph.edge_into(first, alarmed, PortId::FIRST);
    graph.edge(alarmed, sink);
    graph.tasks[alarmed].holds_back = true;
    graph
}

#[test]
fn alarm_between_any_two_messages_keeps_every_promise() {
    for window in [1, 2] {
        reaches_the_ends_of_all_orders(&Scenario::new(alarmed_chain(window, 2), 1));
        holds("alarm, two checkpoints", &Scenario::new(alarmed_chain(window, 3), 2));
    }
    for give_up in [GiveUp::Announced, GiveUp::Silent] {
        holds("alarm, given up", &Scenario { give_ups: 1, give_up, ..Scenario::new(alarmed_chain(1, 2), 2) });
    }
    holds("alarm, yields", &Scenario { pace: Pace::Yields, ..Scenario::new(alarmed_chain(1, 2), 1) });
}

#[test]
fn alarm_of_a_task_with_two_ports_keeps_every_promise() {
    holds("alarm, two ports", &Scenario::new(alarmed_join(1, 1, 2), 1));
    let mut graph = alarmed_join(1, 1, 1);
    graph.tasks[1].ends = false;
    holds("alarm, two ports, given up", &Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(graph, 2) });
}

#[test]
fn alarm_of_operators_that_are_chained_to_a_source_keeps_every_promise() {
    for window in [1, 2] {
        reaches_the_ends_of_all_orders(&Scenario::new(alarmed_source(window, 3), 1));
        for give_up in [GiveUp::Announced, GiveUp::Silent] {
            holds(
                "alarm of a source",
                &Scenario { give_ups: 1, give_up, ..Scenario::new(alarmed_source(window, 3), 2) },
            );
        }
        holds(
            "alarm of a source, yields",
            &Scenario { pace: Pace::Yields, ..Scenario::new(alarmed_source(window, 2), 1) },
        );
    }
}

#[test]
fn wake_up_that_waits_for_credit_keeps_every_promise() {
    let mut bursting =
        [(0, alarmed_source(1, 3)), (0, alarmed_source(2, 3)), (1, alarmed_chain(1, 2)), (1, alarmed_chain(2, 2))];
    for (alarmed, graph) in &mut bursting {
        graph.tasks[*alarmed].burst = 3;
        // At the end the model emits all that is held back in one go.
        graph.tasks[0].ends = false;
        holds("suspended wake-up", &Scenario::new(graph.clone(), 2));
    }
}

#[test]
fn barrier_in_the_middle_of_a_wake_up_is_noticed() {
    let mut graph = alarmed_source(1, 2);
    (graph.tasks[0].burst, graph.tasks[0].ends) = (3, false);
    breaks(Promise::Consistency, Broken::SuspendedStep, Scenario::new(graph, 1));
}

#[test]
fn barrier_that_waits_for_the_alarm_hangs_the_checkpoint() {
    breaks(Promise::Progress, Broken::BarrierAfterAlarm, Scenario::new(alarmed_chain(1, 2), 1));
}

#[test]
fn snapshot_without_what_is_held_back_loses_a_record() {
    breaks(Promise::Consistency, Broken::HeldBackInSnapshot, Scenario::new(alarmed_chain(1, 1), 1));
}
