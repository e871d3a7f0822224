//! The service: a few handlers around the job's handle.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use actix_web::dev::Server;
use actix_web::web::{self, Data, Json};
use actix_web::{App, HttpServer, Responder, Result, error, get, post};
use serde_json::json;

use crate::job::DeparturesJob;

#[get("/status")]
async fn status(departures: Data<DeparturesJob>) -> impl Responder {
    let status = departures.job.status();
    Json(json!({
        "job": departures.job.name(),
        "state": format!("{:?}", status.state),
        "restarts": status.restarts,
        "checkpoints": status.checkpoints,
        "newest_checkpoint": status.newest_checkpoint.map(|id| id.0),
    }))
}

#[get("/figures")]
async fn figures(departures: Data<DeparturesJob>) -> impl Responder {
    Json(departures.figures())
}

#[post("/checkpoint")]
async fn checkpoint(departures: Data<DeparturesJob>) -> Result<impl Responder> {
    let id = departures.job.checkpoint().await.map_err(|error| {
        // What went wrong is for the log: errors may tell of records and files.
        log::warn!("no checkpoint: {error}");
        error::ErrorServiceUnavailable("no checkpoint was taken")
    })?;
    Ok(Json(json!({ "checkpoint": id.0 })))
}

#[post("/panic")]
async fn panic_next(departures: Data<DeparturesJob>) -> impl Responder {
    departures.panic_next();
    Json(json!({ "panics": "at the next record" }))
}

/// A server on the loopback interface, and where it listens.
pub(crate) fn bind(departures: DeparturesJob, port: u16) -> io::Result<(Server, SocketAddr)> {
    let departures = Data::new(departures);
    let app = move || {
        let handlers = |config: &mut web::ServiceConfig| {
            config.service(status).service(figures).service(checkpoint).service(panic_next);
        };
        App::new().app_data(departures.clone()).configure(handlers)
    };
    let server = HttpServer::new(app).workers(1).bind((Ipv4Addr::LOCALHOST, port))?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}
