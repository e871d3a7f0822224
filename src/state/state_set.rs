//! Declared states, and sets of them.
//!
//! A keyed function declares its states once; the engine keeps one row per key with one slot per state, and lends the
//! function handles that change the slots in place. All states of a key cost one look-up.

use std::hash::Hash;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Captured, PieceBuffer, StateFormat};
use super::ttl::load_without_deadline;
use super::{Access, Expiring, Span, Stamp, StateTtl};

/// What a key must be: hashed, compared and stored. Implemented for every type that is.
pub trait StateKey: Hash + Eq + Serialize + DeserializeOwned + Send + 'static {}

impl<K: Hash + Eq + Serialize + DeserializeOwned + Send + 'static> StateKey for K {}

/// One kind of keyed state, as declared: [`ValueState`](super::ValueState) and its like.
///
/// Every change of a slot sets its stamp to that of the [`Access`] under which it is made: this is how a snapshot finds
/// what has changed. A slot that was set and is clear again keeps its stamp: it then is the mark of its own removal.
pub trait State: Send + 'static {
    /// A key's place for it: never set by default.
    type Slot: Default + Send + 'static;
    /// Access to one key's slot.
    type Handle<'a>;

    /// The name, under which the state is found again in a snapshot.
    fn name(&self) -> &Arc<str>;

    /// How its values are stored.
    fn format(&self) -> StateFormat;

    /// Lends a slot.
    fn handle<'a>(&'a self, slot: &'a mut Self::Slot, access: Access) -> Self::Handle<'a>;

    /// The stamp of the slot's last change; 0 if it was never set.
    fn stamp(slot: &Self::Slot) -> Stamp;

    /// Sets the stamp of the slot as if it had been changed, though it was not.
    fn touch(slot: &mut Self::Slot, stamp: Stamp);

    /// Clears the slot, which is a change if anything was in it.
    fn clear(slot: &mut Self::Slot, stamp: Stamp);

    /// Whether there is nothing in it.
    fn is_clear(slot: &Self::Slot) -> bool;

    /// Appends what is to be stored of the slot for this span, and says what it was. The slot was not changed after the
    /// span.
    ///
    /// # Errors
    /// What a serializer says.
    fn capture(&self, slot: &mut Self::Slot, span: Span, bytes: &mut Vec<u8>) -> Result<Captured, String>;

    /// Takes what [`capture`](Self::capture) wrote off the front of `bytes` into the slot, whose stamp becomes `stamp`.
    /// A delta changes what the slot holds; otherwise it holds nothing yet.
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
    ) -> Result<(), String>;

    /// Whether of a value that has changed only a part may be written. Changes are then worth writing as such even where
    /// nearly all keys have them.
    fn writes_parts(&self) -> bool {
        false
    }

    /// Whether what was declared fits together. The graph refuses what does not.
    ///
    /// # Errors
    /// What does not fit.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// This state, whose values expire: each key's value (its whole list or map, if the state is one) when it has not
    /// been used for as long as `ttl` says.
    fn with_ttl(self, ttl: StateTtl) -> Expiring<Self>
    where
        Self: Sized,
    {
        Expiring::new(self, ttl)
    }

    /// Appends what [`unspill`](Self::unspill) makes the same slot of, but for its stamp; false if it is clear, and then
    /// appends nothing. For the working file of a backend: the bytes are read by the same process.
    ///
    /// # Errors
    /// What a serializer says.
    fn spill(&self, slot: &mut Self::Slot, bytes: &mut Vec<u8>) -> Result<bool, String> {
        let whole = Span { after: 0, up_to: Stamp::MAX };
        Ok(self.capture(slot, whole, bytes)? == Captured::Live)
    }

    /// A slot that was cleared under `stamp`, and of which older bases may have anything. To be given where a
    /// [touch](Self::touch) of a slot that was never set makes less of it.
    fn cleared(stamp: Stamp) -> Self::Slot {
        let mut slot = Self::Slot::default();
        Self::touch(&mut slot, stamp);
        slot
    }

    /// Takes what [`spill`](Self::spill) wrote, where it was not clear, off the front of `bytes` into a slot that was
    /// never set; its stamp becomes `stamp`. Where parts of a slot have stamps of their own, all of it counts as changed
    /// at `stamp`, the removal of what it had before included.
    ///
    /// # Errors
    /// If the bytes are no such value.
    fn unspill(&self, slot: &mut Self::Slot, stamp: Stamp, bytes: &mut &[u8]) -> Result<(), String> {
        self.load(slot, stamp, self.format(), false, bytes)
    }

    /// Whether its values expire. The other methods on expiry are called only if they do.
    #[inline]
    fn expires(&self) -> bool {
        false
    }

    /// Whether [`expire`](Self::expire) has something to do.
    #[inline]
    fn is_due(&self, slot: &Self::Slot, access: Access) -> bool {
        let _ = (slot, access);
        false
    }

    /// Clears what has expired, which is a change. What was changed later than `access` (by its stamp) stays as it is.
    #[inline]
    fn expire(&self, slot: &mut Self::Slot, access: Access) {
        let _ = (slot, access);
    }

    /// The record that was lent the slot has been worked on: a use that changed nothing but the deadline becomes a
    /// change with this stamp.
    #[inline]
    fn settle(&self, slot: &mut Self::Slot, stamp: Stamp) {
        let _ = (slot, stamp);
    }
}

