//! Every order in which the messages of small graphs can arrive.
//!
//! The tasks are built from the engine's own state machines ([`millstream_actors::protocol`]); only the actors around
//! them are modelled, in `task.rs`. A state is visited once, whatever way leads to it. In each of them holds: no
//! deadlock; each snapshot holds exactly what its sources emitted before the barrier (at least that, at-least-once);
//! elements keep their order and barriers increase; no channel holds more than its window; batches come to the port
//! that they were sent to; who has passed a milestone has taken what the sources had read when it was asked for. The last tests of each file break one rule each and expect that this is found.

mod alarm;
mod explore;
mod graph;
mod line;
mod links;
mod message;
mod milestones;
mod rules;
mod scenario;
mod task;
mod two_inputs;
mod waiting;
mod world;

use millstream_actors::protocol::CheckpointMode;

use crate::explore::{Counterexample, Figures, explore};
use crate::graph::Emit::{Idle, Record, Watermark};
use crate::graph::{Emit, Graph, Routing};
use crate::rules::Broken;
use crate::scenario::{GiveUp, Orders, Pace, Scenario};
use crate::world::Promise;

/// Explores, reports how much there was, and expects no broken promise.
fn holds(name: &str, scenario: &Scenario) -> Figures {
    match explore(scenario) {
        Ok(figures) => {
            println!("{name}: {figures:?}");
            assert!(figures.ends_with_all > 0, "{name}: no order completes every checkpoint");
            figures
        }
        Err(counterexample) => panic!("{name}: {counterexample:#?}"),
    }
}

/// Explores, and expects to find this promise broken.
fn breaks(promise: Promise, broken: Broken, scenario: Scenario) {
    match explore(&Scenario { broken, ..scenario }) {
        Ok(figures) => panic!("{broken:?} was not noticed: {figures:?}"),
        Err(counterexample) => {
            let Counterexample { violation, way } = *counterexample;
            println!("{broken:?}: {} after {} moves", violation.what, way.len());
            assert_eq!(violation.promise, promise, "{}", violation.what);
        }
    }
}

/// Explores all orders, and one for each trace: the ends are the same.
fn reaches_the_ends_of_all_orders(scenario: &Scenario) {
    let all = holds("all orders", &Scenario { orders: Orders::All, ..scenario.clone() });
    let some = holds("one order per trace", scenario);
    assert_eq!((all.ends, all.ends_with_all), (some.ends, some.ends_with_all));
    assert!(some.states < all.states);
}

fn records(ids: std::ops::Range<u8>) -> Vec<Emit> {
    ids.map(Record).collect()
}

/// S -> A -> J.
fn chain(window: u32) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..3));
    let (middle, sink) = (graph.task(), graph.task());
    graph.path(&[source, middle, sink]);
    graph
}

/// S -> A -> J, S -> B -> J.
fn diamond(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let (left, right, join) = (graph.task(), graph.task(), graph.task());
    graph.path(&[source, left, join]);
    graph.path(&[source, right, join]);
    graph
}

/// S -> J -> K over two channels each.
fn narrow_double_diamond(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let (join, sink) = (graph.task(), graph.task());
    for _ in 0..2 {
        graph.path(&[source, join, sink]);
    }
    graph
}

/// S -> J over two channels, J -> C -> K, J -> D -> K.
fn double_diamond_narrow_first(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let [join, c, d, sink] = std::array::from_fn(|_| graph.task());
    graph.path(&[source, join, c, sink]);
    graph.path(&[source, join]);
    graph.path(&[join, d, sink]);
    graph
}

/// S -> A -> J, S -> B -> J, J -> K over two channels.
fn double_diamond_narrow_last(window: u32, count: u8) -> Graph {
    let mut graph = diamond(window, count);
    let (join, sink) = (graph.tasks.len() - 1, graph.task());
    graph.path(&[join, sink]);
    graph.path(&[join, sink]);
    graph
}

/// S -> J over two channels.
fn union_with_itself(window: u32, count: u8) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..count));
    let join = graph.task();
    graph.edge(source, join);
    graph.edge(source, join);
    graph
}

/// S -> J, T -> J.
fn two_sources(window: u32, first: &[Emit], second: &[Emit]) -> Graph {
    let mut graph = Graph::new(window);
    let (first, second) = (graph.source(first), graph.source(second));
    let join = graph.task();
    graph.edge(first, join);
    graph.edge(second, join);
    graph
}

/// The graph with a sink behind its last task.
fn with_sink(mut graph: Graph) -> Graph {
    let sink = graph.task();
    graph.edge(sink - 1, sink);
    graph
}

