//! What a job starts from: the newest checkpoint of its store, a savepoint, or nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::SavepointConfig;
use millstream_actors::contract::{Manifest, SavepointId, SnapshotError, SnapshotStore, StoreOpening, is_mark};
use millstream_actors::protocol::{Claim, OperatorId};
use millstream_actors::task::JobSpec;

use crate::snapshot::{SavepointFile, SavepointFiles};
use crate::start_error::StartError;
use crate::state::use_of_name;

/// State of an operator that the job cannot take: it does not have the operator, or the operator does not declare it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnmatchedOperator {
    /// The operator.
    pub id: OperatorId,
    /// The names of its states, sorted, each with the bytes that are stored of it.
    pub states: Vec<(Arc<str>, u64)>,
}

impl fmt::Display for UnmatchedOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' (", self.id)?;
        for (place, (state, bytes)) in self.states.iter().enumerate() {
            write!(f, "{}'{state}' {bytes} B", if place > 0 { ", " } else { "" })?;
        }
        f.write_str(")")
    }
}

/// The names of the states of operators.
pub(crate) type DeclaredStates = BTreeMap<OperatorId, Vec<Arc<str>>>;

/// A job's settings that bear on what it restores.
pub(crate) struct RestoreSettings<'a> {
    pub(crate) spec: &'a JobSpec,
    /// The names of the states of each operator, where they are known.
    pub(crate) declared: &'a DeclaredStates,
    pub(crate) store: &'a Arc<dyn SnapshotStore>,
    pub(crate) savepoint: Option<Arc<SavepointFile>>,
    pub(crate) allow_unmatched_state: bool,
}

impl RestoreSettings<'_> {
    /// Decides what the job starts from, and checks that it fits. Reserves the ids that are the savepoint's.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn decide(&self, opening: &mut StoreOpening) -> Result<SavepointConfig, StartError> {
        let format = Arc::new(SavepointFiles);
        let newest = opening.retained.last();
        let noted = newest.map(|newest| SavepointId::origin_of(newest, self.store)).transpose()?.flatten();
        let Some(savepoint) = &self.savepoint else {
            if let Some(newest) = newest {
                self.check(newest, &self.store.describe())?;
            }
            return Ok(SavepointConfig { format, origin: None, descends_from: noted });
        };
        let (id, path) = (SavepointId::of(savepoint.manifest()), savepoint.path().to_owned());
        let descends_from = Some(id.clone());
        let (job, store) = (&*self.spec.name, self.store.describe());
        let Some(newest) = newest else {
            self.check(savepoint.manifest(), &path.display().to_string())?;
            if id.checkpoint > opening.reserved_up_to {
                self.store.reserve_ids(id.checkpoint)?;
                opening.reserved_up_to = id.checkpoint;
            }
            let whose = if id.job == job { "" } else { " as a fork" };
            log::info!(
                target: "millstream::supervisor",
                "job={job} starts from savepoint {}: checkpoint {} of job '{}'{whose}",
                path.display(), id.checkpoint, id.job
            );
            let manifest = savepoint.manifest().clone();
            return Ok(SavepointConfig { format, origin: Some((manifest, savepoint.clone())), descends_from });
        };
        let is_the_same = SavepointId::of(newest) == id;
        if !is_the_same && noted.as_ref() != Some(&id) {
            let checkpoint = newest.checkpoint;
            return Err(StartError::StoreNotEmpty { store, checkpoint, savepoint: path });
        }
        self.check(newest, &store)?;
        log::info!(
            target: "millstream::supervisor",
            "job={job} goes on from checkpoint {} in {store}, which goes back to savepoint {}",
            newest.checkpoint, path.display()
        );
        // A store whose newest checkpoint is the savepoint's own has nothing older in it.
        let manifest = savepoint.manifest().clone();
        let origin = (!is_the_same).then_some((manifest, savepoint.clone() as Arc<_>));
        Ok(SavepointConfig { format, origin, descends_from })
    }
}

