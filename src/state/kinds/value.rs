//! State that holds one value per key.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::{Schema, schema_methods};
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::query::{QueriedAs, decode_value};
use crate::state::{Access, Slot, Span, Stamp, State};

/// Declares one value per key. Follows Flink's `ValueState`.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Passes a user's setting on when it is not what it was.
/// #[derive(Clone)]
/// struct Changes;
///
/// type Setting = (u64, String);
///
/// impl KeyedProcessFunction<u64, Setting> for Changes {
///     type Out = Setting;
///     type State = ValueState<String>;
///
///     fn state(&self) -> ValueState<String> {
///         ValueState::new("last")
///     }
///
///     fn process(
///         &mut self,
///         (user, setting): Setting,
///         mut last: Row<'_, Self, u64, Setting>,
///         _: &mut KeyedContext<'_, u64>,
///         out: &mut Emitter<'_, Setting>,
///     ) {
///         if last.get() != Some(&setting) {
///             last.set(setting.clone());
///             out.emit((user, setting));
///         }
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// # let sink = CollectSink::new();
/// # let changes = sink.handle();
/// let env = StreamEnvironment::new("changes");
/// let settings = [(1, "dark"), (2, "dark"), (1, "dark"), (1, "light")].map(|(user, text)| (user, text.to_owned()));
/// env.source("settings", VecSource::new(settings.to_vec()))
///     .key_by(|(user, _)| *user)
///     .process("changes", Changes)
///     .sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(changes.snapshot().iter().map(|(user, _)| *user).collect::<Vec<_>>(), [1, 2, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # When the type changes
///
/// Values are stored with named fields, so a field with a serde default may be added at any time. For other changes the
/// state counts versions, and has one function for each step from a version to the next:
///
/// ```
/// use millstream::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// /// Version 1 was a plain `u64`, version 2 this.
/// #[derive(Serialize, Deserialize)]
/// struct Total {
///     sum: u64,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// struct Mean {
///     sum: f64,
///     count: Option<u64>,
/// }
///
/// let state = ValueState::<Mean>::new("totals")
///     .version(3)
///     .migrate(1, |sum: u64| Total { sum })
///     .migrate(2, |old: Total| Mean { sum: old.sum as f64, count: None });
/// # let _ = state;
/// ```
pub struct ValueState<V> {
    name: Arc<str>,
    pub(super) schema: Schema<V>,
}

impl<V> ValueState<V> {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), schema: Schema::new() }
    }

    schema_methods!("values", schema);
}

impl<V> Clone for ValueState<V> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), schema: self.schema.clone() }
    }
}

impl<V> fmt::Debug for ValueState<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueState({})", self.name)
    }
}

/// A key's place for a value. The stamp is that of the last change.
///
/// Value and mark of removal share the place that an `Option` would need, so the stamp costs no memory where the value
/// is aligned to eight bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSlot<V> {
    /// No value.
    Clear(Stamp),
    /// A value.
    Set(Stamp, V),
}

impl<V> Default for ValueSlot<V> {
    fn default() -> Self {
        Self::Clear(0)
    }
}

impl<V> ValueSlot<V> {
    /// The stamp of the last change.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        match self {
            Self::Clear(stamp) | Self::Set(stamp, _) => *stamp,
        }
    }

    #[inline]
    pub(crate) fn value(&self) -> Option<&V> {
        match self {
            Self::Clear(_) => None,
            Self::Set(_, value) => Some(value),
        }
    }

    /// The value, marked as changed.
    #[inline]
    pub(crate) fn value_mut(&mut self, now: Stamp) -> Option<&mut V> {
        match self {
            Self::Clear(_) => None,
            Self::Set(stamp, value) => {
                *stamp = now;
                Some(value)
            }
        }
    }

    /// Clears it. What was never set stays so.
    #[inline]
    pub(crate) fn take(&mut self, now: Stamp) -> Option<V> {
        match self {
            Self::Clear(_) => None,
            Self::Set(..) => match std::mem::replace(self, Self::Clear(now)) {
                Self::Clear(_) => None,
                Self::Set(_, value) => Some(value),
            },
        }
    }
}

