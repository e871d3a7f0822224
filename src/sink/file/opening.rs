//! Opening: what the sink has left under former ids is taken over; then what earlier attempts left is withdrawn, settled or removed,
//! in this order.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;

use millstream_actors::contract::{SinkContext, SinkError, SinkRestore};
use millstream_actors::protocol::{CheckpointId, OperatorId};

use super::names::{Entry, Naming, OWNER, WriterId, entry, own_folder};
use super::publish::{Folder, io_error};
use super::record::{Lives, PendingFile, Record};
use crate::packed::packed;

/// What the sink's folder holds at the opening.
struct Found {
    names: Vec<(String, Entry)>,
    records: Vec<(WriterId, Record)>,
}

impl Found {
    /// The lives of which there are records.
    fn lives(&self) -> Lives {
        let mut lives = Lives::new();
        for (naming, incarnations) in self.records.iter().flat_map(|(_, record)| record.lives()) {
            lives.entry(naming.clone()).or_default().extend(incarnations);
        }
        lives
    }
}

/// Prepares the folder for `folder.me`, and answers its record.
///
/// # Errors
/// [`SinkError`]; may then be done again by another writer.
pub(super) fn open(
    folder: &Folder,
    cx: &SinkContext,
    naming: &Naming,
    restored: &SinkRestore,
) -> Result<Record, SinkError> {
    create(folder)?;
    claim(folder, cx)?;
    cx.former_operators.iter().try_for_each(|former| take_over(folder, cx, former))?;
    let found = survey(folder)?;
    withdraw(folder, naming, restored, &found)?;
    if cx.subtask_index == 0 && cx.execution.attempt.0 == 1 {
        tell_of_later_files(folder, cx, restored, &found)?;
    }

    let decode = |pending: &Vec<_>| pending.iter().map(PendingFile::decode).collect::<Result<Vec<_>, _>>();
    let (pending, elsewhere) = (decode(&restored.pending)?, decode(&restored.pending_elsewhere)?);
    let mut record = Record::new(naming.clone(), folder.me);
    let proven = |mine: &Record, file: &PendingFile| {
        mine.proves(folder.me, file) || found.records.iter().any(|(writer, record)| record.proves(*writer, file))
    };
    folder.publish(&pending, &mut record, proven, Record::add_settled)?;

    let kept: HashSet<String> = pending.iter().chain(&elsewhere).map(PendingFile::temporary).collect();
    clean(folder, &found, &kept, restored.checkpoint.is_none())?;
    Ok(record)
}

fn create(folder: &Folder) -> Result<(), SinkError> {
    folder.check_fence()?;
    let Folder { disk, dir, own, .. } = folder;
    let mut created = Vec::new();
    for ancestor in dir.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        if disk.stat(ancestor).map_err(io_error("examine", ancestor))?.is_some() {
            break;
        }
        created.push(ancestor);
    }
    disk.create_dir_all(own).map_err(io_error("create", own))?;
    folder.sync_dir(dir)?;
    for parent in created.into_iter().filter_map(Path::parent) {
        folder.sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Makes sure that the folder is this sink's: different ids may give one name.
fn claim(folder: &Folder, cx: &SinkContext) -> Result<(), SinkError> {
    let note = packed(&(&*cx.job, cx.operator.as_str()));
    let path = folder.own.join(OWNER);
    if folder.disk.stat(&path).map_err(io_error("examine", &path))?.is_none() {
        let new = folder.own.join(folder.me.claim());
        folder.write_small(&new, &note)?;
        match folder.disk.hard_link(&new, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(io_error("create", &path)(error)),
            _ => folder.sync_dir(&folder.own)?,
        }
        folder.remove(&new)?;
    }
    if folder.disk.read(&path).map_err(io_error("read", &path))? == note {
        return Ok(());
    }
    let (job, sink) = (&cx.job, &cx.operator);
    let reason = format!("{} belongs to another sink than '{sink}' of job '{job}'", folder.own.display());
    Err(SinkError::configuration(reason))
}

/// Moves what the sink has left in the folder that it had under a former id. Other subtasks may be doing so at the same time: what
/// one of them has found is in this folder when it is done, whoever moved it.
fn take_over(folder: &Folder, cx: &SinkContext, former: &OperatorId) -> Result<(), SinkError> {
    let Folder { disk, dir, own, .. } = folder;
    let old = dir.join(own_folder(&cx.job, former.as_str()));
    if disk.stat(&old).map_err(io_error("examine", &old))?.is_none() {
        return Ok(());
    }
    let owner = old.join(OWNER);
    match disk.read(&owner) {
        Ok(note) if note == packed(&(&*cx.job, former.as_str())) => {}
        // Nobody's, or that of another sink whose id gives the same name.
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("read", &owner)(error)),
    }
    for name in disk.list(&old).map_err(io_error("list", &old))? {
        if entry(&name) != Entry::Other {
            folder.check_fence()?;
            match disk.rename(&old.join(&name), &own.join(&name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("move", &old.join(&name))(error));
                }
                _ => {}
            }
            // A loss of power may have left it in both places, and a second name would tell that it is published.
            folder.remove(&old.join(&name))?;
        }
    }
    // What is not durable in its new place is found in the old one after a loss of power, and is moved again.
    folder.sync_dir(own)?;
    folder.sync_dir(&old)
}

