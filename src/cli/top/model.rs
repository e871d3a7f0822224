//! What is known, and what of it is looked at.

use std::sync::Arc;
use std::time::Duration;

use super::answers::{CheckpointDetail, Failure, JobId, JobSummary, Overview};
use super::keys::Command;
use super::link::{Link, Trouble};
use super::looks::{Answer, JobFigures, JobLook, Look, Wish};
use super::series::Series;
use super::view::{RowKey, View};

/// The figures of one moment.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) overview: Overview,
    /// Of the job that is looked at; its last ones if the server does not show it any more.
    pub(super) figures: Option<Arc<JobFigures>>,
    pub(super) is_gone: bool,
    /// When they were heard, by the clock of this program.
    pub(super) at: Duration,
    /// Records that sources read, a second.
    pub(super) rates: Series,
    /// Of the vertex that is furthest behind, in milliseconds.
    pub(super) lags: Series,
}

/// Whether the program goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Ask,
    Quit,
}

/// What is known and how it is looked at.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) link: Link,
    pub(super) view: View,
    pub(super) has_help: bool,
    interval: Duration,
    job: Option<JobId>,
    newest: Option<Arc<Shown>>,
    /// While the display is held still.
    held: Option<Arc<Shown>>,
    /// Which row is chosen in a view, if another than the first.
    chosen: Vec<(View, RowKey)>,
}

impl Model {
    pub(super) fn new(interval: Duration, job: Option<JobId>) -> Self {
        Self {
            link: Link::new(interval),
            view: View::Overview,
            has_help: false,
            interval,
            job,
            newest: None,
            held: None,
            chosen: Vec::new(),
        }
    }

    pub(super) fn wish(&self) -> Wish {
        let checkpoint = match self.view {
            View::Checkpoint(id) => Some(id),
            _ => None,
        };
        Wish { job: self.job.clone(), checkpoint, failures: self.view == View::Failures }
    }

    pub(super) fn job(&self) -> Option<&JobId> {
        self.job.as_ref()
    }

    /// What is to be shown.
    pub(super) fn shown(&self) -> Option<&Shown> {
        self.held.as_deref().or(self.newest.as_deref())
    }

    pub(super) fn figures(&self) -> Option<&JobFigures> {
        self.shown()?.figures.as_deref()
    }

    pub(super) fn jobs(&self) -> &[JobSummary] {
        self.shown().map_or(&[], |shown| &shown.overview.jobs)
    }

    /// How old the figures are, if the display is held still.
    pub(super) fn held_for(&self, now: Duration) -> Option<Duration> {
        self.held.as_ref().map(|held| now.saturating_sub(held.at))
    }

