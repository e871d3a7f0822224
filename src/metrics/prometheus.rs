//! Metrics as text, for Prometheus.

use std::fmt::Write;

use millstream_actors::JobMetrics;

use super::metric::MetricKind;
use super::table::METRICS;

/// The content type of what [`prometheus`] writes.
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The figures of these jobs in the text format of Prometheus, version 0.0.4: each metric of [`METRICS`] that has samples, with its help
/// and type. Jobs are told apart by their names: of several of one name, as one that has ended and its next start, the last is shown.
///
/// ```
/// use millstream::metrics::prometheus;
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("evens");
/// env.source("numbers", SequenceSource::new(0..10)).filter(|n| n % 2 == 0).sink("out", CollectSink::new());
/// let job = env.start()?;
/// job.wait()?;
///
/// let text = prometheus(&[job.metrics()]);
/// assert!(text.contains("# TYPE millstream_operator_records_in_total counter\n"));
/// assert!(text.contains("millstream_job_restarts_total{job=\"evens\"} 0\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prometheus(jobs: &[JobMetrics]) -> String {
    let mut text = String::new();
    let newest =
        jobs.iter().enumerate().filter(|(place, job)| jobs[place + 1..].iter().all(|later| later.job != job.job));
    let jobs: Vec<_> = newest.map(|(_, job)| job).collect();
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let before = text.len();
        let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, escaped(metric.help, false), metric.name);
        let head = text.len();
        for job in &jobs {
            metric.samples(job, |values, value| {
                let labels = metric.labels().iter().zip(values);
                let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true)));
                let labels = labels.collect::<Vec<_>>().join(",");
                // Writing to a string does not fail.
                let _ = writeln!(text, "{}{{{labels}}} {value}", metric.name);
            });
        }
        if text.len() == head {
            text.truncate(before);
        }
    }
    text
}

/// A help text, or the value of a label, as it is written.
fn escaped(text: &str, is_label: bool) -> String {
    let mut escaped = text.replace('\\', "\\\\").replace('\n', "\\n");
    if is_label {
        escaped = escaped.replace('"', "\\\"");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_label_is_escaped() {
        assert_eq!(escaped("a \"b\" \\ c\nd", true), r#"a \"b\" \\ c\nd"#);
        assert_eq!(escaped("a \"b\"", false), "a \"b\"");
    }
}