/// S and T to J and K, all to all.
fn exchange(window: u32, routing: Routing) -> Graph {
    let mut graph = Graph::new(window);
    let sources = [graph.source(&records(0..2)), graph.source(&records(2..4))];
    let joins = [graph.task(), graph.task()];
    for source in sources {
        joins.iter().for_each(|&join| graph.edge(source, join));
        graph.tasks[source].routing = routing;
    }
    graph
}

/// S -> A, B, C.
fn fan_out(window: u32) -> Graph {
    let mut graph = Graph::new(window);
    let source = graph.source(&records(0..3));
    for _ in 0..3 {
        let sink = graph.task();
        graph.edge(source, sink);
    }
    graph
}

#[test]
fn one_order_per_trace_reaches_the_ends_of_all_orders() {
    let scenarios = [
        Scenario::new(chain(1), 2),
        Scenario { pace: Pace::Yields, ..Scenario::new(chain(1), 1) },
        Scenario::new(diamond(1, 2), 1),
        Scenario { give_ups: 1, ..Scenario::new(two_sources(1, &[Record(0)], &[Record(1)]), 1) },
        Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(union_with_itself(1, 1), 2) },
    ];
    scenarios.iter().for_each(reaches_the_ends_of_all_orders);
}

#[test]
fn chain_keeps_every_promise() {
    for window in [1, 2] {
        holds("chain", &Scenario { orders: Orders::All, ..Scenario::new(chain(window), 2) });
        holds("chain, given up", &Scenario { give_ups: 1, ..Scenario::new(chain(window), 2) });
    }
    holds("chain, yields", &Scenario { pace: Pace::Yields, give_ups: 1, ..Scenario::new(chain(1), 1) });
}

#[test]
fn diamond_keeps_every_promise() {
    holds("diamond", &Scenario::new(diamond(1, 3), 2));
    holds("diamond, window 2", &Scenario::new(diamond(2, 3), 1));
    holds("diamond, yields", &Scenario { pace: Pace::Yields, ..Scenario::new(diamond(1, 1), 1) });
}

#[test]
fn diamond_whose_checkpoint_is_given_up_keeps_every_promise() {
    holds("diamond, given up", &Scenario { give_ups: 1, ..Scenario::new(diamond(1, 1), 1) });
    let give_up = GiveUp::Silent;
    holds("diamond, given up silently", &Scenario { give_ups: 1, give_up, ..Scenario::new(diamond(1, 1), 2) });
}

#[test]
fn double_diamond_keeps_every_promise() {
    holds("double diamond, narrow first", &Scenario::new(double_diamond_narrow_first(1, 1), 1));
    holds("double diamond, narrow last", &Scenario::new(double_diamond_narrow_last(1, 1), 1));
    holds("narrow double diamond", &Scenario::new(narrow_double_diamond(1, 3), 2));
    holds("narrow double diamond, window 2", &Scenario::new(narrow_double_diamond(2, 2), 1));
}

#[test]
fn union_of_a_stream_with_itself_keeps_every_promise() {
    for window in [1, 2] {
        holds("union with itself", &Scenario::new(union_with_itself(window, 3), 2));
    }
    for give_up in [GiveUp::Announced, GiveUp::Silent] {
        let scenario = Scenario { give_ups: 1, give_up, ..Scenario::new(union_with_itself(1, 2), 3) };
        holds("union with itself, given up", &scenario);
    }
}

#[test]
fn end_of_input_while_blocked_keeps_every_promise() {
    for window in [1, 2] {
        holds("two sources", &Scenario::new(two_sources(window, &records(0..1), &records(1..4)), 2));
    }
    let graph = with_sink(two_sources(1, &records(0..1), &records(1..2)));
    holds("two sources and a sink", &Scenario::new(graph, 2));
    for give_up in [GiveUp::Announced, GiveUp::Silent] {
        let graph = two_sources(1, &records(0..1), &records(1..3));
        holds("two sources, given up", &Scenario { give_ups: 1, give_up, ..Scenario::new(graph, 2) });
    }
}

#[test]
fn source_told_to_stop_reading_goes_on_answering() {
    let mut graph = two_sources(1, &records(0..2), &records(2..4));
    graph.tasks[0].ends = false;
    holds("one source stopped", &Scenario::new(graph, 2));
}

#[test]
fn exchange_keeps_every_promise() {
    holds("exchange", &Scenario::new(exchange(1, Routing::ById), 1));
    holds("exchange, to all", &Scenario::new(exchange(1, Routing::Broadcast), 1));
}

#[test]
fn fan_out_keeps_every_promise() {
    for window in [1, 2] {
        holds("fan out", &Scenario::new(fan_out(window), 2));
    }
}

