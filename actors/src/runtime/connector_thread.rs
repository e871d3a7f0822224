//! Threads for connectors whose calls block: files, devices, services. No arbiter ever waits for one.

use std::thread;

use actix::{Message, Recipient};

use crate::protocol::{PanicReport, TaskError};
use crate::runtime::guard::{ExitSlot, catch_panic, tell_host};

/// To the task: its connector panicked on its thread.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ConnectorPanicked {
    /// What is known of the panic.
    pub(crate) report: PanicReport,
}

/// Runs `body` on a thread of its own. The task's end is not reported before the thread has ended, because it holds
/// the task's exit slot: a later attempt never meets a call of this one.
///
/// # Errors
/// [`TaskError::Thread`] if the system refuses a thread.
pub(crate) fn spawn(
    name: String,
    exit: ExitSlot,
    panicked: Recipient<ConnectorPanicked>,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), TaskError> {
    let run = move || {
        tell_host(exit.tells_host());
        if let Err(report) = catch_panic(body) {
            panicked.do_send(ConnectorPanicked { report });
        }
        drop(exit);
    };
    match thread::Builder::new().name(name).spawn(run) {
        Ok(_detached) => Ok(()),
        Err(error) => Err(TaskError::Thread(error.into())),
    }
}
