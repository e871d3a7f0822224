//! How rows answer a request.

use std::any::TypeId;
use std::sync::Arc;

use millstream_actors::contract::{Asked, Progress, RunBudget, StateError};
use millstream_actors::protocol::{OperatorId, QueryError};

use super::{ANSWER_BYTES_MAX, Ask, KeysAsked, LookAtRows, QueriedAs, ScanAsked, StateRequest};
use crate::state::codec::{StateFormat, Written, put_key};
use crate::state::set::{Slot, State, StateVisitor};
use crate::state::{Access, Span, Stamp, StateKey, StateRows, StateSet, group_of_hash, hashes_of};

/// Answers a request, until the budget is exhausted.
pub(crate) fn answer<K: StateKey, S: StateSet>(
    rows: &mut impl LookAtRows<K, S>,
    (operator, max_parallelism): (&OperatorId, u32),
    request: &mut StateRequest,
    budget: &mut RunBudget,
) -> Asked {
    let answered = go_on(rows, (operator, max_parallelism), request, budget);
    answered.unwrap_or_else(|error| {
        request.error = Some(error);
        Asked::Answered
    })
}

fn go_on<K: StateKey, S: StateSet>(
    rows: &mut impl LookAtRows<K, S>,
    (operator, max_parallelism): (&OperatorId, u32),
    request: &mut StateRequest,
    budget: &mut RunBudget,
) -> Result<Asked, QueryError> {
    let index = match &request.found {
        Some((index, ..)) => *index,
        None => {
            let found = find::<K, S>(rows.declared(), operator, request)?;
            request.found.insert(found).0
        }
    };
    let StateRequest { state, entries_max, ask, is_misplaced, .. } = request;
    let reading = Reading { operator, state, index, entries_max: *entries_max };
    match ask {
        Ask::Keys(keys) => {
            let keys = keys.downcast_mut().expect("the type of its keys was compared");
            reading.keys(rows, keys, is_misplaced, budget)
        }
        Ask::Scan(scan) => reading.scan(rows, scan, max_parallelism, is_misplaced, budget),
    }
}

/// Compares the types, and finds the state.
fn find<K: StateKey, S: StateSet>(
    states: &S,
    operator: &OperatorId,
    request: &StateRequest,
) -> Result<(usize, QueriedAs, StateFormat), QueryError> {
    let (operator, state) = (operator.clone(), request.state.clone());
    let mut found = Find { name: &request.state, found: None };
    states.visit(&mut S::Row::default(), &mut found);
    let Some((index, queried_as, format)) = found.found else {
        return Err(QueryError::UnknownState { operator, state, known: states.names() });
    };
    let Some(queried_as) = queried_as else { return Err(QueryError::NotQueryable { operator, state }) };
    if request.key.0 != TypeId::of::<K>() {
        let (stored, asked) = (std::any::type_name::<K>(), request.key.1);
        return Err(QueryError::WrongKeyType { operator, stored, asked });
    }
    if request.value.0 != queried_as.type_id {
        let (stored, asked) = (queried_as.type_name, request.value.1);
        return Err(QueryError::WrongValueType { operator, state, stored, asked });
    }
    Ok((index, queried_as, format))
}

/// Finds the state of a name.
struct Find<'a> {
    name: &'a str,
    found: Option<(usize, Option<QueriedAs>, StateFormat)>,
}

impl StateVisitor for Find<'_> {
    fn visit<S: State>(&mut self, index: usize, state: &S, _: &mut S::Slot) {
        if **state.name() == *self.name {
            self.found = Some((index, S::queried_as(), state.format()));
        }
    }
}

/// A request whose state was found.
struct Reading<'a> {
    operator: &'a OperatorId,
    state: &'a Arc<str>,
    index: usize,
    entries_max: usize,
}

