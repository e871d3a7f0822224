//! Signals that end the program: the terminal is given back first.

use std::io;

#[cfg(unix)]
mod watched {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::{SigId, flag, low_level};

    /// Whether one has come, by signal.
    #[derive(Debug)]
    pub(super) struct Watched(Vec<(i32, SigId, Arc<AtomicBool>)>);

    impl Watched {
        pub(super) fn new() -> io::Result<Self> {
            let watch = |signal| {
                let has_come = Arc::new(AtomicBool::new(false));
                Ok((signal, flag::register(signal, has_come.clone())?, has_come))
            };
            Ok(Self([SIGTERM, SIGHUP, SIGINT].into_iter().map(watch).collect::<io::Result<_>>()?))
        }

        pub(super) fn come(&self) -> Option<i32> {
            let mut come = self.0.iter().filter(|(_, _, has_come)| has_come.load(Ordering::Relaxed));
            come.next().map(|(signal, _, _)| *signal)
        }

        /// As if it had not been watched.
        pub(super) fn pass_on(&self) {
            if let Some(signal) = self.come() {
                // It ends the process; if not, the program goes on to its end.
                let _ = low_level::emulate_default_handler(signal);
            }
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            for (_, id, _) in &self.0 {
                low_level::unregister(*id);
            }
        }
    }
}

/// Watches for signals until it is dropped. Where the system has none, nothing comes.
#[derive(Debug)]
pub(super) struct Signals {
    #[cfg(unix)]
    watched: watched::Watched,
}

impl Signals {
    pub(super) fn watch() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            watched: watched::Watched::new()?,
        })
    }

    pub(super) fn has_come(&self) -> bool {
        #[cfg(unix)]
        return self.watched.come().is_some();
        #[cfg(not(unix))]
        return false;
    }

    /// Ends the process as the signal would have that came.
    pub(super) fn pass_on(&self) {
        #[cfg(unix)]
        self.watched.pass_on();
    }
}
