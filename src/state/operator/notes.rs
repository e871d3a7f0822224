//! What a snapshot has of an operator besides its states, as lists, a section of each subtask: for what its step at the end of
//! the input has run, so that a restore does not run it again; up to which watermark it has acted, and what it has said itself, so
//! that a restore does not fall behind that. A section is there only if it says something.

use std::sync::Arc;

use millstream_actors::contract::{RestoredSection, SectionWriter, StateError, StateScope};
use millstream_actors::protocol::{OperatorId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::section::{self, Items, Shape};
use super::{CopyError, Share, StoredCopy};
use crate::state::codec::put_packed;

/// The version of all of them.
const VERSION: u32 = 1;

/// What a section says.
pub(crate) trait Note: Serialize + DeserializeOwned + 'static {
    /// The name of the section. No state can have it.
    const NAME: &'static str;
}

/// For a key group, or a subtask, the step at the end of input has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Ended(pub(crate) u32);

impl Note for Ended {
    const NAME: &'static str = "end-of-input";
}

/// A key group has been worked on up to this watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Reached(pub(crate) u32, pub(crate) Timestamp);

impl Note for Reached {
    const NAME: &'static str = "operator-watermark";
}

/// This subtask of so many has said this watermark, where it has no keys. One that has said none yet has none of these, or one of
/// `Timestamp::MIN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Said(pub(crate) u32, pub(crate) u32, pub(crate) Timestamp);

impl Note for Said {
    const NAME: &'static str = "own-watermark";
}

impl Said {
    /// What a subtask has said before it was restored: `Timestamp::MIN` if nothing. Which of today's subtasks gets the records of
    /// which that there were is not known, where their number is another one; so none begins ahead of any that it may go on for.
    pub(crate) fn before(said: &[Self], share: Share) -> Timestamp {
        let own = said.iter().find(|Self(of, among, _)| (*of, *among) == (share.subtask, share.parallelism));
        if let Some(Self(_, _, watermark)) = own {
            return *watermark;
        }
        let have_all_said = said.first().is_some_and(|Self(_, among, _)| said.len() == *among as usize);
        let least = said.iter().map(|Self(_, _, watermark)| *watermark).min();
        least.filter(|_| have_all_said).unwrap_or(Timestamp::MIN)
    }
}

/// For what snapshots use a name, if they do.
pub(crate) fn use_of_name(name: &str) -> Option<&'static str> {
    match name {
        Ended::NAME => Some("the step at the end of input"),
        Reached::NAME => Some("the watermark up to which an operator has acted"),
        Said::NAME => Some("the watermark that an operator has said"),
        _ => None,
    }
}

/// Writes a section, if there is something to say.
///
/// # Errors
/// [`StateError::Encode`].
pub(crate) fn write_notes<N: Note>(
    operator: &OperatorId,
    notes: &[N],
    writer: &mut SectionWriter,
) -> Result<(), StateError> {
    if notes.is_empty() {
        return Ok(());
    }
    let (state, scope): (Arc<str>, _) = (N::NAME.into(), StateScope::Subtask(writer.subtask_index()));
    let written = section::write(Shape::List, VERSION, notes.iter(), writer.subtask(&state), put_packed);
    let version = VERSION;
    written.map_err(|reason| StateError::Encode { operator: operator.clone(), state, scope, version, reason })
}

/// Takes the sections of all subtasks out of what is to be restored: what each of them had written.
///
/// # Errors
/// [`StateError::Decode`].
pub(crate) fn take_notes<N: Note>(
    operator: &OperatorId,
    sections: &mut Vec<RestoredSection>,
) -> Result<Vec<Vec<N>>, StateError> {
    let mut parts = Vec::new();
    for section in sections.extract_if(.., |section| &*section.state == N::NAME) {
        let scope = section.scope;
        let StateScope::Subtask(subtask) = scope else {
            let reason = format!("'{}' was stored as {scope:?}", N::NAME);
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

fn read<N: Note>(copy: StoredCopy<'_>) -> Result<Vec<N>, CopyError> {
    let mut items = Items::open(copy, Shape::List)?;
    if items.version != VERSION {
        return Err(items.failed(format!("it has version {}, this release reads {VERSION}", items.version)));
    }
    let mut notes = Vec::new();
    while items.left > 0 {
        notes.push(items.next(section::take)?);
    }
    items.close()?;
    Ok(notes)
}
