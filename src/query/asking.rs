//! How a query is divided over the tasks and key groups that answer it, and put together again.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use millstream_actors::protocol::{Attempt, QueryError};
use millstream_actors::{AwaitedPlace, FromCheckpoint, OpaqueQuery, QueriedOperator, Reached, StateQueries};

use super::{Answer, AsOf, Consistency, Page, ScanCursor};
use crate::state::codec::{StateFormat, take};
use crate::state::query::{ANSWER_BYTES_MAX, Ask, KeysAsked, QueriedAs, ScanAsked, StateRequest};
use crate::state::{StateKey, group_of_hash, hashes_of, stable_hash};

/// A query of a state of an operator that the job has.
pub(super) struct Asking<K, V> {
    pub(super) queries: StateQueries,
    pub(super) operator: QueriedOperator,
    pub(super) state: Arc<str>,
    pub(super) consistency: Consistency,
    pub(super) timeout: Duration,
    pub(super) entries_max: usize,
    pub(super) not_before: Vec<AwaitedPlace>,
    pub(super) of: PhantomData<fn(K) -> V>,
}

/// Keys by who has them, with their hashes, and where each was in the query.
type Shares<K> = BTreeMap<u32, (Vec<usize>, Vec<(u64, K)>)>;

/// Values with their places in the query.
type Placed<V> = Vec<(usize, Option<V>)>;

