//! Drives the service from outside: injects panics, and compares the last figures with those of a plain loop.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::client::request;
use crate::departures::{ByAirport, reference};

const PANICS: u64 = 3;
/// How long the job may take to come to what is waited for, looked at each [`LOOK_EVERY`].
const LOOKS_MAX: u32 = 3_000;
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Deserialize)]
struct Status {
    state: String,
    restarts: u64,
    checkpoints: u64,
}

/// Runs the check; to be called on a thread that may block. Gives a line that says what was seen.
pub(crate) fn drive(address: SocketAddr) -> Result<String, Box<dyn Error + Send + Sync>> {
    let mut answers = 0;
    request::<Value>(address, "POST", "/checkpoint", "")?;
    for panic in 1..=PANICS {
        request::<Value>(address, "POST", "/panic", "")?;
        wait_until(address, &mut answers, |status| status.restarts >= panic)?;
        let _while_it_restarts: ByAirport = request(address, "GET", "/figures", "")?;
    }
    let Status { restarts, checkpoints, .. } = wait_until(address, &mut answers, |status| status.state == "Ended")?;
    let (figures, expected): (ByAirport, _) = (request(address, "GET", "/figures", "")?, reference()?);
    if figures != expected {
        return Err(format!("the figures are {figures:?}, a plain loop has {expected:?}").into());
    }
    let planned: u64 = expected.values().map(|airport| airport.planned).sum();
    Ok(format!(
        "OK: {planned} departures as in a plain loop, {restarts} restarts, {checkpoints} checkpoints, \
         {answers} times asked how the job is"
    ))
}

fn wait_until(
    address: SocketAddr,
    answers: &mut u32,
    is_so: impl Fn(&Status) -> bool,
) -> Result<Status, Box<dyn Error + Send + Sync>> {
    for _ in 0..LOOKS_MAX {
        let status: Status = request(address, "GET", "/status", "")?;
        *answers += 1;
        if is_so(&status) {
            return Ok(status);
        }
        #[expect(clippy::disallowed_methods, reason = "a client has no other clock")]
        std::thread::sleep(LOOK_EVERY);
    }
    Err("the job does not get on".into())
}
