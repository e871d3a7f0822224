//! How a keyed operator gets at a record's key.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use crate::state::StateKey;

/// Names the key of a record. Pure: the same key for the same record every time, on every machine.
pub trait KeySelector<In>: Clone + Send + 'static {
    /// The key.
    type Key: StateKey + Borrow<Self::Query>;
    /// What a key is looked up by.
    type Query: Hash + Eq + ?Sized;
    /// What is computed once for a record and kept while its batch is worked on.
    type Held;

    /// Computes it.
    fn hold(&self, record: &In) -> Self::Held;

    /// The key, to look it up.
    fn query<'a>(&self, record: &'a In, held: &'a Self::Held) -> &'a Self::Query;

    /// The key, to be stored: it is new.
    fn own(&self, query: &Self::Query) -> Self::Key;
}

/// Selects the key by value: `Fn(&In) -> K`.
pub struct ByValue<F> {
    function: F,
}

impl<F> ByValue<F> {
    /// Selects what `function` gives.
    pub fn new<In, K>(function: F) -> Self
    where
        F: Fn(&In) -> K,
    {
        Self { function }
    }
}

impl<F> fmt::Debug for ByValue<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByValue")
    }
}

impl<F: Clone> Clone for ByValue<F> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone() }
    }
}

impl<In, K, F> KeySelector<In> for ByValue<F>
where
    K: StateKey + Clone,
    F: Fn(&In) -> K + Clone + Send + 'static,
{
    type Key = K;
    type Query = K;
    type Held = K;

    #[inline]
    fn hold(&self, record: &In) -> K {
        (self.function)(record)
    }

    #[inline]
    fn query<'a>(&self, _: &'a In, held: &'a K) -> &'a K {
        held
    }

    #[inline]
    fn own(&self, query: &K) -> K {
        query.clone()
    }
}

/// Selects the key by reference: `Fn(&In) -> &Q`. A key that is known costs no allocation.
pub struct ByRef<F, Q: ?Sized> {
    function: F,
    of: PhantomData<fn() -> Box<Q>>,
}

impl<F, Q: ?Sized> fmt::Debug for ByRef<F, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByRef")
    }
}

impl<F, Q: ?Sized> ByRef<F, Q> {
    /// Selects what `function` gives.
    pub fn new<In>(function: F) -> Self
    where
        F: Fn(&In) -> &Q,
    {
        Self { function, of: PhantomData }
    }
}

impl<F: Clone, Q: ?Sized> Clone for ByRef<F, Q> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), of: PhantomData }
    }
}

impl<In, Q, F> KeySelector<In> for ByRef<F, Q>
where
    Q: ToOwned + Hash + Eq + ?Sized + 'static,
    Q::Owned: StateKey,
    F: Fn(&In) -> &Q + Clone + Send + 'static,
{
    type Key = Q::Owned;
    type Query = Q;
    type Held = ();

    #[inline]
    fn hold(&self, _: &In) {}

    #[inline]
    fn query<'a>(&self, record: &'a In, (): &'a ()) -> &'a Q {
        (self.function)(record)
    }

    #[inline]
    fn own(&self, query: &Q) -> Q::Owned {
        query.to_owned()
    }
}