    /// Unix milliseconds by the clock of the job; where the figures are not of now, of their moment.
    pub(super) fn unix_ms(&self, now: Duration) -> u64 {
        let Some(shown) = self.shown() else { return 0 };
        let then = shown.figures.as_ref().map_or(shown.overview.now_unix_ms, |figures| figures.detail.now_unix_ms);
        if self.held.is_some() || shown.is_gone || self.link.is_old(now) {
            return then;
        }
        let since = now.saturating_sub(shown.at).as_millis();
        then.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Of this checkpoint, if they were asked for and are there.
    pub(super) fn parts(&self, checkpoint: u64) -> Option<&CheckpointDetail> {
        let newest = self.newest.as_deref().and_then(|newest| newest.figures.as_deref());
        let mut parts = [self.figures(), newest].into_iter().flatten().filter_map(|figures| figures.parts.as_ref());
        parts.find(|parts| parts.id == checkpoint)
    }

    /// What has failed, newest first; `None` if it has not been heard yet.
    pub(super) fn failures(&self) -> Option<&[Failure]> {
        let newest = self.newest.as_deref().and_then(|newest| newest.figures.as_deref());
        [self.figures(), newest].into_iter().flatten().find_map(|figures| figures.failures.as_deref())
    }

    /// Takes what the server has said.
    pub(super) fn hear(&mut self, answer: Answer) {
        if answer.wish.job != self.job {
            // What is looked at now has been asked for since.
            return;
        }
        match answer.said {
            Ok(look) => {
                self.link.heard(answer.at);
                self.take(look, answer.at);
            }
            Err(error) => {
                let (what, hint) = (error.to_string(), error.hint());
                self.link.failed(Trouble { what, hint, next_try: answer.next });
            }
        }
    }

    fn take(&mut self, look: Look, at: Duration) {
        let before = self.newest.take();
        let last = |before: Option<&Arc<Shown>>| before.and_then(|before| before.figures.clone());
        let (figures, is_gone) = match look.job {
            JobLook::Unchosen => (None, false),
            JobLook::Gone => (last(before.as_ref()), true),
            JobLook::Known(figures) => (Some(Arc::from(figures)), false),
        };
        let id = |figures: &JobFigures| figures.detail.id.clone();
        let is_same =
            before.as_ref().and_then(|before| before.figures.as_deref()).map(id) == figures.as_deref().map(id);
        let (mut rates, mut lags) = match &before {
            Some(before) if is_same => (before.rates.clone(), before.lags.clone()),
            _ => Default::default(),
        };
        if let Some(figures) = figures.as_deref().filter(|_| !is_gone) {
            let gap = self.interval.saturating_mul(3);
            rates.push(at, figures.records_per_second(), gap);
            lags.push(at, figures.furthest_behind().and_then(|vertex| vertex.figures.watermark_lag_ms), gap);
        }
        if before.is_none() && figures.is_none() && self.job.is_none() && !look.overview.jobs.is_empty() {
            self.view = View::Jobs;
        }
        if let Some(figures) = figures.as_deref().filter(|_| self.job.is_none()) {
            // The only one stays the one that is looked at when others come.
            self.job = Some(figures.detail.id.clone());
        }
        self.newest = Some(Arc::new(Shown { overview: look.overview, figures, is_gone, at, rates, lags }));
    }

    /// Does what a key asks for, `page` being the rows that are seen.
    pub(super) fn obey(&mut self, command: Command, page: usize) -> Then {
        if self.has_help && command != Command::Quit {
            self.has_help = false;
            return Then::GoOn;
        }
        match command {
            Command::Quit => return Then::Quit,
            Command::Back => match self.view.parent() {
                Some(parent) => self.view = parent,
                None => return Then::Quit,
            },
            Command::NextTab => self.view = self.view.beside(1),
            Command::PreviousTab => self.view = self.view.beside(View::TABS.len() - 1),
            Command::Tab(place) => self.view = View::TABS[place.min(View::TABS.len() - 1)].0,
            Command::Up => self.choose(|at| at.saturating_sub(1)),
            Command::Down => self.choose(|at| at + 1),
            Command::PageUp => self.choose(|at| at.saturating_sub(page.max(1))),
            Command::PageDown => self.choose(|at| at + page.max(1)),
            Command::First => self.choose(|_| 0),
            Command::Last => self.choose(|_| usize::MAX),
            Command::Open => self.open(),
            Command::Pause => self.held = if self.held.is_some() { None } else { self.newest.clone() },
            Command::Help => self.has_help = true,
            Command::Ask => return Then::Ask,
        }
        Then::GoOn
    }

    /// The rows of the view, from the top.
    pub(super) fn rows(&self) -> Vec<RowKey> {
        let figures = self.figures();
        let numbers = |numbers: &mut dyn Iterator<Item = u64>| numbers.map(RowKey::Number).collect();
        match (self.view, figures) {
            (View::Jobs, _) => self.jobs().iter().map(|job| RowKey::Job(job.id.clone())).collect(),
            (View::Overview, Some(figures)) => numbers(&mut figures.detail.vertices.iter().map(|vertex| vertex.id)),
            (View::Vertex(id), Some(figures)) => {
                let subtasks = figures.vertex(id).map_or(&[][..], |vertex| &vertex.subtasks);
                numbers(&mut subtasks.iter().map(|subtask| subtask.subtask))
            }
            (View::Checkpoints, Some(figures)) => {
                numbers(&mut figures.checkpoints.history.iter().map(|checkpoint| checkpoint.id))
            }
            (View::Checkpoint(id), _) => {
                let parts = self.parts(id).map_or(&[][..], |detail| &detail.subtasks);
                parts.iter().map(|part| RowKey::Part(part.vertex, part.subtask)).collect()
            }
            (View::Failures, _) => numbers(&mut self.failures().unwrap_or_default().iter().map(|failure| failure.seq)),
            (View::Log, Some(figures)) => numbers(&mut figures.events.iter().rev().map(|event| event.seq)),
            (_, None) => Vec::new(),
        }
    }

    /// The place of the row that is chosen, among these.
    pub(super) fn chosen(&self, rows: &[RowKey]) -> usize {
        let key = self.chosen.iter().find(|(view, _)| *view == self.view).map(|(_, key)| key);
        key.and_then(|key| rows.iter().position(|row| row == key)).unwrap_or_default()
    }

    fn choose(&mut self, to: impl Fn(usize) -> usize) {
        let rows = self.rows();
        let place = to(self.chosen(&rows)).min(rows.len().saturating_sub(1));
        self.chosen.retain(|(view, _)| *view != self.view);
        // The first row stays the first when others come before it.
        if let Some(key) = rows.into_iter().nth(place).filter(|_| place > 0) {
            self.chosen.push((self.view, key));
        }
    }

    fn open(&mut self) {
        let rows = self.rows();
        match (self.view, rows.get(self.chosen(&rows))) {
            (View::Overview, Some(RowKey::Number(id))) => self.view = View::Vertex(*id),
            (View::Checkpoints, Some(RowKey::Number(id))) => self.view = View::Checkpoint(*id),
            (View::Jobs, Some(RowKey::Job(id))) => self.look_at(id.clone()),
            _ => {}
        }
    }

    /// Looks at another job. What is known of the one before is put away.
    fn look_at(&mut self, id: JobId) {
        let figures = self.figures().map(|figures| &figures.detail.id);
        if figures != Some(&id) {
            self.newest = self.newest.take().map(|newest| Arc::new(Shown { figures: None, ..Shown::clone(&newest) }));
            self.held = None;
            self.chosen.clear();
        }
        self.job = Some(id);
        self.view = View::Overview;
    }
}