/// The states of one function: a single [`State`], a tuple of up to eight, or a struct by
/// [`state_set!`](crate::state_set). Methods with an `index` speak of the state at that place in the order of declaration.
pub trait StateSet: Send + 'static {
    /// The slots of one key, never set by default.
    type Row: Default + Send + 'static;
    /// The handles of one key's slots, in the order of declaration. Disjoint: all can be held at once.
    type Handles<'a>;

    /// The names in the order of declaration. The graph refuses a function that uses one twice.
    fn names(&self) -> Vec<Arc<str>>;

    /// How the values of each are stored.
    fn formats(&self) -> Vec<StateFormat>;

    /// Lends a row.
    fn handles<'a>(&'a self, row: &'a mut Self::Row, access: Access) -> Self::Handles<'a>;

    /// The stamp of the row's last change; 0 if nothing was ever set.
    fn stamp(row: &Self::Row) -> Stamp;

    /// Whether every state of the row is clear.
    fn is_clear(row: &Self::Row) -> bool;

    /// Sets the stamp of every slot whose last change lies in the span.
    fn touch(row: &mut Self::Row, span: Span, stamp: Stamp);

    /// Writes what is to be stored of the row for this span, each state into its piece. Gives the number of bytes.
    ///
    /// # Errors
    /// What a serializer says, and of which state.
    fn capture<K: StateKey>(
        &self,
        key: &K,
        row: &mut Self::Row,
        span: Span,
        pieces: &mut [PieceBuffer],
    ) -> Result<usize, (usize, String)>;

    /// [`State::load`] of one state.
    ///
    /// # Errors
    /// If the bytes are no such value, or the slot has this stamp already: its key is stored twice.
    fn load(
        &self,
        index: usize,
        row: &mut Self::Row,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), String>;

    /// Makes the slot of one state as it is by default.
    fn unload(index: usize, row: &mut Self::Row);

    /// Whether of values of any of them only parts may be written.
    fn writes_parts(&self) -> bool;

    /// What does not fit together in the declaration of which state.
    fn check(&self) -> Vec<(Arc<str>, String)>;

    /// Appends the row, stamps included, for [`unspill`](Self::unspill). `of_row` is the stamp of the row of which these
    /// states are all, or a part.
    ///
    /// # Errors
    /// What a serializer says, and of which state.
    fn spill(&self, row: &mut Self::Row, of_row: Stamp, bytes: &mut Vec<u8>) -> Result<(), (usize, String)>;

    /// Takes a row that [`spill`](Self::spill) wrote off the front of `bytes`; `row` was never set, and `of_row` is as it
    /// was there.
    ///
    /// # Errors
    /// If the bytes are no such row.
    fn unspill(&self, row: &mut Self::Row, of_row: Stamp, bytes: &mut &[u8]) -> Result<(), String>;

    /// Whether values of any of them expire.
    fn expires(&self) -> bool;

    /// Whether [`expire`](Self::expire) has something to do.
    fn is_due(&self, row: &Self::Row, access: Access) -> bool;

    /// Clears what has expired in the row, which is a change.
    fn expire(&self, row: &mut Self::Row, access: Access);

    /// [`State::settle`] of each.
    fn settle(&self, row: &mut Self::Row, stamp: Stamp);
}

#[inline]
fn capture_slot<S: State, K: StateKey>(
    state: &S,
    index: usize,
    key: &K,
    slot: &mut S::Slot,
    span: Span,
    pieces: &mut [PieceBuffer],
) -> Result<usize, (usize, String)> {
    if !span.contains(S::stamp(slot)) {
        return Ok(0);
    }
    pieces[index].entry(key, |bytes| state.capture(slot, span, bytes)).map_err(|reason| (index, reason))
}

