//! The graph while it is being written: nodes in the order of the program, and the mistakes seen on the way.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use millstream_actors::contract::{Boundedness, SinkGuarantee};
use millstream_actors::protocol::OperatorId;

use super::error::At;
use super::names::mistakes_in_names;
use crate::state::{StateBackend, use_of_name};

use super::{AnyPort, GraphError, InputEdge, Node, NodeId, NodeKind, PortRef, StreamRef, name_mistake};

/// The graph of an environment, shared by its streams.
pub(crate) type GraphHandle = Rc<RefCell<GraphBuilder>>;

/// Nodes and mistakes.
#[derive(Default)]
pub(crate) struct GraphBuilder {
    pub(crate) nodes: Vec<Node>,
    pub(crate) errors: Vec<GraphError>,
}

/// The settings of a job that its graph needs: those that hold for every node, and the defaults of nodes that set none.
#[derive(Clone, Debug)]
pub(crate) struct JobSettings {
    pub(crate) job: String,
    pub(crate) parallelism: u32,
    pub(crate) max_parallelism: u32,
    pub(crate) takes_checkpoints: bool,
    pub(crate) state_backend: StateBackend,
    /// Failures in a row that the restart strategy answers with a restart.
    pub(crate) restarts: u32,
}

impl GraphBuilder {
    /// Adds a node. Without an id of the user's it gets one from its position.
    pub(crate) fn add(
        &mut self,
        name: &str,
        id: Option<&str>,
        at: At,
        inputs: Vec<InputEdge>,
        main: Option<Box<dyn AnyPort>>,
        kind: NodeKind,
    ) -> NodeId {
        let node = self.nodes.len();
        if id.is_some_and(str::is_empty) {
            self.errors.push(GraphError::EmptyId { at });
        }
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.check_name("the id", id, at);
        }
        let name = id.unwrap_or(name);
        let id = match id {
            Some(id) => OperatorId::from(id),
            None => OperatorId::new(format!("{name}#{node}")),
        };
        if let Some(first) = self.nodes.iter().find(|other| other.id == id) {
            self.errors.push(GraphError::DuplicateId { id: id.clone(), first: first.at, second: at });
        }
        self.nodes.push(Node {
            id,
            name: name.into(),
            at,
            former_ids: Vec::new(),
            states: None,
            dropped_states: Vec::new(),
            parallelism: None,
            is_keyed: false,
            state_backend: None,
            chains: true,
            holds_end: false,
            own_arbiters: false,
            region_policies: Vec::new(),
            withholds_timers: false,
            on_panic: Vec::new(),
            inputs,
            main,
            sides: BTreeMap::new(),
            kind,
        });
        node
    }

    /// Notes a name that nothing can have.
    fn check_name(&mut self, what: &'static str, name: &str, at: At) {
        if let Some(reason) = name_mistake(name) {
            self.errors.push(GraphError::InvalidName { what, name: name.to_owned(), reason, at });
        }
    }

    /// Sets the name that is shown of the node that made a stream.
    pub(crate) fn set_name(&mut self, node: Option<NodeId>, name: &str, at: At) {
        self.check_name("the name", name, at);
        if let Some(node) = self.setting(node, "name(..)", at) {
            node.name = name.into();
        }
    }

    /// The node that made a stream, if a setting may be made on it.
    pub(crate) fn setting(&mut self, node: Option<NodeId>, setting: &'static str, at: At) -> Option<&mut Node> {
        if node.is_none() {
            self.errors.push(GraphError::NothingToSet { setting, at });
        }
        node.map(|node| &mut self.nodes[node])
    }

    /// The operator may hold the end back: it begins a task.
    pub(crate) fn holds_end(&mut self, node: NodeId) {
        let node = &mut self.nodes[node];
        (node.holds_end, node.chains) = (true, false);
    }

    /// Connects a side output of a node.
    pub(crate) fn add_side(&mut self, node: NodeId, tag: &Arc<str>, port: Box<dyn AnyPort>, at: At) {
        let operator = &mut self.nodes[node];
        if operator.sides.contains_key(tag) {
            let (tag, operator) = (tag.to_string(), operator.id.clone());
            self.errors.push(GraphError::TagUsedTwice { tag, operator, at });
        } else {
            operator.sides.insert(tag.clone(), port);
        }
    }

    /// Records of this stream can be copied by `copy`, a `fn(&T) -> T`.
    pub(crate) fn set_copy(&mut self, stream: &StreamRef, copy: Box<dyn Any>) {
        let node = &mut self.nodes[stream.node];
        let port = match &stream.port {
            PortRef::Main => node.main.as_mut(),
            PortRef::Side(tag) => node.sides.get_mut(tag),
        };
        if let Some(port) = port {
            port.set_copy(copy);
        }
    }

    /// Notes states of one function that have one name.
    pub(crate) fn check_state_names(&mut self, id: &str, names: &[Arc<str>], at: At) {
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                let (operator, state) = (id.into(), name.to_string());
                self.errors.push(GraphError::DuplicateState { operator, state, at });
            }
            if let Some(for_what) = use_of_name(name) {
                let reason = format!("snapshots use this name for {for_what}");
                self.note_mistakes_of_states(id, vec![(name.clone(), reason)], at);
            }
        }
    }

    /// Notes what is wrong in the declaration of states of a function.
    pub(crate) fn note_mistakes_of_states(&mut self, id: &str, mistakes: Vec<(Arc<str>, String)>, at: At) {
        self.errors.extend(mistakes.into_iter().map(|(state, reason)| GraphError::InvalidState {
            operator: id.into(),
            state: state.to_string(),
            reason,
            at,
        }));
    }

    /// The names of the states of each operator of which they are known.
    pub(crate) fn declared_states(&self) -> BTreeMap<OperatorId, Vec<Arc<str>>> {
        let of_node = |node: &Node| Some((node.id.clone(), node.states.as_ref()?.names.clone()));
        self.nodes.iter().filter_map(of_node).collect()
    }

    /// Nodes that are no sinks, and none of whose outputs anything takes.
    pub(crate) fn dead_ends(&self) -> impl Iterator<Item = &Node> {
        let taken: BTreeSet<NodeId> =
            self.nodes.iter().flat_map(|node| &node.inputs).map(|edge| edge.from.node).collect();
        let ends = self.nodes.iter().enumerate().filter(move |(id, _)| !taken.contains(id)).map(|(_, node)| node);
        ends.filter(|node| !matches!(node.kind, NodeKind::Sink(_)))
    }

    /// Sinks that would be in each other's way.
    fn check_outputs(&self) -> Vec<GraphError> {
        let mut taken: BTreeMap<String, At> = BTreeMap::new();
        let mut errors = Vec::new();
        for node in &self.nodes {
            let NodeKind::Sink(sink) = &node.kind else { continue };
            let Some(output) = sink.exclusive_output() else { continue };
            match taken.get(&output) {
                Some(first) => {
                    let (sink, first, second) = (node.id.clone(), *first, node.at);
                    errors.push(GraphError::OutputTaken { sink, output, first, second });
                }
                None => drop(taken.insert(output, node.at)),
            }
        }
        errors
    }

    /// Adds the mistakes that show only in the whole graph.
    pub(crate) fn check(&self, settings: &JobSettings) -> Vec<GraphError> {
        let mut errors = self.errors.clone();
        errors.extend(self.check_outputs());
        if !self.nodes.iter().any(|node| matches!(node.kind, NodeKind::Source(_))) {
            errors.push(GraphError::NoSource { job: settings.job.clone() });
        }
        errors.extend(mistakes_in_names(&self.nodes));
        errors.extend(self.check_region_policies());
        errors.extend(self.check_directives(settings));
        let unbounded = self.nodes.iter().find(
            |node| matches!(&node.kind, NodeKind::Source(source) if source.boundedness() == Boundedness::Unbounded),
        );
        for node in &self.nodes {
            let (operator, at, max) = (node.id.clone(), node.at, settings.max_parallelism);
            match node.parallelism.unwrap_or(settings.parallelism) {
                0 => errors.push(GraphError::ZeroParallelism { operator, at }),
                parallelism if parallelism > max => {
                    errors.push(GraphError::ParallelismAboveMax { operator, parallelism, max, at });
                }
                _ => {}
            }
            let connector = match &node.kind {
                NodeKind::Source(source) => source.mistake(),
                NodeKind::Sink(sink) => sink.mistake(),
                NodeKind::Operator(_) => None,
            };
            if let Some(reason) = connector {
                errors.push(GraphError::InvalidConnector { operator: node.id.clone(), reason, at });
            }
            if let Some(mistake) = node.state_backend.as_ref().and_then(StateBackend::mistake) {
                let operator = node.id.clone();
                errors.push(GraphError::StateBackend { operator: Some(operator), mistake, at });
            }
            if let (NodeKind::Sink(sink), Some(source), false) = (&node.kind, unbounded, settings.takes_checkpoints)
                && sink.guarantee() == SinkGuarantee::ExactlyOnce
            {
                errors.push(GraphError::NeverCommits { sink: node.id.clone(), source_id: source.id.clone(), at });
            }
        }
        errors
    }
}
