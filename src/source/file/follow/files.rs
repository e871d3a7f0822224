//! The files that a subtask follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::disk::{Key, Look};
use super::position::{FollowPosition, Rest};

/// A file counts as gone when it was not found so often: a name may be missed while it is changed.
pub(super) const MISSES_MAX: u32 = 2;

/// A file that the subtask owns.
pub(super) struct Followed {
    /// Its split.
    pub(super) id: String,
    pub(super) position: FollowPosition,
    /// Held open: then no other file can have its key.
    pub(super) file: Option<Arc<File>>,
    /// How it looked when it was last known to be the one that was met.
    pub(super) look: Option<Look>,
    /// If it is changed it looks otherwise.
    pub(super) look_tells: bool,
    /// How long it was when it was last looked at.
    pub(super) len: u64,
    /// It could not be opened: it is not tried again before it is seen again.
    pub(super) is_away: bool,
    /// Its name matches the pattern, unless it was not found for long enough.
    pub(super) matches: bool,
    /// How often it was not found since it was.
    pub(super) misses: u32,
    /// Its position is to be reported.
    pub(super) is_moved: bool,
    /// That event time need not wait for it was told.
    pub(super) end_is_told: bool,
}

impl Followed {
    pub(super) fn new(id: String, position: FollowPosition) -> Self {
        let len = position.searched();
        Self {
            id,
            position,
            file: None,
            look: None,
            look_tells: false,
            len,
            is_away: false,
            matches: true,
            misses: 0,
            is_moved: true,
            end_is_told: false,
        }
    }

    /// It has bytes that were not looked at, and that can be.
    pub(super) fn is_unread(&self) -> bool {
        !self.is_away && !self.is_searched()
    }

    /// All records that it has were read. It may have a line besides that waits for its end.
    pub(super) fn is_searched(&self) -> bool {
        self.len <= self.position.searched()
    }

    /// A line of it waits for its end.
    pub(super) fn is_torn(&self) -> bool {
        self.len > self.position.offset
    }

    /// It need not be there any more.
    pub(super) fn is_settled(&self) -> bool {
        self.position.rest != Rest::Growing
    }

    /// It was not found, but not so often that it counts as gone.
    pub(super) fn is_missed(&self) -> bool {
        (1..MISSES_MAX).contains(&self.misses)
    }

    /// It looks so now, and is the one that was met.
    pub(super) fn looks(&mut self, look: Look, now: u64) {
        if self.look.is_some_and(|before| before != look) && look.len <= self.position.searched() {
            // The line that waits may have been written anew.
            self.position.searched_to = 0;
        }
        (self.look, self.look_tells) = (Some(look), look.tells_changes(now));
        self.has_len(look.len, now);
    }

    /// It is this long now.
    pub(super) fn has_len(&mut self, len: u64, now: u64) {
        if len == self.len {
            return;
        }
        (self.len, self.position.quiet_since) = (len, now);
        self.position.searched_to = self.position.searched_to.min(len);
        if !self.is_searched() {
            self.come_to(Rest::Growing);
        }
    }

    /// No record ends up to here.
    pub(super) fn is_searched_to(&mut self, offset: u64) {
        (self.position.searched_to, self.is_moved) = (offset, true);
    }

    pub(super) fn come_to(&mut self, rest: Rest) {
        if self.position.rest != rest {
            (self.position.rest, self.is_moved) = (rest, true);
        }
    }

    /// It is at this path; `real_folder` looks for where links lead from there.
    pub(super) fn is_at(&mut self, path: &str, matches: bool, real_folder: impl FnOnce() -> Option<String>) {
        (self.misses, self.is_away, self.matches) = (0, false, matches);
        self.is_moved |= self.position.missed_since.take().is_some();
        if self.position.path != path {
            path.clone_into(&mut self.position.path);
            (self.position.folder, self.is_moved) = (real_folder(), true);
        }
    }

    /// It is not found.
    pub(super) fn is_not_found(&mut self, now: u64) {
        self.misses = self.misses.saturating_add(1);
        self.matches &= self.misses < MISSES_MAX;
        if self.position.missed_since.is_none() {
            (self.position.missed_since, self.is_moved) = (Some(now), true);
        }
    }

