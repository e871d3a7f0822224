//! What only looks.

use std::sync::Arc;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use millstream_actors::JobMetrics;
use millstream_actors::contract::Clock;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::api::{
    CheckpointDetail, Checkpoints, Exceptions, JobDetail, JobSummary, Jobs, LogBody, May, Overview, Refusal, StateBody,
};
use super::jobs::ListedJob;
use super::redaction::Redaction;
use super::shared::Shared;
use crate::metrics::PROMETHEUS_CONTENT_TYPE;
use crate::time::SystemClock;

/// The version of the interface.
const API: u32 = 1;
/// Events of the log that one answer has at most.
const LOG_MAX: usize = 10_000;
/// Events of the log that an answer has if nothing is said.
const LOG_LEN: usize = 256;
/// Bytes of a key that is looked up.
const KEY_BYTES_MAX: usize = 4 << 10;

/// What the address says between its slashes.
pub(super) fn parameter<const N: usize>(request: &HttpRequest) -> Result<[String; N], Refusal>
where
    [String; N]: DeserializeOwned,
{
    let said = request.match_info().load::<[String; N]>();
    said.map_err(|_| Refusal::not_found("no_such_address", "a part of the address is no text"))
}

pub(super) fn job_of(shared: &Shared, id: &str) -> Result<Arc<ListedJob>, Refusal> {
    let job = shared.jobs.get(id);
    job.ok_or_else(|| Refusal::not_found("no_such_job", "there is no such job, or it is not shown any more"))
}

pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Refusal> {
    let said = Query::<T>::from_query(request.query_string());
    said.map(Query::into_inner).map_err(|error| Refusal::bad_request("bad_query", error))
}

/// The answer, or why there is none.
pub(super) fn respond<T: Serialize>(answer: Result<T, Refusal>) -> HttpResponse {
    answer.map_or_else(Refusal::respond, |body| HttpResponse::Ok().json(body))
}

fn redaction(shared: &Shared) -> Redaction {
    Redaction { shows_records: shared.settings.shows_records }
}

/// An answer about the job that the address names.
fn of_job<T: Serialize>(
    shared: &Shared,
    request: &HttpRequest,
    answer: impl FnOnce(&ListedJob, Redaction) -> T,
) -> HttpResponse {
    let job = parameter(request).and_then(|[id]| job_of(shared, &id));
    respond(job.map(|job| answer(&job, redaction(shared))))
}

fn summaries(shared: &Shared) -> Vec<JobSummary> {
    shared.jobs.all().iter().map(|job| JobSummary::of(job)).collect()
}

pub(super) async fn overview(shared: Data<Shared>) -> HttpResponse {
    let settings = &shared.settings;
    let has_token = settings.token.is_some();
    respond(Ok(Overview {
        millstream: env!("CARGO_PKG_VERSION"),
        api: API,
        now_unix_ms: SystemClock::new().unix_ms(),
        may: May {
            control: has_token,
            savepoint: has_token && settings.savepoint_dir.is_some(),
            state: !settings.lookups.is_empty(),
            records: settings.shows_records,
        },
        jobs: summaries(&shared),
    }))
}

pub(super) async fn jobs(shared: Data<Shared>) -> HttpResponse {
    respond(Ok(Jobs { jobs: summaries(&shared) }))
}

pub(super) async fn job(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    of_job(&shared, &request, |job, _| JobDetail::of(job))
}

pub(super) async fn checkpoints(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    of_job(&shared, &request, |job, _| Checkpoints::of(&job.handle))
}

pub(super) async fn checkpoint(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    let detail = parameter(&request).and_then(|[id, checkpoint]| {
        let job = job_of(&shared, &id)?;
        let number =
            checkpoint.parse().map_err(|_| Refusal::not_found("no_such_checkpoint", "no number of a checkpoint"));
        let detail = CheckpointDetail::of(&job.handle, number?);
        detail.ok_or_else(|| Refusal::not_found("no_such_checkpoint", "it is none of the newest of this run"))
    });
    respond(detail)
}

pub(super) async fn exceptions(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    of_job(&shared, &request, |job, redaction| Exceptions::of(&job.handle, redaction))
}

#[derive(Deserialize)]
struct LogQuery {
    limit: Option<usize>,
}

pub(super) async fn log(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    let limit = query::<LogQuery>(&request).map(|said| said.limit.unwrap_or(LOG_LEN));
    match limit {
        Ok(limit) if limit <= LOG_MAX => {
            of_job(&shared, &request, |job, redaction| LogBody::of(&job.handle, limit, redaction))
        }
        Ok(_) => Refusal::bad_request("bad_query", format_args!("at most {LOG_MAX} events at once")).respond(),
        Err(refusal) => refusal.respond(),
    }
}

pub(super) async fn metrics(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    of_job(&shared, &request, |job, _| job.handle.metrics())
}

/// Told apart by the ids under which the jobs are shown: no two of them have one.
pub(super) async fn prometheus(shared: Data<Shared>) -> HttpResponse {
    let jobs = shared.jobs.all().into_iter().map(|job| {
        let mut metrics = job.handle.metrics();
        metrics.job = job.id.clone();
        metrics
    });
    let jobs: Vec<JobMetrics> = jobs.collect();
    HttpResponse::Ok().content_type(PROMETHEUS_CONTENT_TYPE).body(crate::metrics::prometheus(&jobs))
}

pub(super) async fn states(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    of_job(&shared, &request, |job, _| StateBody::of(job, &shared.settings.lookups))
}

#[derive(Deserialize)]
struct StateQuery {
    key: String,
}

pub(super) async fn state(shared: Data<Shared>, request: HttpRequest) -> HttpResponse {
    let looked_up = parameter(&request).and_then(|[id, operator, state]| {
        let job = job_of(&shared, &id)?;
        let StateQuery { key } = query(&request)?;
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::bad_request("bad_key", "the key is too long"));
        }
        shared.settings.lookups.start(&job.handle, (&operator, &state), &key)
    });
    match looked_up {
        Ok(looked_up) => respond(looked_up.await),
        Err(refusal) => refusal.respond(),
    }
}

pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(include_str!("../../docs/openapi.json"))
}
