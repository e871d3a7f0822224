//! The service: a few handlers around the job's handle.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use actix_web::dev::Server;
use actix_web::web::{self, Data, Json};
use actix_web::{App, HttpServer, Responder, Result, error, get, post};
use serde_json::json;

use crate::job::WeatherJob;

#[get("/status")]
async fn status(weather: Data<WeatherJob>) -> impl Responder {
    let status = weather.job.status();
    Json(json!({
        "job": weather.job.name(),
        "state": format!("{:?}", status.state),
        "restarts": status.restarts,
        "checkpoints": status.checkpoints,
        "newest_checkpoint": status.newest_checkpoint.map(|id| id.0),
        "last_error": status.last_error,
    }))
}

#[get("/figures")]
async fn figures(weather: Data<WeatherJob>) -> impl Responder {
    Json(weather.figures())
}

#[post("/checkpoint")]
async fn checkpoint(weather: Data<WeatherJob>) -> Result<impl Responder> {
    let id = weather.job.checkpoint().await.map_err(error::ErrorServiceUnavailable)?;
    Ok(Json(json!({ "checkpoint": id.0 })))
}

#[post("/panic")]
async fn panic_next(weather: Data<WeatherJob>) -> impl Responder {
    weather.panic_next();
    Json(json!({ "panics": "at the next record" }))
}

/// A server on the loopback interface, and where it listens. It leaves signals to `main`.
pub(crate) fn bind(weather: WeatherJob, port: u16) -> io::Result<(Server, SocketAddr)> {
    let weather = Data::new(weather);
    let app = move || {
        let handlers = |config: &mut web::ServiceConfig| {
            config.service(status).service(figures).service(checkpoint).service(panic_next);
        };
        App::new().app_data(weather.clone()).configure(handlers)
    };
    let server = HttpServer::new(app).workers(1).disable_signals().bind((Ipv4Addr::LOCALHOST, port))?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}
