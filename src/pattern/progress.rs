//! The partial matches of a key, as they are stored.

use std::collections::VecDeque;

use millstream_actors::protocol::Timestamp;
use serde::{Deserialize, Serialize};

use super::paths::{EventId, Paths};
use super::place::Place;

/// What may become a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partial {
    pub(super) place: Place,
    /// Its first record.
    pub(super) start: EventId,
    /// The link of its last one.
    pub(super) last: u64,
}

/// A match that has not been given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Complete {
    pub(super) start: EventId,
    pub(super) last: u64,
}

/// How far the matches of a key are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Of the pattern.
    pub(super) shape: u64,
    /// By their start, and those of one start in the order in which a record made them: what takes it first.
    pub(super) partials: VecDeque<Partial>,
    /// Wait for partial matches that began earlier; by their start.
    pub(super) completed: VecDeque<Complete>,
    pub(super) paths: Paths,
}

impl Progress {
    /// Nothing has come yet.
    pub(super) fn new(shape: u64) -> Self {
        Self { shape, partials: VecDeque::new(), completed: VecDeque::new(), paths: Paths::default() }
    }

    /// Whether there is nothing to be stored.
    pub(super) fn is_empty(&self) -> bool {
        self.partials.is_empty() && self.completed.is_empty()
    }

    /// When the earliest partial match began.
    pub(super) fn first_start(&self) -> Option<Timestamp> {
        self.partials.front().map(|partial| partial.start.0)
    }
}
