//! What the features `metrics` and `tracing` give to other crates.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use millstream::metrics::{METRICS, MetricKind, record};
use millstream::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

use common::{CountedPanics, run, watched};

mod common;

/// The values of each series, oldest first.
type Values = BTreeMap<String, Vec<f64>>;

/// A recorder that keeps what it is given.
#[derive(Clone, Default)]
struct Kept {
    values: Arc<(Mutex<Values>, Condvar)>,
    helps: Arc<Mutex<BTreeMap<String, String>>>,
}

struct Series(Kept, String);

impl Kept {
    /// That of all tests of the process.
    fn installed() -> &'static Self {
        static KEPT: OnceLock<Kept> = OnceLock::new();
        KEPT.get_or_init(|| {
            let kept = Self::default();
            metrics::set_global_recorder(kept.clone()).expect("the only one");
            kept
        })
    }

    fn values(&self, key: &str) -> Vec<f64> {
        self.values.0.lock().expect("no panic").get(key).cloned().unwrap_or_default()
    }

    /// Waits until the values of a series are as they are wanted.
    fn wait_for(&self, key: &str, is_it: impl Fn(&[f64]) -> bool) {
        let (values, changed) = &*self.values;
        let isnt_it = |values: &mut Values| !values.get(key).is_some_and(|values| is_it(values));
        drop(changed.wait_while(values.lock().expect("no panic"), isnt_it).expect("no panic"));
    }

    fn described(&self, key: KeyName, help: SharedString) {
        self.helps.lock().expect("no panic").insert(key.as_str().to_owned(), help.to_string());
    }

    fn series(&self, key: &Key) -> Arc<Series> {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect::<Vec<_>>();
        Arc::new(Series(self.clone(), format!("{}{{{}}}", key.name(), labels.join(","))))
    }
}

impl Series {
    fn set_to(&self, value: f64) {
        let (values, changed) = &*self.0.values;
        values.lock().expect("no panic").entry(self.1.clone()).or_default().push(value);
        changed.notify_all();
    }
}

impl CounterFn for Series {
    fn increment(&self, _: u64) {
        unreachable!("counters are told in full");
    }

    fn absolute(&self, value: u64) {
        self.set_to(value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, value: f64) {
        self.set_to(value);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        self.described(key, help);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        self.described(key, help);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn any_recorder_gets_what_the_job_counts_and_the_last_of_it_when_the_recording_is_dropped() {
    let kept = Kept::installed();
    run("a recorded job", move |handles| async move {
        let env = StreamEnvironment::new("recorded");
        env.source("numbers", SequenceSource::new(0..1_000)).for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let recording = record(&job, Duration::from_secs(3_600)).expect("a thread");
        job.clone().await.expect("finished");
        drop(recording);
    });
    let of_out = "millstream_operator_records_in_total{job=recorded,task_id=1,task=out,subtask=0,operator=out}";
    assert_eq!(kept.values(of_out).last(), Some(&1_000.0));
    assert_eq!(kept.values("millstream_job_running{job=recorded}").last(), Some(&0.0));
    let described = kept.helps.lock().expect("no panic").clone();
    for metric in METRICS {
        assert_eq!(described.get(metric.name).map(String::as_str), Some(metric.help));
    }
    assert!(METRICS.iter().any(|metric| metric.kind == MetricKind::Counter));
}

#[test]
fn figures_are_recorded_at_each_interval_and_once_after_the_end() {
    let kept = Kept::installed();
    run("a job that is recorded often", move |handles| async move {
        let env = StreamEnvironment::new("often");
        env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000)).for_each("out", |_| {});
        let job = env.start().expect("starts");
        watched(&handles, &job);
        let recording = record(&job, Duration::from_millis(1)).expect("a thread");
        let running = "millstream_job_running{job=often}";
        kept.wait_for(running, |values| values.iter().filter(|value| **value == 1.0).count() >= 5);
        job.clone().cancel().await.expect("cancelled");
        kept.wait_for(running, |values| values.last() == Some(&0.0));
        // This waits for the thread, which has ended by itself.
        drop(recording);
        let values = kept.values(running);
        let after_the_end = values.iter().rev().take_while(|value| **value == 0.0);
        assert_eq!(after_the_end.count(), 1, "{values:?}");
    });
}

/// A span, as a subscriber sees it.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    events: usize,
    is_closed: bool,
}

/// Keeps all spans of the engine. Their ids count from 1.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

