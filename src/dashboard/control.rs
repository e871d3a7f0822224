//! What changes something: with the host's token only.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use millstream_actors::{CheckpointError, JobState, PauseError, SavepointError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::api::{CheckpointTaken, Ordered, PausedBody, Refusal, SavepointBody};
use super::guard::authorize;
use super::jobs::ListedJob;
use super::reading::{job_of, parameter};
use super::shared::{Place, Shared};

/// Bytes that a body has at most.
const BODY_BYTES_MAX: usize = 4 << 10;
/// How long a client may take for its body.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// After so long an order is answered that has not been carried out: it will be all the same.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// When to ask again where nothing tells.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An order that says nothing more.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoOptions {}

/// Where a savepoint goes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavepointOptions {
    path: String,
}

/// An order that may be carried out. The address names a job, and so many things within it.
pub(super) struct Order<B, const N: usize = 0> {
    pub(super) job: Arc<ListedJob>,
    pub(super) of_job: [String; N],
    pub(super) body: B,
    _place: Place,
}

/// What every order has: the token, a job, a body of JSON of a bounded length, and a place.
async fn order<B: DeserializeOwned>(
    shared: &Shared,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Order<B>, Refusal> {
    order_within(shared, request, payload, |[id]: [String; 1]| (id, [])).await
}

/// The same, of something in a job. `split` takes the job's id out of what the address says.
pub(super) async fn order_within<B: DeserializeOwned, const ALL: usize, const N: usize>(
    shared: &Shared,
    request: &HttpRequest,
    payload: Payload,
    split: impl FnOnce([String; ALL]) -> (String, [String; N]),
) -> Result<Order<B, N>, Refusal>
where
    [String; ALL]: DeserializeOwned,
{
    authorize(shared, request)?;
    let (id, of_job) = split(parameter(request)?);
    let job = job_of(shared, &id)?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let message = "needs `Content-Type: application/json`";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
    }
    let place = shared.orders.take();
    let place =
        place.ok_or_else(|| Refusal::unavailable("too_many_orders", "too many orders wait already", RETRY_AFTER))?;
    let body = read(payload).await?;
    let body = parsed(&body).map_err(|error| Refusal::bad_request("bad_body", error))?;
    if job.handle.status().state == JobState::Ended {
        return Err(ended());
    }
    Ok(Order { job, of_job, body, _place: place })
}

/// An object, and none of what serde takes for one besides.
fn parsed<B: DeserializeOwned>(body: &[u8]) -> serde_json::Result<B> {
    let fields: Map<String, Value> = serde_json::from_slice(body)?;
    B::deserialize(Value::Object(fields))
}

async fn read(payload: Payload) -> Result<actix_web::web::Bytes, Refusal> {
    match timeout(BODY_WITHIN, payload.to_bytes_limited(BODY_BYTES_MAX)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(error))) => Err(Refusal::bad_request("bad_body", error)),
        Ok(Err(_)) => {
            let message = format_args!("a body has {BODY_BYTES_MAX} bytes at most");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the body did not come")),
    }
}

pub(super) fn ended() -> Refusal {
    Refusal::conflict("job_ended", "the job has ended")
}

pub(super) fn answered<T: Serialize>(status: StatusCode, body: &T) -> HttpResponse {
    HttpResponse::build(status).json(body)
}

/// What was ordered will be done.
pub(super) fn accepted() -> HttpResponse {
    answered(StatusCode::ACCEPTED, &Ordered { accepted: true })
}

pub(super) async fn checkpoint(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let order = order::<NoOptions>(&shared, &request, payload).await;
    let Order { job, _place, .. } = match order {
        Ok(order) => order,
        Err(refusal) => return refusal.respond(),
    };
    match timeout(ANSWER_WITHIN, job.handle.checkpoint()).await {
        Ok(Ok(checkpoint)) => answered(StatusCode::OK, &CheckpointTaken { checkpoint: checkpoint.0 }),
        Ok(Err(error)) => not_taken(&error).respond(),
        Err(_) => accepted(),
    }
}

/// The text of an error may tell a record, so these are said in other words; the log has them in full.
pub(super) fn not_taken(error: &CheckpointError) -> Refusal {
    match error {
        CheckpointError::Restarting(restarting) => {
            let message = format_args!("region {} waits for its restart", restarting.region);
            Refusal::unavailable("restarting", message, restarting.next_attempt_in)
        }
        CheckpointError::Aborted(_) => Refusal::conflict("aborted", "the checkpoint was aborted; the log says why"),
        CheckpointError::AllParked => Refusal::conflict("all_parked", "all regions are parked: resume one first"),
        CheckpointError::JobFailed(_) => Refusal::conflict("job_ended", "the job has failed; the log says why"),
        CheckpointError::Interrupted => {
            Refusal::conflict("interrupted", "the job ended, or its coordinator was restarted, before it was complete")
        }
        // The engine may come to have more reasons.
        _ => Refusal::conflict("not_taken", "the checkpoint was not taken; the log says why"),
    }
}

