//! Asynchronous functions on a stream.

use std::panic::Location;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DataStream;
use crate::async_io::{AsyncError, AsyncMap, AsyncWait, IN_FLIGHT};
use crate::graph::{GraphError, Prototype, StateNames};
use crate::state::Share;

impl<T: Send + 'static> DataStream<T> {
    /// Gives what the future that `function` makes of each record answers, while other records are worked on: for what has to be
    /// asked outside, of a database or another service. `wait` says how many are asked for at a time, for how long, and in which
    /// order answers leave. Follows Flink's `AsyncDataStream`. `id` is the stable id under which records that wait are found again.
    ///
    /// An answer has the event time of its record. Where none or several records are to come of one, let it answer an `Option` or a
    /// `Vec`, and put a [`filter_map`](Self::filter_map) or [`flat_map`](Self::flat_map) behind it.
    ///
    /// **Each record is answered exactly once, and asked for at least once**: those that wait at a barrier are in the snapshot, and are
    /// asked for anew when that is restored. So a question must not do harm when it is asked twice. A checkpoint does not wait for answers;
    /// the end of the input, and of a job that is told to [`finish`](crate::JobHandle::finish), does.
    ///
    /// The futures are polled on the arbiter of their subtask, between its other work; they need not be `Send`, may use `actix_rt` and
    /// tokio as any actor does, and must not block, nor run on for long without waiting: tokio's own limit on that does not hold for them. A clone of `function` is called for each attempt of each subtask. If it or a future
    /// panics, the region is restarted, and the failure names the record.
    ///
    /// # Cancellation
    /// A future is dropped when its record's time is over, and when its task ends: at a failure, and when a job stops otherwise than by
    /// the end of its input. What it has begun outside is then undone only if its drop does so.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix::prelude::*;
    /// use millstream::prelude::*;
    ///
    /// /// Knows prices.
    /// struct PriceList;
    ///
    /// impl Actor for PriceList {
    ///     type Context = Context<Self>;
    /// }
    ///
    /// #[derive(Message)]
    /// #[rtype(result = "u64")]
    /// struct PriceOf(u64);
    ///
    /// impl Handler<PriceOf> for PriceList {
    ///     type Result = u64;
    ///
    ///     fn handle(&mut self, PriceOf(article): PriceOf, _: &mut Context<Self>) -> u64 {
    ///         article * 100
    ///     }
    /// }
    ///
    /// # actix_rt::System::new().block_on(async {
    /// let prices = PriceList.start();
    /// let sink = CollectSink::new();
    /// let priced = sink.handle();
    ///
    /// let env = StreamEnvironment::new("prices").parallelism(1);
    /// env.source("articles", SequenceSource::new(1..4))
    ///     .async_map("price", AsyncWait::ordered(Duration::from_secs(10)), move |article| {
    ///         let answer = prices.send(PriceOf(article));
    ///         async move { Ok((article, answer.await.map_err(AsyncError::retryable)?)) }
    ///     })
    ///     .sink("priced", sink);
    /// env.start()?.await?;
    /// assert_eq!(priced.snapshot(), [(1, 100), (2, 200), (3, 300)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[track_caller]
    pub fn async_map<U, Fut>(
        self,
        id: &str,
        wait: AsyncWait<T, U>,
        function: impl Fn(T) -> Fut + Clone + Send + 'static,
    ) -> DataStream<U>
    where
        T: Clone + Serialize + DeserializeOwned,
        U: Send + 'static,
        Fut: Future<Output = Result<U, AsyncError>> + 'static,
    {
        let at = Location::caller();
        if let Some(reason) = wait.mistake() {
            self.graph.borrow_mut().errors.push(GraphError::InvalidAsync { operator: id.into(), reason, at });
        }
        let function = Prototype::new(function);
        let stream = self.operator(id, Some(id), at, move |cx| {
            let share = Share { subtask: cx.subtask.subtask.index, parallelism: cx.subtask.parallelism };
            let (id, clock) = (cx.id.clone(), cx.subtask.clock.clone());
            AsyncMap::new(id, share, clock, wait.clone(), function.fresh())
        });
        stream.declaring(StateNames { names: vec![IN_FLIGHT.into()], former: Vec::new() })
    }
}
