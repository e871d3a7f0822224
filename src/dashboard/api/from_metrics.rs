//! The figures of a job as they are shown: the only place where [`JobMetrics`] become a graph.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use millstream_actors::protocol::{RegionId, SubtaskId};
use millstream_actors::{
    JobHandle, JobMetrics, JobPlan, JobState, OutcomeKind, PlannedTask, SubtaskFigures, SubtaskRates,
};

use super::job::WideNumber;
use super::{
    Edge, HeldBackBody, JobDetail, JobSummary, OperatorState, ParkedBody, Region, StateBody, Subtask, Vertex,
    WorkFigures,
};
use crate::dashboard::jobs::{ListedJob, Sampled};
use crate::dashboard::lookups::Lookups;

impl JobSummary {
    pub(in crate::dashboard) fn of(job: &ListedJob) -> Self {
        let (status, plan) = (job.handle.status(), job.handle.plan());
        Self {
            id: job.id.clone(),
            name: plan.job.clone(),
            state: state_of(&job.handle, status.state, status.paused_since_unix_ms.is_some()),
            started_unix_ms: status.started_unix_ms,
            ended_unix_ms: status.ended_unix_ms,
            paused_since_unix_ms: status.paused_since_unix_ms,
            restarts: status.restarts,
            tasks: plan.tasks.len(),
            subtasks: plan.tasks.iter().map(|task| u64::from(task.parallelism)).sum(),
            last_error: status.last_error,
        }
    }
}

fn state_of(job: &JobHandle, state: JobState, is_paused: bool) -> &'static str {
    match state {
        JobState::Ended => match job.clone().into_future().now_or_never() {
            None => "ending",
            Some(Err(_)) => "failed",
            Some(Ok(outcome)) => match outcome.kind {
                OutcomeKind::Finished => "finished",
                OutcomeKind::Drained => "drained",
                // Others do not let a job go on without a start either.
                _ => "cancelled",
            },
        },
        JobState::Restarting => "restarting",
        JobState::Parked => "parked",
        JobState::Running if is_paused => "paused",
        JobState::Running => "running",
        _ => "starting",
    }
}

impl JobDetail {
    pub(in crate::dashboard) fn of(job: &ListedJob) -> Self {
        let sampled = job.sample();
        let plan = job.handle.plan();
        let graph = Graph::new(&plan, &sampled);
        let (now, status) = (&*sampled.now, &sampled.now.status);
        Self {
            summary: JobSummary::of(job),
            now_unix_ms: now.unix_ms,
            parallelism: status.parallelism,
            newest_checkpoint: status.newest_checkpoint.map(|checkpoint| checkpoint.0),
            checkpoint_in_progress: status.checkpoint_in_progress,
            savepoints_in_progress: status.savepoints_in_progress.clone(),
            interval_ms: status.interval.map(millis),
            advice: status.advice,
            recovery: status.recovery,
            store_bytes: now.store_bytes,
            held_back: held_back(now),
            regions: graph.regions(),
            vertices: graph.vertices(),
            edges: graph.edges(),
        }
    }
}

pub(super) fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn held_back(now: &JobMetrics) -> Vec<HeldBackBody> {
    let of_region = now.status.held_back.iter().map(|(region, held_back)| HeldBackBody {
        region: region.0,
        source: held_back.operator.to_string(),
        split: held_back.split.clone(),
        subtask: held_back.subtask,
        since_ms: millis(held_back.held_for),
        watermark: held_back.watermark.map(WideNumber),
        ahead: WideNumber(held_back.ahead),
    });
    of_region.collect()
}

/// A job's plan with its figures.
struct Graph<'a> {
    plan: &'a JobPlan,
    now: &'a JobMetrics,
    before: Option<&'a JobMetrics>,
    rates: BTreeMap<SubtaskId, SubtaskRates>,
}

impl<'a> Graph<'a> {
    fn new(plan: &'a JobPlan, sampled: &'a Sampled) -> Self {
        let (now, before) = (&*sampled.now, sampled.before.as_deref());
        let rates = before.map_or_else(Vec::new, |before| now.rates_since(before));
        Self { plan, now, before, rates: rates.into_iter().map(|rates| (rates.subtask, rates)).collect() }
    }

