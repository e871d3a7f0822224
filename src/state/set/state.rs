//! One kind of keyed state.

use std::sync::Arc;

use millstream_actors::protocol::Timestamp;

use super::Paging;
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::kinds::{DueTimes, Expiry};
use crate::state::query::QueriedAs;
use crate::state::{Access, Expiring, Span, Stamp, StateTtl, TimeDomain};

/// One kind of keyed state, as declared: [`ValueState`](crate::state::ValueState) and its like.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state, or its values cannot be stored",
    note = "values of a state are `Serialize + DeserializeOwned + Send + 'static`: derive the first two from serde"
)]
pub trait State: Send + 'static {
    /// Whether its values expire. Only [`Expiring`] says so.
    const EXPIRES: bool = false;

    /// Whether something in it comes due at times, as [`Timers`](crate::keyed::Timers) do.
    const HAS_TIMERS: bool = false;

    /// Whether a slot of it may lie in pages of its own, as that of a [`MapState`](crate::state::MapState).
    #[doc(hidden)]
    const HAS_PAGES: bool = false;

    /// A key's place for it.
    type Slot: Slot;
    /// Access to one key's slot.
    type Handle<'a>;

    /// The name, under which the state is found again in a snapshot.
    fn name(&self) -> &Arc<str>;

    /// The names that it had in older checkpoints.
    fn former_names(&self) -> &[Arc<str>] {
        &[]
    }

    /// How its values are stored.
    fn format(&self) -> StateFormat;

    /// Whether what was declared fits together. The graph refuses what does not.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self) -> Result<(), String>;

    /// Lends a slot.
    fn handle<'a>(&'a self, slot: &'a mut Self::Slot, access: Access) -> Self::Handle<'a>;

    /// Appends what is to be stored of the slot for this span, and says what it was. The slot was not changed after the
    /// span.
    ///
    /// # Errors
    /// What a serializer says, or why a value would not read back.
    fn write(&self, slot: &mut Self::Slot, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String>;

    /// Takes what [`write`](Self::write) appended off the front of `bytes` into the slot, whose stamp becomes `stamp`. A
    /// delta changes what the slot holds; otherwise it holds nothing yet.
    ///
    /// # Errors
    /// If the bytes are no such value.
    fn load(
        &self,
        slot: &mut Self::Slot,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit>;

    /// When the slot's value expires; `None` if it does not. Only [`Expiring`] gives one.
    #[inline]
    fn expiry<'a>(&self, slot: &'a Self::Slot) -> Option<Expiry<'a>> {
        let _ = slot;
        None
    }

    /// When something in the slot is due; `None` if nothing ever is. Only kinds that hold timers give one.
    #[inline]
    #[doc(hidden)]
    fn due_times<'a>(&self, slot: &'a mut Self::Slot) -> Option<&'a mut DueTimes> {
        let _ = slot;
        None
    }

    /// The queue's entry of a time has been taken: the time of what is due first, if that is not later. It is gone from the slot,
    /// as a change with this stamp, or the function that is lent the slot then makes it so.
    #[doc(hidden)]
    fn take_due(&self, slot: &mut Self::Slot, due: (TimeDomain, Timestamp), stamp: Stamp) -> Option<Timestamp> {
        let _ = (slot, due, stamp);
        None
    }

    /// Appends what this process alone knows of the slot, behind what [`write`](Self::write) has appended of a row that leaves
    /// memory for a while. Nothing, but for timers.
    #[doc(hidden)]
    fn write_marks(&self, slot: &Self::Slot, bytes: &mut Vec<u8>) {
        let _ = (slot, bytes);
    }

    /// Takes what [`write_marks`](Self::write_marks) has appended off the front of `bytes`.
    ///
    /// # Errors
    /// If the bytes are not that.
    #[doc(hidden)]
    fn load_marks(&self, slot: &mut Self::Slot, bytes: &mut &[u8]) -> Result<(), String> {
        let _ = (slot, bytes);
        Ok(())
    }

    /// Appends the slot of a row that leaves memory for a while, and says what it was. What of it lies in pages goes to the pager.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    #[doc(hidden)]
    fn spill(&self, slot: &mut Self::Slot, paging: &Paging, bytes: &mut Vec<u8>) -> Result<Written, String> {
        let _ = paging;
        let written = self.write(slot, Span { after: 0, up_to: Stamp::MAX }, bytes)?;
        if written == Written::Live {
            self.write_marks(slot, bytes);
        }
        Ok(written)
    }

    /// Takes what [`spill`](Self::spill) appended of a live slot off the front of `bytes`, into one that was never set.
    ///
    /// # Errors
    /// If the bytes are no such value.
    #[doc(hidden)]
    fn unspill(&self, slot: &mut Self::Slot, stamp: Stamp, paging: &Paging, bytes: &mut &[u8]) -> Result<(), Unfit> {
        let _ = paging;
        self.load(slot, stamp, self.format(), false, bytes)?;
        Ok(self.load_marks(slot, bytes)?)
    }

    /// The slot has been worked on, in a row that may leave memory: it goes into pages if it is large, out of them if it is small,
    /// and has pages leave if there are too many. Whether it is now otherwise than what was spilled of it.
    #[doc(hidden)]
    #[inline]
    fn trim(&self, slot: &mut Self::Slot, paging: &Paging) -> bool {
        let _ = (slot, paging);
        false
    }

    /// No base to come is older than this stamp: marks of what was removed up to it are forgotten, of a slot that was just read back.
    /// What was spilled of it stays as it is.
    #[doc(hidden)]
    #[inline]
    fn forget_marks(&self, slot: &mut Self::Slot, base: Stamp) {
        let _ = (slot, base);
    }

    /// As what its values are queried; `None` if they cannot be.
    #[doc(hidden)]
    fn queried_as() -> Option<QueriedAs>
    where
        Self: Sized,
    {
        None
    }

    /// How many entries a slot has, if it is of a kind that has several.
    #[doc(hidden)]
    fn entries(slot: &Self::Slot) -> usize
    where
        Self: Sized,
    {
        let _ = slot;
        1
    }

    /// This state, whose values expire: each key's value (its whole list or map, if the state is one) when it has not
    /// been used for as long as `ttl` says.
    fn with_ttl(self, ttl: StateTtl) -> Expiring<Self>
    where
        Self: Sized,
    {
        Expiring::new(self, ttl)
    }
}

/// A key's place for one state. By default it was never set.
///
/// Every change sets its stamp to that of the [`Access`] under which it is made: this is how a snapshot finds what has
/// changed. A slot that was set and is clear again keeps its stamp: it then is the mark of its own removal.
pub trait Slot: Default + Send + 'static {
    /// The stamp of the last change; 0 if it was never set.
    fn stamp(&self) -> Stamp;

    /// Sets the stamp as if the slot had been changed, though it was not.
    fn touch(&mut self, stamp: Stamp);

    /// Whether there is nothing in it.
    fn is_clear(&self) -> bool;

    /// Empties it, and makes it the mark of a removal with this stamp, also if it was empty.
    fn clear(&mut self, stamp: Stamp);
}