impl Reading<'_> {
    fn keys<K: StateKey, S: StateSet>(
        &self,
        rows: &mut impl LookAtRows<K, S>,
        KeysAsked { keys, values }: &mut KeysAsked<K>,
        is_misplaced: &mut bool,
        budget: &mut RunBudget,
    ) -> Result<Asked, QueryError> {
        let mut bytes: usize = values.iter().flatten().map(Vec::len).sum();
        while let Some((hash, key)) = keys.get(values.len()) {
            if !rows.may_have(*hash) {
                *is_misplaced = true;
                break;
            }
            let mut value = Ok(None);
            let looked = rows.look_at(*hash, key, &mut |_, states, row, access| {
                value = self.value(states, row, access);
                true
            });
            looked.map_err(unreadable)?;
            let value = value?;
            bytes += value.as_ref().map_or(0, Vec::len);
            values.push(value);
            if bytes > ANSWER_BYTES_MAX && values.len() > 1 {
                return Err(QueryError::AnswerTooLarge { keys: values.len(), bytes, max: ANSWER_BYTES_MAX });
            }
            if budget.check() && values.len() < keys.len() {
                return Ok(Asked::Suspended);
            }
        }
        Ok(Asked::Answered)
    }

    fn scan<K: StateKey, S: StateSet>(
        &self,
        rows: &mut impl LookAtRows<K, S>,
        asked: &mut ScanAsked,
        max_parallelism: u32,
        is_misplaced: &mut bool,
        budget: &mut RunBudget,
    ) -> Result<Asked, QueryError> {
        let ScanAsked { last, limit, bytes_max, scan, entries, bytes, is_done, .. } = asked;
        while entries.len() < *limit && *bytes < *bytes_max {
            if !rows.may_have(scan.next) {
                *is_misplaced = true;
                return Ok(Asked::Answered);
            }
            let group = group_of_hash(scan.next, max_parallelism);
            let mut outcome = Ok(());
            let most = *limit - entries.len();
            let looked = rows.look_through(group, scan, most, budget, &mut |key, states, row, access| {
                let entry = self.value(states, row, access).and_then(|value| Ok((self.key(key)?, value)));
                match entry {
                    Ok((key, Some(value))) => {
                        *bytes += key.len() + value.len();
                        entries.push((key, value));
                    }
                    Ok((_, None)) => {}
                    Err(error) if outcome.is_ok() => outcome = Err(error),
                    Err(_) => {}
                }
                outcome.is_ok() && entries.len() < *limit && *bytes < *bytes_max
            });
            let looked = looked.map_err(unreadable)?;
            outcome?;
            let end = hashes_of(group, max_parallelism).1;
            if looked == Progress::Done && end >= *last {
                *is_done = true;
                return Ok(Asked::Answered);
            }
            if looked == Progress::Done {
                scan.shown_to(end);
            }
            if budget.check() && entries.len() < *limit {
                return Ok(Asked::Suspended);
            }
        }
        Ok(Asked::Answered)
    }

    /// The bytes of the state's value in a row; `None` if it has none, or one that has expired.
    fn value<S: StateSet>(&self, states: &S, row: &mut S::Row, access: Access) -> Result<Option<Vec<u8>>, QueryError> {
        let mut read = Read { index: self.index, access, entries_max: self.entries_max, value: Ok(None) };
        states.visit(row, &mut read);
        let (operator, state) = (self.operator.clone(), self.state.clone());
        read.value.map_err(|unread| match unread {
            Unread::TooLarge { entries } => QueryError::TooLarge { operator, state, entries, max: self.entries_max },
            Unread::Unwritable(reason) => QueryError::Unreadable { operator, state, reason },
        })
    }

    fn key<K: StateKey>(&self, key: &K) -> Result<Vec<u8>, QueryError> {
        let mut bytes = Vec::new();
        let (operator, state) = (self.operator.clone(), self.state.clone());
        put_key(key, &mut bytes).map_err(|reason| QueryError::Unreadable { operator, state, reason })?;
        Ok(bytes)
    }
}

fn unreadable(error: StateError) -> QueryError {
    QueryError::State(Arc::new(error))
}

/// Why a value is not handed over.
enum Unread {
    TooLarge { entries: usize },
    Unwritable(String),
}

/// Reads the value of one state.
struct Read {
    index: usize,
    access: Access,
    entries_max: usize,
    value: Result<Option<Vec<u8>>, Unread>,
}

impl StateVisitor for Read {
    fn visit<S: State>(&mut self, index: usize, state: &S, slot: &mut S::Slot) {
        let has_expired = |slot: &S::Slot| state.expiry(slot).is_some_and(|expiry| expiry.has_passed(self.access));
        if index != self.index || slot.is_clear() || has_expired(slot) {
            return;
        }
        let entries = S::entries(slot);
        if entries > self.entries_max {
            self.value = Err(Unread::TooLarge { entries });
            return;
        }
        let mut bytes = Vec::new();
        self.value = match state.write(slot, Span { after: 0, up_to: Stamp::MAX }, &mut bytes) {
            Ok(Written::Live) => Ok(Some(bytes)),
            Ok(_) => Ok(None),
            Err(reason) => Err(Unread::Unwritable(reason)),
        };
    }
}