    fn region_state(&self, region: u32) -> &'static str {
        let known = self.now.regions.iter().find(|known| known.region.0 == region);
        match known {
            _ if self.now.status.state == JobState::Ended => "ended",
            Some(_) if self.now.status.parked.contains_key(&RegionId(region)) => "parked",
            Some(known) if known.is_running => "running",
            Some(known) if known.restarting_since_unix_ms.is_some() => "restarting",
            _ => "starting",
        }
    }

    fn regions(&self) -> Vec<Region> {
        let count = self.plan.tasks.iter().map(|task| task.region.0 + 1).max().unwrap_or_default();
        let regions = (0..count).map(|region| {
            let known = self.now.regions.iter().find(|known| known.region.0 == region);
            Region {
                region,
                attempt: known.map_or(0, |known| known.attempt.0),
                state: self.region_state(region),
                restarts: known.map_or(0, |known| known.restarts),
                downtime_ms: known.map_or(0.0, |known| millis(known.downtime)),
                restarting_since_unix_ms: known.and_then(|known| known.restarting_since_unix_ms),
                parked: self.parked(region),
            }
        });
        regions.collect()
    }

    fn parked(&self, region: u32) -> Option<ParkedBody> {
        let parked = self.now.status.parked.get(&RegionId(region))?;
        Some(ParkedBody {
            cause: parked.cause.clone(),
            since_unix_ms: parked.since_unix_ms,
            checkpoint: parked.checkpoint.map(|checkpoint| checkpoint.0),
        })
    }

    fn vertices(&self) -> Vec<Vertex> {
        self.plan.tasks.iter().map(|task| self.vertex(task)).collect()
    }

    fn vertex(&self, task: &PlannedTask) -> Vertex {
        let subtasks: Vec<Subtask> = self.figures_of(task).map(|figures| self.subtask(task, figures)).collect();
        let figures = WorkFigures {
            state_bytes: sum(task.operators.iter().map(|operator| self.now.state_bytes.get(operator).copied())),
            ..together(subtasks.iter().map(|subtask| &subtask.figures), task.parallelism)
        };
        Vertex {
            id: task.task.0,
            name: task.name.clone(),
            operators: task.operators.iter().map(ToString::to_string).collect(),
            kind: task.kind,
            region: task.region.0,
            parallelism: task.parallelism,
            max_parallelism: self.plan.max_parallelism,
            skew: skew(&subtasks.iter().map(|subtask| of_skew(&subtask.figures)).collect::<Vec<_>>()),
            figures,
            subtasks,
        }
    }

    fn figures_of(&self, task: &PlannedTask) -> impl Iterator<Item = &'a SubtaskFigures> {
        let (id, parallelism) = (task.task, task.parallelism);
        let subtasks = self.now.subtasks.iter();
        subtasks.filter(move |figures| figures.subtask.task == id && figures.subtask.index < parallelism)
    }

    fn subtask(&self, task: &PlannedTask, figures: &SubtaskFigures) -> Subtask {
        let state = match self.region_state(task.region.0) {
            // A new attempt has been begun without it.
            "running" if !figures.is_current => "restarting",
            state => state,
        };
        Subtask {
            subtask: figures.subtask.index,
            attempt: figures.attempt.0,
            state,
            figures: self.work_figures(figures),
        }
    }

    fn work_figures(&self, figures: &SubtaskFigures) -> WorkFigures {
        let (of_run, rates) = (&figures.of_run, self.rates.get(&figures.subtask));
        let first = figures.operators.first().and_then(|operator| operator.of_attempt.watermark_in);
        let last = figures.operators.last().and_then(|operator| operator.of_attempt.watermark_out);
        let watermark = first.or(last).filter(|_| figures.is_current);
        let of_operators = |figure: fn(&millstream_actors::contract::OperatorFigures) -> Option<u64>| {
            sum(figures.operators.iter().map(|operator| figure(&operator.of_attempt)))
        };
        WorkFigures {
            records_in: of_run.records_in,
            records_out: of_run.records_out,
            bytes_in: of_run.bytes_in,
            bytes_out: of_run.bytes_out,
            records_in_per_second: rates.map(|rates| rates.records_in_per_second),
            records_out_per_second: rates.map(|rates| rates.records_out_per_second),
            busy: rates.map(|rates| (rates.busy + rates.waiting).min(1.0)),
            waiting: rates.map(|rates| rates.waiting),
            backpressured: rates.map(|rates| rates.back_pressured),
            idle: rates.map(|rates| rates.idle),
            watermark: watermark.map(WideNumber),
            watermark_lag_ms: watermark.map(|watermark| self.now.unix_ms as f64 - watermark as f64),
            late_records: of_run.late_records,
            state_entries: of_operators(|figures| figures.state_entries),
            state_bytes: None,
            timers: of_operators(|figures| figures.timers),
        }
    }

    fn edges(&self) -> Vec<Edge> {
        let (now, before) = (edge_sums(self.plan, self.now), self.before.map(|before| edge_sums(self.plan, before)));
        let over = self.before.map(|before| self.now.at.saturating_sub(before.at).as_secs_f64());
        let edges = self.plan.edges.iter().enumerate().map(|(place, edge)| {
            let more = before.as_ref().map(|before| now[place].records.saturating_sub(before[place].records) as f64);
            Edge {
                from: edge.from.0,
                to: edge.to.0,
                port: edge.port,
                partitioning: edge.partitioning,
                side_output: edge.side_output.clone(),
                records: now[place].records,
                records_per_second: more.zip(over).map(|(more, over)| more / over),
                queued_batches: now[place].queued_batches,
                credits: now[place].credits,
            }
        });
        edges.collect()
    }
}

