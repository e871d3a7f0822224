//! Metrics: they add up, never go back, and are what the page and the dashboard say (M1 and M2 of `docs/semantics.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::metrics::{METRICS, Metric, MetricKind, prometheus};
use millstream::prelude::*;
use millstream::source::IngestOptions;
use millstream::{CheckpointOutcome, JobMetrics, OperatorFigures};

use common::{CountedPanics, run, watched};
use expressions::check_expression;
use prometheus_text::parse;

mod common;
#[path = "common/expressions.rs"]
mod expressions;
#[path = "common/prometheus_text.rs"]
mod prometheus_text;

const RECORDS: u64 = 20_000;
/// More than fit the cache.
const SPILLED_KEYS: u64 = 8_000;

/// The sum of a figure over the subtasks of an operator.
fn sum(metrics: &JobMetrics, operator: &str, of: impl Fn(&OperatorFigures) -> u64) -> u64 {
    let operators = metrics.subtasks.iter().flat_map(|subtask| &subtask.operators);
    operators.filter(|figures| figures.operator.as_str() == operator).map(|figures| of(&figures.of_run)).sum()
}

/// Which figure of an operator comes to how much.
type Expected<'a> = &'a [(&'a str, fn(&OperatorFigures) -> u64, u64)];

fn assert_sums(metrics: &JobMetrics, expected: Expected<'_>) {
    for (operator, of, count) in expected {
        assert_eq!(sum(metrics, operator, of), *count, "{operator} of {metrics:?}");
    }
}

fn environment(name: &str) -> StreamEnvironment {
    StreamEnvironment::new(name)
        .parallelism(2)
        .checkpointing(Checkpointing::every(Duration::from_millis(2)))
        .restart_strategy(RestartStrategy::fixed_delay(100, Duration::ZERO))
}

/// What was sent over channels of the job has been received (M2).
fn assert_channels(metrics: &JobMetrics) {
    let mut sent: BTreeMap<_, (u64, u64, u64)> = BTreeMap::new();
    for channel in metrics.subtasks.iter().flat_map(|subtask| &subtask.channels) {
        let (records, batches, bytes) = sent.entry(channel.to).or_default();
        *records += channel.of_run.records;
        *batches += channel.of_run.batches;
        *bytes += channel.of_run.bytes;
    }
    for subtask in &metrics.subtasks {
        let figures = subtask.of_run;
        let own = subtask.channels.iter().map(|channel| channel.of_run.records).sum::<u64>();
        assert_eq!(own, figures.records_out, "{metrics:?}");
        if let Some(sent) = sent.get(&subtask.subtask) {
            assert_eq!(*sent, (figures.records_in, figures.batches_in, figures.bytes_in), "{metrics:?}");
        }
    }
}

#[test]
fn what_one_operator_emits_the_next_takes_in_a_chain_and_over_channels() {
    let (metrics, received) = run("a job that is chained and shuffled", |handles| async move {
        let (env, sink) = (environment("adds-up"), CollectSink::new());
        let collected = sink.handle();
        let odd: Arc<OutputTag<u64>> = Arc::new(OutputTag::new("odd"));
        let to_side = odd.clone();
        let numbers = env
            .source("numbers", SequenceSource::new(0..RECORDS))
            .map(|n| n)
            .name("same")
            .flat_map(
                move |n, out| if n % 4 == 1 { out.emit_to(&to_side, n) } else { (0..2).for_each(|_| out.emit(n)) },
            )
            .name("split");
        numbers.side_output(&odd).for_each("odds", |_| {});
        let sums = numbers.filter(|n| n % 4 != 3).name("most").key_by(|n| n % 16).reduce("sums", |sum, n| sum + n);
        sums.start_new_chain().map(|sum| sum).name("values").sink("out", sink);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        job.clone().await.expect("finished");
        (job.metrics(), collected.snapshot().len() as u64)
    });
    let quarter = RECORDS / 4;
    assert_eq!((received, metrics.status.restarts), (4 * quarter, 0));
    assert_sums(
        &metrics,
        &[
            ("numbers", |of| of.records_in, RECORDS),
            ("numbers", |of| of.records_out, RECORDS),
            ("odds", |of| of.records_in, quarter),
            ("sums", |of| of.records_in, 4 * quarter),
            ("sums", |of| of.records_out, 4 * quarter),
            ("out", |of| of.records_in, received),
            ("out", |of| of.records_out, 0),
            // Of the whole run: keys are few.
            ("sums", |of| of.state_entries.unwrap_or_default(), 8),
        ],
    );
    assert_channels(&metrics);
    let chained: Vec<_> = metrics.subtasks.iter().map(|subtask| &subtask.operators).filter(|of| of.len() > 1).collect();
    assert!(!chained.is_empty(), "{metrics:?}");
    for operators in chained {
        for pair in operators.windows(2) {
            assert_eq!(pair[0].of_run.records_out, pair[1].of_run.records_in, "{operators:?}");
            assert_eq!(pair[0].of_run.bytes_out, pair[1].of_run.bytes_in, "{operators:?}");
        }
    }
    let sides: u64 = metrics.subtasks.iter().flat_map(|of| &of.operators).map(|of| of.of_run.side_records_out).sum();
    assert_eq!(sides, quarter);
    for subtask in &metrics.subtasks {
        let figures = subtask.of_run;
        assert!(subtask.is_current && figures.busy_ns > 0, "{subtask:?}");
        // At the end nothing is under way.
        assert_eq!((figures.waiting_batches, figures.batches_under_way), (0, 0), "{subtask:?}");
    }
}

#[test]
fn an_operator_with_two_inputs_counts_both() {
    let metrics = run("two inputs", |handles| async move {
        let env = environment("two-inputs");
        let numbers = env.source("numbers", SequenceSource::new(0..RECORDS));
        let texts = env.source("texts", SequenceSource::new(0..RECORDS / 2)).map(|n| n.to_string());
        numbers.connect(texts).map(|n| n, |text| text.len() as u64).name("both").for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        job.clone().await.expect("finished");
        job.metrics()
    });
    let all = RECORDS + RECORDS / 2;
    assert_sums(&metrics, &[("out", |of| of.records_in, all)]);
    let both = metrics.subtasks.iter().filter(|subtask| subtask.task.contains("both"));
    assert_eq!(both.map(|subtask| subtask.of_run.records_in).sum::<u64>(), all, "{metrics:?}");
    assert_channels(&metrics);
    let ports: BTreeSet<_> = metrics.subtasks.iter().flat_map(|of| &of.channels).map(|channel| channel.port).collect();
    assert_eq!(ports, BTreeSet::from([0, 1]));
}

/// All samples of the metrics that are counters, by name and labels.
fn counters(metrics: &JobMetrics) -> BTreeMap<(String, Vec<String>), f64> {
    let mut samples = BTreeMap::new();
    for metric in METRICS.iter().filter(|metric| metric.kind == MetricKind::Counter) {
        metric.samples(metrics, |labels, value| {
            let labels = labels.iter().map(ToString::to_string).collect();
            assert!(samples.insert((metric.name.to_owned(), labels), value).is_none(), "{} twice", metric.name);
        });
    }
    samples
}

/// M1. Somebody looks all the time, while regions fail and restart.
#[test]
fn counters_never_go_back_through_restarts() {
    let (metrics, received) = run("a job that fails and is watched", |handles| async move {
        let (env, sink, panics) =
            (environment("goes-on"), CollectSink::new(), CountedPanics::at(&[3_000, 9_000, 15_000]));
        let collected = sink.handle();
        env.source("numbers", SequenceSource::new(0..RECORDS))
            .key_by(|n| n % 16)
            .reduce("sums", |sum, n| sum + n)
            .start_new_chain()
            .inspect(move |_| panics.count_and_panic())
            .sink("out", sink);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let (watcher, is_over) = (job.clone(), Arc::new(AtomicBool::new(false)));
        let ends = is_over.clone();
        let watches = std::thread::spawn(move || {
            let mut last = counters(&watcher.metrics());
            loop {
                let is_last = ends.load(Ordering::SeqCst);
                let now = counters(&watcher.metrics());
                for (sample, before) in &last {
                    let value = now.get(sample).unwrap_or_else(|| panic!("{sample:?} is gone"));
                    assert!(value >= before, "{sample:?} went from {before} to {value}");
                }
                last = now;
                if is_last {
                    return;
                }
            }
        });
        job.clone().await.expect("finished");
        is_over.store(true, Ordering::SeqCst);
        watches.join().expect("no counter went back");
        (job.metrics(), collected.snapshot().len() as u64)
    });
    // Two panics may have come before the region was stopped for the first of them.
    assert!(received == RECORDS && (1..=3).contains(&metrics.status.restarts), "{received}, {:?}", metrics.status);
    assert_eq!(metrics.regions.iter().map(|region| region.restarts).sum::<u64>(), metrics.status.restarts);
    assert!(metrics.regions.iter().any(|region| region.downtime > Duration::ZERO), "{:?}", metrics.regions);
    // What was done again is counted again; of the attempt that came to the end all adds up (M2).
    assert!(sum(&metrics, "numbers", |of| of.records_in) >= RECORDS);
    let of_attempt = |operator: &str, of: fn(&OperatorFigures) -> u64| {
        let operators = metrics.subtasks.iter().flat_map(|subtask| &subtask.operators);
        let operators = operators.filter(|figures| figures.operator.as_str() == operator);
        operators.map(|figures| of(&figures.of_attempt)).sum::<u64>()
    };
    let read = of_attempt("numbers", |of| of.records_out);
    assert_eq!([of_attempt("sums", |of| of.records_in), of_attempt("out", |of| of.records_in)], [read, read]);
    assert_eq!(metrics.checkpoint_counts.in_progress, 0);
    let settled = metrics.status.checkpoints + metrics.status.failed_checkpoints + metrics.checkpoint_counts.cut_off;
    assert_eq!(metrics.checkpoint_counts.triggered, settled, "{:?}", metrics.checkpoint_counts);
}

#[test]
fn the_parts_of_a_checkpoint_make_up_its_time() {
    let metrics = run("a job with checkpoints", |handles| async move {
        let env = environment("parts");
        env.source("numbers", SequenceSource::unbounded().rate_per_second(50_000))
            .key_by(|n| n % 1_000)
            .reduce("newest", |_, n| n)
            .for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        for _ in 0..20 {
            job.checkpoint().await.unwrap_or_else(|error| panic!("{error}: {:?}", job.history()));
        }
        job.cancel().await.expect("cancelled");
        job.metrics()
    });
    let (mut completed, subtasks) = (0, metrics.subtasks.len());
    assert!(metrics.checkpoints.len() <= 16 && metrics.checkpoints.is_sorted_by_key(|record| record.checkpoint));
    for record in &metrics.checkpoints {
        let CheckpointOutcome::Completed { took, store, written_bytes, state_bytes, .. } = record.outcome else {
            continue;
        };
        completed += 1;
        assert_eq!(record.subtasks.len(), subtasks, "{record:?}");
        let slowest = record.slowest().expect("one is slowest");
        assert!(record.subtasks.iter().all(|parts| parts.total() <= slowest.total()), "{record:?}");
        assert_eq!(slowest.total() + store, took, "{record:?}");
        assert!(record.subtasks.iter().map(|parts| parts.bytes).sum::<u64>() == written_bytes, "{record:?}");
        assert!(written_bytes <= state_bytes, "{record:?}");
    }
    assert!(completed > 0 && metrics.store_bytes > Some(0), "{metrics:?}");
    let newest = metrics.status.checkpoint.expect("completed");
    assert_eq!(metrics.state_bytes.values().sum::<u64>(), newest.state_bytes);
}

#[test]
fn what_waits_in_an_ingest_log_shows_until_it_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("events.log");
    run("a paused job", move |handles| async move {
        let (source, handle) = IngestSource::<u64>::open(path, IngestOptions::new()).expect("opens");
        let env = environment("backlog").start_paused(true);
        env.source("events", source).for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        for n in 0..3 {
            handle.send(n).await.expect("durable");
        }
        job.checkpoint().await.expect("its regions run");
        let pending = |metrics: &JobMetrics| {
            let backlogs = metrics.subtasks.iter().flat_map(|subtask| &subtask.backlogs);
            backlogs.filter_map(|of| of.backlog.pending_records).sum::<u64>()
        };
        let metrics = job.metrics();
        assert_eq!(pending(&metrics), 3, "{metrics:?}");
        let text = prometheus(&[metrics]);
        assert!(text.contains("millstream_source_split_durable_offset{"), "{text}");
        job.finish().await.expect("finished");
        assert_eq!(sum(&job.metrics(), "events", |of| of.records_in), 3);
    });
}

#[test]
fn each_look_up_of_the_redb_backend_is_a_hit_or_a_miss() {
    let dir = tempfile::tempdir().expect("a folder");
    let backend = StateBackend::redb(dir.path()).cache_bytes(256 << 10);
    let metrics = run("a job whose state is larger than its cache", move |handles| async move {
        let rarely = Checkpointing::every(Duration::from_secs(60));
        let env = environment("spills").checkpointing(rarely).state_backend(backend);
        env.source("numbers", SequenceSource::new(0..2 * SPILLED_KEYS))
            .key_by(|n| n % SPILLED_KEYS)
            .reduce("sums", |sum, n| sum + n)
            .for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        job.clone().await.expect("finished");
        job.metrics()
    });
    // The last batch of a subtask is counted with the final barrier.
    let (hits, misses) = (sum(&metrics, "sums", |of| of.cache_hits), sum(&metrics, "sums", |of| of.cache_misses));
    assert_eq!(hits + misses, 2 * SPILLED_KEYS, "{hits} and {misses}");
    assert!(misses > 0 && hits > 0, "{hits} and {misses}");
    assert_sums(&metrics, &[("sums", |of| of.state_entries.unwrap_or_default(), SPILLED_KEYS)]);
}

#[test]
fn watermarks_are_those_that_passed_and_gone_at_the_end() {
    run("a job of event time", |handles| async move {
        let env = environment("event-time").parallelism(1);
        let strategy = WatermarkStrategy::monotonous(|n: &u64| *n as i64);
        env.source_with_watermarks("numbers", SequenceSource::unbounded().rate_per_second(20_000), strategy)
            .for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let marks = |metrics: &JobMetrics| {
            let mut operators = metrics.subtasks.iter().flat_map(|subtask| &subtask.operators);
            operators.find_map(|of| (of.operator.as_str() == "out").then_some(of.of_run.watermark_in)).flatten()
        };
        while marks(&job.metrics()).is_none_or(|at| at < 100) {
            job.checkpoint().await.expect("a checkpoint");
        }
        let text = prometheus(&[job.metrics()]);
        for name in ["operator_watermark_lag_seconds", "source_watermark_lag_seconds", "source_watermark_drift_seconds"]
        {
            assert!(text.contains(&format!("\nmillstream_{name}{{job=\"event-time\"")), "{name}: {text}");
        }
        job.finish().await.expect("finished");
        assert_eq!(marks(&job.metrics()), None);
    });
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut names = BTreeSet::new();
    for Metric { name, kind, unit, help, .. } in METRICS {
        assert!(names.insert(*name), "{name} twice");
        let is_plain = name.chars().all(|of| of.is_ascii_lowercase() || of.is_ascii_digit() || of == '_');
        assert!(is_plain && name.starts_with("millstream_") && !name.contains("__"), "{name}");
        assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
        let stem = name.strip_suffix("_total").unwrap_or(name);
        for of in ["seconds", "bytes"] {
            assert_eq!(stem.ends_with(&format!("_{of}")), *unit == of, "{name} in {unit}");
        }
        assert!(help.ends_with('.') && !help.contains('\n'), "{name}: {help}");
        assert!(!["count", "sum", "bucket"].iter().any(|of| name.ends_with(&format!("_{of}"))), "{name}");
    }
}

#[test]
fn the_text_for_prometheus_has_each_series_once_for_several_jobs() {
    let text = run("two jobs", |handles| async move {
        let mut figures = Vec::new();
        for name in ["first", "second"] {
            let env = environment(name);
            let odd = Arc::new(OutputTag::new("odd"));
            let to_odd = odd.clone();
            let numbers = env
                .source("numbers", SequenceSource::new(0..100))
                .flat_map(move |n, out| if n % 2 == 0 { out.emit(n) } else { out.emit_to(&to_odd, n) });
            // Two edges from one task to one port.
            numbers.side_output(&odd).union(numbers).rebalance().for_each("out \"quoted\" \\ ", |_| {});
            let job = env.start().expect("starts");
            watched(&handles, &job);
            job.clone().await.expect("finished");
            figures.push(job.metrics());
        }
        // An older snapshot of a job, or an earlier job of its name.
        figures.insert(0, figures[1].clone());
        prometheus(&figures)
    });
    let metrics = parse(&text);
    assert_eq!(metrics["millstream_job_restarts_total"].len(), 2);
    assert!(text.contains(r#"operator="out \"quoted\" \\ ""#), "{text}");
    assert!(metrics.len() > 40 && !metrics.contains_key("millstream_source_pending_records"), "{:?}", metrics.keys());
}

/// The rows of tables in the page that have a metric in their second column.
fn rows(page: &str) -> Vec<Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.contains("| `millstream_"));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect());
    cells.collect()
}

