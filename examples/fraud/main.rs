//! A fraud service: payments come in by HTTP, alerts go out to files, each exactly once, whatever becomes of the process.
//!
//! `cargo run --release --example fraud`, and then
//!
//! ```text
//! pay() { curl -H 'Content-Type: application/json' localhost:8080/transactions -d "$1"; }
//! pay '{"card": "4711", "number": 1, "at_ms": 1000, "cents": 50}'
//! pay '{"card": "4711", "number": 2, "at_ms": 2000, "cents": 99900}'
//! curl localhost:8080/alerts                  those that are published
//! curl localhost:8080/status                  what the job is doing
//! ```
//!
//! Ctrl-c or SIGTERM ends the service and drains the job; after `kill -9` the same command goes on. With `--check` it kills
//! itself, and compares the alerts with a plain loop.

mod check;
mod job;
mod journal;
mod options;
mod payments;
mod service;
mod transaction;

#[path = "../common/client.rs"]
mod client;
#[path = "../common/command.rs"]
mod command;
#[path = "../common/dashboard.rs"]
#[allow(dead_code, reason = "a service does not stay when it ends")]
mod dashboard;
#[path = "../common/life.rs"]
mod life;
#[path = "../common/logging.rs"]
mod logging;
#[path = "../common/service_options.rs"]
mod service_options;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use actix_web::rt::System;
use millstream::prelude::*;

use job::Folder;
use journal::Journal;
use service::Shared;

fn main() -> ExitCode {
    logging::log_to_stderr();
    command::run(service_options::parse(options::DIR), options::HELP, |options| match options.check {
        true => check::run(),
        false => System::new().block_on(serve(&options.dir, options.port, options.dashboard)),
    })
}

/// Starts job and service, and drains the job once a signal has ended the service.
async fn serve(dir: &Path, port: u16, dashboard: Option<u16>) -> Result<String, Box<dyn Error + Send + Sync>> {
    std::fs::create_dir_all(dir)?;
    let folder = Folder(dir.to_owned());
    let journal = Journal::open(&folder.journal())?;
    let job = job::start(&folder, journal.clone())?;
    let shown = dashboard::Shown::on(dashboard)?;
    shown.add(&job);
    let (server, address) = service::bind(Shared { journal, job: job.clone(), alerts: folder.alerts() }, port)?;
    println!("listening on http://{address}");

    server.await?;
    let JobOutcome { kind, checkpoints, restarts, .. } = job.drain().await?;
    Ok(format!("{kind:?} after {checkpoints} checkpoints and {restarts} restarts"))
}
