//! What all requests share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::jobs::DashboardJobs;
use super::lookups::Lookups;
use super::token::Token;

/// What the host has said.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) token: Option<Token>,
    /// Whether records and keys of users are shown.
    pub(super) shows_records: bool,
    pub(super) savepoint_dir: Option<PathBuf>,
    /// By which names the server is called, beside those of the machine itself.
    pub(super) hosts: Vec<String>,
    pub(super) lookups: Lookups,
}

/// What all requests share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) jobs: DashboardJobs,
    /// Whether requests are to name a host that is known: so on the server of its own, where nobody else looks.
    pub(super) checks_host: bool,
    /// Streams of events that are open.
    pub(super) streams: Places,
    /// Orders that wait for their outcome.
    pub(super) orders: Places,
}

/// So many places, each of which somebody may take for a while.
#[derive(Clone, Debug)]
pub(super) struct Places {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// A place that is free again once this is dropped.
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    pub(super) fn take(&self) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let place = Place(self.taken.clone());
        (before < self.max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
