//! The one place that reads the machine's clock inside the engine, for measuring how long a task has run. Delays and
//! time stamps go through the job's [`Clock`](crate::contract::Clock).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Monotonic time since the first call in this process.
pub fn monotonic() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let now = Instant::now();
    now.saturating_duration_since(*ORIGIN.get_or_init(|| now))
}
