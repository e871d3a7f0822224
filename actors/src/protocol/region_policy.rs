//! What follows the failures of one region, where that is not what the job has for all.

use super::RestartStrategy;

/// What becomes of a region that gives up: its restart budget is spent, or it has failed in a way that would repeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnExhausted {
    /// The job ends, with the region's error.
    #[default]
    EndJob,
    /// The region is parked: its tasks are stopped, and the other regions and checkpoints go on, until
    /// [`resume_region`](crate::JobHandle::resume_region) starts it again.
    Park,
}

/// What follows the failures of one region, beside what the job has for all its regions. Said at any stream of the region by
/// `DataStream::region_policy`; what is not said is as `StreamEnvironment::restart_strategy` and `StreamEnvironment::on_exhausted` have
/// it. Two policies in one region that contradict each other are a mistake that `start()` reports.
///
/// ```
/// use std::time::Duration;
///
/// use millstream::{OnExhausted, RegionPolicy};
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("orders");
/// env.source("orders", SequenceSource::new(0..10)).sink("booked", CollectSink::new());
/// let beside = RegionPolicy::new()
///     .restart_strategy(RestartStrategy::fixed_delay(3, Duration::from_millis(100)))
///     .on_exhausted(OnExhausted::Park);                       // statistics may stand still, orders may not
/// env.source("clicks", SequenceSource::new(0..10)).region_policy(beside).sink("clicked", CollectSink::new());
/// env.start()?.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionPolicy {
    restart: Option<RestartStrategy>,
    on_exhausted: Option<OnExhausted>,
}

impl RegionPolicy {
    /// One that says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the restart strategy of the region.
    pub fn restart_strategy(mut self, strategy: RestartStrategy) -> Self {
        self.restart = Some(strategy);
        self
    }

    /// Sets what becomes of the region when it gives up.
    pub fn on_exhausted(mut self, on_exhausted: OnExhausted) -> Self {
        self.on_exhausted = Some(on_exhausted);
        self
    }

    /// The restart strategy, if it is said.
    pub fn restart(&self) -> Option<&RestartStrategy> {
        self.restart.as_ref()
    }

    /// What becomes of the region when it gives up, if it is said.
    pub fn exhausted(&self) -> Option<OnExhausted> {
        self.on_exhausted
    }

    /// What is said by both of them, and differently.
    pub fn contradiction(&self, other: &Self) -> Option<&'static str> {
        fn differ<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
            matches!((one, other), (Some(one), Some(other)) if one != other)
        }
        if differ(&self.restart, &other.restart) {
            Some("restart strategies")
        } else {
            differ(&self.on_exhausted, &other.on_exhausted).then_some("answers to what follows when it gives up")
        }
    }

    /// What either of them says.
    pub fn or(self, other: &Self) -> Self {
        Self {
            restart: self.restart.or_else(|| other.restart.clone()),
            on_exhausted: self.on_exhausted.or(other.on_exhausted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_contradict_each_other_only_in_what_both_say() {
        let restart = |attempts| {
            RegionPolicy::new().restart_strategy(RestartStrategy::fixed_delay(attempts, std::time::Duration::ZERO))
        };
        let park = RegionPolicy::new().on_exhausted(OnExhausted::Park);
        assert_eq!(restart(1).contradiction(&restart(1)), None);
        assert_eq!(restart(1).contradiction(&restart(2)), Some("restart strategies"));
        assert_eq!(restart(1).contradiction(&park), None);
        assert!(park.contradiction(&RegionPolicy::new().on_exhausted(OnExhausted::EndJob)).is_some());
        let both = restart(1).or(&park);
        assert_eq!((both.restart(), both.exhausted()), (restart(1).restart(), Some(OnExhausted::Park)));
        assert_eq!(RegionPolicy::new().or(&both), both);
    }
}