impl<V: Send + 'static> Slot for ValueSlot<V> {
    #[inline]
    fn stamp(&self) -> Stamp {
        ValueSlot::stamp(self)
    }

    #[inline]
    fn touch(&mut self, now: Stamp) {
        match self {
            Self::Clear(stamp) | Self::Set(stamp, _) => *stamp = now,
        }
    }

    #[inline]
    fn is_clear(&self) -> bool {
        matches!(self, Self::Clear(_))
    }

    #[inline]
    fn clear(&mut self, stamp: Stamp) {
        *self = Self::Clear(stamp);
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> State for ValueState<V> {
    type Slot = ValueSlot<V>;
    type Handle<'a> = ValueHandle<'a, V>;

    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.schema.former_names()
    }

    fn format(&self) -> StateFormat {
        self.schema.format()
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut ValueSlot<V>, access: Access) -> ValueHandle<'a, V> {
        ValueHandle { slot, now: access.stamp }
    }

    #[inline]
    fn write(&self, slot: &mut ValueSlot<V>, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        match slot {
            ValueSlot::Set(_, value) => self.schema.put(value, bytes).map(|()| Written::Live),
            ValueSlot::Clear(_) if span.is_full() => Ok(Written::Nothing),
            ValueSlot::Clear(_) => Ok(Written::Dead),
        }
    }

    #[inline]
    fn load(
        &self,
        slot: &mut ValueSlot<V>,
        stamp: Stamp,
        stored: StateFormat,
        _: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        *slot = ValueSlot::Set(stamp, self.schema.take(stored, bytes)?);
        Ok(())
    }

    fn queried_as() -> Option<QueriedAs> {
        Some(QueriedAs::of::<V>(decode_value::<V>))
    }

    fn check(&self) -> Result<(), String> {
        self.schema.check()
    }
}

/// The value of the current key, in place.
#[derive(Debug)]
pub struct ValueHandle<'a, V> {
    slot: &'a mut ValueSlot<V>,
    now: Stamp,
}

impl<V> ValueHandle<'_, V> {
    /// The value, if one is set.
    #[inline]
    pub fn get(&self) -> Option<&V> {
        self.slot.value()
    }

    /// The value, to be changed in place, if one is set. Counts as a change.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut V> {
        self.slot.value_mut(self.now)
    }

    /// The value, to be changed in place; set to what `initial` gives if there is none. Counts as a change.
    #[inline]
    pub fn get_or_insert_with(&mut self, initial: impl FnOnce() -> V) -> &mut V {
        if let ValueSlot::Clear(_) = self.slot {
            *self.slot = ValueSlot::Set(self.now, initial());
        }
        match self.slot.value_mut(self.now) {
            Some(value) => value,
            None => unreachable!("it was set above"),
        }
    }

    /// Sets the value.
    #[inline]
    pub fn set(&mut self, value: V) {
        *self.slot = ValueSlot::Set(self.now, value);
    }

    /// Replaces the value by what `update` makes of it; `None` clears it.
    #[inline]
    pub fn update(&mut self, update: impl FnOnce(Option<V>) -> Option<V>) {
        if let Some(value) = update(self.take()) {
            self.set(value);
        }
    }

    /// Clears the value and gives it back.
    #[inline]
    pub fn take(&mut self) -> Option<V> {
        self.slot.take(self.now)
    }

    /// Clears the value. A key whose states are all clear takes no memory once a checkpoint has seen it so.
    #[inline]
    pub fn clear(&mut self) {
        self.slot.take(self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_changes_its_slot_in_place_and_marks_it() {
        let state = ValueState::<u32>::new("v");
        let mut slot = ValueSlot::default();
        let at = |stamp| Access { stamp, processing_time: 0, watermark: 0 };
        let mut handle = state.handle(&mut slot, at(1));
        assert_eq!(handle.get(), None);
        assert_eq!(handle.take(), None);
        handle.clear();
        assert_eq!(slot, ValueSlot::Clear(0), "what was never set needs no mark");
        let mut handle = state.handle(&mut slot, at(1));
        *handle.get_or_insert_with(|| 5) += 1;
        assert_eq!(slot, ValueSlot::Set(1, 6));
        let handle = state.handle(&mut slot, at(2));
        assert_eq!(handle.get(), Some(&6));
        assert_eq!(slot.stamp(), 1, "reading is no change");
        let mut handle = state.handle(&mut slot, at(3));
        *handle.get_mut().unwrap() += 1;
        assert_eq!(*handle.get_or_insert_with(|| 0), 7);
        handle.update(|old| old.map(|old| old * 2));
        assert_eq!(slot, ValueSlot::Set(3, 14));
        let mut handle = state.handle(&mut slot, at(4));
        handle.set(1);
        assert_eq!(handle.take(), Some(1));
        handle.set(2);
        handle.clear();
        assert_eq!(slot, ValueSlot::Clear(4));
    }

    #[test]
    fn the_stamp_costs_no_memory() {
        assert_eq!(size_of::<ValueSlot<(u64, u64)>>(), size_of::<Option<(u64, u64)>>());
        assert_eq!(size_of::<ValueSlot<u64>>(), size_of::<Option<u64>>());
    }
}
