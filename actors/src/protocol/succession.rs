//! How the stored state of a job falls to the operators of the job as it is now: under today's names, and without what is
//! dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ChunkAddress, OperatorId};

/// An operator, with the names that it and its states had in older checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Succession {
    /// Its id.
    pub id: OperatorId,
    /// The ids that it had.
    pub former_ids: Vec<OperatorId>,
    /// Names that its states had, each with the name that the state has now.
    pub former_states: Vec<(Arc<str>, Arc<str>)>,
    /// States that it had, and that are to be left out.
    pub dropped_states: Vec<Arc<str>>,
}

/// What an operator makes of a stored state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is another operator's.
    Foreign,
    /// It was this operator's, and is left out.
    Dropped,
    /// It is this operator's state of that name.
    Taken {
        /// The name that it has now.
        state: Arc<str>,
        /// Whether operator or state were called otherwise. Nothing can be carried on from the checkpoint then.
        is_renamed: bool,
    },
}

/// Two stored names that both are taken for one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The operator that takes both.
    pub operator: OperatorId,
    /// What they are names of.
    pub of: NameOf,
    /// One of them.
    pub first: Arc<str>,
    /// The other.
    pub second: Arc<str>,
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameOf {
    /// An operator.
    Operator,
    /// A state of an operator.
    State,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = match self.of {
            NameOf::Operator => "operators",
            NameOf::State => "states",
        };
        write!(
            f,
            "the checkpoint holds the {of} '{}' and '{}', and operator '{}' takes both for one: take back formerly(..), or \
             start from a checkpoint that has one of them",
            self.first, self.second, self.operator
        )
    }
}

impl Succession {
    /// An operator that always had this id.
    pub fn new(id: OperatorId) -> Self {
        Self { id, former_ids: Vec::new(), former_states: Vec::new(), dropped_states: Vec::new() }
    }

    /// Whether the operator has or had this id.
    pub fn is_of(&self, operator: &OperatorId) -> bool {
        self.id == *operator || self.former_ids.contains(operator)
    }

    /// What it makes of what is stored at `address`.
    pub fn claim(&self, address: &ChunkAddress) -> Claim {
        let ChunkAddress { operator, state, .. } = address;
        if !self.is_of(operator) {
            return Claim::Foreign;
        }
        if self.dropped_states.contains(state) {
            return Claim::Dropped;
        }
        let today = self.former_states.iter().find(|(former, _)| former == state).map(|(_, today)| today);
        let is_renamed = today.is_some() || self.id != *operator;
        Claim::Taken { state: today.unwrap_or(state).clone(), is_renamed }
    }

    /// Two names among these addresses that would become one operator, or one state of this operator.
    pub fn conflict<'a>(&self, stored: impl Iterator<Item = &'a ChunkAddress>) -> Option<Conflict> {
        let mut operator: Option<&OperatorId> = None;
        let mut states: BTreeMap<Arc<str>, &Arc<str>> = BTreeMap::new();
        let found = |of, first: &str, second: &str| {
            Some(Conflict { operator: self.id.clone(), of, first: first.into(), second: second.into() })
        };
        for address in stored {
            let Claim::Taken { state, .. } = self.claim(address) else { continue };
            let first = *operator.get_or_insert(&address.operator);
            if *first != address.operator {
                return found(NameOf::Operator, first.as_str(), address.operator.as_str());
            }
            let first = *states.entry(state).or_insert(&address.state);
            if *first != address.state {
                return found(NameOf::State, first, &address.state);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CheckpointId, StateScope};

    fn address(operator: &str, state: &str) -> ChunkAddress {
        ChunkAddress {
            checkpoint: CheckpointId(1),
            operator: operator.into(),
            state: state.into(),
            scope: StateScope::KeyGroup(0),
            seq: 0,
        }
    }

    fn renamed() -> Succession {
        Succession {
            former_ids: vec!["old".into(), "older".into()],
            former_states: vec![("sum".into(), "total".into())],
            dropped_states: vec!["gone".into()],
            ..Succession::new("new".into())
        }
    }

    #[test]
    fn state_is_taken_under_todays_name_and_dropped_or_foreign_state_is_not() {
        let taken = |state: &str, is_renamed| Claim::Taken { state: state.into(), is_renamed };
        for (operator, state, claim) in [
            ("new", "count", taken("count", false)),
            ("new", "sum", taken("total", true)),
            ("old", "count", taken("count", true)),
            ("older", "sum", taken("total", true)),
            ("old", "gone", Claim::Dropped),
            ("new", "gone", Claim::Dropped),
            ("other", "count", Claim::Foreign),
            ("other", "gone", Claim::Foreign),
        ] {
            assert_eq!(renamed().claim(&address(operator, state)), claim, "{operator} {state}");
        }
    }

    #[test]
    fn two_stored_names_that_become_one_are_a_conflict() {
        let conflict = |stored: &[(&str, &str)]| {
            let stored: Vec<_> = stored.iter().map(|(operator, state)| address(operator, state)).collect();
            renamed().conflict(stored.iter()).map(|conflict| (conflict.of, conflict.to_string()))
        };
        assert_eq!(conflict(&[("old", "sum"), ("old", "count"), ("old", "gone"), ("other", "total")]), None);
        assert_eq!(conflict(&[("old", "gone"), ("new", "total"), ("new", "total")]), None);
        let (of, text) = conflict(&[("old", "count"), ("new", "total")]).expect("two operators");
        assert_eq!(of, NameOf::Operator);
        assert!(text.contains("'old'") && text.contains("'new'") && text.contains("formerly"), "{text}");
        let (of, text) = conflict(&[("new", "total"), ("new", "sum")]).expect("two states");
        assert_eq!(of, NameOf::State);
        assert!(text.contains("'total'") && text.contains("'sum'"), "{text}");
    }
}
