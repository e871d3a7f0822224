//! What the engine logs, for tests that read it.

use std::sync::{Mutex, Once, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// Keeps what is logged, for all tests of the process.
struct Captured(Mutex<Vec<(Level, String, String)>>);

static CAPTURED: Captured = Captured(Mutex::new(Vec::new()));

impl Log for Captured {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("millstream::")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.target().to_owned(), record.args().to_string());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}

/// Has all lines of the engine kept from now on.
pub(crate) fn capture() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        log::set_logger(&CAPTURED).expect("the first logger");
        log::set_max_level(LevelFilter::Debug);
    });
}

/// The lines of a job, without its name: level, target, text.
pub(crate) fn lines(job: &str) -> Vec<(Level, String, String)> {
    let prefix = format!("job={job} ");
    let captured = CAPTURED.0.lock().unwrap_or_else(PoisonError::into_inner);
    let of_job = captured.iter().filter_map(|(level, target, line)| {
        line.strip_prefix(&prefix).map(|line| (*level, target.clone(), line.to_owned()))
    });
    of_job.collect()
}
