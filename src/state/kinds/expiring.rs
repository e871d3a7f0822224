//! State that expires.
//!
//! A deadline lies beside each value. An expired value is cleared before a record is given its row, before its row is
//! written to a snapshot, and by a cursor that goes through the table (`table.rs`); clearing it is a change like any
//! other, so a snapshot has the mark of its removal.

use std::any::Any;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::protocol::Timestamp;

use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::query::QueriedAs;
use crate::state::set::Paging;
use crate::state::{Access, Slot, Span, Stamp, State};

/// How long values live that are not used. Follows Flink's `StateTtlConfig`.
///
/// | time | a value has expired when | the time of its last use is |
/// |---|---|---|
/// | processing | the job's clock >= last use + ttl | the clock's, read once a batch |
/// | event | the operator's watermark >= last use + ttl | the operator's watermark then, not that of the record |
///
/// What is used before the first watermark, also the first after a restart, counts as used when it comes. Processing
/// time never goes back while a task runs, even if the clock is set back.
///
/// A list or a map expires as a whole: it is used when any of it is. (Flink's expire by element.)
///
/// A value that has expired is never returned. It is removed when its key is next worked on, by a look at some entries
/// with every batch and every watermark, and by each checkpoint, which looks at all entries of a function with such a
/// state: what has expired before a barrier is not in its checkpoint.
///
/// A deadline takes eight bytes beside each value. It is stored with it, so another TTL counts from the next use on. If a
/// TTL is added to a state that had none, what is restored counts as used then; if one is removed, what is restored
/// lives, also what has expired since.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// let day = Duration::from_secs(86_400);
/// let last_login = ValueState::<u64>::new("last-login").with_ttl(StateTtl::processing_time(30 * day));
/// let open_orders = ListState::<u64>::new("open-orders").with_ttl(StateTtl::event_time(day).refresh_on_read());
/// assert_eq!([last_login.name(), open_orders.name()].map(|name| &**name), ["last-login", "open-orders"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTtl {
    millis: i64,
    time: Time,
    on_read: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Processing,
    Event,
}

impl StateTtl {
    /// Of these, a read moves the deadline if it would move it by one.
    const READ_STEPS: i64 = 32;

    /// By the job's clock. At least a millisecond; a part of one does not count.
    pub fn processing_time(ttl: Duration) -> Self {
        Self::of(ttl, Time::Processing)
    }

    /// By the operator's watermark. At least a millisecond; a part of one does not count.
    pub fn event_time(ttl: Duration) -> Self {
        Self::of(ttl, Time::Event)
    }

    fn of(ttl: Duration, time: Time) -> Self {
        let millis = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).min(Deadline::LAST);
        Self { millis, time, on_read: false }
    }

    /// Lets reading count as a use, too; otherwise only changes do. A read moves the deadline only if it is then later by
    /// at least 1/32 of the time to live, so that reading does not make every value part of every checkpoint: a value
    /// that is only read lives for between 31/32 of its time and all of it.
    pub fn refresh_on_read(mut self) -> Self {
        self.on_read = true;
        self
    }

    /// The time; `None` before the first watermark.
    #[inline]
    fn now(self, access: Access) -> Option<i64> {
        match self.time {
            Time::Processing => Some(access.processing_time),
            Time::Event => (access.watermark > Timestamp::MIN).then_some(access.watermark),
        }
    }

    /// The deadline of what is used now.
    #[inline]
    fn deadline(self, access: Access) -> Deadline {
        self.now(access).map_or(Deadline::UNDATED, |now| Deadline::at(now.saturating_add(self.millis)))
    }
}

/// When a value expires: milliseconds, doubled; the lowest bit is set while a move is to become a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline(i64);

impl Deadline {
    /// Of a value whose time of use is not known yet.
    const UNDATED: Self = Self((i64::MAX >> 1) << 1);
    /// The last millisecond that is a deadline.
    const LAST: i64 = (i64::MAX >> 1) - 1;
    /// What is stored is eight bytes, little-endian.
    const BYTES: usize = 8;
    const MOVED: i64 = 1;

    #[inline]
    fn at(ms: i64) -> Self {
        Self(ms.clamp(i64::MIN >> 1, Self::LAST) << 1)
    }

    #[inline]
    fn ms(self) -> i64 {
        self.0 >> 1
    }

    #[inline]
    fn moved(self) -> Self {
        Self(self.0 | Self::MOVED)
    }

    #[inline]
    fn settled(self) -> Self {
        Self(self.0 & !Self::MOVED)
    }

    #[inline]
    fn is_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    /// Takes a stored deadline off the front of `bytes`, and whether no value follows: only the deadline has changed.
    #[inline]
    fn take(bytes: &mut &[u8]) -> Result<(Self, bool), String> {
        let (deadline, rest) = bytes.split_first_chunk::<{ Self::BYTES }>().ok_or("a deadline is cut short")?;
        *bytes = rest;
        let stored = Self(i64::from_le_bytes(*deadline));
        Ok((stored.settled(), stored.is_moved()))
    }
}

