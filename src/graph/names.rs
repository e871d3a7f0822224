//! Names under which state is found again: those of today, and those of older checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::protocol::{OperatorId, Succession};

use super::{GraphError, Node};

/// The names of an operator's states.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateNames {
    /// Those of today.
    pub(crate) names: Vec<Arc<str>>,
    /// Those of older checkpoints, each with today's.
    pub(crate) former: Vec<(Arc<str>, Arc<str>)>,
}

impl Node {
    /// Under which names its state may be stored.
    pub(crate) fn succession(&self) -> Succession {
        Succession {
            id: self.id.clone(),
            former_ids: self.former_ids.clone(),
            former_states: self.states.as_ref().map(|states| states.former.clone()).unwrap_or_default(),
            dropped_states: self.dropped_states.clone(),
        }
    }
}

/// What does not fit together in the names that operators and states had.
pub(super) fn mistakes_in_names(nodes: &[Node]) -> Vec<GraphError> {
    let mut errors = Vec::new();
    let mut said: BTreeMap<&OperatorId, &OperatorId> = BTreeMap::new();
    for node in nodes {
        for former in &node.former_ids {
            let first = said.insert(former, &node.id);
            let reason = if *former == node.id {
                "which is its id: take formerly(..) back".to_owned()
            } else if nodes.iter().any(|other| other.id == *former) {
                "which another operator of the job is: state cannot be taken from one that goes on".to_owned()
            } else if let Some(first) = first {
                format!("and so is operator '{first}': say it of one of them, once")
            } else {
                continue;
            };
            let (operator, former) = (node.id.clone(), former.clone());
            errors.push(GraphError::InvalidFormerId { operator, former, reason, at: node.at });
        }
        let (none, operator, at) = (StateNames::default(), &node.id, node.at);
        let mistakes = mistakes_in_states(node.states.as_ref().unwrap_or(&none), &node.dropped_states);
        errors.extend(mistakes.into_iter().map(|(state, reason)| GraphError::InvalidState {
            operator: operator.clone(),
            state: state.to_string(),
            reason,
            at,
        }));
    }
    errors
}

/// States, each with what is wrong about its former names.
fn mistakes_in_states(states: &StateNames, dropped: &[Arc<str>]) -> Vec<(Arc<str>, String)> {
    let StateNames { names, former } = states;
    let mut mistakes = Vec::new();
    let mut said: BTreeMap<&Arc<str>, &Arc<str>> = BTreeMap::new();
    for (old, today) in former {
        let first = said.insert(old, today);
        let reason = if old == today {
            format!("formerly(\"{old}\"), which is its name: take it back")
        } else if names.contains(old) {
            format!(
                "formerly(\"{old}\"), which another state of the function is called: it cannot be taken from one that goes on"
            )
        } else if let Some(first) = first {
            format!("formerly(\"{old}\"), which is said of state '{first}', too: say it of one of them, once")
        } else {
            continue;
        };
        mistakes.push((today.clone(), reason));
    }
    for state in dropped {
        if names.contains(state) {
            mistakes.push((state.clone(), format!("drop_state(\"{state}\"), and the function declares it")));
        } else if let Some(today) = said.get(state) {
            mistakes.push((state.clone(), format!("drop_state(\"{state}\"), and state '{today}' takes it over")));
        }
    }
    mistakes
}