fn survey(folder: &Folder) -> Result<Found, SinkError> {
    let names = folder.disk.list(&folder.own).map_err(io_error("list", &folder.own))?;
    let names: Vec<_> = names.into_iter().map(|name| (entry(&name), name)).map(|(entry, name)| (name, entry)).collect();
    let mut records = Vec::new();
    for (name, entry) in &names {
        let Entry::Record(writer) = entry else { continue };
        let path = folder.own.join(name);
        match folder.disk.read(&path) {
            Ok(bytes) => records.push((*writer, decode_record(&bytes, &path)?)),
            // Another subtask has removed it, as no longer needed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("read", &path)(error)),
        }
    }
    Ok(Found { names, records })
}

fn decode_record(bytes: &[u8], path: &Path) -> Result<Record, SinkError> {
    Record::decode(bytes).map_err(|reason| io_error("decode", path)(io::Error::new(io::ErrorKind::InvalidData, reason)))
}

/// Removes what was published after the restored checkpoint, by what is there: a file's name tells in which life it was
/// written and for which checkpoint it was first prepared, which may be an aborted one before the completed one that
/// published it. Hence a range, not the list.
fn withdraw(folder: &Folder, naming: &Naming, restored: &SinkRestore, found: &Found) -> Result<(), SinkError> {
    let Some(up_to) = restored.withdraw.iter().max() else { return Ok(()) };
    let after = restored.checkpoint.unwrap_or(CheckpointId::NONE);
    let mut lives = found.lives();
    // Of a life without a record there may be files that are published and not yet recorded.
    let temporary = |(_, entry): &(_, Entry)| match entry {
        Entry::Temporary { writer, .. } => Some(writer.incarnation),
        _ => None,
    };
    lives.entry(naming.clone()).or_default().extend(found.names.iter().filter_map(temporary));
    let is_abandoned = |name: &String| {
        lives.iter().any(|(naming, incarnations)| {
            naming.life_and_checkpoint(name).is_some_and(|(incarnation, checkpoint)| {
                incarnations.contains(&incarnation) && after < checkpoint && checkpoint <= *up_to
            })
        })
    };
    let present = folder.disk.list(&folder.dir).map_err(io_error("list", &folder.dir))?;
    let mut withdrawn = 0;
    for name in present.into_iter().filter(is_abandoned) {
        withdrawn += u64::from(folder.remove(&folder.dir.join(name))?);
    }
    if withdrawn > 0 {
        log::warn!(
            target: "millstream::sink",
            "{}: withdrew {withdrawn} files published after checkpoint {after}",
            folder.dir.display()
        );
    }
    folder.sync_dir(&folder.dir)
}

/// Says so if files of former lives are there that this start knows nothing of: its store or savepoint is older than they are, or is not
/// the one that they were written with. They stay, and what they hold is written again if it is read again.
fn tell_of_later_files(
    folder: &Folder,
    cx: &SinkContext,
    restored: &SinkRestore,
    found: &Found,
) -> Result<(), SinkError> {
    let lives = found.lives();
    let from = restored.checkpoint.unwrap_or(CheckpointId::NONE);
    let of_later = |name: &String| {
        let is_later = |(naming, incarnations): (&Naming, &BTreeSet<u64>)| {
            let (incarnation, checkpoint) = naming.life_and_checkpoint(name)?;
            let is_former = incarnation != folder.me.incarnation && incarnations.contains(&incarnation);
            (is_former && checkpoint > from).then_some(checkpoint)
        };
        lives.iter().find_map(is_later)
    };
    let present = folder.disk.list(&folder.dir).map_err(io_error("list", &folder.dir))?;
    let later: Vec<CheckpointId> = present.iter().filter_map(of_later).collect();
    let Some(newest) = later.iter().max() else { return Ok(()) };
    let start = restored.checkpoint.map_or("the beginning".to_owned(), |checkpoint| format!("checkpoint {checkpoint}"));
    log::warn!(
        target: "millstream::sink",
        "job={} sink={} starts from {start}, and {} has {} files that the sink published later, up to checkpoint {newest}: they stay, and \
         their rows may come twice",
        cx.job,
        cx.operator,
        folder.dir.display(),
        later.len()
    );
    Ok(())
}

/// Removes left-overs of other executions. At a start from the beginning their records go too: no snapshot can refer to
/// them any more.
fn clean(folder: &Folder, found: &Found, kept: &HashSet<String>, from_the_beginning: bool) -> Result<(), SinkError> {
    for (name, entry) in &found.names {
        let left_over = match entry {
            Entry::Temporary { writer, .. } => !writer.is_of_execution_of(folder.me) && !kept.contains(name),
            Entry::Unfinished(writer) => !writer.is_of_execution_of(folder.me),
            Entry::Record(writer) => from_the_beginning && writer.incarnation < folder.me.incarnation,
            Entry::Other => false,
        };
        if left_over {
            folder.remove(&folder.own.join(name))?;
        }
    }
    Ok(())
}

/// Has `record` take the place of the records of other executions: once so many checkpoints have completed in this one, no
/// commit that is pending in a retained checkpoint is theirs. Which lives there were it remembers, for a fall-back to an older
/// savepoint.
///
/// # Errors
/// Those of the file system.
pub(super) fn forget_earlier(folder: &Folder, record: &mut Record) -> Result<(), SinkError> {
    let records = survey(folder)?.records;
    let others = || records.iter().filter(|(writer, _)| !writer.is_of_execution_of(folder.me));
    if others().next().is_none() {
        return Ok(());
    }
    others().for_each(|(_, other)| record.replace(other.clone()));
    folder.write_record(record)?;
    for (writer, _) in others() {
        folder.remove(&folder.own.join(writer.record()))?;
    }
    Ok(())
}