/// Of several subtasks together, of which there are to be so many.
fn together<'a>(subtasks: impl Iterator<Item = &'a WorkFigures> + Clone, parallelism: u32) -> WorkFigures {
    let all = |figure: fn(&WorkFigures) -> u64| subtasks.clone().map(figure).sum::<u64>();
    let some = |figure: fn(&WorkFigures) -> Option<u64>| sum(subtasks.clone().map(figure));
    let rate = |figure: fn(&WorkFigures) -> Option<f64>| subtasks.clone().filter_map(figure).reduce(|a, b| a + b);
    let most = |figure: fn(&WorkFigures) -> Option<f64>| subtasks.clone().filter_map(figure).reduce(f64::max);
    let watermarks: Vec<i64> = subtasks.clone().filter_map(|figures| figures.watermark).map(|at| at.0).collect();
    // As long as one says nothing, nothing is known of them together.
    let is_known = watermarks.len() == parallelism as usize;
    WorkFigures {
        records_in: all(|figures| figures.records_in),
        records_out: all(|figures| figures.records_out),
        bytes_in: all(|figures| figures.bytes_in),
        bytes_out: all(|figures| figures.bytes_out),
        records_in_per_second: rate(|figures| figures.records_in_per_second),
        records_out_per_second: rate(|figures| figures.records_out_per_second),
        busy: most(|figures| figures.busy),
        waiting: most(|figures| figures.waiting),
        backpressured: most(|figures| figures.backpressured),
        idle: subtasks.clone().filter_map(|figures| figures.idle).reduce(f64::min),
        watermark: watermarks.into_iter().min().filter(|_| is_known).map(WideNumber),
        watermark_lag_ms: most(|figures| figures.watermark_lag_ms).filter(|_| is_known),
        late_records: all(|figures| figures.late_records),
        state_entries: some(|figures| figures.state_entries),
        state_bytes: None,
        timers: some(|figures| figures.timers),
    }
}

/// The sum of what is known; `None` if nothing is.
fn sum(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.flatten().reduce(|a, b| a + b)
}

/// What tells how many records a subtask has of those of its task: of the last seconds, or of all if nothing came in these.
fn of_skew(figures: &WorkFigures) -> (f64, f64) {
    (figures.records_in_per_second.unwrap_or_default(), figures.records_in as f64)
}

