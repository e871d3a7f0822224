//! State that holds an aggregate of all values added per key.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::schema_methods;
use super::{ValueSlot, ValueState};
use crate::state::codec::{StateFormat, Unfit, Written};
use crate::state::query::QueriedAs;
use crate::state::{Access, Span, Stamp, State};

/// How values are gathered in an accumulator, and what is made of it. Follows Flink's `AggregateFunction`.
///
/// The result must not depend on how values are divided between accumulators that are merged later.
///
/// ```
/// use millstream::prelude::*;
///
/// /// From the smallest to the largest.
/// struct Spread;
///
/// impl AggregateFunction for Spread {
///     type In = i64;
///     type Accumulator = Option<(i64, i64)>;
///     type Out = i64;
///
///     fn create(&self) -> Option<(i64, i64)> {
///         None
///     }
///
///     fn add(&self, seen: &mut Option<(i64, i64)>, value: i64) {
///         self.merge(seen, Some((value, value)));
///     }
///
///     fn result(&self, seen: &Option<(i64, i64)>) -> i64 {
///         seen.map_or(0, |(least, most)| most - least)
///     }
///
///     fn merge(&self, seen: &mut Option<(i64, i64)>, other: Option<(i64, i64)>) {
///         *seen = match (*seen, other) {
///             (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
///             (one, another) => one.or(another),
///         };
///     }
/// }
///
/// let mut seen = Spread.create();
/// [3, -2, 5].into_iter().for_each(|value| Spread.add(&mut seen, value));
/// assert_eq!(Spread.result(&seen), 7);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an aggregate function",
    note = "an aggregate is one of `millstream::aggregates`, such as `Sum` or `Mean`, a tuple of them, or an `AggregateFunction` of your own; \
            closures are for `reduce` and `fold`"
)]
pub trait AggregateFunction: Send + 'static {
    /// What is added.
    type In;
    /// What is kept, and stored.
    type Accumulator: Serialize + DeserializeOwned + Send + 'static;
    /// The result.
    type Out;

    /// An accumulator without values.
    fn create(&self) -> Self::Accumulator;

    /// Adds a value.
    fn add(&self, accumulator: &mut Self::Accumulator, value: Self::In);

    /// The result for what was added so far.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Out;

    /// Adds what `other` has gathered.
    fn merge(&self, accumulator: &mut Self::Accumulator, other: Self::Accumulator);

    /// Whether it can be. The graph refuses what cannot.
    ///
    /// # Errors
    /// Why not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Declares an accumulator per key, and what is made of the values that are added to it. Follows Flink's
/// `AggregatingState`.
///
/// What is stored is the accumulator, as a [`ValueState`] of it is.
///
/// ```
/// use millstream::prelude::*;
///
/// #[derive(Clone)]
/// struct Mean;
///
/// impl AggregateFunction for Mean {
///     type In = f64;
///     type Accumulator = (f64, u64);
///     type Out = f64;
///
///     fn create(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///
///     fn add(&self, (sum, count): &mut (f64, u64), value: f64) {
///         (*sum, *count) = (*sum + value, *count + 1);
///     }
///
///     fn result(&self, (sum, count): &(f64, u64)) -> f64 {
///         sum / *count as f64
///     }
///
///     fn merge(&self, (sum, count): &mut (f64, u64), other: (f64, u64)) {
///         (*sum, *count) = (*sum + other.0, *count + other.1);
///     }
/// }
///
/// /// The mean of each sensor's readings so far.
/// #[derive(Clone)]
/// struct Means;
///
/// impl KeyedProcessFunction<u32, (u32, f64)> for Means {
///     type Out = (u32, f64);
///     type State = AggregatingState<Mean>;
///
///     fn state(&self) -> AggregatingState<Mean> {
///         AggregatingState::new("mean", Mean)
///     }
///
///     fn process(
///         &mut self,
///         (sensor, reading): (u32, f64),
///         mut mean: Row<'_, Self, u32, (u32, f64)>,
///         _: &mut KeyedContext<'_, u32>,
///         out: &mut Emitter<'_, Self::Out>,
///     ) {
///         mean.add(reading);
///         out.emit((sensor, mean.get().unwrap_or(0.0)));
///     }
/// }
/// ```
pub struct AggregatingState<A: AggregateFunction> {
    values: ValueState<A::Accumulator>,
    function: A,
}

