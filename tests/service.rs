//! The example `orders` as a service over HTTP, whose process is killed at least fifty times while it serves, and whose job panics:
//! no order and no reservation that was acknowledged is lost, and none counts twice. Guarantees G1 and G2.

#![allow(dead_code, reason = "the example has a command line, too")]

use std::path::Path;
use std::process::Command;

use actix_rt::System;

#[path = "../examples/orders/check.rs"]
mod check;
#[path = "../examples/common/client.rs"]
mod client;
#[path = "../examples/orders/job.rs"]
mod job;
#[path = "../examples/common/life.rs"]
mod life;
#[path = "../examples/orders/records.rs"]
mod records;
#[path = "../examples/orders/service.rs"]
mod service;

/// Each fourth life is terminated, the others are killed.
const LIVES: usize = 70;
/// Where a process of this test serves.
const FOLDER: &str = "MILLSTREAM_SERVICE_FOLDER";

#[test]
fn no_acknowledged_request_is_lost_and_none_counts_twice() {
    let serve = |dir: &Path| {
        let mut serve = Command::new(std::env::current_exe()?);
        serve.args(["--exact", "serves", "--nocapture", "--test-threads=1"]).env(FOLDER, dir);
        Ok(serve)
    };
    let said = check::run(LIVES, serve).expect("as in plain loops");
    println!("{said}");
    let kills: usize = said.rsplit(' ').nth(1).and_then(|kills| kills.parse().ok()).expect("it says how often");
    assert!(kills >= 50, "{said}");
}

/// The process that is killed; as a test by itself it does nothing.
#[test]
fn serves() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let said =
            System::new().block_on(service::serve(Path::new(&folder), 0, |_| Ok(()))).expect("serves to its end");
        println!("{said}");
    }
}
