//! Slots in pages, of a row.

use super::{Paging, Slot, State, StateVisitor};
use crate::state::Stamp;

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

/// Has each slot forget marks that no base needs.
pub(super) struct ForgetMarks {
    pub(super) base: Stamp,
}

impl StateVisitor for ForgetMarks {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        state.forget_marks(slot, self.base);
    }
}

/// Clears each slot.
pub(super) struct ClearAll;

impl StateVisitor for ClearAll {
    fn visit<S: State>(&mut self, _: usize, _: &S, slot: &mut S::Slot) {
        slot.clear(0);
    }
}
