//! Runs an asynchronous function, in every way the engine may run it.

use std::fmt::Debug;
use std::sync::Arc;

use millstream_actors::protocol::OperatorId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::OperatorHarness;
use super::operator_run::{Place, Spread};
use super::operator_snapshot::OPERATOR;
use crate::async_io::{AsyncError, AsyncMap, AsyncWait};

impl<In, Out> OperatorHarness<In, Out>
where
    In: Clone + Serialize + DeserializeOwned + Send + 'static,
    Out: Debug + PartialEq + Send + 'static,
{
    /// Runs an asynchronous function, as [`async_map`](crate::stream::DataStream::async_map) of a stream does. At parallelisms above 1
    /// records are dealt out in turn.
    ///
    /// Its futures are polled between the elements of the input, and at the end of the input until all have answered. The clock
    /// that the time-out and retries go by is that of the harness, which then jumps to where the next of these is due. So futures have to
    /// answer at once or wake themselves: nothing else runs meanwhile, on which others could wait.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millstream::prelude::*;
    /// use millstream::testing::OperatorHarness;
    ///
    /// let wait = AsyncWait::ordered(Duration::from_secs(1)).or_else(|n: u64, _| Ok(n));
    /// let doubled_if_even = |n: u64| async move {
    ///     if n % 2 == 0 { Ok(n * 2) } else { Err(AsyncError::permanent("odd")) }
    /// };
    /// OperatorHarness::async_map(wait, doubled_if_even).batch(0..4).check([0, 1, 4, 3]);
    /// ```
    pub fn async_map<Fut>(wait: AsyncWait<In, Out>, function: impl Fn(In) -> Fut + Clone + 'static) -> Self
    where
        Fut: Future<Output = Result<Out, AsyncError>> + 'static,
    {
        let factory = move |Place { share, clock, .. }: Place| -> super::BoxedOperator<In, Out> {
            let (id, function) = (OperatorId::from(OPERATOR), function.clone());
            Box::new(AsyncMap::new(id, share, Arc::new(clock), wait.clone(), function))
        };
        Self::of(factory, Spread::InTurn(Box::new(|_| false)))
    }
}