#[inline]
fn load_slot<S: State>(
    state: &S,
    slot: &mut S::Slot,
    stamp: Stamp,
    stored: StateFormat,
    is_delta: bool,
    bytes: &mut &[u8],
) -> Result<(), String> {
    if S::stamp(slot) == stamp {
        return Err("one key is stored twice".to_owned());
    }
    if stored.has_deadline() && !state.format().has_deadline() {
        return load_without_deadline(state, slot, stamp, stored, is_delta, bytes);
    }
    state.load(slot, stamp, stored, is_delta, bytes)
}

#[inline]
fn touch_slot<S: State>(slot: &mut S::Slot, span: Span, stamp: Stamp) {
    if span.contains(S::stamp(slot)) {
        S::touch(slot, stamp);
    }
}

fn check_state<S: State>(state: &S) -> Option<(Arc<str>, String)> {
    state.check().err().map(|reason| (state.name().clone(), reason))
}

/// How a spilled slot begins.
#[derive(Clone, Copy)]
enum Spilled {
    Never = 0,
    /// Cleared, and last changed when the row was.
    ClearWithRow = 1,
    SetWithRow = 2,
    /// Cleared; its stamp follows.
    Clear = 3,
    Set = 4,
}

fn spill_slot<S: State>(
    state: &S,
    index: usize,
    slot: &mut S::Slot,
    of_row: Stamp,
    bytes: &mut Vec<u8>,
) -> Result<(), (usize, String)> {
    let stamp = S::stamp(slot);
    let start = bytes.len();
    bytes.push(Spilled::Never as u8);
    if stamp != of_row {
        bytes.extend_from_slice(&stamp.to_le_bytes());
    }
    let is_set = state.spill(slot, bytes).map_err(|reason| (index, reason))?;
    let kind = match (is_set, stamp == of_row) {
        (false, _) if stamp == 0 => {
            bytes.truncate(start + 1);
            Spilled::Never
        }
        (false, true) => Spilled::ClearWithRow,
        (true, true) => Spilled::SetWithRow,
        (false, false) => Spilled::Clear,
        (true, false) => Spilled::Set,
    };
    bytes[start] = kind as u8;
    Ok(())
}

fn unspill_slot<S: State>(state: &S, slot: &mut S::Slot, of_row: Stamp, bytes: &mut &[u8]) -> Result<(), String> {
    let (kind, rest) = bytes.split_first().ok_or("a slot is cut short")?;
    *bytes = rest;
    let (is_set, has_stamp) = match *kind {
        kind if kind == Spilled::Never as u8 => return Ok(()),
        kind if kind == Spilled::ClearWithRow as u8 => (false, false),
        kind if kind == Spilled::SetWithRow as u8 => (true, false),
        kind if kind == Spilled::Clear as u8 => (false, true),
        kind if kind == Spilled::Set as u8 => (true, true),
        other => return Err(format!("a slot of kind {other}")),
    };
    let mut stamp = of_row;
    if has_stamp {
        let (own, rest) = bytes.split_first_chunk::<4>().ok_or("a stamp is cut short")?;
        (stamp, *bytes) = (Stamp::from_le_bytes(*own), rest);
    }
    if is_set {
        return state.unspill(slot, stamp, bytes);
    }
    *slot = S::cleared(stamp);
    Ok(())
}

impl<S: State> StateSet for S {
    type Row = S::Slot;
    type Handles<'a> = S::Handle<'a>;

    fn names(&self) -> Vec<Arc<str>> {
        vec![self.name().clone()]
    }

    fn formats(&self) -> Vec<StateFormat> {
        vec![self.format()]
    }

    #[inline]
    fn handles<'a>(&'a self, row: &'a mut Self::Row, access: Access) -> Self::Handles<'a> {
        self.handle(row, access)
    }

    #[inline]
    fn stamp(row: &Self::Row) -> Stamp {
        <S as State>::stamp(row)
    }

    #[inline]
    fn is_clear(row: &Self::Row) -> bool {
        <S as State>::is_clear(row)
    }

    #[inline]
    fn touch(row: &mut Self::Row, span: Span, stamp: Stamp) {
        touch_slot::<S>(row, span, stamp);
    }

    #[inline]
    fn capture<K: StateKey>(
        &self,
        key: &K,
        row: &mut Self::Row,
        span: Span,
        pieces: &mut [PieceBuffer],
    ) -> Result<usize, (usize, String)> {
        capture_slot(self, 0, key, row, span, pieces)
    }

    #[inline]
    fn load(
        &self,
        _: usize,
        row: &mut Self::Row,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), String> {
        load_slot(self, row, stamp, stored, is_delta, bytes)
    }

    fn unload(_: usize, row: &mut Self::Row) {
        *row = S::Slot::default();
    }

