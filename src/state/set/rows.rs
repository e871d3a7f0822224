//! What the engine does with the rows of a set, each once for every set.

use std::sync::Arc;

use millstream_actors::protocol::Timestamp;

use super::loading::{Load, Unload};
use super::paging::{ClearAll, ForgetMarks, Trim};
use super::spilling::{Spill, Unspill};
use super::timers::{Enqueue, QueuedAt, TakeDue};
use super::writing::Write;
use super::{Paging, Slot, SlotVisitor, State, StateKey, StateSet, StateVisitor};
use crate::state::codec::{PieceBuffer, StateFormat, Unfit};
use crate::state::{Access, Span, Stamp, TimeDomain, TimerQueues};

/// What the engine does with the rows of a set. Every set has it; methods with an `index` speak of the state at that place
/// in the order of declaration.
pub(crate) trait StateRows: StateSet {
    /// The names in the order of declaration. The graph refuses a function that uses one twice.
    fn names(&self) -> Vec<Arc<str>> {
        let mut names = Names(Vec::new());
        self.visit(&mut Self::Row::default(), &mut names);
        names.0
    }

    /// Names that the states had, each with today's.
    fn former_names(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let mut names = FormerNames(Vec::new());
        self.visit(&mut Self::Row::default(), &mut names);
        names.0
    }

    /// How the values of each are stored.
    fn formats(&self) -> Vec<StateFormat> {
        let mut formats = Formats(Vec::new());
        self.visit(&mut Self::Row::default(), &mut formats);
        formats.0
    }

    /// What does not fit together in the declaration of which state.
    fn mistakes(&self) -> Vec<(Arc<str>, String)> {
        let mut mistakes = Mistakes { found: Vec::new(), has_timers: false };
        self.visit(&mut Self::Row::default(), &mut mistakes);
        mistakes.found
    }

    /// Whether values of any of them expire.
    #[inline]
    fn expires(&self) -> bool {
        Self::EXPIRES
    }

    /// Whether of values of any of them only parts may be written. Changes are then worth writing as such even where
    /// nearly all keys have them.
    fn writes_parts(&self) -> bool {
        self.formats().into_iter().any(StateFormat::has_parts)
    }

    /// The stamp of the row's last change; 0 if nothing was ever set.
    #[inline]
    fn stamp(row: &Self::Row) -> Stamp {
        let mut newest = NewestStamp(0);
        Self::visit_slots(row, &mut newest);
        newest.0
    }

    /// Whether every state of the row is clear.
    #[inline]
    fn is_clear(row: &Self::Row) -> bool {
        let mut all = AllClear(true);
        Self::visit_slots(row, &mut all);
        all.0
    }

    /// Sets the stamp of every slot whose last change lies in the span.
    #[inline]
    fn touch(&self, row: &mut Self::Row, span: Span, stamp: Stamp) {
        self.visit(row, &mut Touch { span, stamp });
    }

    /// Writes what is to be stored of the row for this span, each state into its piece. Gives the number of bytes.
    ///
    /// # Errors
    /// What a serializer says, and of which state.
    #[inline]
    fn write_row<K: StateKey>(
        &self,
        key: &K,
        row: &mut Self::Row,
        span: Span,
        pieces: &mut [PieceBuffer],
    ) -> Result<usize, (usize, String)> {
        let mut write = Write { key, span, pieces, written: Ok(0) };
        self.visit(row, &mut write);
        write.written
    }

    /// [`State::load`] of one state.
    ///
    /// # Errors
    /// If the bytes are no such value, or the slot has this stamp already: its key is stored twice.
    ///
    /// # Panics
    /// If there are fewer states.
    #[inline]
    fn load_state(
        &self,
        index: usize,
        row: &mut Self::Row,
        stamp: Stamp,
        (stored, is_delta): (StateFormat, bool),
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        let mut load = Load { index, stamp, stored, is_delta, bytes, loaded: None };
        self.visit(row, &mut load);
        load.loaded.unwrap_or_else(|| panic!("state {index} of a set that has fewer"))
    }

    /// Makes the slot of one state as it is by default.
    fn unload_state(&self, index: usize, row: &mut Self::Row) {
        self.visit(row, &mut Unload { index });
    }

    /// Appends the row, stamps included, for [`unspill`](Self::unspill). `of_row` is the stamp of the row of which these
    /// states are all, or a part.
    ///
    /// # Errors
    /// What a serializer says, and of which state.
    fn spill(
        &self,
        row: &mut Self::Row,
        of_row: Stamp,
        paging: &Paging,
        bytes: &mut Vec<u8>,
    ) -> Result<(), (usize, String)> {
        let mut spill = Spill { of_row, paging, bytes, spilled: Ok(()) };
        self.visit(row, &mut spill);
        spill.spilled
    }

    /// Takes a row that [`spill`](Self::spill) wrote off the front of `bytes`; `row` was never set, and `of_row` is as it
    /// was there.
    ///
    /// # Errors
    /// If the bytes are no such row.
    fn unspill(&self, row: &mut Self::Row, of_row: Stamp, paging: &Paging, bytes: &mut &[u8]) -> Result<(), String> {
        let mut unspill = Unspill { of_row, paging, bytes, unspilled: Ok(()) };
        self.visit(row, &mut unspill);
        unspill.unspilled
    }

    /// [`State::trim`] of each state; whether it is now otherwise than what was spilled of any of them.
    #[inline]
    fn trim(&self, row: &mut Self::Row, paging: &Paging) -> bool {
        let mut trim = Trim { paging, is_changed: false };
        self.visit(row, &mut trim);
        trim.is_changed
    }

