//! The settings of a job, each with where it was made, and what is wrong with them.

use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::SnapshotStore;
use millstream_actors::protocol::{Checkpointing, Limits, RestartStrategy};

use super::GraphError;
use super::error::At;
use crate::state::StateBackend;

/// Most key groups a job may have.
const MAX_PARALLELISM_MAX: u32 = 1 << 15;
/// Longest recovery objective and checkpoint interval: longer ones are a slip of the unit.
const INTERVAL_LIMIT: Duration = Duration::from_secs(365 * 86_400);
/// Longest name of a job or an operator, in bytes: names are in log lines, and in every manifest.
const NAME_BYTES_MAX: usize = 1024;

/// A setting, and where it was made.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) value: T,
    pub(crate) at: At,
}

impl<T> Placed<T> {
    pub(crate) fn new(value: T, at: At) -> Self {
        Self { value, at }
    }
}

/// Why nothing can be called so.
pub(crate) fn name_mistake(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        Some("it is blank")
    } else if name.chars().any(char::is_control) {
        Some("it holds control characters, which would tear log lines and cannot name threads")
    } else if name.len() > NAME_BYTES_MAX {
        Some("it is longer than 1,024 bytes")
    } else {
        None
    }
}

pub(crate) fn check_max_parallelism(max: u32, at: At) -> Option<GraphError> {
    (!(1..=MAX_PARALLELISM_MAX).contains(&max)).then_some(GraphError::MaxParallelism { max, at })
}

pub(crate) fn check_state_backend(backend: &Placed<StateBackend>) -> Option<GraphError> {
    let mistake = backend.value.mistake()?;
    Some(GraphError::StateBackend { operator: None, mistake, at: backend.at })
}

pub(crate) fn check_store(store: &Placed<Arc<dyn SnapshotStore>>) -> Option<GraphError> {
    let reason = store.value.mistake()?;
    Some(GraphError::InvalidSetting { setting: "snapshot_store(..)", reason, at: store.at })
}

pub(crate) fn check_restart(restart: &Placed<RestartStrategy>) -> Option<GraphError> {
    let reason = restart.value.mistake()?;
    Some(GraphError::InvalidSetting { setting: "restart_strategy(..)", reason, at: restart.at })
}

pub(crate) fn check_limits(limits: &Placed<Limits>) -> impl Iterator<Item = GraphError> {
    let at = limits.at;
    let mistakes = limits.value.mistakes().into_iter();
    mistakes.map(move |reason| GraphError::InvalidSetting { setting: "limits(..)", reason, at })
}

pub(crate) fn check_checkpointing(checkpointing: &Placed<Checkpointing>) -> Vec<GraphError> {
    let Placed { value: checkpointing, at } = checkpointing;
    let (at, interval, (min, max)) = (*at, checkpointing.interval(), checkpointing.interval_bounds());
    let mut errors = Vec::new();
    if interval.is_some_and(|interval| interval.is_zero()) {
        errors.push(GraphError::ZeroInterval { at });
    }
    if let Some(objective) = checkpointing.recovery_objective() {
        if objective.is_zero() || objective > INTERVAL_LIMIT {
            errors.push(GraphError::RecoveryObjective { objective, at });
        }
        if interval.is_none() {
            errors.push(GraphError::ObjectiveWithoutCheckpoints { objective, at });
        }
    }
    if min.is_zero() || min > max || max > INTERVAL_LIMIT {
        errors.push(GraphError::IntervalBounds { min, max, at });
    }
    let others = checkpointing.mistakes().into_iter();
    errors.extend(others.map(|reason| GraphError::InvalidSetting { setting: "checkpointing(..)", reason, at }));
    errors
}
