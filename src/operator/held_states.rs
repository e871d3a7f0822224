//! The states of a subtask that are not keyed, and how they get into snapshots and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_actors::contract::{RestoredSection, SectionWriter, StateError, StateScope};
use millstream_actors::protocol::OperatorId;

use crate::state::codec::OTHERWISE_DECLARED;
use crate::state::{OperatorStateSet, Share, StoredCopy, undeclared};

/// What subtasks had stored of one state.
type Copies = Vec<(u32, Vec<u8>)>;

/// Declared states, and what a subtask holds of them.
pub(crate) struct HeldStates<S: OperatorStateSet> {
    operator: OperatorId,
    states: S,
    names: Vec<Arc<str>>,
    held: S::Held,
}

impl<S: OperatorStateSet> HeldStates<S> {
    /// Nothing is held yet.
    pub(crate) fn new(operator: OperatorId, states: S) -> Self {
        Self { operator, names: states.names(), states, held: Default::default() }
    }

    /// Lends them.
    #[inline]
    pub(crate) fn handles(&mut self) -> S::Handles<'_> {
        self.states.handles(&mut self.held)
    }

    /// Whether a section is of one of them.
    pub(crate) fn has(&self, section: &RestoredSection) -> bool {
        self.names.contains(&section.state)
    }

    /// Writes all of them, a section each.
    ///
    /// # Errors
    /// If one cannot be written.
    pub(crate) fn write(&self, share: Share, writer: &mut SectionWriter) -> Result<(), StateError> {
        for (index, name) in self.names.iter().enumerate() {
            let section = writer.subtask(name);
            self.states.write(index, &self.held, section).map_err(|reason| StateError::Encode {
                operator: self.operator.clone(),
                state: name.clone(),
                scope: StateScope::Subtask(share.subtask),
                version: self.states.version(index),
                reason,
            })?;
        }
        Ok(())
    }

    /// Takes this subtask's share of what all subtasks had stored.
    ///
    /// # Errors
    /// If a section is of no state that is declared, or cannot be read.
    pub(crate) fn load(&mut self, sections: Vec<RestoredSection>, share: Share) -> Result<(), StateError> {
        for (index, copies) in self.by_state(sections)? {
            let copies: Vec<StoredCopy<'_>> =
                copies.iter().map(|(subtask, bytes)| StoredCopy { subtask: *subtask, bytes }).collect();
            self.states.load(index, &mut self.held, &copies, share).map_err(|error| StateError::Decode {
                operator: self.operator.clone(),
                state: self.names[index].clone(),
                scope: StateScope::Subtask(error.subtask),
                version: error.version,
                reason: error.reason,
            })?;
        }
        Ok(())
    }

    fn mismatch(&self, reason: String) -> StateError {
        StateError::Mismatch { operator: self.operator.clone(), reason }
    }

    /// The sections of each state in the order of the subtasks that stored them.
    fn by_state(&self, sections: Vec<RestoredSection>) -> Result<BTreeMap<usize, Copies>, StateError> {
        let mut states: BTreeMap<usize, Copies> = BTreeMap::new();
        for RestoredSection { state, scope, bytes, .. } in sections {
            let Some(index) = self.names.iter().position(|name| *name == state) else {
                return Err(self.mismatch(undeclared(&state)));
            };
            let StateScope::Subtask(subtask) = scope else {
                let reason =
                    format!("state '{state}' is not keyed now, it was stored for {scope}; {OTHERWISE_DECLARED}");
                return Err(self.mismatch(reason));
            };
            states.entry(index).or_default().push((subtask, bytes));
        }
        for (index, copies) in &mut states {
            copies.sort_by_key(|(subtask, _)| *subtask);
            if let Some((expected, _)) = (0..).zip(&*copies).find(|(expected, (subtask, _))| expected != subtask) {
                let (state, missing) = (&self.names[*index], StateScope::Subtask(expected));
                let reason = format!("state '{state}' has {} parts, and that of {missing} is missing", copies.len());
                return Err(self.mismatch(reason));
            }
        }
        Ok(states)
    }
}