    /// [`State::forget_marks`] of each state.
    #[inline]
    fn forget_marks(&self, row: &mut Self::Row, base: Stamp) {
        self.visit(row, &mut ForgetMarks { base });
    }

    /// Frees the pages of a row that is thrown away, with all that is in it.
    fn free_pages(&self, row: &mut Self::Row) {
        self.visit(row, &mut ClearAll);
    }

    /// Whether [`expire`](Self::expire) has something to do.
    #[inline]
    fn is_due(&self, row: &mut Self::Row, access: Access) -> bool {
        let mut due = AnyDue { access, is_due: false };
        self.visit(row, &mut due);
        due.is_due
    }

    /// Clears what has expired in the row, which is a change. What was changed later than `access` (by its stamp) stays as
    /// it is.
    #[inline]
    fn expire(&self, row: &mut Self::Row, access: Access) {
        self.visit(row, &mut Expire { access });
    }

    /// The record that was lent the row has been worked on: a use that changed nothing but a deadline becomes a change
    /// with this stamp.
    #[inline]
    fn settle(&self, row: &mut Self::Row, stamp: Stamp) {
        self.visit(row, &mut Settle { stamp });
    }

    /// Has the queues know the row's key, whose hash is `hash`, by the earliest of its timers. Whether they had to be told, which
    /// the row knows then.
    #[inline]
    fn enqueue_timers(&self, row: &mut Self::Row, queues: &mut TimerQueues, hash: impl Fn() -> u64) -> bool {
        let mut enqueue = Enqueue { queues, hash, is_told: false };
        self.visit(row, &mut enqueue);
        enqueue.is_told
    }

    /// Whether the queue of `domain` has an entry of time `at` for the row's key that counts.
    #[inline]
    fn is_queued_at(&self, row: &mut Self::Row, (domain, at): (TimeDomain, Timestamp)) -> bool {
        let mut queued = QueuedAt { domain, at, is_it: false };
        self.visit(row, &mut queued);
        queued.is_it
    }

    /// An entry of the queue of `domain`, of time `at`, has been taken: gives the row's timer that is due then and removes
    /// it, as a change with this stamp.
    fn take_due_timer(
        &self,
        row: &mut Self::Row,
        (domain, at): (TimeDomain, Timestamp),
        stamp: Stamp,
    ) -> Option<Timestamp> {
        let mut take = TakeDue { domain, at, stamp, taken: None };
        self.visit(row, &mut take);
        take.taken
    }
}

impl<S: StateSet> StateRows for S {}

struct Names(Vec<Arc<str>>);

impl StateVisitor for Names {
    fn visit<S: State>(&mut self, _: usize, state: &S, _: &mut S::Slot) {
        self.0.push(state.name().clone());
    }
}

struct FormerNames(Vec<(Arc<str>, Arc<str>)>);

impl StateVisitor for FormerNames {
    fn visit<S: State>(&mut self, _: usize, state: &S, _: &mut S::Slot) {
        self.0.extend(state.former_names().iter().map(|former| (former.clone(), state.name().clone())));
    }
}

struct Formats(Vec<StateFormat>);

impl StateVisitor for Formats {
    fn visit<S: State>(&mut self, _: usize, state: &S, _: &mut S::Slot) {
        self.0.push(state.format());
    }
}

struct Mistakes {
    found: Vec<(Arc<str>, String)>,
    has_timers: bool,
}

impl StateVisitor for Mistakes {
    fn visit<S: State>(&mut self, _: usize, state: &S, _: &mut S::Slot) {
        self.found.extend(state.check().err().map(|reason| (state.name().clone(), reason)));
        if S::HAS_TIMERS && std::mem::replace(&mut self.has_timers, true) {
            let reason = "a function has one state that holds timers, this is a second one; timers of one time are one"
                .to_owned();
            self.found.push((state.name().clone(), reason));
        }
    }
}

struct NewestStamp(Stamp);

impl SlotVisitor for NewestStamp {
    #[inline]
    fn visit(&mut self, slot: &impl Slot) {
        self.0 = self.0.max(slot.stamp());
    }
}

struct AllClear(bool);

impl SlotVisitor for AllClear {
    #[inline]
    fn visit(&mut self, slot: &impl Slot) {
        self.0 = self.0 && slot.is_clear();
    }
}

struct Touch {
    span: Span,
    stamp: Stamp,
}

impl StateVisitor for Touch {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, _: &S, slot: &mut S::Slot) {
        if self.span.contains(slot.stamp()) {
            slot.touch(self.stamp);
        }
    }
}

/// Whether the value of a slot has expired, or is to have a deadline. What was changed later stays as it is.
#[inline]
fn is_due<S: State>(state: &S, slot: &S::Slot, access: Access) -> bool {
    match state.expiry(slot) {
        Some(expiry) => !slot.is_clear() && slot.stamp() <= access.stamp && expiry.is_due(access),
        None => false,
    }
}

struct AnyDue {
    access: Access,
    is_due: bool,
}

impl StateVisitor for AnyDue {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        self.is_due = self.is_due || is_due(state, slot, self.access);
    }
}

struct Expire {
    access: Access,
}

impl StateVisitor for Expire {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        if !is_due(state, slot, self.access) {
            return;
        }
        if state.expiry(slot).is_some_and(|expiry| expiry.begin(self.access)) {
            slot.touch(self.access.stamp);
        } else {
            slot.clear(self.access.stamp);
        }
    }
}

struct Settle {
    stamp: Stamp,
}

impl StateVisitor for Settle {
    #[inline]
    fn visit<S: State>(&mut self, _: usize, state: &S, slot: &mut S::Slot) {
        if state.expiry(slot).is_some_and(|expiry| expiry.settle()) && !slot.is_clear() {
            slot.touch(self.stamp);
        }
    }
}