impl<A: AggregateFunction> AggregatingState<A> {
    /// A state with this name, unique in its function.
    pub fn new(name: impl Into<Arc<str>>, function: A) -> Self {
        Self { values: ValueState::new(name), function }
    }

    schema_methods!("accumulators", values.schema);
}

impl<A: AggregateFunction + Clone> Clone for AggregatingState<A> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), function: self.function.clone() }
    }
}

impl<A: AggregateFunction> fmt::Debug for AggregatingState<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AggregatingState({})", self.values.name())
    }
}

impl<A: AggregateFunction> State for AggregatingState<A> {
    type Slot = ValueSlot<A::Accumulator>;
    type Handle<'a> = AggregatingHandle<'a, A>;

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
    fn handle<'a>(&'a self, slot: &'a mut Self::Slot, access: Access) -> AggregatingHandle<'a, A> {
        AggregatingHandle { slot, function: &self.function, now: access.stamp }
    }

    #[inline]
    fn write(&self, slot: &mut Self::Slot, span: Span, bytes: &mut Vec<u8>) -> Result<Written, String> {
        self.values.write(slot, span, bytes)
    }

    #[inline]
    fn load(
        &self,
        slot: &mut Self::Slot,
        stamp: Stamp,
        stored: StateFormat,
        is_delta: bool,
        bytes: &mut &[u8],
    ) -> Result<(), Unfit> {
        self.values.load(slot, stamp, stored, is_delta, bytes)
    }

    fn queried_as() -> Option<QueriedAs> {
        ValueState::<A::Accumulator>::queried_as()
    }

    fn check(&self) -> Result<(), String> {
        self.values.check().and_then(|()| self.function.check())
    }
}

/// The accumulator of the current key, in place.
pub struct AggregatingHandle<'a, A: AggregateFunction> {
    slot: &'a mut ValueSlot<A::Accumulator>,
    function: &'a A,
    now: Stamp,
}

impl<A: AggregateFunction> AggregatingHandle<'_, A> {
    /// The result for what was added; `None` if nothing was.
    #[inline]
    pub fn get(&self) -> Option<A::Out> {
        self.slot.value().map(|accumulator| self.function.result(accumulator))
    }

    /// The accumulator, if anything was added.
    #[inline]
    pub fn accumulator(&self) -> Option<&A::Accumulator> {
        self.slot.value()
    }

    /// Adds a value.
    #[inline]
    pub fn add(&mut self, value: A::In) {
        self.change(|function, accumulator| function.add(accumulator, value));
    }

    /// Adds what another accumulator has gathered.
    #[inline]
    pub fn merge(&mut self, other: A::Accumulator) {
        self.change(|function, accumulator| function.merge(accumulator, other));
    }

    /// Clears the accumulator and gives it back.
    #[inline]
    pub fn take(&mut self) -> Option<A::Accumulator> {
        self.slot.take(self.now)
    }

    /// Clears the accumulator.
    #[inline]
    pub fn clear(&mut self) {
        self.slot.take(self.now);
    }

    #[inline]
    fn change(&mut self, change: impl FnOnce(&A, &mut A::Accumulator)) {
        if let ValueSlot::Clear(_) = self.slot {
            *self.slot = ValueSlot::Set(self.now, self.function.create());
        }
        if let Some(accumulator) = self.slot.value_mut(self.now) {
            change(self.function, accumulator);
        }
    }
}

impl<A: AggregateFunction> fmt::Debug for AggregatingHandle<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingHandle").field("is_set", &self.slot.value().is_some()).finish_non_exhaustive()
    }
}