impl<K: StateKey + Clone, V: Send + 'static> Asking<K, V> {
    /// The values of keys, in their order.
    pub(super) async fn keys(&self, keys: Vec<K>) -> Result<Answer<Vec<Option<V>>>, QueryError> {
        let count = keys.len();
        let (placed, as_of) = match self.consistency {
            Consistency::Checkpoint => self.keys_of_checkpoint(keys).await?,
            _ if self.is_live() => self.live_keys(keys).await?,
            _ => match self.live_keys(keys.clone()).await {
                Err(error @ (QueryError::Restarting { .. } | QueryError::Parked { .. })) => {
                    or(error, self.keys_of_checkpoint(keys).await)?
                }
                answered => answered?,
            },
        };
        let mut values: Vec<Option<V>> = (0..count).map(|_| None).collect();
        placed.into_iter().for_each(|(place, value)| values[place] = value);
        Ok(Answer { value: values, as_of })
    }

    /// A checkpoint may be of before what is waited for.
    fn is_live(&self) -> bool {
        self.consistency == Consistency::Live || !self.not_before.is_empty()
    }

    /// Waits until what the query is to see has been read.
    async fn reach(&self) -> Result<Option<Reached>, QueryError> {
        if self.not_before.is_empty() {
            return Ok(None);
        }
        self.queries.reach(&self.operator, &self.not_before, self.timeout).await.map(Some)
    }

    async fn live_keys(&self, keys: Vec<K>) -> Result<(Placed<V>, AsOf), QueryError> {
        let reached = self.reach().await?;
        let mut shares = Shares::new();
        for (place, (hash, key)) in hashed(keys).enumerate() {
            let (subtask, _) = self.queries.subtask_of(&self.operator, self.group(hash))?;
            push(&mut shares, subtask, place, (hash, key));
        }
        // Names and types are compared also where no key is asked for.
        if shares.is_empty() {
            shares.entry(0).or_default();
        }
        let asked = shares.into_iter().map(|(subtask, (places, keys))| async move {
            let (answered, attempt) = self.ask(subtask, Self::ask_keys(keys), reached).await?;
            Ok((self.placed(places, answered)?, attempt))
        });
        let answers: Vec<(Placed<V>, _)> = try_join_all(asked).await?;
        let attempt = answers.iter().map(|(_, attempt)| *attempt).max().unwrap_or_default();
        Ok((answers.into_iter().flat_map(|(placed, _)| placed).collect(), AsOf::Live { attempt }))
    }

    async fn keys_of_checkpoint(&self, keys: Vec<K>) -> Result<(Placed<V>, AsOf), QueryError> {
        let mut shares = Shares::new();
        for (place, (hash, key)) in hashed(keys).enumerate() {
            push(&mut shares, self.group(hash), place, (hash, key));
        }
        if shares.is_empty() {
            shares.entry(0).or_default();
        }
        let (mut places, mut asked) = (Vec::new(), Vec::new());
        for (group, (of_group, keys)) in shares {
            places.push(of_group);
            asked.push((group, self.request(Self::ask_keys(keys))));
        }
        let (answers, from) = self.ask_checkpoint(asked).await?;
        let mut placed = Vec::new();
        for (places, answer) in places.into_iter().zip(answers) {
            placed.extend(self.placed(places, self.answered(answer)?)?);
        }
        Ok((placed, of_checkpoint(from)))
    }

    /// A page of a scan.
    pub(super) async fn page(&self, cursor: ScanCursor, limit: usize) -> Result<Answer<Page<K, V>>, QueryError> {
        match self.consistency {
            Consistency::Checkpoint => self.page_of_checkpoint(cursor, limit).await,
            _ if self.is_live() => self.live_page(cursor, limit).await,
            _ => match self.live_page(cursor, limit).await {
                Err(error @ (QueryError::Restarting { .. } | QueryError::Parked { .. })) => {
                    or(error, self.page_of_checkpoint(cursor, limit).await)
                }
                answered => answered,
            },
        }
    }

    async fn live_page(&self, cursor: ScanCursor, limit: usize) -> Result<Answer<Page<K, V>>, QueryError> {
        let reached = self.reach().await?;
        let (mut page, mut newest) = (PageSoFar::from(cursor), None);
        while let Some((from, limit, bytes)) = page.wants(limit) {
            let (subtask, end) = self.queries.subtask_of(&self.operator, self.group(from))?;
            let last = hashes_of(end - 1, self.operator.max_parallelism).1;
            let asked = ScanAsked::new((from, last), limit, bytes);
            let (answered, attempt) = self.ask(subtask, Ask::Scan(asked), reached).await?;
            newest = newest.max(Some(attempt));
            self.add_page(answered, &mut page)?;
        }
        Ok(Answer { value: page.into(), as_of: AsOf::Live { attempt: newest.unwrap_or_default() } })
    }

    async fn page_of_checkpoint(&self, cursor: ScanCursor, limit: usize) -> Result<Answer<Page<K, V>>, QueryError> {
        let (mut page, mut first) = (PageSoFar::from(cursor), None::<FromCheckpoint>);
        while let Some((from, limit, bytes)) = page.wants(limit) {
            let group = self.group(from);
            let last = hashes_of(group, self.operator.max_parallelism).1;
            let asked = ScanAsked::new((from, last), limit, bytes);
            let (answers, of) = self.ask_checkpoint(vec![(group, self.request(Ask::Scan(asked)))]).await?;
            if first.is_some_and(|first| first.checkpoint != of.checkpoint) {
                // A newer one has completed: its part is the next page's.
                break;
            }
            let before = first.map_or(0, |first| first.bytes_read);
            first = Some(FromCheckpoint { bytes_read: before + of.bytes_read, ..of });
            for answer in answers {
                self.add_page(self.answered(answer)?, &mut page)?;
            }
        }
        let as_of = first.map(of_checkpoint).expect("a page has a first part");
        Ok(Answer { value: page.into(), as_of })
    }

    fn group(&self, hash: u64) -> u32 {
        group_of_hash(hash, self.operator.max_parallelism)
    }

    fn ask_keys(keys: Vec<(u64, K)>) -> Ask {
        Ask::Keys(Box::new(KeysAsked { keys, values: Vec::new() }))
    }

    fn request(&self, ask: Ask) -> OpaqueQuery {
        Box::new(StateRequest::new::<K, V>(self.state.clone(), self.entries_max, ask))
    }

    async fn ask(&self, subtask: u32, ask: Ask, reached: Option<Reached>) -> Result<(Answered, Attempt), QueryError> {
        let asked = self.queries.ask(&self.operator, subtask, self.request(ask), self.timeout, reached);
        let (answer, attempt) = asked.await?;
        Ok((self.answered(answer)?, attempt))
    }

    async fn ask_checkpoint(
        &self,
        queries: Vec<(u32, OpaqueQuery)>,
    ) -> Result<(Vec<OpaqueQuery>, FromCheckpoint), QueryError> {
        self.queries.ask_checkpoint(&self.operator, &self.state, queries, self.timeout).await
    }

    fn answered(&self, answer: OpaqueQuery) -> Result<Answered, QueryError> {
        let request = answer.downcast::<StateRequest>().expect("what comes back is what was sent");
        let (ask, found) = request.answered()?.ok_or_else(|| self.queries.moved(&self.operator))?;
        let (queried_as, format) = found.expect("an answer has found the state");
        Ok(Answered { ask, queried_as, format })
    }

    fn placed(&self, places: Vec<usize>, answered: Answered) -> Result<Placed<V>, QueryError> {
        let Answered { ask: Ask::Keys(keys), queried_as, format } = answered else {
            unreachable!("keys were asked for")
        };
        let asked = keys.downcast::<KeysAsked<K>>().expect("what comes back is what was sent");
        let values = asked.values.into_iter().map(|bytes| match bytes {
            Some(bytes) => self.decoded((queried_as.decode)(format, &bytes)).map(Some),
            None => Ok(None),
        });
        places.into_iter().zip(values).map(|(place, value)| Ok((place, value?))).collect()
    }

    /// Adds the entries of a part of a page.
    fn add_page(&self, answered: Answered, page: &mut PageSoFar<K, V>) -> Result<(), QueryError> {
        let Answered { ask: Ask::Scan(asked), queried_as, format } = answered else {
            unreachable!("a scan was asked for")
        };
        for (key, value) in asked.entries {
            let key = take(&mut &*key).map_err(|reason| self.unreadable(reason))?;
            page.entries.push((key, self.decoded((queried_as.decode)(format, &value))?));
        }
        page.bytes += asked.bytes;
        page.next = if asked.is_done { asked.last.checked_add(1) } else { Some(asked.scan.next) };
        Ok(())
    }

    fn decoded(&self, decoded: Result<Box<dyn Any + Send>, String>) -> Result<V, QueryError> {
        let value = decoded.map_err(|reason| self.unreadable(reason))?;
        Ok(*value.downcast().expect("the type of the values was compared"))
    }

    fn unreadable(&self, reason: String) -> QueryError {
        QueryError::Unreadable { operator: self.operator.id.clone(), state: self.state.clone(), reason }
    }
}