#[test]
fn at_least_once_loses_nothing() {
    let mode = CheckpointMode::AtLeastOnce;
    holds("at least once, diamond", &Scenario { mode, ..Scenario::new(diamond(1, 2), 2) });
    let graph = two_sources(1, &records(0..1), &records(1..3));
    holds("at least once, two sources", &Scenario { mode, give_ups: 1, ..Scenario::new(graph, 2) });
}

#[test]
fn suspended_step_is_finished_before_the_barrier() {
    let mut graph = union_with_itself(1, 2);
    graph.tasks.iter_mut().for_each(|task| task.burst = 2);
    holds("bursts", &Scenario::new(graph.clone(), 2));
    holds("bursts, silent", &Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(graph, 2) });
    let mut graph = two_sources(1, &records(0..1), &records(1..3));
    graph.tasks.iter_mut().for_each(|task| task.burst = 2);
    holds("bursts of two sources", &Scenario { give_ups: 1, give_up: GiveUp::Silent, ..Scenario::new(graph, 2) });
}

#[test]
fn watermarks_and_idleness_neither_overtake_nor_stop_anything() {
    let script = [Watermark(1), Watermark(2), Record(0), Watermark(3), Idle];
    let other = [Record(1), Watermark(2), Idle, Watermark(5)];
    holds("watermarks, union with itself", &Scenario::new(with_script(union_with_itself(1, 0), &script), 2));
    holds("watermarks, two sources", &Scenario::new(two_sources(1, &script, &other), 1));
    let short = [Watermark(1), Record(2)];
    holds("watermarks, one source ends early", &Scenario::new(with_sink(two_sources(1, &other, &short)), 1));
}

fn with_script(mut graph: Graph, script: &[Emit]) -> Graph {
    graph.tasks[0].script = Some(script.to_vec());
    graph
}

#[test]
fn gathered_records_go_ahead_of_the_barrier() {
    let mut graph = union_with_itself(1, 4);
    graph.batch_records = 2;
    graph.tasks[0].routing = Routing::ById;
    holds("gathering", &Scenario::new(graph, 2));
}

#[test]
fn batches_that_are_cut_go_ahead_of_the_barrier() {
    for window in [1, 2] {
        let mut graph = chain(window);
        graph.batch_records = 2;
        graph.tasks[1].burst = 2;
        for uneven_rate in [false, true] {
            holds("cut, chain", &Scenario { uneven_rate, give_ups: 1, ..Scenario::new(graph.clone(), 2) });
        }
    }
    let mut graph = union_with_itself(1, 4);
    graph.batch_records = 3;
    holds("cut, union with itself", &Scenario { uneven_rate: true, ..Scenario::new(graph, 2) });
}

#[test]
fn windows_that_shrink_and_grow_keep_every_promise() {
    holds("uneven rate", &Scenario { uneven_rate: true, ..Scenario::new(union_with_itself(2, 3), 2) });
    holds("uneven rate, diamond", &Scenario { uneven_rate: true, ..Scenario::new(diamond(2, 2), 1) });
}

#[test]
fn barriers_that_cost_credit_deadlock() {
    // After the barrier more goes to the left than fits in front of the blocked join.
    let script = [Record(1), Record(2), Record(4), Record(6), Record(8)];
    let mut graph = with_script(diamond(1, 0), &script);
    graph.tasks[0].routing = Routing::ById;
    breaks(Promise::Progress, Broken::BarriersCostCredit, Scenario::new(graph, 1));
}

#[test]
fn channels_that_do_not_block_mix_two_checkpoints() {
    breaks(Promise::Consistency, Broken::Unblocking, Scenario::new(diamond(1, 2), 1));
}

#[test]
fn barrier_that_overtakes_a_batch_loses_a_record() {
    breaks(Promise::Consistency, Broken::BarrierOrder, Scenario::new(chain(1), 1));
}

#[test]
fn credit_for_waiting_batches_overfills_a_channel() {
    breaks(Promise::Channel, Broken::CreditOnArrival, Scenario::new(diamond(1, 4), 1));
}

#[test]
fn abort_that_frees_nothing_hangs() {
    let mut graph = two_sources(1, &records(0..1), &records(1..3));
    graph.tasks[1].burst = 2;
    breaks(Promise::Progress, Broken::Abort, Scenario { give_ups: 1, ..Scenario::new(graph, 1) });
}

#[test]
fn ended_source_that_leaves_hangs_the_checkpoint() {
    let graph = two_sources(1, &records(0..1), &records(1..3));
    breaks(Promise::Progress, Broken::AnswerAfterEnd, Scenario::new(graph, 1));
}

#[test]
fn snapshot_within_a_step_cuts_a_record_in_two() {
    let mut graph = chain(1);
    graph.tasks[0].burst = 2;
    breaks(Promise::Consistency, Broken::SuspendedStep, Scenario::new(graph, 1));
}
