//! Which regions of a job restart when one of them fails. The terms are those of Erlang/OTP's `supervisor`.

use super::RegionId;

/// Which regions of a job are restarted when one of them is, after a failure. Regions are ordered as their first sources were
/// declared: [`RegionId`] 0 is that of the first source of the job.
///
/// Regions exchange no records, so nothing in the engine asks for more than [`OneForOne`](Self::OneForOne). The others are for regions
/// that depend on one another *outside* of it: one reads the topic, table or folder that another writes to, or they share a connection that
/// a failure leaves broken. A region that restarts along with another begins from the newest completed checkpoint, as that one does and when
/// its restart delay is over, and spends nothing of its own restart budget.
///
/// ```
/// use millstream::RegionStrategy;
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("prices").region_strategy(RegionStrategy::RestForOne);
/// env.source("rates", SequenceSource::new(0..10)).sink("rates-out", CollectSink::new());     // region 0
/// env.source("orders", SequenceSource::new(0..10)).sink("orders-out", CollectSink::new());   // region 1 restarts with region 0
/// assert_eq!(env.start()?.wait()?.restarts, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegionStrategy {
    /// The region that failed, and no other.
    #[default]
    OneForOne,
    /// The region that failed and those whose first source was declared after its first source.
    RestForOne,
    /// All regions of the job.
    OneForAll,
}

impl RegionStrategy {
    /// The regions, of `regions` in all, that restart along with the one that failed.
    pub(crate) fn along_with(self, failed: RegionId, regions: u32) -> impl Iterator<Item = RegionId> {
        let first = match self {
            Self::OneForOne => regions,
            Self::RestForOne => failed.0.saturating_add(1),
            Self::OneForAll => 0,
        };
        (first..regions).map(RegionId).filter(move |region| *region != failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_restarts_along_is_told_by_the_order_of_the_regions() {
        let along = |strategy: RegionStrategy, failed| -> Vec<u32> {
            strategy.along_with(RegionId(failed), 4).map(|region| region.0).collect()
        };
        for failed in 0..4 {
            assert!(along(RegionStrategy::OneForOne, failed).is_empty());
            assert_eq!(along(RegionStrategy::RestForOne, failed), (failed + 1..4).collect::<Vec<_>>());
            assert_eq!(along(RegionStrategy::OneForAll, failed), (0..4).filter(|id| *id != failed).collect::<Vec<_>>());
        }
    }
}
