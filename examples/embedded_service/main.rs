//! A web service with a stream job inside: both run in one actix `System`, and neither knows of the other's failures.
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
//! With `--check` it drives itself through all of that, and compares the result with a plain loop.

mod check;
mod client;
mod departures;
mod job;
mod options;
mod service;

#[path = "../common/mod.rs"]
mod common;

use std::error::Error;
use std::process::ExitCode;

use actix_web::rt::{System, spawn, task::spawn_blocking};
use millstream::prelude::*;

use options::Options;

fn main() -> ExitCode {
    common::log_to_stderr();
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    match System::new().block_on(serve(&options)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts job and service, and ends them in this order: the service answers until the job's last result is out.
async fn serve(options: &Options) -> Result<String, Box<dyn Error + Send + Sync>> {
    let running = job::start(options.records_per_second)?;
    let job = running.job.clone();
    let (server, address) = service::bind(running, options.port)?;
    let handle = server.handle();
    spawn(server);
    common::drain_on_signal(&job);
    println!("listening on http://{address}");

    let line = if options.check {
        spawn_blocking(move || check::drive(address)).await??
    } else {
        // The service goes on when the job has ended, until it is told to stop.
        common::terminated().await;
        let JobOutcome { kind, checkpoints, restarts, .. } = job.await?;
        format!("{kind:?} after {checkpoints} checkpoints and {restarts} restarts")
    };
    handle.stop(true).await;
    Ok(line)
}
