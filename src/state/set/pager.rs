//! How a slot gets at the parts of it that are not in memory.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

/// Keeps pages, by numbers that are used once: what a slot that is too large for a row is made of.
///
/// A page that was written is what is read of it, until it is written again or freed.
pub(crate) trait Pager: fmt::Debug + Send + Sync {
    /// A number that no page has had.
    fn fresh(&self) -> u64;

    /// The bytes of a page.
    ///
    /// # Errors
    /// If they cannot be read, or are not what was written. The reason is kept: whoever lent the slot gives it.
    fn read(&self, page: u64) -> Result<Vec<u8>, PageLost>;

    /// Takes the bytes of a page.
    fn write(&self, page: u64, bytes: Vec<u8>);

    /// The page will not be read again.
    fn free(&self, page: u64);

    /// Keeps why bytes that are as they were written are no page.
    fn unreadable(&self, reason: String) -> PageLost;

    /// About so many more bytes of pages are in memory.
    fn hold(&self, bytes: usize);

    /// So many of them are not any more.
    fn let_go(&self, bytes: usize);

    /// Whether pages in memory have more bytes than they should.
    fn is_full(&self) -> bool;
}

/// A page could not be read.
#[derive(Debug)]
pub(crate) struct PageLost(());

impl PageLost {
    /// To be made by a [`Pager`] that has kept the reason.
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// Ends the call of the user's function in which the page was wanted. It is not told as a panic, since it is none.
    #[cold]
    pub(crate) fn unwind(self) -> ! {
        resume_unwind(Box::new(self))
    }
}

impl From<PageLost> for String {
    fn from(_: PageLost) -> Self {
        "a page of it could not be read".to_owned()
    }
}

/// The pages of a slot, as it was read back.
#[derive(Clone, Debug)]
pub struct Paging {
    pub(crate) pager: Arc<dyn Pager>,
    /// The row is only looked at and thrown away: another has the same pages, so none is freed or written.
    pub(crate) is_copy: bool,
}
