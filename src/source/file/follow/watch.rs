//! Looks for what has become of the files.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::{SourceContext, SourceError, SplitPosition};

use super::Follow;
use super::disk::{
    Key, Look, NAMED_BYTES_MAX, cannot, first_bytes, is_refused, key_of, look_at, look_of, open, real_folder, split_id,
};
use super::files::{Files, Followed, MISSES_MAX};
use super::found::{Found, examine, find};
use super::position::{FollowPosition, Rest};
use crate::source::decode_position;
use crate::source::file::error::FileSourceError;
use crate::source::file::listing;

/// The files of one subtask as they were last seen.
pub(super) struct Watch {
    pattern: String,
    follow: Follow,
    cx: SourceContext,
    pub(super) files: Files,
    /// Those that are another subtask's, or have no whole line yet, as they looked then.
    others: HashMap<Key, Look>,
    /// Those that cannot be read, of which that was said.
    left_out: HashSet<Key>,
    /// To be reported.
    forgotten: BTreeSet<String>,
    /// Those that are perhaps not expected to grow, of which that is to be told.
    ended: VecDeque<Key>,
    /// What is there is to be read, since nobody looks again.
    is_last: bool,
    next_look: Duration,
}

impl Watch {
    pub(super) fn open(
        pattern: &str,
        follow: &Follow,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Self, SourceError> {
        let mut files = Files::default();
        for stored in restored.into_iter().flatten() {
            let key = key_of(&stored.split).ok_or_else(|| {
                let reason =
                    "it is of a source that did not follow its files; give the source another id to start anew";
                SourceError::position(&stored.split, reason)
            })?;
            if cx.owns(&stored.split) {
                let position = decode_position::<FollowPosition>(&stored)?;
                files.insert(key, Followed::new(stored.split, position));
            }
        }
        let mut watch = Self {
            pattern: pattern.to_owned(),
            follow: follow.clone(),
            cx: cx.clone(),
            files,
            others: HashMap::new(),
            left_out: HashSet::new(),
            forgotten: BTreeSet::new(),
            ended: VecDeque::new(),
            is_last: false,
            next_look: Duration::ZERO,
        };
        // What is gone fails the start, before anything is read.
        for _ in 0..MISSES_MAX {
            watch.look()?;
            if watch.has_seen_all() {
                break;
            }
        }
        Ok(watch)
    }

    /// How long until the next look; `None` if it is due.
    pub(super) fn rests(&self) -> Option<Duration> {
        self.next_look.checked_sub(self.cx.clock.now()).filter(|left| !left.is_zero())
    }

    /// From now on an error is what was to be tried again later.
    pub(super) fn is_last(&mut self) {
        self.is_last = true;
    }

    /// No file is such that another look may tell more of it.
    pub(super) fn has_seen_all(&self) -> bool {
        !self.files.iter().any(|(_, file)| file.is_away || file.is_missed())
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// [`FileSourceError::Rewritten`], [`FileSourceError::Lost`] unless that is accepted; [`FileSourceError::Io`].
    pub(super) fn look(&mut self) -> Result<(), SourceError> {
        let begun = self.cx.clock.now();
        let (mut seen, mut unnamed) = (HashSet::new(), HashSet::new());
        for path in listing::present(&self.pattern)? {
            let Some(look) = look_at(&path)?.filter(|look| !seen.contains(&look.key)) else { continue };
            let Some(name) = path.to_str() else {
                unnamed.insert(look.key);
                self.leave_out(look.key, &path, &"its name is not UTF-8");
                continue;
            };
            // Further paths are names of a file that is known by the first of them.
            seen.insert(look.key);
            if name.ends_with(".gz") && self.files.get(look.key).is_none() {
                self.leave_out(look.key, &path, &"it is compressed, as its name says; narrow the pattern");
            } else {
                self.see(name, look, true)?;
            }
        }
        self.others.retain(|key, _| seen.contains(key));
        let files = &self.files;
        self.left_out.retain(|key| seen.contains(key) || unnamed.contains(key) || files.get(*key).is_some());
        let missing = self.files.iter().map(|(key, _)| key).filter(|key| !seen.contains(key)).collect();
        for key in self.look_elsewhere(missing)? {
            self.miss(key)?;
        }
        self.settle();
        let ended = self.cx.clock.now();
        let rest = self.follow.every.max(ended.saturating_sub(begun));
        self.next_look = ended.saturating_add(rest);
        Ok(())
    }

    fn unix_ms(&self) -> u64 {
        self.cx.clock.unix_ms()
    }

    /// A file cannot be read: says so once.
    fn leave_out(&mut self, key: Key, path: &Path, reason: &dyn std::fmt::Display) {
        // One of all subtasks says so of a file that nobody owns yet.
        let says = self.files.get(key).is_some() || self.cx.subtask_index == 0;
        if self.left_out.insert(key) && says {
            let SourceContext { job, operator, .. } = &self.cx;
            let path = path.display();
            log::warn!(target: "millstream::source", "job={job} source={operator} not read: '{path}': {reason}");
        }
    }

    /// A file is at `path`.
    fn see(&mut self, path: &str, look: Look, matches: bool) -> Result<(), SourceError> {
        let (at, now) = (Path::new(path), self.unix_ms());
        let Some(file) = self.files.get(look.key) else {
            return if matches { self.meet(path, look) } else { Ok(()) };
        };
        // A key is used again when nobody has its file open. What has more to read is looked at when it is read.
        let is_known = (file.look == Some(look) && file.look_tells)
            || (file.file.is_some() && look.len > file.position.searched());
        let found = match &file.file {
            _ if is_known => None,
            Some(open) => Some(examine(file, open.clone(), at)?),
            None => Some(find(file, at, look.key)?),
        };
        let is_seen = |file: &mut Followed, look: Look| {
            file.looks(look, now);
            file.is_at(path, matches, || real_folder(at));
        };
        match found {
            None => drop(self.files.change(look.key, |file| is_seen(file, look))),
            Some(Found::Same(open, look)) => {
                self.files.change(look.key, |file| is_seen(file, look));
                self.hold_if_room(look.key, open);
                self.drop_rivals(look.key)?;
            }
            Some(Found::Other(other)) => {
                self.is_rewritten(look.key, path, other.len)?;
                // A rival of it, or nothing that is known.
                return self.see(path, look, matches);
            }
            Some(Found::Refused(error)) => {
                let is_searched = self.files.change(look.key, |file| {
                    file.has_len(look.len, now);
                    file.is_at(path, matches, || real_folder(at));
                    file.is_searched()
                });
                if is_searched == Some(false) {
                    self.is_refused(look.key, at, error)?;
                }
            }
            Some(Found::Gone) => drop(self.files.change(look.key, |file| file.is_away = true)),
        }
        Ok(())
    }

    /// A file that is not known is at `path`.
    fn meet(&mut self, path: &str, seen: Look) -> Result<(), SourceError> {
        if self.others.get(&seen.key) == Some(&seen) {
            return Ok(());
        }
        let at = Path::new(path);
        let open = match open(at) {
            Ok(Some(open)) => open,
            Ok(None) => return Ok(()),
            Err(error) if is_refused(&error) => {
                self.leave_out(seen.key, at, &error);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let look = look_of(&open, at)?;
        if look.key != seen.key {
            return Ok(());
        }
        let first = first_bytes(&open, NAMED_BYTES_MAX as u64).map_err(cannot("read", at))?;
        let Some(id) = split_id(look.key, &first).filter(|id| self.cx.owns(id)) else {
            // As it looked before it was read: what has come since is looked at again.
            if seen.tells_changes(self.unix_ms()) {
                self.others.insert(seen.key, seen);
            }
            return Ok(());
        };
        self.others.remove(&look.key);
        self.left_out.remove(&look.key);
        self.forgotten.remove(&id);
        let now = self.unix_ms();
        let mut file = Followed::new(id, FollowPosition::start(path, now));
        file.looks(look, now);
        self.files.insert(look.key, file);
        self.hold_if_room(look.key, open);
        Ok(())
    }

    fn hold_if_room(&mut self, key: Key, open: Arc<File>) {
        let is_held = self.files.get(key).is_none_or(|file| file.file.is_some());
        if !is_held && self.files.open() < self.follow.open_files_max {
            self.files.hold(key, open, self.follow.open_files_max - 1);
        }
    }

    /// Looks for files where they were last seen, and then in the folders where they were, and in those that are to be looked in.
    /// Answers those that are not found.
    fn look_elsewhere(&mut self, mut missing: BTreeSet<Key>) -> Result<BTreeSet<Key>, SourceError> {
        let mut folders: BTreeSet<PathBuf> = BTreeSet::new();
        for key in missing.clone() {
            let Some(file) = self.files.get(key) else { continue };
            let path = file.position.path.clone();
            if let Some(look) = look_at(Path::new(&path))?.filter(|look| look.key == key) {
                self.see(&path, look, false)?;
                missing.remove(&key);
            } else if file.misses < MISSES_MAX && !is_unlinked(file)? {
                for file in self.files.candidates(key) {
                    folders.extend(Path::new(&file.position.path).parent().map(Path::to_owned));
                    folders.extend(file.position.folder.iter().map(PathBuf::from));
                }
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
        missing.retain(|key| self.files.get(*key).is_some());
        Ok(missing)
    }

    /// A file is not found.
    fn miss(&mut self, key: Key) -> Result<(), SourceError> {
        let Some(file) = self.files.get(key) else { return Ok(()) };
        let (now, path) = (self.unix_ms(), file.position.path.clone());
        let open = file.file.as_ref().map(|open| look_of(open, Path::new(&path))).transpose()?;
        if let Some(look) = open.filter(|look| look.len < file.position.offset) {
            return self.is_rewritten(key, &path, look.len);
        }
        self.files.change(key, |file| {
            file.is_not_found(now);
            if let Some(look) = open {
                file.has_len(look.len, now);
                if file.is_searched() && !file.is_torn() && !look.is_linked {
                    file.come_to(Rest::Unlinked);
                }
            }
        });
        let Some(file) = self.files.get(key).filter(|file| file.misses >= MISSES_MAX) else { return Ok(()) };
        let since = file.position.missed_since.unwrap_or(now).max(file.position.quiet_since);
        if !file.is_settled() && open.is_none() {
            let (path, offset, known_bytes) = (path.into(), file.position.offset, file.len);
            self.accept(FileSourceError::Lost { path, offset, known_bytes })?;
            self.forget(key);
        } else if file.is_settled() && self.is_over(since) {
            if file.is_torn() {
                let (SourceContext { job, operator, .. }, line) = (&self.cx, file.position.line);
                log::warn!(
                    target: "millstream::source",
                    "job={job} source={operator} not read: line {line} of '{path}', which has gone: it had no line end"
                );
            }
            self.forget(key);
        }
        Ok(())
    }

    /// What is at `path` is not what was read, or not any more.
    pub(super) fn is_rewritten(&mut self, key: Key, path: &str, len: u64) -> Result<(), SourceError> {
        let Some(file) = self.files.get(key) else { return Ok(()) };
        // One that is held open is cut short; of one that is not, and was settled, the number is used again.
        if file.file.is_some() || !file.is_settled() {
            let offset = file.position.offset;
            self.accept(FileSourceError::Rewritten { path: path.into(), offset, len })?;
        }
        self.forget(key);
        Ok(())
    }

    /// The file of the key is there: those that a checkpoint has besides have gone.
    fn drop_rivals(&mut self, key: Key) -> Result<(), SourceError> {
        for rival in self.files.take_rivals(key) {
            if !rival.is_settled() {
                let FollowPosition { path, offset, .. } = &rival.position;
                self.accept(FileSourceError::Lost { path: path.into(), offset: *offset, known_bytes: rival.len })?;
            }
            self.forgotten.insert(rival.id);
        }
        Ok(())
    }

    /// A file that is followed may not be read by this program: that is tried again.
    ///
    /// # Errors
    /// The error, if nobody tries again.
    fn is_refused(&mut self, key: Key, at: &Path, error: FileSourceError) -> Result<(), SourceError> {
        if self.is_last {
            return Err(error.into());
        }
        self.leave_out(key, at, &error);
        self.files.change(key, |file| file.is_away = true);
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
        self.forgotten.extend(self.files.remove(key).map(|file| file.id));
    }

    /// So long as files take to settle has passed since then.
    fn is_over(&self, since: u64) -> bool {
        self.is_after(since, self.follow.settled_after)
    }

    fn is_after(&self, since: u64, time: Duration) -> bool {
        u128::from(self.unix_ms().saturating_sub(since)) >= time.as_millis()
    }

    /// Files that have been read to their end for long are settled. Looks for those that have ended.
    fn settle(&mut self) {
        let is_quiet = |file: &Followed| file.is_searched() && self.is_over(file.position.quiet_since);
        let quiet = self.files.iter().filter(|(_, file)| !file.is_settled() && is_quiet(file));
        for key in quiet.map(|(key, _)| key).collect::<Vec<_>>() {
            self.files.change(key, |file| file.come_to(Rest::Settled));
        }
        self.ended = self.files.iter().filter(|(_, file)| self.has_ended(file)).map(|(key, _)| key).collect();
    }

    /// It is read to its end and is not expected to grow, and that was not told.
    fn has_ended(&self, file: &Followed) -> bool {
        let is_left = || !file.matches && self.is_after(file.position.quiet_since, self.follow.every);
        !file.end_is_told && file.is_searched() && (file.is_settled() || is_left())
    }

    /// The file, open, if it is still the one that was read. What it has become otherwise was told.
    pub(super) fn opened(&mut self, key: Key) -> Result<Option<Arc<File>>, SourceError> {
        let Some(file) = self.files.get(key) else { return Ok(None) };
        let path = file.position.path.clone();
        let found = match &file.file {
            Some(open) => examine(file, open.clone(), Path::new(&path))?,
            None => find(file, Path::new(&path), key)?,
        };
        match found {
            Found::Same(open, look) => {
                let now = self.unix_ms();
                let is_held = self.files.change(key, |file| {
                    file.looks(look, now);
                    file.file.is_some()
                });
                if is_held == Some(false) {
                    self.files.hold(key, open.clone(), self.follow.open_files_max - 1);
                }
                return Ok(Some(open));
            }
            Found::Other(look) => self.is_rewritten(key, &path, look.len)?,
            Found::Refused(error) => self.is_refused(key, Path::new(&path), error)?,
            Found::Gone => drop(self.files.change(key, |file| (file.is_away, file.look) = (true, None))),
        }
        Ok(None)
    }

    /// Whether there are files of which that they have ended is to be told.
    pub(super) fn has_ends_to_tell(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The next of them; that counts as told.
    pub(super) fn tell_end(&mut self) -> Option<Key> {
        let key = self.ended.pop_front()?;
        let has_ended = self.files.get(key).is_some_and(|file| self.has_ended(file));
        if !has_ended {
            return None;
        }
        self.files.change(key, |file| file.end_is_told = true);
        Some(key)
    }

    pub(super) fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten).into_iter().collect()
    }
}

/// Whether a file that is held open has no name any more.
fn is_unlinked(file: &Followed) -> Result<bool, SourceError> {
    match &file.file {
        Some(open) => Ok(!look_of(open, file.position.path())?.is_linked),
        None => Ok(false),
    }
}
