//! The state that holds partial matches.

use std::sync::Arc;

use super::progress::Progress;
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::kinds::ValueSlot;
use crate::state::{Access, Span, Stamp, State, ValueHandle, ValueState};

/// A value for each key, its [`Progress`]. One of a pattern of another shape is refused when it is restored: its places would be
/// other ones here.
pub(crate) struct ProgressState {
    value: ValueState<Progress>,
    shape: u64,
}

impl ProgressState {
    pub(super) fn new(shape: u64) -> Self {
        Self { value: ValueState::new("partial-matches").compact(), shape }
    }
}

impl State for ProgressState {
    type Slot = ValueSlot<Progress>;
    type Handle<'a> = ValueHandle<'a, Progress>;

    fn name(&self) -> &Arc<str> {
        self.value.name()
    }

    fn format(&self) -> StateFormat {
        self.value.format()
    }

    fn check(&self) -> Result<(), String> {
        self.value.check()
    }

    fn handle<'a>(&'a self, slot: &'a mut ValueSlot<Progress>, access: Access) -> ValueHandle<'a, Progress> {
        self.value.handle(slot, access)
    }

    fn write(&self, slot: &mut ValueSlot<Progress>, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        self.value.write(slot, span, bytes)
    }

    fn load(
        &self,
        slot: &mut ValueSlot<Progress>,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        self.value.load(slot, stamp, stored, is_delta, bytes)?;
        match slot.value() {
            Some(progress) if progress.shape != self.shape => Err(Unfit::Other(
                "partial matches of a pattern with other stages or quantifiers were stored; start with that pattern, or give the operator another id and drop its state by allow_unmatched_state(true)"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }
}
