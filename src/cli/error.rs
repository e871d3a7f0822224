//! Why a command could not do its work, and the process's exit status.

use std::io;
use std::path::PathBuf;

use millstream_actors::contract::SnapshotError;
use millstream_actors::protocol::CheckpointId;

use super::top::TopError;
use crate::snapshot::inspection::ForkError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It did its work, and found no damage.
    Fine,
    /// It found damage.
    Damage,
    /// It could not do its work.
    Trouble,
    /// It found differences, and was to say so.
    Differences,
}

impl Ending {
    /// The exit status.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Damage => 1,
            Self::Trouble => 2,
            Self::Differences => 3,
        }
    }
}

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Store(#[from] SnapshotError),
    #[error(transparent)]
    Fork(#[from] ForkError),
    #[error(transparent)]
    Top(#[from] TopError),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("{}: no checkpoint is retained", store.display())]
    Empty { store: PathBuf },
    #[error("{}: checkpoint {id} is not retained; there are {}", store.display(), shown(retained))]
    NoCheckpoint { store: PathBuf, id: CheckpointId, retained: Vec<CheckpointId> },
    #[error("{}: the manifest of checkpoint {id} is damaged: {reason}", store.display())]
    DamagedManifest { store: PathBuf, id: CheckpointId, reason: String },
    #[error("checkpoint {checkpoint} has no state '{state}' of operator '{operator}'; it has {known}")]
    NoState { checkpoint: CheckpointId, operator: String, state: String, known: String },
    #[error("{what}: {reason}")]
    Malformed { what: String, reason: String },
}

impl CliError {
    pub(super) fn ending(&self) -> Ending {
        match self {
            Self::Store(error) | Self::Fork(ForkError::Store(error)) if error.is_damage() => Ending::Damage,
            Self::DamagedManifest { .. } | Self::Malformed { .. } => Ending::Damage,
            _ => Ending::Trouble,
        }
    }

    /// Whether whoever read the output has left.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What may help.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Store(SnapshotError::Locked { .. }) => {
                Some("a job that runs has its store to itself: stop it, or pass --copy to look at a copy of the file")
            }
            Self::Top(error) => error.hint(),
            _ => None,
        }
    }
}

fn shown(ids: &[CheckpointId]) -> String {
    if ids.is_empty() {
        return "none".to_owned();
    }
    ids.iter().map(CheckpointId::to_string).collect::<Vec<_>>().join(", ")
}