/// A job whose figures the subscriber asks for while it is told.
static ASKED: OnceLock<JobHandle> = OnceLock::new();

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Spans {
    fn on(&self, id: u64, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().expect("no panic")[id as usize - 1]);
    }
}

impl Subscriber for Spans {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        of.target().starts_with("millstream::")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        assert!(span.parent().is_some() || span.is_root(), "no span depends on the thread that it begins on");
        let mut seen =
            Seen { name: span.metadata().name(), parent: span.parent().map(Id::into_u64), ..Seen::default() };
        span.record(&mut Fields(&mut seen.fields));
        let mut all = self.0.lock().expect("no panic");
        all.push(seen);
        Id::from_u64(all.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        ASKED.get().map(JobHandle::metrics);
        self.on(id.into_u64(), |seen| values.record(&mut Fields(&mut seen.fields)));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        ASKED.get().map(JobHandle::metrics);
        self.on(event.parent().expect("of a span").into_u64(), |seen| seen.events += 1);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn try_close(&self, id: Id) -> bool {
        self.on(id.into_u64(), |seen| seen.is_closed = true);
        true
    }
}

#[test]
fn checkpoints_and_recoveries_are_spans_with_their_phases() {
    let spans = Spans::default();
    tracing::subscriber::set_global_default(spans.clone()).expect("the only one");
    run("a traced job", |handles| async move {
        let (env, panics) = (StreamEnvironment::new("traced"), CountedPanics::at(&[500]));
        let env = env
            .checkpointing(Checkpointing::every(Duration::from_secs(3_600)))
            .restart_strategy(RestartStrategy::fixed_delay(3, Duration::ZERO));
        env.source("numbers", SequenceSource::unbounded().rate_per_second(10_000))
            .key_by(|n| n % 8)
            .reduce("sums", |sum, n| sum + n)
            .inspect(move |_| panics.count_and_panic())
            .for_each("out", |_| {});
        let mut events = env.events(1_000);
        let job = env.start().expect("starts");
        watched(&handles, &job);
        ASKED.set(job.clone()).expect("the only one");
        let mut runs = 0;
        // The first checkpoint may come before the panic or after it; the second has something to restore in any case.
        while runs < 2 {
            let event = events.next().await.expect("it has not ended");
            runs += u32::from(matches!(event.kind, millstream::JobEventKind::RegionRunning { .. }));
        }
        job.checkpoint().await.expect("a checkpoint");
        job.cancel().await.expect("cancelled");
    });
    let all: Vec<_> = spans.0.lock().expect("no panic").iter().filter(|of| of.is_of_job("traced")).cloned().collect();
    let seen = spans.0.lock().expect("no panic").clone();
    let named = |name: &str| all.iter().find(|of| of.name == name).unwrap_or_else(|| panic!("no {name} in {seen:#?}"));
    let checkpoint = all.iter().filter(|of| of.name == "checkpoint").find(|of| of.fields["outcome"] == "completed");
    let checkpoint = checkpoint.unwrap_or_else(|| panic!("{seen:#?}"));
    assert!(["took_ms", "written_bytes", "state_bytes", "reason"].iter().all(|of| checkpoint.fields.contains_key(of)));
    let recovery = named("recovery");
    assert!(recovery.fields["cause"].contains("injected"), "{recovery:?}");
    assert_eq!((&*recovery.fields["outcome"], &*recovery.fields["attempt"]), ("running", "2"));
    assert!(recovery.fields.contains_key("downtime_ms"));
    assert_eq!(named("initialization").fields["outcome"], "running");
    let children = |of: &Seen| {
        let at = seen.iter().position(|seen| seen.fields == of.fields && seen.name == of.name).expect("it is seen");
        let children = seen.iter().filter(|child| child.parent == Some(at as u64 + 1));
        children.map(|child| child.name).collect::<Vec<_>>()
    };
    assert_eq!(children(checkpoint), ["snapshots", "store"]);
    assert_eq!(children(recovery)[..2], ["restart_delay", "restore"]);
    let snapshots = seen.iter().filter(|of| of.name == "snapshots" && of.events > 0);
    assert!(snapshots.count() > 0, "{seen:#?}");
    // Another test may have a job that runs.
    let of_job =
        |of: &&Seen| of.is_of_job("traced") || of.parent.is_some_and(|id| seen[id as usize - 1].is_of_job("traced"));
    assert!(seen.iter().filter(of_job).all(|of| of.is_closed), "{seen:#?}");
}

impl Seen {
    fn is_of_job(&self, job: &str) -> bool {
        self.fields.get("job").is_some_and(|of| of == job)
    }
}