pub(super) async fn savepoint(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    write_savepoint(&shared, &request, payload).await.unwrap_or_else(Refusal::respond)
}

async fn write_savepoint(shared: &Shared, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let Order { job, body, _place, .. } = order::<SavepointOptions>(shared, request, payload).await?;
    let Some(dir) = &shared.settings.savepoint_dir else {
        let message = "the host has named no folder for savepoints (Dashboard::savepoints_in)";
        return Err(Refusal::forbidden("savepoints_are_off", message));
    };
    let path = below(dir, &body.path)?;
    match timeout(ANSWER_WITHIN, job.handle.savepoint(path)).await {
        Ok(Ok(savepoint)) => {
            let path = savepoint.path.display().to_string();
            let checkpoint = savepoint.checkpoint.0;
            let body = SavepointBody { checkpoint, unix_ms: None, path, bytes: savepoint.bytes };
            Ok(answered(StatusCode::OK, &body))
        }
        Ok(Err(error)) => Err(not_written(&error)),
        Err(_) => Ok(accepted()),
    }
}

/// A path within the folder: of plain names only, with one slash between two.
fn below(dir: &Path, path: &str) -> Result<PathBuf, Refusal> {
    let is_name = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    // Other systems part paths in other ways, too.
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if !path.split('/').all(is_name) || !Path::new(path).components().all(is_plain) {
        return Err(Refusal::bad_request("bad_path", "a savepoint's path is relative, of plain names"));
    }
    Ok(dir.join(path))
}

fn not_written(error: &SavepointError) -> Refusal {
    match error {
        SavepointError::File(error) => Refusal::conflict("not_written", error),
        SavepointError::Restarting(restarting) => {
            let message = format_args!("region {} waits for its restart", restarting.region);
            Refusal::unavailable("restarting", message, restarting.next_attempt_in)
        }
        SavepointError::TooMany { .. } => Refusal::unavailable("too_many_savepoints", error, RETRY_AFTER),
        SavepointError::Parked { .. } => Refusal::conflict("parked", error),
        SavepointError::JobFailedFirst { .. } | SavepointError::Interrupted => {
            Refusal::conflict("job_ended", "the job ended, or was interrupted, before it was written")
        }
        // `Checkpoint`, `Gone`, `Panicked`, and what the engine may come to have.
        _ => Refusal::conflict("not_written", "the savepoint was not written; the log says why"),
    }
}

pub(super) async fn pause(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    pause_or_resume(&shared, &request, payload, true).await.unwrap_or_else(Refusal::respond)
}

pub(super) async fn resume(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    pause_or_resume(&shared, &request, payload, false).await.unwrap_or_else(Refusal::respond)
}

async fn pause_or_resume(
    shared: &Shared,
    request: &HttpRequest,
    payload: Payload,
    paused: bool,
) -> Result<HttpResponse, Refusal> {
    let Order { job, _place, .. } = order::<NoOptions>(shared, request, payload).await?;
    let done = async { if paused { job.handle.pause().await } else { job.handle.resume().await } };
    match timeout(ANSWER_WITHIN, done).await {
        Ok(Ok(())) => Ok(answered(StatusCode::OK, &PausedBody { paused })),
        Ok(Err(PauseError::JobFailed(_))) => Err(ended()),
        Ok(Err(error)) if error.is_retryable() => Err(Refusal::unavailable("not_now", error, RETRY_AFTER)),
        Ok(Err(error)) => Err(Refusal::conflict("not_possible", error)),
        Err(_) => Ok(accepted()),
    }
}

pub(super) async fn drain(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    match order::<NoOptions>(&shared, &request, payload).await {
        Ok(Order { job, .. }) => {
            // Ordered by the call.
            drop(job.handle.drain());
            accepted()
        }
        Err(refusal) => refusal.respond(),
    }
}

pub(super) async fn cancel(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    match order::<NoOptions>(&shared, &request, payload).await {
        Ok(Order { job, .. }) => {
            // Ordered by the call.
            drop(job.handle.cancel());
            accepted()
        }
        Err(refusal) => refusal.respond(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savepoints_stay_in_their_folder() {
        let dir = Path::new("savepoints");
        for path in ["a", "a.savepoint", "monday/a"] {
            assert_eq!(below(dir, path).expect("a plain path"), dir.join(path));
        }
        for path in ["", "/a", "..", "a/../../b", "./a", "a/.", "a//b", "a/", "a\0b"] {
            assert!(below(dir, path).is_err(), "{path}");
        }
    }
}
