//! Rows as bytes that the same process reads again, stamps included.
//!
//! A slot begins with a byte that says what it is, then its stamp if that is not the row's, then its value as a whole
//! section has it, and what else this process knows of it.

use super::{Paging, Slot, State, StateVisitor};
use crate::state::Stamp;
use crate::state::codec::Written;

/// How a spilled slot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NeverSet,
    /// Cleared, and last changed when the row was.
    ClearWithRow,
    SetWithRow,
    /// Cleared; its stamp follows.
    Clear,
    Set,
}

impl Kind {
    const ALL: [Self; 5] = [Self::NeverSet, Self::ClearWithRow, Self::SetWithRow, Self::Clear, Self::Set];
}

/// Appends each slot. Ends with the first that fails.
pub(super) struct Spill<'a> {
    /// The stamp of the row.
    pub(super) of_row: Stamp,
    pub(super) paging: &'a Paging,
    pub(super) bytes: &'a mut Vec<u8>,
    /// What a serializer said, and of which state.
    pub(super) spilled: Result<(), (usize, String)>,
}

impl StateVisitor for Spill<'_> {
    fn visit<S: State>(&mut self, index: usize, state: &S, slot: &mut S::Slot) {
        if self.spilled.is_ok() {
            let spilled = spill(state, slot, self.of_row, self.paging, self.bytes);
            self.spilled = spilled.map_err(|reason| (index, reason));
        }
    }
}

fn spill<S: State>(
    state: &S,
    slot: &mut S::Slot,
    of_row: Stamp,
    paging: &Paging,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    let stamp = slot.stamp();
    let start = bytes.len();
    bytes.push(0);
    if stamp != of_row {
        bytes.extend_from_slice(&stamp.to_le_bytes());
    }
    let is_set = state.spill(slot, paging, bytes)? == Written::Live;
    let kind = match (is_set, stamp == of_row) {
        (false, _) if stamp == 0 => {
            bytes.truncate(start + 1);
            Kind::NeverSet
        }
        (false, true) => Kind::ClearWithRow,
        (true, true) => Kind::SetWithRow,
        (false, false) => Kind::Clear,
        (true, false) => Kind::Set,
    };
    bytes[start] = kind as u8;
    Ok(())
}

/// Takes each slot off the front of the bytes. Ends with the first that fails.
pub(super) struct Unspill<'a, 'b> {
    /// The stamp of the row.
    pub(super) of_row: Stamp,
    pub(super) paging: &'a Paging,
    pub(super) bytes: &'a mut &'b [u8],
    pub(super) unspilled: Result<(), String>,
}

impl StateVisitor for Unspill<'_, '_> {
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        if self.unspilled.is_ok() {
            self.unspilled = unspill(state, slot, self.of_row, self.paging, self.bytes);
        }
    }
}

/// Parts of a slot that have stamps of their own all get that of the slot, the removal of what it had before included; but those
/// in pages.
fn unspill<S: State>(
    state: &S,
    slot: &mut S::Slot,
    of_row: Stamp,
    paging: &Paging,
    bytes: &mut &[u8],
) -> Result<(), String> {
    let (kind, rest) = bytes.split_first().ok_or("a slot is cut short")?;
    *bytes = rest;
    let kind = Kind::ALL.get(usize::from(*kind)).ok_or_else(|| format!("a slot of kind {kind}"))?;
    let mut stamp = of_row;
    if matches!(kind, Kind::Clear | Kind::Set) {
        let (own, rest) = bytes.split_first_chunk::<4>().ok_or("a stamp is cut short")?;
        (stamp, *bytes) = (Stamp::from_le_bytes(*own), rest);
    }
    match kind {
        Kind::NeverSet => Ok(()),
        Kind::Clear | Kind::ClearWithRow => {
            slot.clear(stamp);
            Ok(())
        }
        Kind::Set | Kind::SetWithRow => Ok(state.unspill(slot, stamp, paging, bytes)?),
    }
}