/// A state `S` whose values expire. [`State::with_ttl`] makes it; its handles are those of `S`.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// /// Gives the visits of a user without half an hour between two of them.
/// #[derive(Clone)]
/// struct Visits;
///
/// impl KeyedProcessFunction<u64, u64> for Visits {
///     type Out = (u64, u32);
///     type State = Expiring<ValueState<u32>>;
///
///     fn state(&self) -> Self::State {
///         ValueState::new("visits").with_ttl(StateTtl::processing_time(Duration::from_secs(1800)))
///     }
///
///     fn process(
///         &mut self,
///         user: u64,
///         mut visits: Row<'_, Self, u64, u64>,
///         _: &mut KeyedContext<'_, u64>,
///         out: &mut Emitter<'_, (u64, u32)>,
///     ) {
///         let visits = visits.get_or_insert_with(|| 0);
///         *visits += 1;
///         out.emit((user, *visits));
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Expiring<S> {
    inner: S,
    ttl: StateTtl,
}

impl<S> Expiring<S> {
    pub(crate) fn new(inner: S, ttl: StateTtl) -> Self {
        Self { inner, ttl }
    }
}

/// A key's place for a value that expires.
#[derive(Debug)]
pub struct ExpiringSlot<T> {
    deadline: Cell<Deadline>,
    inner: T,
}

impl<T: Default> Default for ExpiringSlot<T> {
    fn default() -> Self {
        Self { deadline: Cell::new(Deadline::UNDATED), inner: T::default() }
    }
}

/// The handle `H` of a state that expires. What takes it by `&mut` is a change and moves the deadline; what takes it by
/// `&` moves it if reading does.
#[derive(Debug)]
pub struct ExpiringHandle<'a, H> {
    deadline: &'a Cell<Deadline>,
    /// What a use makes it.
    fresh: Deadline,
    /// Reading moves a deadline that is not later than that.
    stale: i64,
    inner: H,
}

impl<H> Deref for ExpiringHandle<'_, H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        if self.deadline.get().ms() <= self.stale {
            self.deadline.set(self.fresh.moved());
        }
        &self.inner
    }
}

impl<H> DerefMut for ExpiringHandle<'_, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut H {
        self.deadline.set(self.fresh.moved());
        &mut self.inner
    }
}

impl<T: Slot> Slot for ExpiringSlot<T> {
    #[inline]
    fn stamp(&self) -> Stamp {
        self.inner.stamp()
    }

    #[inline]
    fn touch(&mut self, stamp: Stamp) {
        self.inner.touch(stamp);
    }

    #[inline]
    fn is_clear(&self) -> bool {
        self.inner.is_clear()
    }

    fn clear(&mut self, stamp: Stamp) {
        self.inner.clear(stamp);
    }
}

/// The deadline of a slot, and the time to live that moves it.
#[derive(Debug)]
pub struct Expiry<'a> {
    ttl: StateTtl,
    deadline: &'a Cell<Deadline>,
}

impl Expiry<'_> {
    /// Whether the deadline has passed, or is to be set since the time is known by now.
    #[inline]
    pub(crate) fn is_due(&self, access: Access) -> bool {
        let deadline = self.deadline.get();
        self.ttl.now(access).is_some_and(|now| deadline.ms() <= now || deadline == Deadline::UNDATED)
    }

    /// Whether the deadline has passed.
    pub(crate) fn has_passed(&self, access: Access) -> bool {
        self.ttl.now(access).is_some_and(|now| self.deadline.get().ms() <= now)
    }

    /// Sets the deadline of a value whose time of use was not known. False if it has one.
    pub(crate) fn begin(&self, access: Access) -> bool {
        let is_undated = self.deadline.get() == Deadline::UNDATED;
        if is_undated {
            self.deadline.set(self.ttl.deadline(access));
        }
        is_undated
    }

    /// Whether a use has moved the deadline since the last time it was asked.
    #[inline]
    pub(crate) fn settle(&self) -> bool {
        let deadline = self.deadline.get();
        if deadline.is_moved() {
            self.deadline.set(deadline.settled());
        }
        deadline.is_moved()
    }
}

impl<S: State> State for Expiring<S> {
    const EXPIRES: bool = true;
    const HAS_PAGES: bool = S::HAS_PAGES;

    type Slot = ExpiringSlot<S::Slot>;
    type Handle<'a> = ExpiringHandle<'a, S::Handle<'a>>;

    fn name(&self) -> &Arc<str> {
        self.inner.name()
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.inner.former_names()
    }

