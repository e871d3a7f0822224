//! The service: what can be asked of it by HTTP.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;

use actix_web::dev::Server;
use actix_web::http::header::RETRY_AFTER;
use actix_web::web::{self, Data, Json, JsonConfig};
use actix_web::{App, HttpResponse, HttpServer, Responder, Result, error, get, post};
use millstream::JobStatus;
use millstream::prelude::*;
use millstream::query::Consistency;
use millstream::request::Ask;
use millstream::source::IngestRecord;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::Deserialize;
use serde_json::json;

use crate::job::{self, DEAD_LETTERS, INVOICES, Shop};
use crate::records::{Account, CENTS_MAX, Order, Reservation, is_name};

const BODY_BYTES_MAX: usize = 4_096;

/// Who is not served is told what to do. What went wrong is for those who look after the service: errors may tell of its files and
/// its insides, so they go to the log.
fn unavailable(error: impl Display) -> HttpResponse {
    log::warn!(target: "orders", "a request is put off: {error}");
    HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, 1)).body("not now; send it again, with the same id")
}

/// As [`unavailable`], where it does not help to ask again.
fn failed(error: impl Display) -> HttpResponse {
    log::error!(target: "orders", "a request failed: {error}");
    HttpResponse::InternalServerError().body("this cannot be answered")
}

/// Answers once the order is durable: from then on it counts, exactly once. Who got no answer sends it again.
#[post("/orders")]
async fn post_order(shop: Data<Shop>, Json(order): Json<Order>) -> Result<impl Responder> {
    if order.quantity == 0 || order.cents > CENTS_MAX {
        return Err(error::ErrorBadRequest("an order is of something, and not of all there is"));
    }
    take(&shop, order).await
}

/// What identifies an order of nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Poison {
    id: String,
    customer: String,
}

/// Lets an order of nothing through, at which the job panics.
#[post("/poison")]
async fn post_poison(shop: Data<Shop>, Json(Poison { id, customer }): Json<Poison>) -> Result<impl Responder> {
    take(&shop, Order { id, customer, quantity: 0, cents: 0 }).await
}

async fn take(shop: &Shop, order: Order) -> Result<HttpResponse> {
    if !is_name(&order.id) || !is_name(&order.customer) {
        return Err(error::ErrorBadRequest("a name or id is empty or too long"));
    }
    let (id, customer) = (order.id.clone(), order.customer.clone());
    let record = IngestRecord::new(order).key(&customer).idempotency_key(&id);
    Ok(match shop.orders.send(record).await {
        Ok(_) => HttpResponse::Ok().json(json!({ "taken": id })),
        // The next process, if there is one, takes it.
        Err(error) => unavailable(error),
    })
}

/// What the job's state has of a customer: as of now, or while the job restarts as of its last checkpoint.
#[get("/customers/{name}")]
async fn get_customer(shop: Data<Shop>, name: web::Path<String>) -> Result<HttpResponse> {
    let accounts = shop.job.query::<String, Account>("customers", "account");
    let account = match accounts.consistency(Consistency::LiveOrCheckpoint).get(&name).await {
        Ok(account) => account,
        Err(error) if error.retry_after().is_some() => return Ok(unavailable(error)),
        Err(error) => return Ok(failed(error)),
    };
    let age_ms = account.as_of.age().as_millis() as u64;
    match account.value {
        Some(Account { orders, cents }) => {
            Ok(HttpResponse::Ok().json(json!({ "orders": orders, "cents": cents, "age_ms": age_ms })))
        }
        None => Err(error::ErrorNotFound("nothing is known of this customer")),
    }
}

/// Answers what the job makes of it, once that is durable. A retry with the id gets the same answer.
#[post("/reservations")]
async fn post_reservation(shop: Data<Shop>, Json(reservation): Json<Reservation>) -> Result<HttpResponse> {
    if !is_name(&reservation.id) || !is_name(&reservation.item) {
        return Err(error::ErrorBadRequest("a name or id is empty or too long"));
    }
    let (id, item) = (reservation.id.clone(), reservation.item.clone());
    match shop.reservations.ask(Ask::new(reservation).key(&item).idempotency_key(id)).await {
        Ok(reserved) => Ok(HttpResponse::Ok().json(reserved)),
        Err(AskError::Rejected { reason, .. }) => Err(error::ErrorConflict(reason)),
        Err(error) if error.is_retryable() => Ok(unavailable(error)),
        Err(error) => Ok(failed(error)),
    }
}

/// Has the job panic at the next order.
#[post("/panic")]
async fn post_panic(shop: Data<Shop>) -> impl Responder {
    shop.panic_button.store(true, Ordering::Relaxed);
    HttpResponse::Accepted()
}

#[get("/invoices")]
async fn get_invoices(shop: Data<Shop>) -> Result<impl Responder> {
    rows(shop, INVOICES).await
}

#[get("/dead-letters")]
async fn get_dead_letters(shop: Data<Shop>) -> Result<impl Responder> {
    rows(shop, DEAD_LETTERS).await
}

/// All that a table of the service's database has.
async fn rows(shop: Data<Shop>, table: TableDefinition<'static, &'static str, &'static str>) -> Result<HttpResponse> {
    let read = move || -> std::result::Result<Vec<(String, String)>, redb::Error> {
        let table = match shop.database.begin_read()?.open_table(table) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let row = |row: std::result::Result<_, redb::StorageError>| {
            let (key, value): (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, &str>) = row?;
            Ok((key.value().to_owned(), value.value().to_owned()))
        };
        table.iter()?.map(row).collect()
    };
    Ok(web::block(read).await?.map_or_else(failed, |rows| HttpResponse::Ok().json(rows)))
}

#[get("/status")]
async fn get_status(shop: Data<Shop>) -> impl Responder {
    let JobStatus { state, restarts, checkpoints, .. } = shop.job.status();
    Json(json!({ "state": state, "restarts": restarts, "checkpoints": checkpoints }))
}

/// A server on the loopback interface, and where it listens.
fn bind(shop: Shop, port: u16) -> io::Result<(Server, SocketAddr)> {
    let shop = Data::new(shop);
    let app = move || {
        let handlers = |config: &mut web::ServiceConfig| {
            config.service(post_order).service(get_customer).service(post_reservation);
            config.service(post_poison).service(post_panic).service(get_dead_letters);
            config.service(get_invoices).service(get_status);
        };
        App::new().app_data(shop.clone()).app_data(JsonConfig::default().limit(BODY_BYTES_MAX)).configure(handlers)
    };
    let server = HttpServer::new(app).workers(1).bind((Ipv4Addr::LOCALHOST, port))?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}

/// Starts job and service, and drains the job once a signal has ended the service. What `show` makes of the job is kept until then.
pub(crate) async fn serve<S>(
    dir: &Path,
    port: u16,
    show: impl FnOnce(&JobHandle) -> io::Result<S>,
) -> std::result::Result<String, Box<dyn Error + Send + Sync>> {
    std::fs::create_dir_all(dir)?;
    let shop = job::start(dir)?;
    let job = shop.job.clone();
    let _shown = show(&job)?;
    let (server, address) = bind(shop, port)?;
    println!("listening on http://{address}");

    server.await?;
    let JobOutcome { kind, checkpoints, restarts, .. } = job.drain().await?;
    Ok(format!("{kind:?} after {checkpoints} checkpoints and {restarts} restarts"))
}
