//! Loading one state of a row from what was stored of it.

use super::{Slot, State, StateVisitor};
use crate::state::Stamp;
use crate::state::codec::{StateFormat, Unfit};
use crate::state::kinds::load_without_deadline;

/// Why a section is refused that has a key twice.
pub(in crate::state) const KEY_TWICE: &str = "a key is stored twice: what told two keys apart when they were written is not stored, as a field that is skipped; store that too, and start from an older checkpoint or from none";

/// Loads the state at this index.
pub(super) struct Load<'a, 'b> {
    pub(super) index: usize,
    pub(super) stamp: Stamp,
    pub(super) stored: StateFormat,
    pub(super) is_delta: bool,
    pub(super) bytes: &'a mut &'b [u8],
    /// `None` if there is no such state.
    pub(super) loaded: Option<Result<(), Unfit>>,
}

impl StateVisitor for Load<'_, '_> {
    #[inline]
    fn visit<S: State>(&mut self, index: usize, state: &S, slot: &mut S::Slot) {
        let Self { stamp, stored, is_delta, .. } = *self;
        if index != self.index {
            return;
        }
        self.loaded = Some(if slot.stamp() == stamp {
            Err(KEY_TWICE.into())
        } else if stored.has_deadline() && !S::EXPIRES {
            load_without_deadline(state, slot, stamp, stored, is_delta, self.bytes)
        } else {
            state.load(slot, stamp, stored, is_delta, self.bytes)
        });
    }
}

/// Makes the slot of the state at this index as it is by default.
pub(super) struct Unload {
    pub(super) index: usize,
}

impl StateVisitor for Unload {
    fn visit<S: State>(&mut self, index: usize, _: &S, slot: &mut S::Slot) {
        if index == self.index {
            *slot = S::Slot::default();
        }
    }
}
