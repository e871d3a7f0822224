//! Rows with pages, as the backend lends them and has them leave.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use millstream_actors::contract::StateError;

use super::batch::Batch;
use super::cached_row::CachedRow;
use super::table::RedbBackend;
use crate::state::set::PageLost;
use crate::state::{Access, StateKey, StateSet};

/// Lends a row. `None` if a page of it could not be read: then the call was ended there, and the page store has the reason. The
/// row is not to be used any more.
#[inline]
pub(super) fn lend<K: StateKey, S: StateSet, R>(
    row: &mut CachedRow<'_, K, S>,
    access: Access,
    work: impl FnOnce(&K, S::Handles<'_>) -> R,
) -> Option<R> {
    let (key, states) = row.lend(access);
    if const { !S::HAS_PAGES } {
        return Some(work(key, states));
    }
    // The backend is not used any more after that, nor is the function.
    match catch_unwind(AssertUnwindSafe(|| work(key, states))) {
        Ok(done) => Some(done),
        Err(payload) if payload.is::<PageLost>() => None,
        Err(payload) => resume_unwind(payload),
    }
}

impl<K: StateKey, S: StateSet> RedbBackend<K, S> {
    /// Whether all pages could be read that were wanted.
    ///
    /// # Errors
    /// Why one could not.
    #[inline]
    pub(super) fn check_pages(&mut self) -> Result<(), StateError> {
        if const { !S::HAS_PAGES } {
            return Ok(());
        }
        match self.shared.pages.failure() {
            None => Ok(()),
            Some(failure) => {
                self.has_failed = true;
                Err(failure)
            }
        }
    }

    /// The error of a call that was ended since a page could not be read.
    #[cold]
    pub(super) fn page_lost(&mut self) -> StateError {
        let lost = self.check_pages().err();
        lost.unwrap_or_else(|| self.damaged("a page could not be read".to_owned()))
    }

    /// Whether a batch should be written for the sake of pages.
    #[inline]
    pub(super) fn pages_press(&self) -> bool {
        S::HAS_PAGES && self.shared.pages.presses()
    }

    /// Whether records should wait until one is.
    #[inline]
    pub(super) fn pages_press_hard(&self) -> bool {
        S::HAS_PAGES && self.shared.pages.presses_hard()
    }

    /// Whether rows should leave for the sake of their pages.
    #[inline]
    pub(super) fn has_too_many_pages(&self) -> bool {
        S::HAS_PAGES && self.shared.own_pages.pager.is_full()
    }

    /// Between two records of a block, whose rows must stay: only pages that wait leave, if they are many.
    #[inline]
    pub(super) fn send_pages(&mut self) -> Result<(), StateError> {
        if !S::HAS_PAGES || !self.shared.pages.has_many_waiting() {
            return Ok(());
        }
        let sent = self.open_disk().and_then(|disk| disk.poll(true)).and_then(|()| self.send(Batch::default()));
        self.has_failed |= sent.is_err();
        sent
    }
}
