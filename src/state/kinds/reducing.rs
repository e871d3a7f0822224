//! State that holds the reduction of all values added per key.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::schema_methods;
use super::{ValueSlot, ValueState};
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::query::QueriedAs;
use crate::state::{Access, Span, Stamp, State};

/// Declares one value per key, into which all values that are added are reduced. Follows Flink's `ReducingState`.
///
/// It is stored as a [`ValueState`] is, so a program may exchange one for the other.
///
/// ```
/// use millstream::prelude::*;
///
/// /// The lowest price of each article so far.
/// #[derive(Clone)]
/// struct Lowest;
///
/// impl KeyedProcessFunction<u32, (u32, u64)> for Lowest {
///     type Out = (u32, u64);
///     type State = ReducingState<u64>;
///
///     fn state(&self) -> ReducingState<u64> {
///         ReducingState::new("lowest", |a: u64, b| a.min(b))
///     }
///
///     fn process(
///         &mut self,
///         (article, cents): (u32, u64),
///         mut lowest: Row<'_, Self, u32, (u32, u64)>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         out.emit((article, *lowest.add(cents)));
///     }
/// }
/// ```
pub struct ReducingState<V> {
    values: ValueState<V>,
    reduce: Arc<dyn Fn(V, V) -> V + Send + Sync>,
}

impl<V> ReducingState<V> {
    /// A state with this name, unique in its function. `reduce` makes one value of two: of what is there, and of what is
    /// added.
    pub fn new(name: impl Into<Arc<str>>, reduce: impl Fn(V, V) -> V + Send + Sync + 'static) -> Self {
        Self { values: ValueState::new(name), reduce: Arc::new(reduce) }
    }

    schema_methods!("reductions", values.schema);
}

impl<V> Clone for ReducingState<V> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), reduce: self.reduce.clone() }
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> fmt::Debug for ReducingState<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReducingState({})", self.values.name())
    }
}

impl<V: Serialize + DeserializeOwned + Send + 'static> State for ReducingState<V> {
    type Slot = ValueSlot<V>;
    type Handle<'a> = ReducingHandle<'a, V>;

    fn name(&self) -> &Arc<str> {
        self.values.name()
    }

    fn former_names(&self) -> &[Arc<str>] {
        self.values.former_names()
    }

    fn format(&self) -> StateFormat {
        self.values.format()
    }

    #[inline]
    fn handle<'a>(&'a self, slot: &'a mut ValueSlot<V>, access: Access) -> ReducingHandle<'a, V> {
        ReducingHandle { slot, reduce: &*self.reduce, now: access.stamp }
    }

    #[inline]
    fn write(&self, slot: &mut ValueSlot<V>, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        self.values.write(slot, span, bytes)
    }

    #[inline]
    fn load(
        &self,
        slot: &mut ValueSlot<V>,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        self.values.load(slot, stamp, stored, is_delta, bytes)
    }

    fn queried_as() -> Option<QueriedAs> {
        ValueState::<V>::queried_as()
    }

    fn check(&self) -> Result<(), String> {
        self.values.check()
    }
}

/// The reduction of the current key, in place.
pub struct ReducingHandle<'a, V> {
    slot: &'a mut ValueSlot<V>,
    reduce: &'a (dyn Fn(V, V) -> V + Send + Sync),
    now: Stamp,
}

impl<V> ReducingHandle<'_, V> {
    /// The reduction, if anything was added.
    #[inline]
    pub fn get(&self) -> Option<&V> {
        self.slot.value()
    }

    /// Reduces `value` into it, and gives the reduction.
    #[inline]
    pub fn add(&mut self, value: V) -> &V {
        let value = match self.slot.take(self.now) {
            Some(reduction) => (self.reduce)(reduction, value),
            None => value,
        };
        *self.slot = ValueSlot::Set(self.now, value);
        match self.slot.value() {
            Some(value) => value,
            None => unreachable!("it was set above"),
        }
    }

    /// Clears the reduction and gives it back.
    #[inline]
    pub fn take(&mut self) -> Option<V> {
        self.slot.take(self.now)
    }

    /// Clears the reduction.
    #[inline]
    pub fn clear(&mut self) {
        self.slot.take(self.now);
    }
}

impl<V: fmt::Debug> fmt::Debug for ReducingHandle<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReducingHandle").field("slot", &self.slot).finish_non_exhaustive()
    }
}
