//! Ends a test process that hangs.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// Aborts the process unless dropped in time.
pub(crate) struct Watchdog(#[expect(dead_code, reason = "dropping it is the message")] Sender<()>);

impl Watchdog {
    /// Lets `what` take so long and no longer.
    pub(crate) fn watch(what: impl Into<String>, limit: Duration) -> Self {
        let (alive, over) = mpsc::channel();
        let what = what.into();
        thread::spawn(move || {
            if over.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{what} hangs: nothing for {limit:?}");
                std::process::abort();
            }
        });
        Self(alive)
    }
}
