//! M1 over rescales: a series that is there again has not gone back.

use std::collections::BTreeMap;

use millstream::metrics::{METRICS, MetricKind, prometheus};
use millstream::{JobEventKind, JobMetrics};

use crate::common::{QueueSource, run, watched};
use crate::{Seen, counting};

type Series = BTreeMap<(&'static str, Vec<String>), f64>;

fn counters(metrics: &JobMetrics) -> Series {
    let mut series = Series::new();
    for metric in METRICS.iter().filter(|metric| metric.kind == MetricKind::Counter) {
        metric.samples(metrics, |labels, value| {
            let labels = labels.iter().map(ToString::to_string).collect();
            assert!(series.insert((metric.name, labels), value).is_none(), "{} twice", metric.name);
        });
    }
    series
}

/// Records that operator `id` took, over the subtasks that there are.
fn taken(metrics: &JobMetrics, id: &str) -> u64 {
    let operators = metrics.subtasks.iter().flat_map(|subtask| &subtask.operators);
    operators.filter(|of| of.operator.as_str() == id).map(|of| of.of_run.records_in).sum()
}

#[test]
fn counters_go_on_where_a_rescale_brings_a_subtask_back() {
    run("a job that is rescaled and watched", |handles| async move {
        let (numbers, seen) = (QueueSource::default(), Seen::default());
        let job = counting("counted", &numbers, &seen).start().unwrap();
        watched(&handles, &job);
        let (mut known, mut pushed) = (Series::new(), 0);
        // Each width twice, and each move there and back.
        for to in [3, 2, 3, 1, 4, 1, 2, 3] {
            job.rescale(to).await.unwrap();
            numbers.push(pushed..pushed + 100);
            pushed += 100;
            seen.until(pushed, &job).await;
            let metrics = job.metrics();
            for (sample, value) in counters(&metrics) {
                let before = known.insert(sample.clone(), value).unwrap_or(0.0);
                assert!(value >= before, "at {to}: {sample:?} went from {before} to {value}");
            }
            assert!(metrics.subtasks.iter().all(|subtask| subtask.is_current), "{metrics:?}");
            assert!(metrics.regions.iter().all(|region| region.is_running && region.restarts == 0), "{metrics:?}");
        }
        // The source is the only one that reads, chained or not: what it has read at each of the two adds up.
        let of_source: f64 = known
            .iter()
            .filter(|((name, labels), _)| {
                *name == "millstream_operator_records_in_total"
                    && labels.last().is_some_and(|operator| operator == "numbers")
            })
            .map(|(_, value)| value)
            .sum();
        assert_eq!(of_source as u64, pushed);
        // All four subtasks of this width are there but one, with what they took at each time of theirs.
        assert!(taken(&job.metrics(), "counts") > 300, "{:?}", job.metrics());
        assert!(prometheus(&[job.metrics()]).contains("millstream_operator_records_in_total{"));
        assert!(job.history().iter().any(|event| matches!(event.kind, JobEventKind::Rescaled { .. })));
        job.cancel().await.unwrap();
    });
}
