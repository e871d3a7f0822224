//! Which address is answered by what.

use std::sync::Arc;

use actix_web::dev::HttpServiceFactory;
use actix_web::guard::{Any, Get, Head};
use actix_web::http::Method;
use actix_web::http::header::LOCATION;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{Handler, HttpRequest, HttpResponse, Resource, Responder, Route};

use super::api::Refusal;
use super::assets::asset;
use super::guard::guard;
use super::shared::Shared;
use super::{changes, control, events, reading};

/// The dashboard below a path.
pub(super) fn scope(path: &str, shared: &Arc<Shared>) -> impl HttpServiceFactory + use<> {
    web::scope(path)
        .app_data(Data::from(shared.clone()))
        .wrap(from_fn(guard))
        .service(look("/v1/openapi.json", reading::openapi))
        .service(look("/v1/overview", reading::overview))
        .service(look("/v1/metrics", reading::prometheus))
        .service(look("/v1/jobs", reading::jobs))
        .service(look("/v1/jobs/{id}", reading::job))
        .service(both("/v1/jobs/{id}/checkpoints", reading::checkpoints, control::checkpoint))
        .service(look("/v1/jobs/{id}/checkpoints/details/{checkpoint}", reading::checkpoint))
        .service(look("/v1/jobs/{id}/exceptions", reading::exceptions))
        .service(look("/v1/jobs/{id}/log", reading::log))
        .service(look("/v1/jobs/{id}/events", events::events))
        .service(look("/v1/jobs/{id}/metrics", reading::metrics))
        .service(look("/v1/jobs/{id}/state", reading::states))
        .service(look("/v1/jobs/{id}/state/{operator}/{state}", reading::state))
        .service(change("/v1/jobs/{id}/savepoints", control::savepoint))
        .service(change("/v1/jobs/{id}/pause", control::pause))
        .service(change("/v1/jobs/{id}/resume", control::resume))
        .service(change("/v1/jobs/{id}/rescale", changes::rescale))
        .service(change("/v1/jobs/{id}/regions/{region}/resume", changes::resume_region))
        .service(change("/v1/jobs/{id}/drain", control::drain))
        .service(change("/v1/jobs/{id}/cancel", control::cancel))
        .default_service(web::to(page))
}

fn get() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

fn refuse_method(resource: Resource, allow: &'static str) -> Resource {
    resource.default_service(web::to(move || async move { Refusal::method_not_allowed(allow).respond() }))
}

fn look<F, Args>(path: &str, answer: F) -> Resource
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    refuse_method(web::resource(path).route(get().to(answer)), "GET, HEAD")
}

fn change<F, Args>(path: &str, order: F) -> Resource
where
    F: Handler<Args>,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    refuse_method(web::resource(path).route(web::post().to(order)), "POST")
}

fn both<F, FArgs, G, GArgs>(path: &str, answer: F, order: G) -> Resource
where
    F: Handler<FArgs>,
    FArgs: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
    G: Handler<GArgs>,
    GArgs: actix_web::FromRequest + 'static,
    G::Output: Responder + 'static,
{
    refuse_method(web::resource(path).route(get().to(answer)).route(web::post().to(order)), "GET, HEAD, POST")
}

/// The page and its files. They name each other relative to the folder that the dashboard is, so its address must end with a slash.
async fn page(request: HttpRequest) -> HttpResponse {
    let path = request.match_info().unprocessed();
    let is_look = request.method() == Method::GET || request.method() == Method::HEAD;
    match path.strip_prefix('/') {
        _ if !is_look => Refusal::method_not_allowed("GET, HEAD").respond(),
        Some(path) => asset(&request, path),
        None => {
            let last = request.path().rsplit('/').next().unwrap_or_default();
            HttpResponse::TemporaryRedirect().insert_header((LOCATION, format!("./{last}/"))).finish()
        }
    }
}
