//! A table into a snapshot, and back.

use std::sync::Arc;

use millstream_actors::contract::{RestoredSection, SnapshotWriter, StateError, StateScope};
use millstream_actors::protocol::OperatorId;

use super::codec::SectionEncoder;
use super::{KeyedTable, StateKey, StateSet};

/// Writes every state of every key group that has an entry, one section each.
///
/// # Errors
/// [`StateError::Encode`]: a serializer gave up.
pub fn write_table<K: StateKey, S: StateSet>(
    operator: &OperatorId,
    names: &[Arc<str>],
    table: &KeyedTable<K, S::Row>,
    section: &mut SectionEncoder,
    writer: &mut SnapshotWriter,
) -> Result<(), StateError> {
    for (index, state) in names.iter().enumerate() {
        for group in table.range().iter() {
            S::encode_column(index, table.group(group), section).map_err(|reason| StateError::Encode {
                operator: operator.clone(),
                state: state.clone(),
                scope: StateScope::KeyGroup(group),
                reason,
            })?;
            if !section.is_empty() {
                let writer = writer.key_group(state, group);
                section.parts().into_iter().for_each(|part| writer.put(part));
            }
        }
    }
    Ok(())
}

/// Loads sections that [`write_table`] wrote. Entries whose key belongs to another group than the one they are stored
/// under go to their own, with one line in the log.
///
/// # Errors
/// [`StateError::Mismatch`]: a section of a state that is not declared, or not of a key group.
/// [`StateError::Decode`]: its bytes are not what the types expect, or a key belongs to a group of another subtask.
pub fn load_table<K: StateKey, S: StateSet>(
    operator: &OperatorId,
    names: &[Arc<str>],
    table: &mut KeyedTable<K, S::Row>,
    sections: &[RestoredSection],
) -> Result<(), StateError> {
    for section in sections {
        let mismatch = |reason| StateError::Mismatch { operator: operator.clone(), reason };
        let state = &section.state;
        let Some(index) = names.iter().position(|name| name == state) else {
            let reason = format!("the snapshot has a state '{state}', which the function does not declare");
            return Err(mismatch(reason));
        };
        let StateScope::KeyGroup(group) = section.scope else {
            return Err(mismatch(format!("state '{state}' is keyed now, it was stored as {:?}", section.scope)));
        };
        let loaded = S::decode_column(index, &section.bytes, group, table);
        let moved = loaded.map_err(|error| StateError::Decode {
            operator: operator.clone(),
            state: state.clone(),
            scope: section.scope,
            version: error.version,
            reason: error.reason,
        })?;
        if moved > 0 {
            log::warn!(
                target: "millstream::state",
                "operator={operator} state={state} group={group}: {moved} entries belong to other groups now and were moved: the key's Hash has changed"
            );
        }
    }
    Ok(())
}