    /// Which is closed first: the one that has been quiet for longest, of those that are where they are looked for, if any.
    fn closing(&self, key: Key) -> Option<Closing> {
        self.file.as_ref().map(|_| (self.misses > 0, self.position.quiet_since, key))
    }
}

type Closing = (bool, u64, Key);

/// All of them, by key. Each is changed only by [`change`](Self::change), so that what is asked often is known without a look at all.
#[derive(Default)]
pub(super) struct Files {
    by_key: BTreeMap<Key, Followed>,
    /// Further ones that a checkpoint has of one key, which was used again: at most one of them is there.
    rivals: BTreeMap<Key, Vec<Followed>>,
    unread: BTreeSet<Key>,
    moved: BTreeSet<Key>,
    open: BTreeSet<Closing>,
}

impl Files {
    pub(super) fn get(&self, key: Key) -> Option<&Followed> {
        self.by_key.get(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Followed)> {
        self.by_key.iter().map(|(key, file)| (*key, file))
    }

    /// Changes one, if it is followed.
    pub(super) fn change<A>(&mut self, key: Key, change: impl FnOnce(&mut Followed) -> A) -> Option<A> {
        let file = self.by_key.get_mut(&key)?;
        let before = file.closing(key);
        let answer = change(file);
        let after = file.closing(key);
        if before != after {
            before.map(|before| self.open.remove(&before));
            self.open.extend(after);
        }
        if file.is_unread() {
            self.unread.insert(key)
        } else {
            self.unread.remove(&key)
        };
        if file.is_moved {
            self.moved.insert(key);
        }
        Some(answer)
    }

    /// One more; a rival if one of its key is followed.
    pub(super) fn insert(&mut self, key: Key, file: Followed) {
        if self.by_key.contains_key(&key) {
            self.rivals.entry(key).or_default().push(file);
            return;
        }
        self.by_key.insert(key, file);
        self.change(key, |_| ());
    }

    /// Follows one no more; a rival of it takes its place, if there is one.
    pub(super) fn remove(&mut self, key: Key) -> Option<Followed> {
        let file = self.by_key.remove(&key)?;
        self.unread.remove(&key);
        self.moved.remove(&key);
        file.closing(key).map(|closing| self.open.remove(&closing));
        if let Some(rival) = self.rivals.get_mut(&key).and_then(Vec::pop) {
            self.insert(key, rival);
        }
        Some(file)
    }

    /// The file of the key was found: takes its rivals, which have gone.
    pub(super) fn take_rivals(&mut self, key: Key) -> Vec<Followed> {
        if self.rivals.is_empty() { Vec::new() } else { self.rivals.remove(&key).unwrap_or_default() }
    }

    /// All that have the key.
    pub(super) fn candidates(&self, key: Key) -> impl Iterator<Item = &Followed> {
        self.by_key.get(&key).into_iter().chain(self.rivals.get(&key).into_iter().flatten())
    }

    /// The next one behind `last` that has bytes which were not looked at, in turn.
    pub(super) fn unread_after(&self, last: Key) -> Option<Key> {
        let mut behind = self.unread.range((Excluded(last), Unbounded));
        behind.next().or_else(|| self.unread.first()).copied()
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Holds one open, beside at most so many others.
    pub(super) fn hold(&mut self, key: Key, file: Arc<File>, others_max: usize) {
        while self.open.len() > others_max
            && let Some((.., quiet)) = self.open.first().copied()
        {
            self.change(quiet, |file| file.file = None);
        }
        self.change(key, |followed| followed.file = Some(file));
    }

    /// How many are held open.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Those whose positions are to be reported.
    pub(super) fn take_moved(&mut self, mut report: impl FnMut(&Followed)) {
        for key in std::mem::take(&mut self.moved) {
            if let Some(file) = self.by_key.get_mut(&key).filter(|file| file.is_moved) {
                file.is_moved = false;
                report(file);
            }
        }
        for rival in self.rivals.values_mut().flatten().filter(|rival| rival.is_moved) {
            rival.is_moved = false;
            report(rival);
        }
    }
}
