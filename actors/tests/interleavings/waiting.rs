//! Tasks that wait for answers: they take no input while they hold as much as they can, and hold back the end. An answer may come
//! between any two messages, or never, and no barrier waits for it: neither one that stands behind what the task does not take,
//! nor one that the tasks before it cannot send because of that.

use millstream_actors::protocol::PortId;

use crate::graph::Graph;
use crate::rules::Broken;
use crate::scenario::{GiveUp, Pace, Scenario};
use crate::world::Promise;
use crate::{breaks, holds, reaches_the_ends_of_all_orders, records};

/// S -> A -> J, where A holds one record, and no more than it must.
fn waiting_chain(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let (waiting, sink) = (graph.task(), graph.task());
    graph.path(&[source, waiting, sink]);
    (graph.tasks[waiting].holds_back, graph.tasks[waiting].capacity) = (true, Some(1));
    graph
}

/// S -> A, T -> A, A -> J.
fn waiting_join(window: u32, first: u8, second: u8) -> Graph {
    let mut graph = Graph::new(window);
    let (first, second) = (graph.source(&records(0..first)), graph.source(&records(first..first + second)));
    let (waiting, sink) = (graph.task(), graph.task());
    graph.edge_into(first, waiting, PortId::FIRST);
    graph.edge_into(second, waiting, PortId::FIRST);
    graph.edge(waiting, sink);
    (graph.tasks[waiting].holds_back, graph.tasks[waiting].capacity) = (true, Some(1));
    graph
}

#[test]
fn task_that_waits_for_answers_keeps_every_promise() {
    for window in [1, 2] {
        reaches_the_ends_of_all_orders(&Scenario::new(waiting_chain(window, 3), 1));
        holds("answers, two checkpoints", &Scenario::new(waiting_chain(window, 3), 2));
    }
    for give_up in [GiveUp::Announced, GiveUp::Silent] {
        holds("answers, given up", &Scenario { give_ups: 1, give_up, ..Scenario::new(waiting_chain(1, 3), 2) });
    }
    holds("answers, yields", &Scenario { pace: Pace::Yields, ..Scenario::new(waiting_chain(1, 3), 1) });
}

#[test]
fn task_with_two_inputs_that_waits_for_answers_keeps_every_promise() {
    holds("answers, two inputs", &Scenario::new(waiting_join(1, 2, 2), 1));
    let mut graph = waiting_join(1, 1, 1);
    graph.tasks[1].ends = false;
    holds("answers, an input stops", &Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(graph, 2) });
}

#[test]
fn barrier_that_a_full_task_is_not_told_of_hangs_the_checkpoint() {
    breaks(Promise::Progress, Broken::UntoldOfBarriers, Scenario::new(waiting_chain(1, 4), 1));
}
