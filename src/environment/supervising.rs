//! How the regions of a job are supervised.

use std::panic::Location;
use std::time::Duration;

use actix::Recipient;
use millstream_actors::protocol::{OnExhausted, RegionStrategy, RestartStrategy};
use millstream_actors::{Escalation, EscalationPort, RegionSettings};

use super::StreamEnvironment;
use crate::graph::{GraphBuilder, GraphError};

/// Longest time that a host may have to answer: longer ones are a slip of the unit.
const ANSWER_WITHIN_MAX: Duration = Duration::from_secs(86_400);

/// What is said of regions, and where the host said that it wants to be asked.
pub(super) struct Supervising {
    settings: RegionSettings,
    at: &'static Location<'static>,
}

impl Supervising {
    /// Nothing is said.
    pub(super) fn new(at: &'static Location<'static>) -> Self {
        Self { settings: RegionSettings::default(), at }
    }

    /// With what the graph says of each region.
    pub(super) fn of_regions(self, graph: &GraphBuilder) -> RegionSettings {
        RegionSettings { policies: graph.region_policies(), ..self.settings }
    }

    pub(super) fn mistake(&self) -> Option<GraphError> {
        let within = self.settings.escalation.as_ref()?.within;
        let reason = format!("the time to answer, {within:?}, must be above zero and at most a day");
        let (setting, at) = ("on_escalation(..)", self.at);
        (within.is_zero() || within > ANSWER_WITHIN_MAX).then_some(GraphError::InvalidSetting { setting, reason, at })
    }
}

impl StreamEnvironment {
    /// Which regions restart when one of them does after a failure: by default that one alone.
    pub fn region_strategy(mut self, strategy: RegionStrategy) -> Self {
        self.supervising.settings.strategy = strategy;
        self
    }

    /// What becomes of a region that gives up, if [`DataStream::region_policy`](crate::stream::DataStream::region_policy) does not say it for
    /// that region: by default the job ends with its error.
    ///
    /// ```
    /// use millstream::prelude::*;
    /// use millstream::{JobEventKind, JobState, OnExhausted, RegionId};
    /// # use std::sync::Arc;
    /// # use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// # actix_rt::System::new().block_on(async {
    /// # let is_broken = Arc::new(AtomicBool::new(true));
    /// # let broken = is_broken.clone();
    /// # let sink = CollectSink::new();
    /// # let collected = sink.handle();
    /// let env = StreamEnvironment::new("numbers")
    ///     .restart_strategy(RestartStrategy::none())
    ///     .on_exhausted(OnExhausted::Park)
    ///     .tell_panic_hook(false);
    /// env.source("numbers", SequenceSource::new(0..10))
    ///     .inspect(move |n| assert!(!broken.load(Ordering::Relaxed), "cannot take {n}"))
    ///     .sink("out", sink);
    /// let mut events = env.events(100);
    /// let job = env.start()?;
    /// while let Some(event) = events.next().await {
    ///     if let JobEventKind::RegionParked { .. } = event.kind {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(job.status().state, JobState::Parked);
    /// is_broken.store(false, Ordering::Relaxed);                  // what was wrong is mended
    /// job.resume_region(RegionId(0)).await?;
    /// job.await?;
    /// # assert_eq!(collected.snapshot().len(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn on_exhausted(mut self, on_exhausted: OnExhausted) -> Self {
        self.supervising.settings.on_exhausted = on_exhausted;
        self
    }

    /// Asks `recipient` what is to become of a region that gives up, and waits for the answer for `within`, above zero and at most a day. Nobody
    /// who answers in time: what the policy of the region says. An example is at [`Escalation`].
    #[track_caller]
    pub fn on_escalation(mut self, recipient: Recipient<Escalation>, within: Duration) -> Self {
        self.supervising.settings.escalation = Some(EscalationPort { recipient, within });
        self.supervising.at = Location::caller();
        self
    }

    /// On a stage a failure is the end, whatever is said.
    pub(super) fn restart_never(&mut self) {
        self.restart.value = RestartStrategy::none();
        self.supervising = Supervising::new(self.at);
        self.graph.borrow_mut().nodes.iter_mut().for_each(|node| node.region_policies.clear());
    }
}
