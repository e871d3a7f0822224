//! Looks for what has become of the files.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{SourceContext, SourceError, SplitPosition};

use super::Follow;
use super::disk::{Key, Look, cannot, key_of, look_at, look_of, open, split_id};
use super::files::{Files, Followed};
use super::position::{FollowPosition, Rest};
use crate::source::decode_position;
use crate::source::file::error::FileSourceError;
use crate::source::file::listing;

/// A file counts as gone when it was not found so often: a name may be missed while it is changed.
const ABSENT_MAX: u32 = 2;

/// The files of one subtask as they were last seen.
pub(super) struct Watch {
    pattern: String,
    follow: Follow,
    cx: SourceContext,
    pub(super) files: Files,
    /// Those that are another subtask's, or have no whole line yet, as they looked then.
    others: HashMap<Key, Look>,
    /// To be reported.
    forgotten: Vec<String>,
    next_look: Duration,
}

/// What is found where a file is expected.
enum Found {
    /// It.
    Same(Arc<File>, Look),
    /// Another, or what has been made of it.
    Other(Look),
    /// Nothing, or something else meanwhile: the next look will tell.
    Gone,
}

impl Watch {
    pub(super) fn open(
        pattern: &str,
        follow: &Follow,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Self, SourceError> {
        let now = cx.clock.now();
        let mut files = Files::default();
        for stored in restored.into_iter().flatten() {
            let key = key_of(&stored.split).ok_or_else(|| {
                let reason =
                    "it is of a source that did not follow its files; give the source another id to start anew";
                SourceError::position(&stored.split, reason)
            })?;
            if cx.owns(&stored.split) {
                let position = decode_position::<FollowPosition>(&stored)?;
                files.0.insert(key, Followed::new(stored.split, position, now));
            }
        }
        let (pattern, follow, cx) = (pattern.to_owned(), follow.clone(), cx.clone());
        let (others, forgotten) = (HashMap::new(), Vec::new());
        let mut watch = Self { pattern, follow, cx, files, others, forgotten, next_look: now };
        // What is gone fails the start, before anything is read.
        for _ in 0..ABSENT_MAX {
            watch.look()?;
            if watch.files.0.values().all(|file| file.absent.is_none()) {
                break;
            }
        }
        Ok(watch)
    }

    /// How long until the next look; `None` if it is due.
    pub(super) fn rests(&self) -> Option<Duration> {
        self.next_look.checked_sub(self.cx.clock.now()).filter(|left| !left.is_zero())
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// [`FileSourceError::Rewritten`], [`FileSourceError::Lost`] unless that is accepted; [`FileSourceError::Io`];
    /// [`FileSourceError::Compressed`].
    pub(super) fn look(&mut self) -> Result<(), SourceError> {
        let now = self.cx.clock.now();
        self.next_look = now.saturating_add(self.follow.every);
        let mut seen = HashSet::new();
        for path in listing::present(&self.pattern)? {
            let Some(look) = look_at(Path::new(&path))? else { continue };
            // The others are names of a file that is known by the first of them.
            if seen.insert(look.key) {
                if path.ends_with(".gz") {
                    return Err(FileSourceError::Compressed { path: path.into() }.into());
                }
                self.see(&path, look, true)?;
            }
        }
        self.others.retain(|key, _| seen.contains(key));
        let missing = self.files.0.keys().filter(|key| !seen.contains(key)).copied().collect();
        for key in self.look_elsewhere(missing)? {
            self.miss(key, now)?;
        }
        self.settle(now);
        Ok(())
    }

    /// A file is at `path`.
    fn see(&mut self, path: &str, look: Look, matches: bool) -> Result<(), SourceError> {
        let now = self.cx.clock.now();
        let Some(file) = self.files.0.get_mut(&look.key) else {
            return if matches { self.meet(path, look) } else { Ok(()) };
        };
        // A key is used again when nobody has its file open.
        let is_known = file.file.is_some() || file.look == Some(look);
        let found = match is_known {
            true if look.len < file.position.offset => Found::Other(look),
            true => {
                file.look = Some(look);
                file.has_len(look.len, now);
                file.is_at(path, matches);
                return Ok(());
            }
            false => find(file, Path::new(path), look.key)?,
        };
        match found {
            Found::Same(open, look) => {
                (file.look, file.searched_to) = (Some(look), 0);
                file.has_len(look.len, now);
                file.is_at(path, matches);
                if self.files.open() < self.follow.open_files_max
                    && let Some(file) = self.files.0.get_mut(&look.key)
                {
                    file.file = Some(open);
                }
                Ok(())
            }
            Found::Other(other) => {
                self.is_rewritten(look.key, path, other.len)?;
                if matches { self.meet(path, look) } else { Ok(()) }
            }
            Found::Gone => Ok(()),
        }
    }

    /// A file that is not known is at `path`.
    fn meet(&mut self, path: &str, seen: Look) -> Result<(), SourceError> {
        if self.others.get(&seen.key) == Some(&seen) {
            return Ok(());
        }
        let at = Path::new(path);
        let Some(open) = open(at)? else { return Ok(()) };
        let look = look_of(&open, at)?;
        if look.key != seen.key {
            return Ok(());
        }
        let id = split_id(look.key, &open).map_err(|error| cannot("read", at)(error))?;
        let Some(id) = id.filter(|id| self.cx.owns(id)) else {
            // As it looked before it was read: what has come since is looked at again.
            self.others.insert(seen.key, seen);
            return Ok(());
        };
        self.others.remove(&look.key);
        self.forgotten.retain(|forgotten| *forgotten != id);
        let now = self.cx.clock.now();
        let mut file = Followed::new(id, FollowPosition::start(path), now);
        file.look = Some(look);
        file.has_len(look.len, now);
        if self.files.open() < self.follow.open_files_max {
            file.file = Some(open);
        }
        self.files.0.insert(look.key, file);
        Ok(())
    }

    /// Looks for files where they were last seen, and then in the folders where they were, and in those that are to be looked in.
    /// Answers those that are not found.
    fn look_elsewhere(&mut self, mut missing: BTreeSet<Key>) -> Result<BTreeSet<Key>, SourceError> {
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for key in missing.clone() {
            let Some(file) = self.files.0.get(&key) else { continue };
            let path = file.position.path.clone();
            if let Some(look) = look_at(Path::new(&path))?.filter(|look| look.key == key) {
                self.see(&path, look, false)?;
                missing.remove(&key);
            } else if file.absent.is_none_or(|(_, looks)| looks < ABSENT_MAX) && !is_unlinked(file)? {
                folders.extend(Path::new(&path).parent().map(Path::to_owned));
                folders.extend(self.follow.folders.iter().cloned());
            }
        }
        for folder in folders {
            for path in listing::inside(&folder)? {
                let Some(name) = path.to_str() else { continue };
                if let Some(look) = look_at(&path)?.filter(|look| missing.contains(&look.key)) {
                    self.see(name, look, false)?;
                    missing.remove(&look.key);
                }
            }
        }
        // Those that turned out to be other files are not known any more.
        missing.retain(|key| self.files.0.contains_key(key));
        Ok(missing)
    }

    /// A file is not found.
    fn miss(&mut self, key: Key, now: Duration) -> Result<(), SourceError> {
        let Some(file) = self.files.0.get_mut(&key) else { return Ok(()) };
        let (since, looks) = file.absent.unwrap_or((now, 0));
        (file.absent, file.matches) = (Some((since, looks.saturating_add(1))), false);
        let is_long = now.saturating_sub(since.max(file.quiet_since)) >= self.follow.settled_after;
        let mut is_lost = file.file.is_none() && looks + 1 >= ABSENT_MAX;
        if let Some(open) = &file.file {
            let look = look_of(open, file.position.path())?;
            if look.len < file.position.offset {
                let path = file.position.path.clone();
                return self.is_rewritten(key, &path, look.len);
            }
            file.has_len(look.len, now);
            if file.is_read() && !look.is_linked {
                file.come_to(Rest::Unlinked);
            }
            // It has a last line without line end, which nobody can append to any more that would be found.
            is_lost = is_long && !file.is_unread() && !file.is_read();
        }
        if is_lost && file.position.rest == Rest::Growing {
            let (path, offset, known_bytes) = (file.position.path.clone().into(), file.position.offset, file.len);
            self.accept(FileSourceError::Lost { path, offset, known_bytes })?;
            self.forget(key);
        } else if is_long && file.position.rest != Rest::Growing {
            self.forget(key);
        }
        Ok(())
    }

    /// What is at `path` is not what was read, or not any more.
    pub(super) fn is_rewritten(&mut self, key: Key, path: &str, len: u64) -> Result<(), SourceError> {
        let Some(file) = self.files.0.get(&key) else { return Ok(()) };
        // One that is held open is cut short; of one that is not, and was settled, the number is used again.
        if file.file.is_some() || file.position.rest == Rest::Growing {
            let offset = file.position.offset;
            self.accept(FileSourceError::Rewritten { path: path.into(), offset, len })?;
        }
        self.forget(key);
        Ok(())
    }

    fn accept(&self, loss: FileSourceError) -> Result<(), SourceError> {
        let loss = SourceError::from(loss);
        if !self.follow.accepts_loss {
            return Err(loss);
        }
        let SourceContext { job, operator, .. } = &self.cx;
        log::warn!(target: "millstream::source", "job={job} source={operator} accepted: {loss}");
        Ok(())
    }

    fn forget(&mut self, key: Key) {
        self.forgotten.extend(self.files.0.remove(&key).map(|file| file.id));
    }

    /// Files that have been read to their end for long are settled.
    fn settle(&mut self, now: Duration) {
        for file in self.files.0.values_mut() {
            let is_quiet = now.saturating_sub(file.quiet_since) >= self.follow.settled_after;
            if file.position.rest == Rest::Growing && file.is_read() && is_quiet {
                file.come_to(Rest::Settled);
            }
        }
    }

    /// The file, open, if it is still the one that was read. What it has become otherwise was told.
    pub(super) fn opened(&mut self, key: Key) -> Result<Option<Arc<File>>, SourceError> {
        let Some(file) = self.files.0.get_mut(&key) else { return Ok(None) };
        let path = file.position.path.clone();
        let found = match &file.file {
            Some(open) => examine(file, open.clone(), Path::new(&path))?,
            None => find(file, Path::new(&path), key)?,
        };
        match found {
            Found::Same(open, look) => {
                file.look = Some(look);
                if file.file.is_none() {
                    if self.files.open() >= self.follow.open_files_max {
                        self.files.close_one();
                    }
                    if let Some(file) = self.files.0.get_mut(&key) {
                        file.file = Some(open.clone());
                    }
                }
                Ok(Some(open))
            }
            Found::Other(look) => {
                self.is_rewritten(key, &path, look.len)?;
                Ok(None)
            }
            Found::Gone => {
                file.searched_to = file.len;
                file.look = None;
                Ok(None)
            }
        }
    }

    /// The next file that is read to its end and is not expected to grow, of which that was not told.
    pub(super) fn ended(&self) -> Option<Key> {
        let now = self.cx.clock.now();
        let has_ended = |file: &Followed| {
            let is_quiet = now.saturating_sub(file.quiet_since) >= self.follow.every;
            file.is_read() && (file.position.rest != Rest::Growing || (!file.matches && is_quiet))
        };
        let mut files = self.files.0.iter();
        files.find(|(_, file)| !file.end_is_told && has_ended(file)).map(|(key, _)| *key)
    }

    pub(super) fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }
}

/// What an open file turns out to be.
fn examine(file: &Followed, open: Arc<File>, path: &Path) -> Result<Found, SourceError> {
    let look = look_of(&open, path)?;
    let is_same = file.position.is_of(&open, look.len).map_err(|error| cannot("read", path)(error))?;
    Ok(if is_same { Found::Same(open, look) } else { Found::Other(look) })
}

/// What is at the path of a file that is not held open.
fn find(file: &Followed, path: &Path, key: Key) -> Result<Found, SourceError> {
    let Some(open) = open(path)? else { return Ok(Found::Gone) };
    if look_of(&open, path)?.key != key {
        return Ok(Found::Gone);
    }
    examine(file, open, path)
}

/// Whether a file that is held open has no name any more.
fn is_unlinked(file: &Followed) -> Result<bool, SourceError> {
    match &file.file {
        Some(open) => Ok(!look_of(open, file.position.path())?.is_linked),
        None => Ok(false),
    }
}
