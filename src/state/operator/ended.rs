//! What a snapshot has of an operator's step at the end of its input: that it has run, so that a restore does not run it
//! again. A section of each subtask, stored as a list; there is none as long as the step has not run.

use std::sync::Arc;

use millstream_actors::contract::{RestoredSection, SnapshotWriter, StateError, StateScope};
use millstream_actors::protocol::OperatorId;

use super::section::{self, Items, Shape};
use super::{CopyError, StoredCopy};
use crate::state::codec::put_packed;

/// The name of the section. No state can have it.
pub(crate) const END_OF_INPUT: &str = "end-of-input";

/// Writes the section: for what the step has run.
///
/// # Errors
/// [`StateError::Encode`].
pub(crate) fn write_ended(operator: &OperatorId, ended: &[u32], writer: &mut SnapshotWriter) -> Result<(), StateError> {
    let (state, scope): (Arc<str>, _) = (END_OF_INPUT.into(), StateScope::Subtask(writer.subtask_index()));
    section::write(Shape::List, ended.iter(), writer.subtask(&state), put_packed).map_err(|reason| StateError::Encode {
        operator: operator.clone(),
        state,
        scope,
        version: 1,
        reason,
    })
}

/// Takes the sections of all subtasks out of what is to be restored: what each of them had written.
///
/// # Errors
/// [`StateError::Decode`].
pub(crate) fn take_ended(
    operator: &OperatorId,
    sections: &mut Vec<RestoredSection>,
) -> Result<Vec<Vec<u32>>, StateError> {
    let mut parts = Vec::new();
    for section in sections.extract_if(.., |section| &*section.state == END_OF_INPUT) {
        let scope = section.scope;
        let StateScope::Subtask(subtask) = scope else {
            let reason = format!("'{END_OF_INPUT}' was stored as {scope:?}");
            return Err(StateError::Mismatch { operator: operator.clone(), reason });
        };
        let part = read(StoredCopy { subtask, bytes: &section.bytes });
        parts.push(part.map_err(|CopyError { version, reason, .. }| StateError::Decode {
            operator: operator.clone(),
            state: section.state.clone(),
            scope,
            version,
            reason,
        })?);
    }
    Ok(parts)
}

fn read(copy: StoredCopy<'_>) -> Result<Vec<u32>, CopyError> {
    let mut items = Items::open(copy, Shape::List)?;
    let mut ended = Vec::new();
    while items.left > 0 {
        ended.push(items.next()?);
    }
    items.close()?;
    Ok(ended)
}