    fn format(&self) -> StateFormat {
        self.inner.format().with_deadline()
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut Self::Slot, access: Access) -> Self::Handle<'a> {
        let fresh = self.ttl.deadline(access);
        let step = (self.ttl.millis / StateTtl::READ_STEPS).max(1);
        let stale = if self.ttl.on_read { fresh.ms() - step } else { i64::MIN };
        ExpiringHandle { deadline: &slot.deadline, fresh, stale, inner: self.inner.handle(&mut slot.inner, access) }
    }

    /// The deadline, and the value after it. A value that did not change but for its deadline may have nothing to write:
    /// then the lowest bit of the deadline says so.
    fn write(&self, slot: &mut Self::Slot, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        let start = bytes.len();
        bytes.extend_from_slice(&slot.deadline.get().settled().0.to_le_bytes());
        match self.inner.write(&mut slot.inner, span, bytes)? {
            Written::Live => Ok(Written::Live),
            Written::Nothing if !span.is_full() && !slot.inner.is_clear() => {
                bytes.truncate(start + Deadline::BYTES);
                bytes[start] |= Deadline::MOVED as u8;
                Ok(Written::Live)
            }
            other => {
                bytes.truncate(start);
                Ok(other)
            }
        }
    }

    fn load(
        &self,
        slot: &mut Self::Slot,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        if !stored.has_deadline() {
            slot.deadline.set(Deadline::UNDATED);
            return self.inner.load(&mut slot.inner, stamp, stored, is_delta, bytes);
        }
        let (deadline, is_alone) = Deadline::take(bytes)?;
        slot.deadline.set(deadline);
        load_value(&self.inner, &mut slot.inner, stamp, stored, (is_delta, is_alone), bytes)
    }

    fn spill(&self, slot: &mut Self::Slot, paging: &Paging, bytes: &mut Vec<u8>) -> Result<Written, String> {
        let start = bytes.len();
        bytes.extend_from_slice(&slot.deadline.get().settled().0.to_le_bytes());
        let written = self.inner.spill(&mut slot.inner, paging, bytes)?;
        if written != Written::Live {
            bytes.truncate(start);
        }
        Ok(written)
    }

    fn unspill(&self, slot: &mut Self::Slot, stamp: Stamp, paging: &Paging, bytes: &mut &[u8]) -> Result<(), Unfit> {
        slot.deadline.set(Deadline::take(bytes)?.0);
        self.inner.unspill(&mut slot.inner, stamp, paging, bytes)
    }

    #[inline]
    fn trim(&self, slot: &mut Self::Slot, paging: &Paging) -> bool {
        self.inner.trim(&mut slot.inner, paging)
    }

    #[inline]
    fn forget_marks(&self, slot: &mut Self::Slot, base: Stamp) {
        self.inner.forget_marks(&mut slot.inner, base);
    }

    fn queried_as() -> Option<QueriedAs> {
        S::queried_as().map(|queried_as| QueriedAs { decode: decode_expiring::<S>, ..queried_as })
    }

    fn entries(slot: &Self::Slot) -> usize {
        S::entries(&slot.inner)
    }

    fn check(&self) -> Result<(), String> {
        if self.ttl.millis <= 0 {
            return Err("a time to live of less than a millisecond".to_owned());
        }
        if S::EXPIRES {
            return Err("two times to live".to_owned());
        }
        if S::HAS_TIMERS {
            return Err("timers do not expire: they fire, or are deleted".to_owned());
        }
        self.inner.check()
    }

    #[inline]
    fn expiry<'a>(&self, slot: &'a Self::Slot) -> Option<Expiry<'a>> {
        Some(Expiry { ttl: self.ttl, deadline: &slot.deadline })
    }
}

/// Decodes a value for a query, behind its deadline.
fn decode_expiring<S: State>(format: StateFormat, mut bytes: &[u8]) -> Result<Box<dyn Any + Send>, String> {
    Deadline::take(&mut bytes)?;
    let queried_as = S::queried_as().ok_or("a state that is not for queries")?;
    (queried_as.decode)(format.without_deadline(), bytes)
}

/// Loads a value without a time to live that was stored when it had one.
pub(crate) fn load_without_deadline<S: State>(
    state: &S,
    slot: &mut S::Slot,
    stamp: Stamp,
    stored: StateFormat,
    is_delta: bool,
    bytes: &mut &[u8],
) -> Result<(), Unfit> {
    let (_, is_alone) = Deadline::take(bytes)?;
    load_value(state, slot, stamp, stored, (is_delta, is_alone), bytes)
}

/// Loads what follows a deadline: nothing, if it is alone.
fn load_value<S: State>(
    state: &S,
    slot: &mut S::Slot,
    stamp: Stamp,
    stored: StateFormat,
    (is_delta, is_alone): (bool, bool),
    bytes: &mut &[u8],
) -> Result<(), Unfit> {
    if !is_alone {
        return state.load(slot, stamp, stored.without_deadline(), is_delta, bytes);
    }
    if !is_delta || slot.is_clear() {
        return Err("a deadline without a value".into());
    }
    slot.touch(stamp);
    Ok(())
}

#[cfg(test)]
#[path = "expiring_tests.rs"]
mod tests;
