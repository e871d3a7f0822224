//! Runs the service in processes of its own, kills and terminates them, and compares what they have published together.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::client::{request, send};
use crate::job::{Folder, published};
use crate::life::Life;
use crate::payments::{payments, reference};
use crate::transaction::Transaction;

const PAYMENTS: u64 = 1_000;
/// After so many payments a process is killed, or, each third time, terminated.
const LIFE: usize = 90;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs the check, and gives a line that says what was seen. Blocks.
pub(crate) fn run() -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let folder = Folder(scratch.path().to_owned());
    let payments = payments(PAYMENTS);
    let (mut kills, mut terminations) = (0, 0);
    let mut life = Life::start(serve(&folder.0)?)?;
    for (done, payment) in payments.iter().enumerate() {
        if done % LIFE == LIFE - 1 {
            if kills < 2 * (terminations + 1) {
                // It may have been taken, or not: nobody has heard of it.
                drop(send(life.address, "POST", "/transactions", &serde_json::to_string(payment)?)?);
                life.kill()?;
                kills += 1;
                // As if it had been killed in the middle of a line.
                OpenOptions::new().append(true).open(folder.journal())?.write_all(b"{\"card\": \"card-")?;
            } else {
                life.terminate()?;
                terminations += 1;
            }
            life = Life::start(serve(&folder.0)?)?;
        }
        life.pay(payment)?;
    }
    life.refuses_what_is_no_payment()?;
    life.terminate()?;

    let (alerts, expected) = (published(&folder.alerts())?, reference(&payments));
    if alerts != expected {
        return Err(format!("published are {alerts:?}, a plain loop has {expected:?}").into());
    }
    Ok(format!(
        "OK: {PAYMENTS} payments, {} alerts as in a plain loop; killed {kills} times, terminated {} times",
        alerts.len(),
        terminations + 1
    ))
}

fn serve(dir: &Path) -> Result<Command> {
    let mut serve = Command::new(std::env::current_exe()?);
    serve.args(["--port", "0", "--dir"]).arg(dir);
    Ok(serve)
}

impl Life {
    fn pay(&self, payment: &Transaction) -> Result<()> {
        let answer: Value = request(self.address, "POST", "/transactions", &serde_json::to_string(payment)?)?;
        let is_taken = answer["taken"] == payment.number;
        if is_taken { Ok(()) } else { Err(format!("the answer to payment {} is {answer}", payment.number).into()) }
    }

    /// None of these may be answered with success, nor end the service.
    fn refuses_what_is_no_payment(&self) -> Result<()> {
        let long = format!(r#"{{"card": "{}", "number": 0, "at_ms": 0, "cents": 1}}"#, "4".repeat(5_000));
        for body in ["", "{", "[]", r#"{"card": "", "number": 0, "at_ms": 0, "cents": 1}"#, &long] {
            match request::<Value>(self.address, "POST", "/transactions", body) {
                Err(error) if error.to_string().contains(" 4") => {}
                other => return Err(format!("'{body}' is answered with {other:?}").into()),
            }
        }
        let status: Value = request(self.address, "GET", "/status", "")?;
        let restarts = &status["restarts"];
        if *restarts == 0 { Ok(()) } else { Err(format!("the job has restarted {restarts} times").into()) }
    }
}
