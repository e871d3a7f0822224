//! A shop's service around one job: orders come in by HTTP and count once, figures are asked of the job's state, reservations are
//! answered once they are durable, and an order that the job cannot process costs that order.
//!
//! `cargo run --release --example orders`, and then
//!
//! ```text
//! post() { curl -H 'Content-Type: application/json' localhost:8080/$1 -d "$2"; }
//! post orders '{"id": "o-1", "customer": "ada", "quantity": 2, "cents": 500}'      answered when it is durable
//! curl localhost:8080/customers/ada                                              asked of the job's state
//! post reservations '{"id": "r-1", "item": "tea", "quantity": 3}'                answered by the job, once it is durable
//! post reservations '{"id": "r-1", "item": "tea", "quantity": 3}'                a retry: the same answer, and nothing happens
//! post poison '{"id": "o-2", "customer": "ada"}'                                  an order of nothing, at which the job panics
//! curl localhost:8080/dead-letters                                               where it is then
//! curl -X POST localhost:8080/panic                                              the job panics, and goes on
//! curl localhost:8080/invoices                                                   what the job has written to the service's database
//! curl localhost:8080/status
//! ```
//!
//! Ctrl-c or SIGTERM ends the service and drains the job; after `kill -9` the same command goes on. With `--check` it does all of
//! this to itself, and compares with plain loops.

mod check;
mod job;
mod options;
mod records;
mod service;

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

use std::process::{Command, ExitCode};

use actix_web::rt::System;
use millstream::JobHandle;

use dashboard::Shown;

/// After so many lives of the service the check has seen enough.
const LIVES: usize = 12;

fn main() -> ExitCode {
    logging::log_to_stderr();
    command::run(service_options::parse(options::DIR), options::HELP, |options| match options.check {
        true => check::run(LIVES, |dir| {
            let mut serve = Command::new(std::env::current_exe()?);
            serve.args(["--port", "0", "--dir"]).arg(dir);
            Ok(serve)
        }),
        false => {
            let show = |job: &JobHandle| {
                let shown = Shown::on(options.dashboard)?;
                shown.add(job);
                Ok(shown)
            };
            System::new().block_on(service::serve(&options.dir, options.port, show))
        }
    })
}