#[test]
fn the_page_has_the_table_of_metrics() {
    let page = include_str!("../docs/metrics.md");
    let written: Vec<_> = rows(page).into_iter().map(|row| row[1..].to_vec()).collect();
    let mut written: Vec<_> = written.iter().map(|row| row.iter().map(String::as_str).collect::<Vec<_>>()).collect();
    let kind = |metric: &Metric| if metric.kind == MetricKind::Counter { "counter" } else { "gauge" };
    let mut known: Vec<_> = METRICS.iter().map(|of| vec![of.name, of.flink, kind(of), of.unit, of.help]).collect();
    written.sort();
    known.sort();
    for (written, known) in written.iter().zip(&known) {
        assert_eq!(written, known);
    }
    assert_eq!(written.len(), known.len());
    for metric in METRICS {
        let labels = metric.labels().iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        assert!(page.contains(&format!("(labels: {labels})")), "{metric:?}: {labels}");
    }
}

#[test]
fn the_dashboard_names_metrics_that_exist() {
    let text = include_str!("../docs/grafana/millstream.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut ids, mut expressions) = (BTreeSet::new(), 0);
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
        assert!(panel["gridPos"]["x"].as_u64() < Some(24) && panel["gridPos"]["w"].as_u64() <= Some(24), "{panel}");
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            assert!(expression.contains("millstream_"), "{expression}");
            check_expression(expression);
            expressions += 1;
        }
    }
    assert!(expressions >= panels.len() && panels.len() >= 20);
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().filter_map(|of| of["name"].as_str()).collect();
    assert_eq!(names, ["datasource", "job"]);
}

