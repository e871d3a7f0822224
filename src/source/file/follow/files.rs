//! The files that a subtask follows.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Key, Look};
use super::position::{FollowPosition, Rest};

/// A file that the subtask owns.
pub(super) struct Followed {
    /// Its split.
    pub(super) id: String,
    pub(super) position: FollowPosition,
    /// Held open: then no other file can have its key.
    pub(super) file: Option<Arc<File>>,
    /// How it looked when it was last seen, or read.
    pub(super) look: Option<Look>,
    /// How long it was when it was last looked at.
    pub(super) len: u64,
    /// No record ends between its position and here.
    pub(super) searched_to: u64,
    /// It was last seen under a name that the pattern matches.
    pub(super) matches: bool,
    /// Since when it has been as long as it is.
    pub(super) quiet_since: Duration,
    /// Since when it is not found, and how often it was not.
    pub(super) absent: Option<(Duration, u32)>,
    /// Its position is to be reported.
    pub(super) is_moved: bool,
    /// That event time need not wait for it any more was told.
    pub(super) end_is_told: bool,
}

impl Followed {
    pub(super) fn new(id: String, position: FollowPosition, now: Duration) -> Self {
        Self {
            id,
            position,
            file: None,
            look: None,
            len: 0,
            searched_to: 0,
            matches: true,
            quiet_since: now,
            absent: None,
            is_moved: true,
            end_is_told: false,
        }
    }

    /// It has bytes that were not looked at.
    pub(super) fn is_unread(&self) -> bool {
        self.len > self.position.offset.max(self.searched_to)
    }

    /// All that it has was read.
    pub(super) fn is_read(&self) -> bool {
        self.len == self.position.offset
    }

    /// It need not be there any more.
    pub(super) fn is_settled(&self) -> bool {
        self.position.rest != Rest::Growing
    }

    /// It is this long now.
    pub(super) fn has_len(&mut self, len: u64, now: Duration) {
        if len != self.len {
            (self.len, self.quiet_since) = (len, now);
        }
        if len > self.position.offset && self.position.rest != Rest::Growing {
            self.come_to(Rest::Growing);
        }
    }

    pub(super) fn come_to(&mut self, rest: Rest) {
        if self.position.rest != rest {
            (self.position.rest, self.is_moved) = (rest, true);
        }
    }

    /// It is at this path.
    pub(super) fn is_at(&mut self, path: &str, matches: bool) {
        (self.absent, self.matches) = (None, matches);
        if self.position.path != path {
            path.clone_into(&mut self.position.path);
            self.is_moved = true;
        }
    }
}

/// All of them, by key.
#[derive(Default)]
pub(super) struct Files(pub(super) BTreeMap<Key, Followed>);

impl Files {
    /// The next one behind `last` that has bytes which were not looked at, in turn.
    pub(super) fn unread_after(&self, last: Key) -> Option<Key> {
        let behind = self.0.range((Excluded(last), Unbounded));
        let mut ring = behind.chain(self.0.range(..=last));
        ring.find(|(_, file)| file.is_unread()).map(|(key, _)| *key)
    }

    /// How many are held open.
    pub(super) fn open(&self) -> usize {
        self.0.values().filter(|file| file.file.is_some()).count()
    }

    /// Closes the one that has been quiet for longest, of those that are where they are looked for, if any.
    pub(super) fn close_one(&mut self) {
        let open = self.0.values_mut().filter(|file| file.file.is_some());
        if let Some(file) = open.min_by_key(|file| (file.absent.is_some(), file.quiet_since)) {
            file.file = None;
        }
    }
}
