//! Writing the row of a key into the pieces of its states.

use super::{Slot, State, StateKey, StateVisitor};
use crate::state::Span;
use crate::state::codec::PieceBuffer;

/// Writes each slot that changed within the span into the piece of its state. Ends with the first that fails.
pub(super) struct Write<'a, K> {
    pub(super) key: &'a K,
    pub(super) span: Span,
    pub(super) pieces: &'a mut [PieceBuffer],
    /// Bytes; or what a serializer said, and of which state.
    pub(super) written: Result<usize, (usize, String)>,
}

impl<K: StateKey> StateVisitor for Write<'_, K> {
    #[inline]
    fn visit<S: State>(&mut self, index: usize, state: &S, slot: &mut S::Slot) {
        let Ok(written) = &mut self.written else { return };
        if !self.span.contains(slot.stamp()) {
            return;
        }
        match self.pieces[index].entry(self.key, |bytes| state.write(slot, self.span, bytes)) {
            Ok(bytes) => *written += bytes,
            Err(reason) => self.written = Err((index, reason)),
        }
    }
}
