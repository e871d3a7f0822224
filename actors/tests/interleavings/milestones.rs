//! Milestones: asked for at any moment, by whoever waits until a record has been taken. Who has passed one has taken all that the sources had
//! read by then; each comes to every task that has not ended; and no barrier waits for one.

use millstream_actors::protocol::PortId;

use crate::explore::Figures;
use crate::graph::Emit::{Idle, Record, Watermark};
use crate::graph::{Graph, Routing};
use crate::rules::Broken;
use crate::scenario::{GiveUp, Pace, Scenario};
use crate::world::Promise;
use crate::{
    breaks, chain, diamond, exchange, holds, reaches_the_ends_of_all_orders, records, two_sources, union_with_itself,
    with_script,
};

fn asked(milestones: u64, graph: Graph, checkpoints: u64) -> Scenario {
    Scenario { milestones, ..Scenario::new(graph, checkpoints) }
}

/// The graph with steps that can be suspended.
fn in_bursts(mut graph: Graph) -> Graph {
    graph.tasks.iter_mut().for_each(|task| task.burst = 2);
    graph
}

/// S -> A -> J, where A waits for answers and holds up to two records.
fn answered(window: u32, count: u8) -> Graph {
    let mut graph = chain(window);
    graph.tasks[0].script = Some(records(0..count));
    (graph.tasks[1].holds_back, graph.tasks[1].capacity) = (true, Some(2));
    graph
}

fn keeps(name: &str, scenario: &Scenario) -> Figures {
    holds(&format!("milestones, {name}"), scenario)
}

#[test]
fn one_order_per_trace_reaches_the_ends_of_all_orders_with_milestones() {
    reaches_the_ends_of_all_orders(&asked(1, chain(1), 0));
    reaches_the_ends_of_all_orders(&asked(1, two_sources(1, &records(0..1), &[]), 1));
}

#[test]
fn milestone_is_behind_what_was_read_in_chains_diamonds_and_unions() {
    for window in [1, 2] {
        keeps("chain", &asked(1, chain(window), 1));
        keeps("union with itself", &asked(1, union_with_itself(window, 2), 1));
    }
    keeps("two milestones", &asked(2, union_with_itself(1, 1), 1));
    keeps("diamond", &asked(1, diamond(1, 1), 1));
    keeps("chain, yields", &Scenario { pace: Pace::Yields, ..asked(1, chain(1), 0) });
}

#[test]
fn milestone_is_merged_over_inputs_of_which_some_end_or_stop() {
    keeps("two sources", &asked(1, two_sources(1, &records(0..1), &records(1..2)), 1));
    let mut graph = two_sources(1, &records(0..1), &records(1..2));
    graph.tasks[0].ends = false;
    keeps("one source stops", &asked(1, graph, 1));
    keeps("exchange", &asked(1, exchange(1, Routing::ById), 0));
}

#[test]
fn milestone_is_merged_over_two_ports() {
    let mut graph = Graph::new(1);
    let (second, first) = (graph.source(&records(0..1)), graph.source(&records(1..2)));
    let (join, sink) = (graph.task(), graph.task());
    graph.edge_into(second, join, PortId::SECOND);
    graph.edge_into(first, join, PortId::FIRST);
    graph.edge(join, sink);
    keeps("two ports", &asked(1, graph, 1));
}

#[test]
fn milestone_waits_for_suspended_steps_and_outlives_checkpoints_that_are_given_up() {
    for give_up in [GiveUp::Announced, GiveUp::Silent] {
        let scenario = asked(1, in_bursts(union_with_itself(1, 1)), 2);
        keeps("bursts", &Scenario { give_ups: 1, give_up, ..scenario });
    }
    keeps("bursts in a chain", &asked(1, in_bursts(chain(1)), 1));
}

#[test]
fn milestone_keeps_its_place_among_watermarks() {
    let script = [Watermark(1), Record(0), Watermark(3), Idle];
    keeps("watermarks", &asked(1, with_script(union_with_itself(1, 0), &script), 1));
    keeps("watermarks of two sources", &asked(1, two_sources(1, &script, &[Record(1), Idle, Watermark(5)]), 0));
}

#[test]
fn milestone_waits_for_answers() {
    for window in [1, 2] {
        keeps("answers", &asked(1, answered(window, 2), 1));
    }
    keeps("answers, two milestones", &asked(2, answered(1, 2), 0));
}

#[test]
fn milestone_that_overtakes_a_batch_is_ahead_of_a_record() {
    breaks(Promise::Milestone, Broken::MilestoneOrder, asked(1, chain(1), 0));
}

#[test]
fn milestone_of_one_input_is_ahead_of_records_of_the_other() {
    let mut graph = two_sources(1, &records(0..1), &records(1..2));
    graph.tasks.iter_mut().for_each(|task| task.ends = false);
    breaks(Promise::Milestone, Broken::MilestoneOfOneInput, asked(1, graph, 0));
}

#[test]
fn milestone_within_a_step_cuts_what_a_record_leads_to_in_two() {
    breaks(Promise::Milestone, Broken::MilestoneWithinStep, asked(1, in_bursts(chain(1)), 0));
}

#[test]
fn milestone_that_does_not_wait_for_answers_is_ahead_of_them() {
    breaks(Promise::Milestone, Broken::MilestoneAheadOfAnswers, asked(1, answered(1, 2), 0));
}
