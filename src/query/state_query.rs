//! What a program asks of a state.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::protocol::QueryError;
use millstream_actors::{JobHandle, StateQueries};

use super::asking::Asking;
use super::{Answer, Consistency, Page, ScanCursor};
use crate::refused_in_turn::refused_in_turn;
use crate::source::IngestPosition;
use crate::state::StateKey;

/// Keys that one query may ask for.
pub const KEYS_MAX: usize = 10_000;

/// Entries that one page of a scan may have.
pub const PAGE_MAX: usize = 10_000;

/// How long a query waits unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Entries of a list or a map unless the query says otherwise.
const ENTRIES_MAX: usize = 10_000;

/// Asks a job for the state of its keys, while it runs.
///
/// ```
/// use millstream::prelude::*;
/// use millstream::query::Consistency;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let env = StreamEnvironment::new("visits");
/// env.source("visits", SequenceSource::unbounded())
///     .key_by(|n| n % 10)
///     .fold("counts", 0u64, |count, _| *count += 1)
///     .sink("out", CollectSink::new());
/// let job = env.start()?;
/// job.checkpoint().await?;
///
/// let counts = job.query::<u64, u64>("counts", "accumulator");
/// let before = counts.clone().consistency(Consistency::Checkpoint).get(&7).await?;
/// let now = counts.get(&7).await?;
/// println!("{:?} {:?} ago, {:?} now", before.value, before.as_of.age(), now.value);
/// assert!(before.value <= now.value);
/// # job.cancel().await?;
/// # Ok(())
/// # }
/// ```
pub trait QueryState: sealed::Sealed {
    /// A query of the state called `state` that the operator with this id or name keeps for keys of type `K`. What `V` is goes by
    /// the kind of state:
    ///
    /// | state | `V` |
    /// |---|---|
    /// | `ValueState<T>`, `ReducingState<T>` | `T` |
    /// | `ListState<T>` | `Vec<T>` |
    /// | `MapState<MK, MV>` | `BTreeMap<MK, MV>` |
    /// | `AggregatingState<A>` | `A::Accumulator` |
    /// | `Expiring<S>` | as of `S` |
    ///
    /// Names and types are compared when the query is answered.
    fn query<K: StateKey + Clone, V: Send + 'static>(&self, operator: &str, state: &str) -> StateQuery<K, V>;
}

impl QueryState for JobHandle {
    fn query<K: StateKey + Clone, V: Send + 'static>(&self, operator: &str, state: &str) -> StateQuery<K, V> {
        StateQuery {
            queries: self.state_queries(),
            operator: operator.into(),
            state: state.into(),
            consistency: Consistency::default(),
            timeout: TIMEOUT,
            entries_max: ENTRIES_MAX,
            not_before: Vec::new(),
            of: PhantomData,
        }
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for millstream_actors::JobHandle {}
}

/// A query of one state. It can be asked again and again, from any thread and any runtime; nothing is sent before a future of it is
/// polled, and one that is dropped costs the job nothing more than to see that.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
/// use millstream::query::StateQuery;
///
/// fn totals(job: &JobHandle) -> StateQuery<u64, u64> {
///     job.query("cents", "accumulator").timeout(Duration::from_millis(200))
/// }
/// # let _ = totals;
/// ```
///
/// At most 1,024 queries wait for a subtask; beyond that, and beyond 16 that read a checkpoint,
/// [`QueryError::Overloaded`] says when to ask again. A query that is refused, at once or later, lets the rest of its thread run before
/// it says so: a program that asks in a loop does not keep the thread from a job that is on it, too.
pub struct StateQuery<K, V> {
    queries: StateQueries,
    operator: Arc<str>,
    state: Arc<str>,
    consistency: Consistency,
    timeout: Duration,
    entries_max: usize,
    /// One for each life of each split of each log.
    not_before: Vec<IngestPosition>,
    of: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for StateQuery<K, V> {
    fn clone(&self) -> Self {
        Self {
            queries: self.queries.clone(),
            operator: self.operator.clone(),
            state: self.state.clone(),
            not_before: self.not_before.clone(),
            of: PhantomData,
            ..*self
        }
    }
}

impl<K, V> fmt::Debug for StateQuery<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateQuery({}/{}, {:?})", self.operator, self.state, self.consistency)
    }
}