    fn writes_parts(&self) -> bool {
        <S as State>::writes_parts(self)
    }

    fn check(&self) -> Vec<(Arc<str>, String)> {
        check_state(self).into_iter().collect()
    }

    fn spill(&self, row: &mut Self::Row, of_row: Stamp, bytes: &mut Vec<u8>) -> Result<(), (usize, String)> {
        spill_slot(self, 0, row, of_row, bytes)
    }

    fn unspill(&self, row: &mut Self::Row, of_row: Stamp, bytes: &mut &[u8]) -> Result<(), String> {
        unspill_slot(self, row, of_row, bytes)
    }

    #[inline]
    fn expires(&self) -> bool {
        <S as State>::expires(self)
    }

    #[inline]
    fn is_due(&self, row: &Self::Row, access: Access) -> bool {
        <S as State>::is_due(self, row, access)
    }

    #[inline]
    fn expire(&self, row: &mut Self::Row, access: Access) {
        <S as State>::expire(self, row, access);
    }

    #[inline]
    fn settle(&self, row: &mut Self::Row, stamp: Stamp) {
        <S as State>::settle(self, row, stamp);
    }
}

macro_rules! state_tuples {
    ($(($($state:ident $index:tt),+))*) => {$(
        impl<$($state: State),+> StateSet for ($($state,)+) {
            type Row = ($($state::Slot,)+);
            type Handles<'a> = ($($state::Handle<'a>,)+);

            fn names(&self) -> Vec<Arc<str>> {
                vec![$(self.$index.name().clone()),+]
            }

            fn formats(&self) -> Vec<StateFormat> {
                vec![$(self.$index.format()),+]
            }

            #[inline]
            fn handles<'a>(&'a self, row: &'a mut Self::Row, access: Access) -> Self::Handles<'a> {
                ($(self.$index.handle(&mut row.$index, access),)+)
            }

            #[inline]
            fn stamp(row: &Self::Row) -> Stamp {
                0$(.max($state::stamp(&row.$index)))+
            }

            #[inline]
            fn is_clear(row: &Self::Row) -> bool {
                $($state::is_clear(&row.$index))&&+
            }

            #[inline]
            fn touch(row: &mut Self::Row, span: Span, stamp: Stamp) {
                $(touch_slot::<$state>(&mut row.$index, span, stamp);)+
            }

            #[inline]
            fn capture<K: StateKey>(
                &self,
                key: &K,
                row: &mut Self::Row,
                span: Span,
                pieces: &mut [PieceBuffer],
            ) -> Result<usize, (usize, String)> {
                Ok(0 $(+ capture_slot(&self.$index, $index, key, &mut row.$index, span, pieces)?)+)
            }

            #[inline]
            fn load(
                &self,
                index: usize,
                row: &mut Self::Row,
                stamp: Stamp,
                stored: StateFormat,
                is_delta: bool,
                bytes: &mut &[u8],
            ) -> Result<(), String> {
                match index {
                    $($index => load_slot(&self.$index, &mut row.$index, stamp, stored, is_delta, bytes),)+
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }

            fn unload(index: usize, row: &mut Self::Row) {
                match index {
                    $($index => row.$index = $state::Slot::default(),)+
                    _ => panic!("state {index} of a set that has fewer"),
                }
            }

            fn writes_parts(&self) -> bool {
                $(self.$index.writes_parts())||+
            }

            fn check(&self) -> Vec<(Arc<str>, String)> {
                [$(check_state(&self.$index)),+].into_iter().flatten().collect()
            }

            fn spill(&self, row: &mut Self::Row, of_row: Stamp, bytes: &mut Vec<u8>) -> Result<(), (usize, String)> {
                $(spill_slot(&self.$index, $index, &mut row.$index, of_row, bytes)?;)+
                Ok(())
            }

            fn unspill(&self, row: &mut Self::Row, of_row: Stamp, bytes: &mut &[u8]) -> Result<(), String> {
                $(unspill_slot(&self.$index, &mut row.$index, of_row, bytes)?;)+
                Ok(())
            }

            #[inline]
            fn expires(&self) -> bool {
                $(State::expires(&self.$index))||+
            }

            #[inline]
            fn is_due(&self, row: &Self::Row, access: Access) -> bool {
                $(State::is_due(&self.$index, &row.$index, access))||+
            }

            #[inline]
            fn expire(&self, row: &mut Self::Row, access: Access) {
                $(State::expire(&self.$index, &mut row.$index, access);)+
            }

            #[inline]
            fn settle(&self, row: &mut Self::Row, stamp: Stamp) {
                $(State::settle(&self.$index, &mut row.$index, stamp);)+
            }
        }
    )*};
}

state_tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
