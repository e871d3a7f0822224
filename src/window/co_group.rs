//! Windows of two streams.

use std::marker::PhantomData;

use millstream_actors::protocol::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WindowContext;
use super::function::PaneFunction;
use crate::operator::{Either, Emitter};

/// Keeps the records of both streams, and gives what `function` makes of them.
pub(crate) struct CoGrouped<F, U> {
    function: F,
    of: PhantomData<fn() -> U>,
}

impl<F, U> CoGrouped<F, U> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, of: PhantomData }
    }
}

impl<F: Clone, U> Clone for CoGrouped<F, U> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

impl<K, A, B, F, U> PaneFunction<K, Either<A, B>> for CoGrouped<F, U>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(&[A], &[B], &WindowContext<'_, K>, &mut Emitter<'_, U>) + Clone + Send + 'static,
    U: Send + 'static,
{
    type Kept = (Vec<A>, Vec<B>);
    type Out = U;

    const SHARES: bool = false;

    #[inline]
    fn add(&self, kept: &mut Option<Self::Kept>, record: Either<A, B>, _: Timestamp) {
        let (firsts, seconds) = kept.get_or_insert_default();
        match record {
            Either::First(record) => firsts.push(record),
            Either::Second(record) => seconds.push(record),
        }
    }

    fn merge(&self, (firsts, seconds): &mut Self::Kept, (later_firsts, later_seconds): Self::Kept) {
        firsts.extend(later_firsts);
        seconds.extend(later_seconds);
    }

    fn copy(&self, _: &Self::Kept) -> Self::Kept {
        unreachable!("records are not shared")
    }

    fn emit(
        &mut self,
        (firsts, seconds): &mut Self::Kept,
        ctx: &WindowContext<'_, K>,
        out: &mut Emitter<'_, Self::Out>,
    ) {
        (self.function)(firsts, seconds, ctx, out);
    }
}

#[cfg(test)]
#[path = "co_group_tests.rs"]
mod tests;
