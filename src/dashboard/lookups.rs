//! States that the host lets everybody look into, by key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use millstream_actors::JobHandle;
use millstream_actors::protocol::QueryError;
use serde::Serialize;
use serde_json::Value;

use super::api::{FoundState, Refusal};
use crate::query::{AsOf, Consistency, QueryState};
use crate::state::StateKey;

/// Entries that a list or a map has at most that is shown.
const ENTRIES_MAX: usize = 1_000;
/// How long a look-up waits.
const WITHIN: Duration = Duration::from_secs(5);

/// What a look-up comes to.
type LookedUp = Pin<Box<dyn Future<Output = Result<FoundState, Refusal>> + Send>>;
/// Looks up the value for a key, given as JSON.
type Lookup = Arc<dyn Fn(&JobHandle, &str) -> Result<LookedUp, Refusal> + Send + Sync>;

/// The states that may be looked into, by operator and name.
#[derive(Clone, Default)]
pub(super) struct Lookups(BTreeMap<(String, String), Lookup>);

impl Lookups {
    pub(super) fn add<K, V>(&mut self, operator: &str, state: &str)
    where
        K: StateKey + Clone + Sync,
        V: Serialize + Send + 'static,
    {
        let name = (operator.to_owned(), state.to_owned());
        let lookup: Lookup = Arc::new({
            let (operator, state) = name.clone();
            move |job, key| {
                let key: K = guarded(|| serde_json::from_str(key))?
                    .map_err(|error| Refusal::bad_request("bad_key", format_args!("the key is not one: {error}")))?;
                let query = job.query::<K, V>(&operator, &state).consistency(Consistency::LiveOrCheckpoint);
                let query = query.timeout(WITHIN).entries_max(ENTRIES_MAX);
                Ok(Box::pin(async move {
                    let answer = query.get(&key).await.map_err(refused)?;
                    let found = answer.value.is_some();
                    let value = guarded(|| serde_json::to_value(&answer.value))?.map_err(|error| {
                        Refusal::conflict("not_json", format_args!("the value cannot be shown as JSON: {error}"))
                    })?;
                    Ok(found_state(found, value, &answer.as_of))
                }))
            }
        });
        self.0.insert(name, lookup);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names of an operator's states that may be looked into.
    pub(super) fn states_of(&self, operator: &str) -> BTreeSet<&str> {
        self.0.keys().filter(|(of, _)| of == operator).map(|(_, state)| state.as_str()).collect()
    }

    pub(super) fn start(&self, job: &JobHandle, of: (&str, &str), key: &str) -> Result<LookedUp, Refusal> {
        let lookup = self.0.get(&(of.0.to_owned(), of.1.to_owned()));
        let lookup = lookup.ok_or_else(|| {
            Refusal::not_found("no_such_state", "there is no such state, or the host does not let it be looked into")
        })?;
        lookup(job, key)
    }
}

impl fmt::Debug for Lookups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn found_state(found: bool, value: Value, as_of: &AsOf) -> FoundState {
    let checkpoint = match as_of {
        AsOf::Live { .. } => None,
        AsOf::Checkpoint { checkpoint, .. } => Some(checkpoint.0),
    };
    FoundState { found, value, checkpoint, age_ms: as_of.age().as_secs_f64() * 1_000.0 }
}

/// Calls a serializer of the program's, which may panic.
fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|_| Refusal::conflict("not_json", "the program's own serializer of keys or values panicked"))
}

fn refused(error: QueryError) -> Refusal {
    if let Some(delay) = error.retry_after() {
        return Refusal::unavailable("not_now", &error, delay);
    }
    match error {
        QueryError::UnknownOperator { .. }
        | QueryError::UnknownState { .. }
        | QueryError::NoKeyedState { .. }
        | QueryError::NotQueryable { .. } => Refusal::not_found("no_such_state", error),
        QueryError::WrongKeyType { .. } | QueryError::WrongValueType { .. } => Refusal::conflict("wrong_type", error),
        QueryError::TooLarge { .. } => Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "value_too_large", error),
        QueryError::JobEnded => Refusal::conflict("job_ended", error),
        error => Refusal::conflict("not_readable", error),
    }
}
