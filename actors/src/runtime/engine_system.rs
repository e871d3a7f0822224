//! The actix `System` of the engine, on a thread of its own.
//!
//! An arbiter belongs to a `System`, and ends with it. A host may stop its own at any time (the signal handling of
//! actix-web does so), or have none; so jobs run on arbiters of this one.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actix_rt::{ArbiterHandle, System};
use tokio::runtime::{Builder, Runtime};

/// How long threads for blocking calls that have nothing to do are kept. State is loaded on them at a start, and each arbiter
/// has its own: none is to be left of a start that is over.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_millis(100);

/// What runs on each thread of the engine.
///
/// # Errors
/// If the operating system refuses what an event loop needs.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().thread_keep_alive(BLOCKING_KEEP_ALIVE).build()
}

/// The system. Its thread, and all its arbiters, are stopped when it is dropped.
pub(crate) struct EngineSystem {
    system: System,
}

impl EngineSystem {
    /// Starts the thread, and there calls `prepare`, which may start arbiters.
    ///
    /// # Errors
    /// If the operating system refuses a thread or what an event loop needs; or that of `prepare`.
    pub(crate) fn start<T: Send + 'static>(
        prepare: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<(Self, T)> {
        let (sender, started) = mpsc::sync_channel(1);
        let run = move || {
            let runner = match runtime() {
                Ok(runtime) => System::with_tokio_rt(|| runtime),
                Err(error) => return drop(sender.send(Err(error))),
            };
            let system = Self { system: System::current() };
            // If it failed, the system is dropped by the starter, and stops.
            drop(sender.send(Ok((system, prepare()))));
            if let Err(error) = runner.run() {
                log::warn!(target: "millstream::supervisor", "the engine's actix System ended: {error}");
            }
        };
        thread::Builder::new().name("millstream".to_owned()).spawn(run)?;
        let (system, prepared) = started.recv().map_err(io::Error::other)??;
        Ok((system, prepared?))
    }

    /// Calls `start` on a thread of this system, where it may start arbiters, and waits for it.
    ///
    /// # Errors
    /// If the system has stopped; or that of `start`.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        start: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        if System::try_current().is_some_and(|current| current.id() == self.system.id()) {
            return start();
        }
        let (sender, started) = mpsc::sync_channel(1);
        self.control().spawn_fn(move || drop(sender.send(start())));
        started.recv().map_err(io::Error::other)?
    }

    /// The arbiter of the system's own thread.
    pub(crate) fn control(&self) -> &ArbiterHandle {
        self.system.arbiter()
    }

    /// Whether the system runs. Code of a job can stop it, as it can end the process.
    pub(crate) fn is_alive(&self) -> bool {
        self.control().alive()
    }
}

impl Drop for EngineSystem {
    fn drop(&mut self) {
        #[expect(clippy::disallowed_methods, reason = "this is the engine's own System")]
        self.system.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thread_without_a_system_starts_one_that_ends_with_its_owner() {
        let (system, on) = EngineSystem::start(|| Ok(System::current().id())).expect("a thread");
        assert!(System::try_current().is_none(), "the caller's thread is as it was");
        let (sender, receiver) = mpsc::channel();
        system.control().spawn(async move {
            sender.send(System::current().id()).expect("the test waits");
            let _held = sender;
            std::future::pending::<()>().await;
        });
        assert_eq!(receiver.recv().expect("it runs"), on);
        drop(system);
        receiver.recv().expect_err("the system has ended, and dropped what it held");
    }

    #[test]
    fn failure_to_prepare_is_the_failure_to_start() {
        let failed = EngineSystem::start(|| Err::<(), _>(io::Error::other("no thread left")));
        assert_eq!(failed.err().expect("refused").to_string(), "no thread left");
    }
}
