//! A web service with a stream job inside: one process, and neither knows of the other's failures.
//!
//! `cargo run --release --example embedded_service -- --port 8080`, and then
//!
//! ```text
//! curl localhost:8080/status                  what the job is doing
//! curl localhost:8080/figures                 its result so far
//! curl -X POST localhost:8080/checkpoint      take a checkpoint now
//! curl -X POST localhost:8080/panic           have the job panic at its next record
//! ```
//!
//! Ctrl-c or SIGTERM ends the service, and then drains the job.
//!
//! With `--check` it drives itself through all of that, and compares the result with a plain loop.

mod check;
mod departures;
mod job;
mod options;
mod service;

#[path = "../common/client.rs"]
mod client;
#[path = "../common/command.rs"]
mod command;
#[path = "../common/logging.rs"]
mod logging;

use std::error::Error;
use std::process::ExitCode;

use actix_web::rt::{System, spawn, task::spawn_blocking};
use millstream::prelude::*;

use options::Options;

fn main() -> ExitCode {
    logging::log_to_stderr();
    command::run(options::parse(), options::HELP, |options| System::new().block_on(serve(options)))
}

/// Starts job and service. The server answers signals by itself, and stops the actix `System` then: the job has threads of
/// its own, so it is drained afterwards.
async fn serve(options: &Options) -> Result<String, Box<dyn Error + Send + Sync>> {
    let running = job::start(options.records_per_second)?;
    let job = running.job.clone();
    let (server, address) = service::bind(running, options.port)?;
    println!("listening on http://{address}");

    if options.check {
        let handle = server.handle();
        spawn(server);
        let line = spawn_blocking(move || check::drive(address)).await??;
        handle.stop(true).await;
        return Ok(line);
    }
    server.await?;
    let JobOutcome { kind, checkpoints, restarts, .. } = job.drain().await?;
    Ok(format!("{kind:?} after {checkpoints} checkpoints and {restarts} restarts"))
}