/// The mean distance from the mean, as a share of the mean, as Flink's page has it (`dataSkewPercentage`).
fn skew(subtasks: &[(f64, f64)]) -> f64 {
    let has_rates = subtasks.iter().any(|(rate, _)| *rate > 0.0);
    let values = || subtasks.iter().map(|(rate, all)| if has_rates { *rate } else { *all });
    let count = subtasks.len().max(1) as f64;
    let mean = values().sum::<f64>() / count;
    if mean <= 0.0 {
        return 0.0;
    }
    let distance = values().map(|value| (value - mean).abs()).sum::<f64>() / count;
    (distance / mean).min(1.0)
}

/// What the channels of an edge have counted together.
#[derive(Clone, Copy, Default)]
struct EdgeSum {
    records: u64,
    queued_batches: u64,
    credits: u64,
}

/// Of each edge of the plan. The channels of a subtask come edge by edge, each in the order of the subtasks that they go to; that tells two edges
/// apart that go to the same input.
fn edge_sums(plan: &JobPlan, metrics: &JobMetrics) -> Vec<EdgeSum> {
    let mut sums = vec![EdgeSum::default(); plan.edges.len()];
    for subtask in &metrics.subtasks {
        let mut last: Option<(usize, u32)> = None;
        for channel in &subtask.channels {
            let fits = |place: usize| {
                let edge = &plan.edges[place];
                (edge.from, edge.to, edge.port) == (subtask.subtask.task, channel.to.task, channel.port)
            };
            let from = match last {
                Some((place, to)) if fits(place) && channel.to.index > to => place,
                Some((place, _)) => place + 1,
                None => 0,
            };
            let Some(place) = (from..plan.edges.len()).find(|place| fits(*place)) else { continue };
            last = Some((place, channel.to.index));
            let (sum, of_run) = (&mut sums[place], &channel.of_run);
            sum.records += of_run.records;
            sum.queued_batches += of_run.waiting_batches + of_run.batches_under_way;
            sum.credits += of_run.credits;
        }
    }
    sums
}

impl StateBody {
    pub(in crate::dashboard) fn of(job: &ListedJob, lookups: &Lookups) -> Self {
        let metrics = job.handle.metrics();
        let mut entries: BTreeMap<&str, u64> = BTreeMap::new();
        for operator in
            metrics.subtasks.iter().filter(|subtask| subtask.is_current).flat_map(|subtask| &subtask.operators)
        {
            if let Some(more) = operator.of_attempt.state_entries {
                *entries.entry(operator.operator.as_str()).or_default() += more;
            }
        }
        let plan = job.handle.plan();
        let operators = plan.tasks.iter().flat_map(|task| &task.operators).map(|operator| OperatorState {
            operator: operator.to_string(),
            states: lookups.states_of(operator.as_str()).into_iter().map(str::to_owned).collect(),
            entries: entries.get(operator.as_str()).copied(),
            bytes: metrics.state_bytes.get(operator).copied(),
        });
        let has_some = |of: &OperatorState| of.entries > Some(0) || of.bytes.is_some() || !of.states.is_empty();
        Self { operators: operators.filter(has_some).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skew_is_none_where_all_have_the_same_and_all_where_one_has_everything() {
        assert_eq!(skew(&[]), 0.0);
        assert_eq!(skew(&[(0.0, 0.0), (0.0, 0.0)]), 0.0);
        assert_eq!(skew(&[(5.0, 1.0), (5.0, 9.0)]), 0.0);
        assert_eq!(skew(&[(0.0, 3.0), (0.0, 1.0)]), 0.5);
        assert_eq!(skew(&[(10.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]), 1.0);
    }

    #[test]
    fn watermark_of_several_subtasks_is_known_once_all_have_one() {
        let at =
            |watermark: Option<i64>| WorkFigures { watermark: watermark.map(WideNumber), ..WorkFigures::default() };
        let of = |figures: &[WorkFigures]| together(figures.iter(), 2).watermark.map(|at| at.0);
        assert_eq!(of(&[at(Some(7)), at(Some(3))]), Some(3));
        assert_eq!(of(&[at(Some(7)), at(None)]), None);
        assert_eq!(of(&[at(Some(7))]), None);
    }
}
