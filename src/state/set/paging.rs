//! Slots in pages, of a row.

use super::{Paging, Slot, State, StateVisitor};

/// Trims each slot.
pub(super) struct Trim<'a> {
    pub(super) paging: &'a Paging,
    /// One of them is otherwise than what was spilled of it.
    pub(super) is_changed: bool,
}

impl StateVisitor for Trim<'_> {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        self.is_changed |= state.trim(slot, self.paging);
    }
}

/// Clears each slot.
pub(super) struct ClearAll;

impl StateVisitor for ClearAll {
    fn visit<S: State>(&mut self, _: usize, _: &S, slot: &mut S::Slot) {
        slot.clear(0);
    }
}
