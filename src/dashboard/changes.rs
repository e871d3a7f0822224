//! Orders that change which tasks a job has: at another parallelism, and of a region that was parked.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use millstream_actors::protocol::RegionId;
use millstream_actors::{RescaleError, ResumeRegionError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::api::{Refusal, RegionResumed};
use super::control::{
    ANSWER_WITHIN, NoOptions, Order, RETRY_AFTER, accepted, answered, ended, not_taken, order_within,
};
use super::shared::Shared;

/// At how many subtasks a job is to go on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RescaleOptions {
    #[serde(deserialize_with = "whole")]
    parallelism: u32,
}

/// A whole number in any way of writing it: in JSON, as in its schema, `4.0` is one.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    is_whole.then_some(number as u32).ok_or_else(|| D::Error::custom("not a whole number from 1 to 4294967295"))
}

pub(super) async fn rescale(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    change_parallelism(&shared, &request, payload).await.unwrap_or_else(Refusal::respond)
}

async fn change_parallelism(shared: &Shared, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let order = order_within(shared, request, payload, |[id]: [String; 1]| (id, [])).await?;
    let Order::<RescaleOptions> { job, body, .. } = &order;
    match timeout(ANSWER_WITHIN, job.handle.rescale(body.parallelism)).await {
        Ok(Ok(rescaled)) => Ok(answered(StatusCode::OK, &rescaled)),
        Ok(Err(error)) => Err(not_rescaled(&error)),
        Err(_) => Ok(accepted()),
    }
}

fn not_rescaled(error: &RescaleError) -> Refusal {
    match error {
        RescaleError::Zero => Refusal::bad_request("bad_parallelism", error),
        // Another job may go on at it.
        RescaleError::AboveMax { .. } => Refusal::conflict("above_max_parallelism", error),
        RescaleError::Ending => Refusal::conflict("ending", error),
        RescaleError::Checkpoint(error) => not_taken(error),
        RescaleError::Threads(_) => Refusal::unavailable("no_threads", error, RETRY_AFTER),
        RescaleError::Ended | RescaleError::JobFailed(_) => ended(),
        // The engine may come to have more reasons.
        _ => Refusal::conflict("not_possible", "the job was not rescaled; the log says why"),
    }
}

pub(super) async fn resume_region(shared: Data<Shared>, request: HttpRequest, payload: Payload) -> HttpResponse {
    resume_parked(&shared, &request, payload).await.unwrap_or_else(Refusal::respond)
}

async fn resume_parked(shared: &Shared, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refusal> {
    let order = order_within(shared, request, payload, |[id, region]: [String; 2]| (id, [region])).await?;
    let Order::<NoOptions, 1> { job, of_job: [region], .. } = &order;
    let number = region.parse().map_err(|_| Refusal::not_found("no_such_region", "no number of a region"))?;
    match timeout(ANSWER_WITHIN, job.handle.resume_region(RegionId(number))).await {
        Ok(Ok(())) => Ok(answered(StatusCode::OK, &RegionResumed { region: number })),
        Ok(Err(error)) => Err(not_resumed(&error)),
        Err(_) => Ok(accepted()),
    }
}

/// Why a region has given up may tell a record; the log has it.
fn not_resumed(error: &ResumeRegionError) -> Refusal {
    match error {
        ResumeRegionError::Unknown { .. } => Refusal::not_found("no_such_region", error),
        ResumeRegionError::NotParked { .. } => Refusal::conflict("not_parked", error),
        ResumeRegionError::ParkedAgain { region, .. } => {
            let message = format_args!("region {region} gave up again before it ran, and is parked; the log says why");
            Refusal::conflict("parked_again", message)
        }
        ResumeRegionError::Ending => Refusal::conflict("ending", error),
        ResumeRegionError::Interrupted => Refusal::unavailable("not_now", error, RETRY_AFTER),
        ResumeRegionError::Ended => ended(),
        // The engine may come to have more reasons.
        _ => Refusal::conflict("not_possible", "the region was not resumed; the log says why"),
    }
}
