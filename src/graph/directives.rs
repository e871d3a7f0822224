//! Record directives of the operators of a graph: what each asks of its operator, and what careful work is told of it.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::SubtaskInfo;
use millstream_actors::data::pipeline::{CarefulFirings, CarefulInput, CarefulInputs, RecordType};
use millstream_actors::protocol::{FIRINGS, OperatorId, PanicFacts, PanicRule, PortId, Timestamp};

use super::error::At;
use super::{EdgeKind, GraphBuilder, GraphError, JobSettings, Node, NodeId, NodeKind, PortRef};
use crate::keyed::CarefulTimers;
use crate::operator::{DeadFiring, DeadLetter, Emit, Firings, OnPanic, SideOutputs, json_text};

/// Longer than a job is expected to run without a look at it.
const WITHIN_MAX: Duration = Duration::from_secs(365 * 86_400);

/// A directive, and where it was given.
pub(crate) struct PlacedDirective {
    pub(crate) directive: Box<dyn AnyDirective>,
    pub(crate) at: At,
}

/// An [`OnPanic`], whatever its records.
pub(crate) trait AnyDirective: Send + Sync {
    /// The records that it is for.
    fn records(&self) -> RecordType;
    /// What it sends to its side output.
    fn letters(&self) -> RecordType;
    fn rule(&self) -> PanicRule;
    /// The rule for timers, if it is for them, too.
    fn rule_of_firings(&self) -> Option<PanicRule>;
    /// Where timers go that are withheld, if they do not go nowhere.
    fn dead_firings(&self, sides: &mut SideOutputs) -> Option<Emit<DeadFiring>>;
    /// What careful work is told, once for each of the operator's inputs that have its records: whether each subtask gets a copy.
    fn inputs(
        &self,
        operator: &OperatorId,
        subtask: &SubtaskInfo,
        sides: &mut SideOutputs,
        are_copied: &[bool],
    ) -> CarefulInputs;
}

impl<T: Send + 'static> AnyDirective for OnPanic<T> {
    fn records(&self) -> RecordType {
        RecordType::of::<T>()
    }

    fn letters(&self) -> RecordType {
        RecordType::of::<DeadLetter<T>>()
    }

    fn rule(&self) -> PanicRule {
        let goes_to = self.tag.as_ref().map(|tag| tag.name().clone());
        PanicRule { after: self.after, at_most: self.at_most, within: self.within, goes_to }
    }

    fn rule_of_firings(&self) -> Option<PanicRule> {
        let goes_to = match &self.firings {
            Firings::NotWithheld => return None,
            Firings::Skipped => None,
            Firings::DivertedTo(tag) => Some(tag.name().clone()),
        };
        Some(PanicRule { goes_to, ..self.rule() })
    }

    fn dead_firings(&self, sides: &mut SideOutputs) -> Option<Emit<DeadFiring>> {
        match &self.firings {
            Firings::DivertedTo(tag) => sides.take(tag.name()),
            Firings::NotWithheld | Firings::Skipped => None,
        }
    }

    fn inputs(
        &self,
        operator: &OperatorId,
        subtask: &SubtaskInfo,
        sides: &mut SideOutputs,
        are_copied: &[bool],
    ) -> CarefulInputs {
        let letters = self.tag.as_ref().and_then(|tag| sides.take::<DeadLetter<T>>(tag.name()));
        let letters = Rc::new(RefCell::new(letters));
        let input = |is_copied: &bool| {
            let (operator, letters, counters) =
                (operator.clone(), letters.clone(), subtask.counters.operator(operator));
            let withhold = move |record: T, time: Timestamp, facts: PanicFacts| {
                counters.withheld_records.add(1);
                if let Some(emit) = &mut *letters.borrow_mut() {
                    emit(dead_letter(record, operator.clone(), facts), time);
                }
            };
            let input =
                CarefulInput { encode: self.encode, describe, is_copied: *is_copied, withhold: Box::new(withhold) };
            Box::new(input) as Box<dyn Any>
        };
        are_copied.iter().map(input).collect()
    }
}

