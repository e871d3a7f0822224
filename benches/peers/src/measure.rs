//! What a run gives, and how it is measured.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::total::Sum;

/// What one run gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Of the results: the same for all engines. `None` where there is nothing to compare.
    pub(crate) checksum: Option<u64>,
    /// How many results there were, which is also the same for all. `None` where they are not counted.
    #[serde(default)]
    pub(crate) results: Option<u64>,
    /// Less is better. Engines are compared by the first one.
    pub(crate) figures: Vec<Figure>,
}

impl Run {
    /// Of what was added up.
    pub(crate) fn of(sum: Sum, figures: Vec<Figure>) -> Self {
        let results = (sum.results > 0).then_some(sum.results);
        Self { checksum: Some(sum.checksum), results, figures }
    }
}

/// Something measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What, and its unit.
    pub(crate) name: String,
    pub(crate) value: f64,
}

impl Figure {
    pub(crate) fn new(name: &str, value: f64) -> Self {
        Self { name: name.to_owned(), value }
    }
}

/// Time per record: what throughput is shown as.
pub(crate) const NS_A_RECORD: &str = "ns a record";

/// Measures a run, in wall time and in CPU time of the whole process.
pub(crate) struct Stopwatch {
    wall: Instant,
    cpu: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self { cpu: process_cpu_time(), wall: now() }
    }

    /// Wall time so far.
    pub(crate) fn wall(&self) -> Duration {
        now() - self.wall
    }

    /// How many processors were busy so far, on average.
    pub(crate) fn cores(&self) -> f64 {
        (process_cpu_time() - self.cpu).as_secs_f64() / self.wall().as_secs_f64()
    }

    /// What `records` records took.
    pub(crate) fn throughput(&self, records: u64) -> Vec<Figure> {
        let (wall, cpu) = (self.wall(), process_cpu_time() - self.cpu);
        let per_record = |time: Duration| time.as_nanos() as f64 / records as f64;
        vec![Figure::new(NS_A_RECORD, per_record(wall)), Figure::new("CPU ns a record", per_record(cpu))]
    }
}

#[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Nanoseconds since the first call in this process.
pub(crate) fn since_start() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    (now() - *START.get_or_init(now)).as_nanos() as u64
}

/// Lets this thread do nothing for about as long.
pub(crate) fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

fn process_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A line of `/proc/self/status`: threads, or kilobytes.
pub(crate) fn process_status(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux machine");
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let value = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    value.expect("the kernel writes this line")
}
