//! The one place that reads the machine's clock inside the engine, for measuring how long a task has run. Delays and
//! time stamps go through the job's [`Clock`](crate::contract::Clock).

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

thread_local! {
    /// What the clock says next on a thread that takes a turn of a stage.
    static STAGED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Monotonic time since the first call in this process. On a stage each call takes a microsecond, so that nothing that is
/// measured there depends on the machine.
pub fn monotonic() -> Duration {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    if let Some(now) = STAGED.get() {
        STAGED.set(Some(now + StagedTime::TICK));
        return now;
    }
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let now = Instant::now();
    now.saturating_duration_since(*ORIGIN.get_or_init(|| now))
}

/// The time of a stage.
#[derive(Default)]
pub(crate) struct StagedTime(Duration);

impl StagedTime {
    const TICK: Duration = Duration::from_micros(1);

    /// Calls `turn`, in which [`monotonic`] goes by this time.
    pub(crate) fn during(&mut self, turn: impl FnOnce()) {
        let around = STAGED.replace(Some(self.0));
        turn();
        self.0 = STAGED.replace(around).unwrap_or(self.0);
    }
}
