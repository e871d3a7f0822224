//! What a job starts from: the newest checkpoint of its store, a savepoint, or nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use millstream_actors::SavepointConfig;
use millstream_actors::contract::{Manifest, SavepointId, SnapshotStore, StoreOpening, is_mark};
use millstream_actors::protocol::OperatorId;
use millstream_actors::task::JobSpec;

use crate::environment::StartError;
use crate::snapshot::{SavepointFile, SavepointFiles};

/// State of an operator that the job does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A job's settings that bear on what it restores.
pub(crate) struct RestoreSettings<'a> {
    pub(crate) spec: &'a JobSpec,
    pub(crate) store: &'a Arc<dyn SnapshotStore>,
    pub(crate) savepoint: Option<SavepointFile>,
    pub(crate) allow_unmatched_state: bool,
}

impl RestoreSettings<'_> {
    /// Decides what the job starts from, and checks that it fits. Reserves the ids that are the savepoint's.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn decide(self, opening: &mut StoreOpening) -> Result<SavepointConfig, StartError> {
        let format = Arc::new(SavepointFiles);
        let newest = opening.retained.last();
        let noted = newest.map(|newest| SavepointId::origin_of(newest, self.store)).transpose()?.flatten();
        let Some(savepoint) = self.savepoint else {
            if let Some(newest) = newest {
                check(self.spec, newest, &self.store.describe(), self.allow_unmatched_state)?;
            }
            return Ok(SavepointConfig { format, origin: None, descends_from: noted });
        };
        let (id, path) = (SavepointId::of(savepoint.manifest()), savepoint.path().to_owned());
        let descends_from = Some(id.clone());
        let (job, store) = (&*self.spec.name, self.store.describe());
        let Some(newest) = newest else {
            check(self.spec, savepoint.manifest(), &path.display().to_string(), self.allow_unmatched_state)?;
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
            return Ok(SavepointConfig { format, origin: Some((manifest, Arc::new(savepoint))), descends_from });
        };
        let is_the_same = SavepointId::of(newest) == id;
        if !is_the_same && noted.as_ref() != Some(&id) {
            let checkpoint = newest.checkpoint;
            return Err(StartError::StoreNotEmpty { store, checkpoint, savepoint: path });
        }
        check(self.spec, newest, &store, self.allow_unmatched_state)?;
        log::info!(
            target: "millstream::supervisor",
            "job={job} goes on from checkpoint {} in {store}, which goes back to savepoint {}",
            newest.checkpoint, path.display()
        );
        // A store whose newest checkpoint is the savepoint's own has nothing older in it.
        let manifest = savepoint.manifest().clone();
        let origin = (!is_the_same).then_some((manifest, Arc::new(savepoint) as Arc<_>));
        Ok(SavepointConfig { format, origin, descends_from })
    }
}

/// Whether a checkpoint in `place` fits the job. Says which state is dropped, if that is allowed.
fn check(spec: &JobSpec, from: &Manifest, place: &str, allow_unmatched_state: bool) -> Result<(), StartError> {
    let checkpoint = from.checkpoint;
    if from.max_parallelism != spec.max_parallelism {
        let (stored, configured) = (from.max_parallelism, spec.max_parallelism);
        return Err(StartError::MaxParallelismChanged { store: place.to_owned(), checkpoint, stored, configured });
    }
    let operators = unmatched(spec, from);
    if !operators.is_empty() && !allow_unmatched_state {
        return Err(StartError::UnmatchedState { store: place.to_owned(), checkpoint, operators });
    }
    for operator in operators {
        log::warn!(
            target: "millstream::supervisor",
            "job={} has no operator {operator}: its state in checkpoint {checkpoint} of {place} is dropped",
            spec.name
        );
    }
    Ok(())
}

/// All state that no operator of the job can take, by operator.
fn unmatched(spec: &JobSpec, from: &Manifest) -> Vec<UnmatchedOperator> {
    let known: Vec<&OperatorId> = spec.tasks.iter().flat_map(|task| &task.operators).map(|info| &info.id).collect();
    let mut found: BTreeMap<&OperatorId, BTreeMap<Arc<str>, u64>> = BTreeMap::new();
    for chunk in &from.chunks {
        let address = &chunk.address;
        if !is_mark(address) && !known.contains(&&address.operator) {
            *found.entry(&address.operator).or_default().entry(address.state.clone()).or_default() +=
                u64::from(chunk.len);
        }
    }
    let operator = |(id, states): (&OperatorId, BTreeMap<_, _>)| UnmatchedOperator {
        id: id.clone(),
        states: states.into_iter().collect(),
    };
    found.into_iter().map(operator).collect()
}

/// What a job is to be restored from, as it was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestoreWish {
    pub(crate) savepoint: Option<PathBuf>,
    pub(crate) allow_unmatched_state: bool,
}
