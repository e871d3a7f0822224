//! Metrics for the recorder of the `metrics` facade.

use std::sync::Once;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fmt, io};

use ::metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};
use millstream_actors::{JobHandle, JobMetrics, JobState};

use super::metric::{Metric, MetricKind};
use super::table::METRICS;

/// Gives the figures of a job to the recorder of the `metrics` facade again and again, until it is dropped. It then gives them once more,
/// unless it has given those of the job's end, and the drop waits for that.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::metrics::record;
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
/// let recording = record(&job, Duration::from_secs(10))?;      // of any recorder that is installed
/// job.wait()?;
/// drop(recording);                                             // the last figures are those of the end
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is recorded once it is dropped"]
pub struct Recording {
    /// Disconnected when it is dropped, which ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Recording {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A recorder that panics has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

/// Gives the figures of a job to the recorder of the `metrics` facade at once, each `interval` from then on, and once more after the
/// job's end or when the [`Recording`] is dropped, on a thread for this. Before a recorder is installed they go nowhere.
///
/// # Errors
/// If the system refuses the thread.
pub fn record(job: &JobHandle, interval: Duration) -> io::Result<Recording> {
    let (stop, stopped) = channel();
    let job = job.clone();
    let run = move || {
        let mut is_last = false;
        loop {
            let metrics = job.metrics();
            record_now(&metrics);
            if is_last || metrics.status.state == JobState::Ended {
                return;
            }
            is_last = stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout);
        }
    };
    let thread = thread::Builder::new().name("millstream-metrics".to_owned()).spawn(run)?;
    Ok(Recording { stop: Some(stop), thread: Some(thread) })
}

/// Gives these figures to the recorder of the `metrics` facade, for programs that say when by themselves. Its counters are whole
/// numbers, so counters of seconds are gauges there.
pub fn record_now(job: &JobMetrics) {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| METRICS.iter().for_each(describe));
    for metric in METRICS {
        metric.samples(job, |values, value| {
            let labels = metric.labels().iter().zip(values);
            let labels: Vec<_> = labels.map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
            if is_counter(metric) {
                counter!(metric.name, labels).absolute(value as u64);
            } else {
                gauge!(metric.name, labels).set(value);
            }
        });
    }
}

fn is_counter(metric: &Metric) -> bool {
    metric.kind == MetricKind::Counter && metric.unit != "seconds"
}

fn describe(metric: &Metric) {
    let unit = match metric.unit {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        _ => Unit::Count,
    };
    if is_counter(metric) {
        describe_counter!(metric.name, unit, metric.help);
    } else {
        describe_gauge!(metric.name, unit, metric.help);
    }
}
