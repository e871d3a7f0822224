//! The engine's own sections of a snapshot: positions of a source, pending commits of a sink.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::{RestoredSection, SectionWriter, StateError, StateScope};
use crate::protocol::OperatorId;

/// Version of these sections: MessagePack arrays `[version, items]`.
const SECTION_VERSION: u8 = 1;

/// Writes a list of the engine's own as one section of this subtask.
pub(crate) fn write_list<T: Serialize>(
    writer: &mut SectionWriter,
    operator: &OperatorId,
    state: &str,
    items: &[T],
) -> Result<(), StateError> {
    writer.set_operator(operator);
    let section = writer.subtask(&state.into());
    rmp_serde::encode::write(section, &(SECTION_VERSION, items)).map_err(|error| StateError::Encode {
        operator: operator.clone(),
        state: state.into(),
        scope: StateScope::Subtask(0),
        version: SECTION_VERSION.into(),
        reason: error.to_string(),
    })
}

/// Reads such lists back: those of all subtasks, in order.
pub(crate) fn read_lists<T: DeserializeOwned>(
    operator: &OperatorId,
    state: &str,
    sections: Vec<RestoredSection>,
) -> Result<Vec<T>, StateError> {
    let mut items = Vec::new();
    if let Some(other) = sections.iter().find(|section| &*section.state != state) {
        let reason =
            format!("the checkpoint holds its state '{}', not '{state}': the id was another kind's", other.state);
        return Err(StateError::Mismatch { operator: operator.clone(), reason });
    }
    for section in &sections {
        let decoded: Result<(u8, Vec<T>), _> = rmp_serde::from_slice(&section.bytes);
        match decoded {
            Ok((SECTION_VERSION, more)) => items.extend(more),
            Ok((version, _)) => return Err(undecodable(operator, section, version.into(), unknown(version))),
            Err(error) => return Err(undecodable(operator, section, SECTION_VERSION.into(), error.to_string())),
        }
    }
    Ok(items)
}

fn unknown(version: u8) -> String {
    format!("the section has version {version}, this release reads {SECTION_VERSION}")
}

fn undecodable(operator: &OperatorId, section: &RestoredSection, version: u32, reason: String) -> StateError {
    StateError::Decode {
        operator: operator.clone(),
        state: section.state.clone(),
        scope: section.scope,
        version,
        reason,
    }
}
