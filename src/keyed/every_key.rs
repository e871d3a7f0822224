//! Access to the states of all keys, for functions that are opened.

use std::fmt;

use millstream_actors::contract::StateError;

use crate::state::StateSet;

/// Lends the states of every key.
pub(crate) trait VisitKeys<K, S: StateSet> {
    /// Gives each key that has state to `each`, in no order.
    ///
    /// # Errors
    /// Those of the backend.
    fn visit(&mut self, each: &mut dyn FnMut(&K, S::Handles<'_>)) -> Result<(), StateError>;
}

/// The keys of a subtask that have state, as a keyed function finds them when it is opened.
///
/// ```
/// use millstream::prelude::*;
///
/// /// Counts, up to a ceiling. A program that lowers the ceiling has the counts of older checkpoints lowered when it starts.
/// #[derive(Clone)]
/// struct Capped(u64);
///
/// impl KeyedProcessFunction<u64, u64> for Capped {
///     type Out = u64;
///     type State = ValueState<u64>;
///
///     fn state(&self) -> ValueState<u64> {
///         ValueState::new("count")
///     }
///
///     fn open(&mut self, keys: &mut EveryKey<'_, u64, ValueState<u64>>) {
///         keys.for_each(|_, mut count| {
///             if count.get().is_some_and(|count| *count > self.0) {
///                 count.set(self.0);
///             }
///         });
///     }
///
///     fn process(
///         &mut self,
///         _: u64,
///         mut count: Row<'_, Self, u64, u64>,
///         _: &mut KeyedContext<'_, u64>,
///         out: &mut Emitter<'_, u64>,
///     ) {
///         let count = count.get_or_insert_with(|| 0);
///         *count = self.0.min(*count + 1);
///         out.emit(*count);
///     }
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let store = MemoryStore::new();
/// for (ceiling, expected) in [(10, [1, 2, 3, 4, 5]), (2, [2, 2, 2, 2, 2])] {
///     let sink = CollectSink::new();
///     let counts = sink.handle();
///     let env = StreamEnvironment::new("capped").snapshot_store(store.clone());
///     let visits = SequenceSource::unbounded().rate_per_second(100_000);
///     env.source("visits", visits).key_by(|_| 0).process("capped", Capped(ceiling)).sink("counts", sink);
///     let job = env.start()?;
///     while counts.snapshot().len() < 5 {
///         job.checkpoint().await?;
///     }
///     assert_eq!(counts.snapshot()[..5], expected);
///     job.drain().await?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct EveryKey<'a, K, S: StateSet> {
    keys: &'a mut dyn VisitKeys<K, S>,
    outcome: Result<(), StateError>,
}

impl<'a, K, S: StateSet> EveryKey<'a, K, S> {
    pub(crate) fn new(keys: &'a mut dyn VisitKeys<K, S>) -> Self {
        Self { keys, outcome: Ok(()) }
    }

    /// Calls `each` once for each key that has state, in no order. What it changes in the states counts as changed.
    ///
    /// The subtask takes no record before it is done, and [`StateBackend::redb`](crate::state::StateBackend::redb) reads
    /// its whole file. If that fails the task fails when the function returns.
    pub fn for_each(&mut self, mut each: impl FnMut(&K, S::Handles<'_>)) {
        if self.outcome.is_ok() {
            self.outcome = self.keys.visit(&mut each);
        }
    }

    pub(crate) fn outcome(self) -> Result<(), StateError> {
        self.outcome
    }
}

impl<K, S: StateSet> fmt::Debug for EveryKey<'_, K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EveryKey").finish_non_exhaustive()
    }
}
