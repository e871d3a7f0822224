//! The job: figures of the departures from each airport, exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;

use crate::departures::{ByAirport, DEPARTURES, Departure, Figures};

/// The job, as the service sees it. Clones are one job.
#[derive(Clone)]
pub(crate) struct DeparturesJob {
    pub(crate) job: JobHandle,
    figures: Collected<(String, Figures)>,
    panics_next: Arc<AtomicBool>,
}

impl DeparturesJob {
    /// The newest committed figures of each airport.
    pub(crate) fn figures(&self) -> ByAirport {
        self.figures.snapshot().into_iter().collect()
    }

    /// Has the job panic at its next record.
    pub(crate) fn panic_next(&self) {
        self.panics_next.store(true, Ordering::Relaxed);
    }
}

/// Starts the job; it runs on threads of the engine.
pub(crate) fn start(records_per_second: u64) -> Result<DeparturesJob, StartError> {
    let panics_next = Arc::new(AtomicBool::new(false));
    let panics = panics_next.clone();
    let sink = CollectSink::new();
    let figures = sink.handle();

    let env = StreamEnvironment::new("departures")
        .snapshot_store(MemoryStore::new())
        .checkpointing(Checkpointing::every(Duration::from_millis(100)));

    let input = FileSource::csv::<Departure>(DEPARTURES);
    env.source("flights", Throttled::new(input, records_per_second))
        .inspect(move |_| {
            if panics.swap(false, Ordering::Relaxed) {
                panic!("injected by a request");
            }
        })
        .key_by(|departure| departure.origin.clone())
        .fold("departures", Figures::default(), |figures, departure| figures.add(&departure))
        .sink("figures", sink);

    Ok(DeparturesJob { job: env.start()?, figures, panics_next })
}
