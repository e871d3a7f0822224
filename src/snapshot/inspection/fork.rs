//! A new store that begins with a retained checkpoint of another.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use millstream_actors::contract::{Chunk, Manifest, SnapshotError, SnapshotStore};

use super::{Inspection, sections_of};
use crate::snapshot::RedbStore;
use crate::snapshot::redb_file::{io_error, sync_directory};
use crate::snapshot::unfinished::{Making, Unfinished, remove_left_overs};
use crate::state::codec::list_items;

/// Chunks are handed to the new store together up to so many bytes.
const BATCH_BYTES: usize = 8 << 20;

/// The state in which a sink task keeps what is prepared and not known to be committed.
const PENDING: &str = "pending";

/// What is to be forked, and to where.
#[derive(Debug)]
pub(crate) struct ForkPlan<'a> {
    /// The checkpoint.
    pub(crate) manifest: &'a Manifest,
    /// The new file.
    pub(crate) to: &'a Path,
    /// The job that may start on it.
    pub(crate) job: &'a str,
}

/// Why there is no new store. The original is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForkError {
    /// The name is taken.
    #[error("{} exists and is not replaced; name another file", .0.display())]
    Exists(PathBuf),
    /// Reading the original or writing the new one failed.
    #[error(transparent)]
    Store(#[from] SnapshotError),
}

/// Writes a new store in which the checkpoint is the only one, under its own id. Ids and incarnations go on from where
/// the original is. Every chunk is verified when it is read, and again when it is stored. The file has its name only
/// once it is whole; what has the name already is never replaced. `progress` is told how many bytes of how many are
/// written.
///
/// # Errors
/// [`ForkError`].
pub(crate) fn fork(
    from: &Inspection,
    plan: &ForkPlan<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ForkError> {
    if is_taken(plan.to) {
        return Err(ForkError::Exists(plan.to.to_owned()));
    }
    // They are as large as what is to be written, and may have filled the disk.
    remove_left_overs(Making::Forking, plan.to);
    let failed = |action, error| ForkError::from(io_error(&plan.to.display().to_string(), action, error));
    // It is let go of with its second name, or with what became of it so far.
    let unfinished = Unfinished::begin(Making::Forking, plan.to).map_err(|error| failed("create the file", error))?;
    match write(from, plan, unfinished.path(), progress) {
        Ok(()) => name(unfinished.path(), plan.to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ForkError::Exists(plan.to.to_owned()),
            io::ErrorKind::NotFound if is_taken(plan.to) => ForkError::Exists(plan.to.to_owned()),
            _ => failed("name the new file", error),
        }),
        // Another was faster, and the unfinished file was removed by hand since.
        Err(_) if !unfinished.path().exists() && is_taken(plan.to) => Err(ForkError::Exists(plan.to.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn write(
    from: &Inspection,
    plan: &ForkPlan<'_>,
    unfinished: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), SnapshotError> {
    let store = RedbStore::open(unfinished)?;
    store.open_job(plan.job, from.incarnation())?;
    store.reserve_ids(from.reserved_up_to().max(plan.manifest.checkpoint))?;
    let total = plan.manifest.state_bytes();
    let (mut done, mut batch, mut bytes) = (0, Vec::new(), 0);
    for reference in &plan.manifest.chunks {
        let chunk = Chunk { reference: reference.clone(), bytes: from.read_chunk(reference)? };
        bytes += chunk.bytes.len();
        batch.push(chunk);
        if bytes >= BATCH_BYTES {
            store.put_chunks(&batch)?;
            done += bytes as u64;
            progress(done, total);
            (batch, bytes) = (Vec::new(), 0);
        }
    }
    store.put_chunks(&batch)?;
    let manifest = Manifest { job: plan.job.to_owned(), ..plan.manifest.clone() };
    // Nothing is lost: what the original has completed since stays the original's.
    store.import(&manifest, manifest.checkpoint)?;
    progress(total, total);
    store.close();
    Ok(())
}

/// Gives the file its name, unless that is taken.
fn name(unfinished: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(unfinished, to) {
        Err(error) if [io::ErrorKind::AlreadyExists, io::ErrorKind::NotFound].contains(&error.kind()) => {
            return Err(error);
        }
        // Not every file system has hard links: the name is taken with an empty file, and that is replaced.
        Err(_) => {
            File::create_new(to)?;
            fs::rename(unfinished, to)?;
        }
        Ok(()) => {}
    }
    sync_directory(to)
}

/// How many commits of sinks a checkpoint holds that are prepared and not known to be done, by operator.
///
/// # Errors
/// As [`Inspection::read_chunk`].
pub(crate) fn pending_commits(from: &Inspection, manifest: &Manifest) -> Result<BTreeMap<String, u64>, SnapshotError> {
    let mut pending = BTreeMap::new();
    for (id, scopes) in sections_of(manifest) {
        if &*id.state != PENDING {
            continue;
        }
        for section in scopes.values().flatten() {
            let items = list_items(&section.read(from)?).map_or(0, |items| items.len() as u64);
            if items > 0 {
                *pending.entry(id.operator.as_str().to_owned()).or_default() += items;
            }
        }
    }
    Ok(pending)
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;
