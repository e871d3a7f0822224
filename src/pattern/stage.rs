//! One stage of a pattern.

use std::sync::Arc;

use super::condition::Condition;

/// What may be between a record of a match and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Contiguity {
    /// Nothing.
    Strict,
    /// Records that the stage does not take.
    Relaxed,
    /// Anything.
    Any,
}

/// How a stage follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Takes records.
    Takes(Contiguity),
    /// The next record must not be one of it.
    NotNext,
    /// No record must be one of it, until the next stage takes one.
    NotFollowedBy,
}

/// What was said of a stage.
pub(super) struct Stage<T> {
    pub(super) name: Arc<str>,
    pub(super) link: Link,
    pub(super) condition: Condition<T>,
    /// How many records it takes, if it takes some: at least, and at most.
    pub(super) times: (u32, Option<u32>),
    /// What may be between its records; none if nothing was said.
    pub(super) inner: Option<Contiguity>,
    pub(super) is_optional: bool,
    pub(super) is_greedy: bool,
    pub(super) until: Option<Condition<T>>,
    /// What was said that cannot be.
    pub(super) mistakes: Vec<&'static str>,
}

impl<T> Stage<T> {
    pub(super) fn new(name: Arc<str>, link: Link, condition: Condition<T>) -> Self {
        let (times, inner, until) = ((1, Some(1)), None, None);
        Self { name, link, condition, times, inner, is_optional: false, is_greedy: false, until, mistakes: Vec::new() }
    }

    /// Notes what was said of it that cannot be.
    pub(super) fn mistake(&mut self, mistake: &'static str) {
        self.mistakes.push(mistake);
    }

    /// Whether records of it must not come.
    pub(super) fn is_negative(&self) -> bool {
        !matches!(self.link, Link::Takes(_))
    }

    /// Whether it takes more than one record.
    pub(super) fn repeats(&self) -> bool {
        self.times != (1, Some(1))
    }
}

impl<T> Clone for Stage<T> {
    fn clone(&self) -> Self {
        let Self { name, link, condition, times, inner, is_optional, is_greedy, until, mistakes } = self;
        Self {
            name: name.clone(),
            link: *link,
            condition: condition.clone(),
            times: *times,
            inner: *inner,
            is_optional: *is_optional,
            is_greedy: *is_greedy,
            until: until.clone(),
            mistakes: mistakes.clone(),
        }
    }
}
