//! The jobs that are shown.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_actors::{JobHandle, JobMetrics, JobState};
use tokio::sync::watch;

/// Rates are of so long at most.
const RATES_OVER: Duration = Duration::from_secs(5);
/// How far apart the figures are that are kept for rates.
const SAMPLES_APART: Duration = Duration::from_millis(500);
/// Over less a rate says nothing.
const RATES_OVER_MIN: Duration = Duration::from_millis(100);

/// The jobs that a [`Dashboard`](super::Dashboard) shows. Clones are one; any thread may use it, also while the dashboard is served.
///
/// ```
/// use millstream::dashboard::Dashboard;
/// use millstream::prelude::*;
///
/// let dashboard = Dashboard::new();
/// let jobs = dashboard.jobs();
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
/// assert_eq!(jobs.add(&job), "numbers");
/// job.wait()?;
/// assert_eq!(jobs.ids(), ["numbers"]);                    // until it is removed
/// assert!(jobs.remove("numbers") && jobs.ids().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct DashboardJobs(Arc<Mutex<BTreeMap<Arc<str>, Arc<ListedJob>>>>);

impl DashboardJobs {
    /// Shows a job, and gives the id under which it is found: its name. One that has ended and is listed under that name makes room;
    /// beside one that runs it is called `name~2`, `name~3` and so on. A job stays listed after its end.
    pub fn add(&self, job: &JobHandle) -> String {
        let mut jobs = self.lock();
        let ids = std::iter::once(job.name().to_owned()).chain((2..).map(|n: u64| format!("{}~{n}", job.name())));
        let mut free = ids.filter(|id| jobs.get(id.as_str()).is_none_or(|listed| listed.has_ended()));
        let id = free.next().expect("there is always one more");
        jobs.insert(id.as_str().into(), Arc::new(ListedJob::new(&id, job)));
        id
    }

    /// Shows a job no more, whether or not it runs; `false` if there is none with this id. The job itself goes on.
    pub fn remove(&self, id: &str) -> bool {
        self.lock().remove(id).is_some()
    }

    /// The ids of all that are shown, in their order.
    pub fn ids(&self) -> Vec<String> {
        self.lock().keys().map(|id| id.to_string()).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<ListedJob>> {
        self.lock().get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<ListedJob>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<ListedJob>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DashboardJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DashboardJobs({:?})", self.ids())
    }
}

/// A job that is shown.
pub(super) struct ListedJob {
    pub(super) id: Arc<str>,
    pub(super) handle: JobHandle,
    /// Its newest figures, oldest first.
    samples: Mutex<VecDeque<Arc<JobMetrics>>>,
    /// Whoever streams its events holds a receiver, and sees this go.
    listed: watch::Sender<()>,
}

/// Figures of a job, and earlier ones if there are any from which rates can be told.
pub(super) struct Sampled {
    pub(super) now: Arc<JobMetrics>,
    pub(super) before: Option<Arc<JobMetrics>>,
}

impl ListedJob {
    fn new(id: &str, handle: &JobHandle) -> Self {
        let samples = Mutex::new(VecDeque::from([Arc::new(handle.metrics())]));
        Self { id: id.into(), handle: handle.clone(), samples, listed: watch::Sender::new(()) }
    }

    fn has_ended(&self) -> bool {
        self.handle.status().state == JobState::Ended
    }

    /// Resolves once the job is not listed any more.
    pub(super) fn unlisted(&self) -> impl Future<Output = ()> + use<> {
        let mut listed = self.listed.subscribe();
        async move { while listed.changed().await.is_ok() {} }
    }

    /// Its figures now, and the oldest that are kept of the last seconds. Reading them is what keeps them: nothing is done for a job at
    /// which nobody looks.
    pub(super) fn sample(&self) -> Sampled {
        let now = Arc::new(self.handle.metrics());
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |sample: &JobMetrics| now.at.saturating_sub(sample.at);
        while samples.len() > 1 && samples.front().is_some_and(|oldest| age(oldest) > RATES_OVER) {
            samples.pop_front();
        }
        let before = samples.front().filter(|oldest| age(oldest) >= RATES_OVER_MIN).cloned();
        if samples.back().is_none_or(|newest| age(newest) >= SAMPLES_APART) {
            samples.push_back(now.clone());
        }
        Sampled { now, before }
    }
}