impl<K: StateKey + Clone, V: Send + 'static> StateQuery<K, V> {
    /// As of when it is answered; [`Consistency::Live`] unless this is called.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// How long it waits for a task, or for the store, by the job's clock; 5 s unless this is called.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many entries a list or a map may have; 10,000 unless this is called. The task writes them down in one go.
    #[must_use]
    pub fn entries_max(mut self, entries: usize) -> Self {
        self.entries_max = entries;
        self
    }

    /// Answered only once the operator has taken the record at this position of an ingest log, and so what the record has led to in its
    /// state: a sender reads its own writes. Called again, all of the positions are waited for.
    ///
    /// The answer is live, also with [`Consistency::LiveOrCheckpoint`]; a query of a checkpoint is refused
    /// ([`QueryError::PositionOfCheckpoint`]). The [`timeout`](Self::timeout) bounds the wait until the record is read, and then again that for
    /// each task that is asked. `docs/queries.md` says what counts as taken.
    ///
    /// ```
    /// use millstream::query::{Answer, StateQuery};
    /// use millstream::source::{IngestError, IngestHandle};
    ///
    /// async fn add(
    ///     orders: &IngestHandle<(u64, u64)>,
    ///     totals: &StateQuery<u64, u64>,
    ///     order: (u64, u64),
    /// ) -> Result<Option<u64>, Box<dyn std::error::Error>> {
    ///     let receipt = orders.send(order).await?;
    ///     Ok(totals.clone().not_before(receipt).get(&order.0).await?.value)      // this order is in it
    /// }
    /// # let _ = add;
    /// ```
    #[must_use]
    pub fn not_before(mut self, position: impl Into<IngestPosition>) -> Self {
        let position = position.into();
        if !self.not_before.iter().any(|known| known.covers(&position)) {
            self.not_before.retain(|known| !position.covers(known));
            self.not_before.push(position);
        }
        self
    }

    /// The value of a key; `None` if it has none, or one that has expired.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn get(&self, key: &K) -> impl Future<Output = Result<Answer<Option<V>>, QueryError>> + Send + use<K, V> {
        let (asking, keys) = (self.asking(), vec![key.clone()]);
        refused_in_turn(async move {
            let Answer { mut value, as_of } = asking?.keys(keys).await?;
            Ok(Answer { value: value.pop().flatten(), as_of })
        })
    }

    /// The values of up to 10,000 keys, in their order. Of one checkpoint all of them, if they are of a checkpoint; else each task
    /// answers for those of its keys as of one moment or several.
    ///
    /// # Errors
    /// [`QueryError`], if it is that of one key.
    pub fn get_all(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Answer<Vec<Option<V>>>, QueryError>> + Send + use<K, V> {
        let keys = match keys.len() {
            asked if asked > KEYS_MAX => Err(QueryError::TooMany { asked, max: KEYS_MAX }),
            _ => Ok(keys.to_vec()),
        };
        let asking = self.asking();
        refused_in_turn(async move {
            let keys = keys?;
            asking?.keys(keys).await
        })
    }

    /// The first page of all keys that have a value, with at most `limit` entries.
    ///
    /// # Errors
    /// As [`scan_from`](Self::scan_from).
    pub fn scan(
        &self,
        limit: usize,
    ) -> impl Future<Output = Result<Answer<Page<K, V>>, QueryError>> + Send + use<K, V> {
        self.scan_from(ScanCursor::default(), limit)
    }

    /// The page that begins at `cursor`, with at most `limit` entries, 1 to 10,000.
    ///
    /// Live pages are no snapshot: the job goes on between and within them. A key that has a value all the time is shown exactly once;
    /// one that comes or goes meanwhile once or not at all. One task answers a page after the other task's part of it.
    ///
    /// A page of a checkpoint is of one checkpoint; the next page may be of a newer one.
    ///
    /// # Errors
    /// [`QueryError`]; nothing is lost with it: the page can be asked for again.
    pub fn scan_from(
        &self,
        cursor: ScanCursor,
        limit: usize,
    ) -> impl Future<Output = Result<Answer<Page<K, V>>, QueryError>> + Send + use<K, V> {
        let asking = self.asking();
        refused_in_turn(async move {
            match limit {
                0 => Err(QueryError::NoLimit),
                limit if limit > PAGE_MAX => Err(QueryError::TooMany { asked: limit, max: PAGE_MAX }),
                limit => asking?.page(cursor, limit).await,
            }
        })
    }

    fn asking(&self) -> Result<Asking<K, V>, QueryError> {
        let operator = self.queries.operator(&self.operator)?;
        let (queries, state) = (self.queries.clone(), self.state.clone());
        let (consistency, timeout, entries_max) = (self.consistency, self.timeout, self.entries_max);
        if !self.not_before.is_empty() && consistency == Consistency::Checkpoint {
            return Err(QueryError::PositionOfCheckpoint);
        }
        let places = self.not_before.iter().map(|position| self.queries.locate(&operator, position));
        let not_before = places.collect::<Result<_, _>>()?;
        Ok(Asking { queries, operator, state, consistency, timeout, entries_max, not_before, of: PhantomData })
    }
}