fn dead_letter<T>(record: T, operator: OperatorId, facts: PanicFacts) -> DeadLetter<T> {
    let PanicFacts { message, location, key, subtask, panics, failed_unix_ms } = facts;
    DeadLetter { record, message, location, operator, key, subtask, panics, failed_unix_ms }
}

/// A record as JSON, from its MessagePack.
fn describe(bytes: &[u8]) -> Option<String> {
    json_text(&rmp_serde::from_slice::<serde_json::Value>(bytes).ok()?)
}

impl Node {
    /// Of each directive, the inputs that it is for.
    fn directed(&self) -> impl Iterator<Item = (&PlacedDirective, Vec<PortId>)> {
        let records = match &self.kind {
            NodeKind::Operator(operator) => operator.records(),
            NodeKind::Source(_) | NodeKind::Sink(_) => Vec::new(),
        };
        self.on_panic.iter().map(move |placed| {
            let ports = (0u8..).zip(&records).filter(|(_, records)| **records == placed.directive.records());
            (placed, ports.map(|(port, _)| PortId(port)).collect())
        })
    }

    /// The rules of its inputs.
    pub(crate) fn panic_rules(&self) -> BTreeMap<PortId, PanicRule> {
        let rules = self.directed().map(|(placed, ports)| (placed.directive.rule(), ports));
        let of_inputs = rules.flat_map(|(rule, ports)| ports.into_iter().map(move |port| (port, rule.clone())));
        let of_firings = self.on_panic.iter().filter_map(|placed| placed.directive.rule_of_firings());
        of_inputs.chain(of_firings.map(|rule| (FIRINGS, rule))).collect()
    }

    /// What careful work is told of the timers of its keys. Takes the side output for those that are withheld.
    pub(crate) fn careful_timers(&self, subtask: &SubtaskInfo, sides: &mut SideOutputs) -> Option<Box<CarefulTimers>> {
        let placed = self.on_panic.iter().find(|placed| placed.directive.rule_of_firings().is_some())?;
        Some(Box::new(CarefulTimers {
            firings: CarefulFirings::new(subtask, self.id.clone()),
            operator: self.id.clone(),
            counters: subtask.counters.operator(&self.id),
            emit: placed.directive.dead_firings(sides),
            bytes: Vec::new(),
        }))
    }

    /// What careful work is told of its inputs. Takes the side outputs for dead letters.
    pub(crate) fn careful_inputs(
        &self,
        subtask: &SubtaskInfo,
        sides: &mut SideOutputs,
        is_copied: impl Fn(PortId) -> bool,
    ) -> CarefulInputs {
        let inputs = self.directed().flat_map(|(placed, ports)| {
            let are_copied: Vec<bool> = ports.into_iter().map(&is_copied).collect();
            placed.directive.inputs(&self.id, subtask, sides, &are_copied)
        });
        inputs.collect()
    }
}

impl GraphBuilder {
    /// Whether each subtask of a node gets a copy of each record of this input: it is broadcast, or goes straight on from an operator
    /// that has such an input. `parallelism` is that of nodes that have none of their own.
    pub(crate) fn is_copied(&self, node: NodeId, port: PortId, parallelism: u32) -> bool {
        let subtasks = |node: NodeId| self.nodes[node].parallelism.unwrap_or(parallelism);
        self.nodes[node].inputs.iter().filter(|edge| edge.port == port).any(|edge| {
            let from = edge.from.node;
            match edge.kind {
                EdgeKind::Broadcast => true,
                EdgeKind::Forward if subtasks(from) == subtasks(node) => {
                    self.nodes[from].inputs.iter().any(|before| self.is_copied(from, before.port, parallelism))
                }
                EdgeKind::Forward | EdgeKind::Rebalance | EdgeKind::KeyBy | EdgeKind::Custom => false,
            }
        })
    }