#[test]
fn the_alerts_name_metrics_that_exist_and_are_on_the_page() {
    let (text, page) = (include_str!("../docs/grafana/alerts.yml"), include_str!("../docs/metrics.md"));
    let alerts: Vec<_> = text.split("      - alert: ").skip(1).collect();
    for alert in &alerts {
        let name = alert.lines().next().unwrap_or_default();
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not on the page");
        for field in [
            "        expr: ",
            "        labels: ",
            "        annotations:\n",
            "          summary: \"",
            "          description: \"",
        ] {
            assert_eq!(alert.matches(field).count(), 1, "{field} of {name}");
        }
        let expression = alert.lines().find_map(|line| line.strip_prefix("        expr: ")).unwrap_or_default();
        check_expression(expression);
        let first = expression.find("millstream_").map(|at| &expression[at..]).unwrap_or_default();
        let first: String = first.chars().take_while(|of| of.is_ascii_alphanumeric() || *of == '_').collect();
        let metric = METRICS.iter().find(|metric| metric.name == first).expect("checked");
        for (at, start) in alert.match_indices("$labels.") {
            let label: String =
                alert[at + start.len()..].chars().take_while(|of| *of == '_' || of.is_alphabetic()).collect();
            assert!(metric.labels().contains(&&*label), "{label} of {name}");
        }
    }
    let on_page = page.lines().filter(|line| line.starts_with("| `Millstream")).count();
    assert_eq!(alerts.len(), on_page);
}