impl RestoreSettings<'_> {
    /// Whether a checkpoint in `place` fits the job. Says which state is dropped.
    fn check(&self, from: &Manifest, place: &str) -> Result<(), StartError> {
        let (spec, checkpoint, store) = (self.spec, from.checkpoint, place.to_owned());
        if from.max_parallelism != spec.max_parallelism {
            let (stored, configured) = (from.max_parallelism, spec.max_parallelism);
            return Err(StartError::MaxParallelismChanged { store, checkpoint, stored, configured });
        }
        let addresses = || from.chunks.iter().map(|chunk| &chunk.address);
        if let Some(conflict) = spec.successions().find_map(|succession| succession.conflict(addresses())) {
            return Err(StartError::TakenTwice { store, checkpoint, conflict });
        }
        let Unclaimed { foreign, undeclared, dropped } = self.unclaimed(from);
        if !undeclared.is_empty() {
            return Err(StartError::UndeclaredState { store, checkpoint, operators: undeclared });
        }
        if !foreign.is_empty() && !self.allow_unmatched_state {
            return Err(StartError::UnmatchedState { store, checkpoint, operators: foreign });
        }
        for operator in foreign {
            log::warn!(
                target: "millstream::supervisor",
                "job={} has no operator {operator}: its state in checkpoint {checkpoint} of {place} is dropped",
                spec.name
            );
        }
        for operator in dropped {
            log::warn!(
                target: "millstream::supervisor",
                "job={} drops state of operator {operator} in checkpoint {checkpoint} of {place}, as drop_state(..) says",
                spec.name
            );
        }
        Ok(())
    }

    /// All state that no operator of the job takes.
    fn unclaimed(&self, from: &Manifest) -> Unclaimed {
        let (mut foreign, mut undeclared, mut dropped) = (Found::new(), Found::new(), Found::new());
        for chunk in from.chunks.iter().filter(|chunk| !is_mark(&chunk.address)) {
            let address = &chunk.address;
            let claims = self.spec.successions().map(|succession| (&succession.id, succession.claim(address)));
            let found = match claims.filter(|(_, claim)| *claim != Claim::Foreign).last() {
                None | Some((_, Claim::Foreign)) => &mut foreign,
                Some((_, Claim::Dropped)) => &mut dropped,
                Some((operator, Claim::Taken { state, .. })) if !self.is_declared(operator, &state) => &mut undeclared,
                Some((_, Claim::Taken { .. })) => continue,
            };
            let states = found.entry(address.operator.clone()).or_default();
            *states.entry(address.state.clone()).or_default() += u64::from(chunk.len);
        }
        Unclaimed { foreign: listed(foreign), undeclared: listed(undeclared), dropped: listed(dropped) }
    }

    fn is_declared(&self, operator: &OperatorId, state: &Arc<str>) -> bool {
        let names = self.declared.get(operator);
        use_of_name(state).is_some() || names.is_none_or(|names| names.contains(state))
    }
}

/// State of a checkpoint that no operator of the job takes.
struct Unclaimed {
    /// Of operators that the job does not have.
    foreign: Vec<UnmatchedOperator>,
    /// Of operators that it has, and that do not declare it.
    undeclared: Vec<UnmatchedOperator>,
    /// That it was told to drop.
    dropped: Vec<UnmatchedOperator>,
}

/// States of operators, with their bytes.
type Found = BTreeMap<OperatorId, BTreeMap<Arc<str>, u64>>;

fn listed(found: Found) -> Vec<UnmatchedOperator> {
    found.into_iter().map(|(id, states)| UnmatchedOperator { id, states: states.into_iter().collect() }).collect()
}

/// What a job is to be restored from, as it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestoreWish {
    pub(crate) savepoint: Option<PathBuf>,
    pub(crate) allow_unmatched_state: bool,
}

/// Since when a job is paused that starts now: as its store says, unless it is `wanted` otherwise, which the store keeps first.
pub(crate) fn pause_at_start(
    store: &dyn SnapshotStore,
    wanted: Option<bool>,
    unix_ms: u64,
) -> Result<Option<u64>, SnapshotError> {
    let kept = store.paused_since();
    let since = match wanted {
        None => kept,
        Some(true) => kept.or(Some(unix_ms)),
        Some(false) => None,
    };
    if since != kept {
        store.keep_pause(since)?;
    }
    Ok(since)
}