    /// Directives that cannot do what they say.
    pub(super) fn check_directives(&self, settings: &JobSettings) -> Vec<GraphError> {
        let mut errors = Vec::new();
        let restarts = self.restarts_of_nodes(settings);
        for (id, node) in self.nodes.iter().enumerate() {
            for (index, placed) in node.on_panic.iter().enumerate() {
                let is_second = node.on_panic[..index].iter().any(|other| same_records(other, placed));
                let twice =
                    is_second.then(|| format!("records of type {} have two", placed.directive.records().name()));
                let directive = &*placed.directive;
                let (rule, firings) = (directive.rule(), directive.rule_of_firings());
                let reasons = [
                    mistake_in_kind(node, placed),
                    twice,
                    mistake_in_rule(&rule, restarts[id]),
                    self.mistake_in_letters(id, rule.goes_to.as_ref(), directive.letters()),
                    firings.as_ref().and_then(|_| mistake_in_firings(node, &node.on_panic[..index])),
                    firings.and_then(|rule| {
                        self.mistake_in_letters(id, rule.goes_to.as_ref(), RecordType::of::<DeadFiring>())
                    }),
                ];
                let error = |reason| GraphError::InvalidDirective { operator: node.id.clone(), reason, at: placed.at };
                errors.extend(reasons.into_iter().flatten().map(error));
            }
        }
        errors
    }

    fn mistake_in_letters(&self, id: usize, tag: Option<&Arc<str>>, letters: RecordType) -> Option<String> {
        let tag = tag?;
        let Some(side) = self.nodes[id].sides.get(tag) else {
            return Some(format!("nothing reads its dead letters; read them by side_output(..) with the tag '{tag}'"));
        };
        let others = side.records();
        if others != letters {
            return Some(format!(
                "side output '{tag}' has records of type {}, and not {}",
                others.name(),
                letters.name()
            ));
        }
        let port = PortRef::Side(tag.clone());
        let mut edges = self.nodes.iter().flat_map(|node| &node.inputs);
        let is_read = edges.any(|edge| edge.from.node == id && edge.from.port == port);
        (!is_read).then(|| format!("nothing reads its dead letters; end the side output '{tag}' in a sink"))
    }
}

fn same_records(one: &PlacedDirective, other: &PlacedDirective) -> bool {
    one.directive.records() == other.directive.records()
}

fn mistake_in_firings(node: &Node, before: &[PlacedDirective]) -> Option<String> {
    if !node.withholds_timers {
        Some("firings(..): only timers of keyed functions, and windows, can be withheld".to_owned())
    } else if before.iter().any(|placed| placed.directive.rule_of_firings().is_some()) {
        Some("firings(..): another directive of the operator says what becomes of timers".to_owned())
    } else {
        None
    }
}

fn mistake_in_kind(node: &Node, placed: &PlacedDirective) -> Option<String> {
    let NodeKind::Operator(operator) = &node.kind else {
        return Some("it is a source, which no records are given to; make it on an operator behind it".to_owned());
    };
    if node.holds_end {
        return Some(
            "an asynchronous function is not called with one record at a time, so none can be withheld".to_owned(),
        );
    }
    let (records, given) = (placed.directive.records(), operator.records());
    if given.contains(&records) {
        return None;
    }
    let given: Vec<&str> = given.iter().map(|records| records.name()).collect();
    Some(format!("it is for records of type {}, and the operator takes {}", records.name(), given.join(" and ")))
}

fn mistake_in_rule(rule: &PanicRule, restarts: u32) -> Option<String> {
    let PanicRule { after, at_most, within, .. } = rule;
    if *after == 0 {
        Some("after(0): a record is withheld after one panic at least".to_owned())
    } else if *at_most == 0 {
        Some("at_most(0, ..): one record at least may be withheld".to_owned())
    } else if within.is_zero() || *within > WITHIN_MAX {
        Some(format!("at_most(.., {within:?}): the time must be above zero and at most 365 days"))
    } else if restarts < *after {
        Some(format!("after({after}) takes {after} restarts, and the restart strategy gives up after {restarts}"))
    } else {
        None
    }
}