/// A page, while its parts come in.
struct PageSoFar<K, V> {
    entries: Vec<(K, V)>,
    /// Bytes of them as they came.
    bytes: usize,
    /// From which hash on, if there is more.
    next: Option<u64>,
}

impl<K, V> PageSoFar<K, V> {
    fn from(cursor: ScanCursor) -> Self {
        Self { entries: Vec::new(), bytes: 0, next: Some(cursor.0) }
    }

    /// From which hash on how many entries of how many bytes are wanted still; `None` if it is full, or there are no others.
    fn wants(&self, limit: usize) -> Option<(u64, usize, usize)> {
        let (entries, bytes) = (limit - self.entries.len().min(limit), ANSWER_BYTES_MAX.saturating_sub(self.bytes));
        self.next.filter(|_| entries > 0 && bytes > 0).map(|next| (next, entries, bytes))
    }
}

impl<K, V> From<PageSoFar<K, V>> for Page<K, V> {
    fn from(PageSoFar { entries, next, .. }: PageSoFar<K, V>) -> Self {
        Self { entries, next: next.map(ScanCursor) }
    }
}

/// What was asked, with its answer, and how values are read.
struct Answered {
    ask: Ask,
    queried_as: QueriedAs,
    format: StateFormat,
}

fn hashed<K: StateKey>(keys: Vec<K>) -> impl Iterator<Item = (u64, K)> {
    keys.into_iter().map(|key| (stable_hash(&key), key))
}

fn push<K>(shares: &mut Shares<K>, of: u32, place: usize, key: (u64, K)) {
    let (places, keys) = shares.entry(of).or_default();
    places.push(place);
    keys.push(key);
}

fn of_checkpoint(FromCheckpoint { checkpoint, age, bytes_read }: FromCheckpoint) -> AsOf {
    AsOf::Checkpoint { checkpoint, age, bytes_read }
}

/// The answer of the checkpoint, or that the operator restarts if there is no checkpoint.
fn or<T>(restarting: QueryError, of_checkpoint: Result<T, QueryError>) -> Result<T, QueryError> {
    match of_checkpoint {
        Err(QueryError::NoCheckpoint { .. }) => Err(restarting),
        answered => answered,
    }
}
