//! The service: transactions come in by HTTP, and are answered once they are durable.

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use actix_web::dev::Server;
use actix_web::web::{self, Data, Json, JsonConfig};
use actix_web::{App, HttpServer, Responder, Result, error, get, post};
use millstream::JobStatus;
use millstream::prelude::*;
use serde_json::json;

use crate::job::published;
use crate::journal::Journal;
use crate::transaction::Transaction;

const BODY_BYTES_MAX: usize = 4_096;
const CARD_BYTES_MAX: usize = 64;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) journal: Journal,
    pub(crate) job: JobHandle,
    pub(crate) alerts: PathBuf,
}

/// Answers once the transaction is durable: from then on it is judged, exactly once. Who got no answer sends it again.
#[post("/transactions")]
async fn transactions(shared: Data<Shared>, Json(transaction): Json<Transaction>) -> Result<impl Responder> {
    if !(1..=CARD_BYTES_MAX).contains(&transaction.card.len()) {
        return Err(error::ErrorBadRequest(format!("a card has 1 to {CARD_BYTES_MAX} bytes")));
    }
    let number = transaction.number;
    let append = move || shared.journal.append(&transaction);
    web::block(append).await?.map_err(|error| {
        put_off(&error);
        error::ErrorServiceUnavailable("not now; send it again")
    })?;
    Ok(Json(json!({ "taken": number })))
}

/// The alerts so far, sorted by card.
#[get("/alerts")]
async fn alerts(shared: Data<Shared>) -> Result<impl Responder> {
    let alerts = web::block(move || published(&shared.alerts)).await?;
    alerts.map(Json).map_err(|error| {
        put_off(&error);
        error::ErrorInternalServerError("this cannot be answered")
    })
}

/// What went wrong is for the log: errors tell of files.
fn put_off(error: &dyn Display) {
    log::warn!(target: "fraud", "a request is not served: {error}");
}

#[get("/status")]
async fn status(shared: Data<Shared>) -> impl Responder {
    let JobStatus { state, restarts, checkpoints, .. } = shared.job.status();
    Json(json!({ "state": state, "restarts": restarts, "checkpoints": checkpoints }))
}

/// A server on the loopback interface, and where it listens.
pub(crate) fn bind(shared: Shared, port: u16) -> io::Result<(Server, SocketAddr)> {
    let shared = Data::new(shared);
    let app = move || {
        let handlers = |config: &mut web::ServiceConfig| {
            config.service(transactions).service(alerts).service(status);
        };
        App::new().app_data(shared.clone()).app_data(JsonConfig::default().limit(BODY_BYTES_MAX)).configure(handlers)
    };
    let server = HttpServer::new(app).workers(1).bind((Ipv4Addr::LOCALHOST, port))?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}
