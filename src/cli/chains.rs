//! Reading states from a store, one key group at a time.

use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::contract::{Manifest, StateScope};
use millstream_actors::protocol::CheckpointId;

use super::error::CliError;
use crate::snapshot::inspection::{Inspection, Section, StateId};
use crate::state::codec::{Entries, Unreadable, merged, plain};

/// The bytes of one state of one key group or subtask: the whole state, and the changes since.
pub(super) struct Chain {
    sections: Vec<(CheckpointId, Vec<u8>)>,
}

impl Chain {
    /// Reads and verifies it.
    ///
    /// # Errors
    /// [`CliError::Store`].
    pub(super) fn read(store: &Inspection, sections: &[Section]) -> Result<Self, CliError> {
        let read = |section: &Section| Ok((section.checkpoint, section.read(store)?));
        Ok(Self { sections: sections.iter().map(read).collect::<Result<_, CliError>>()? })
    }

    /// Its sections as they are stored.
    pub(super) fn sections(&self) -> impl Iterator<Item = (CheckpointId, &[u8])> {
        self.sections.iter().map(|(checkpoint, bytes)| (*checkpoint, &**bytes))
    }

    /// Unpacks its entries, for [`entries`](Self::entries).
    ///
    /// # Errors
    /// [`CliError::Malformed`].
    pub(super) fn unpack(&mut self, id: &StateId, scope: StateScope) -> Result<(), CliError> {
        for (_, bytes) in &mut self.sections {
            let unpacked = plain(bytes).map_err(|reason| malformed(id, scope, reason))?.into_owned();
            *bytes = unpacked;
        }
        Ok(())
    }

    /// Its entries. `Err` with the reason if it is written in a way that is not known here.
    ///
    /// # Errors
    /// [`CliError::Malformed`].
    pub(super) fn entries(&self, id: &StateId, scope: StateScope) -> Result<Result<Entries<'_>, String>, CliError> {
        match merged(self.sections()) {
            Ok(entries) => Ok(Ok(entries)),
            Err(unknown @ Unreadable::Unknown(_)) => Ok(Err(unknown.to_string())),
            Err(Unreadable::Malformed(reason)) => Err(malformed(id, scope, reason)),
        }
    }
}

fn malformed(id: &StateId, scope: StateScope, reason: String) -> CliError {
    let what = format!("state '{}' of operator '{}', {scope}", id.state, id.operator);
    CliError::Malformed { what, reason: format!("its bytes are as they were written, and do not decode: {reason}") }
}

/// The manifest of a checkpoint, of the newest one if `id` is `None`.
///
/// # Errors
/// [`CliError::NoCheckpoint`], [`CliError::Empty`], [`CliError::DamagedManifest`].
pub(super) fn manifest_of(store: &Inspection, id: Option<u64>) -> Result<&Arc<Manifest>, CliError> {
    let path = || PathBuf::from(store.name());
    let checkpoints = store.checkpoints();
    let found = match id {
        None => checkpoints.last().ok_or_else(|| CliError::Empty { store: path() })?,
        Some(id) => checkpoints.iter().find(|checkpoint| checkpoint.id.0 == id).ok_or_else(|| {
            let retained = checkpoints.iter().map(|checkpoint| checkpoint.id).collect();
            CliError::NoCheckpoint { store: path(), id: CheckpointId(id), retained }
        })?,
    };
    found.manifest.as_ref().map_err(|reason| CliError::DamagedManifest {
        store: path(),
        id: found.id,
        reason: reason.clone(),
    })
}
