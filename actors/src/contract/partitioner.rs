//! The contract of a partitioner: which channel of an edge a record takes.

use super::Batch;

/// Distributes records over the channels of one edge.
///
/// ```
/// use millstream::operator::{Batch, Partitioner};
/// use millstream::prelude::*;
///
/// /// Large orders to the last subtask, the others in turn.
/// #[derive(Default)]
/// struct BySize {
///     next: u32,
/// }
///
/// impl Partitioner<u64> for BySize {
///     fn assign(&mut self, batch: &Batch<u64>, channels: u32, targets: &mut Vec<u32>) {
///         for cents in batch.iter() {
///             let large = *cents >= 100_000;
///             self.next += u32::from(!large);
///             targets.push(if large { channels - 1 } else { self.next % channels });
///         }
///     }
/// }
///
/// let mut targets = Vec::new();
/// BySize::default().assign(&Batch::from_iter([250, 100_000, 120]), 4, &mut targets);
/// assert_eq!(targets, [1, 3, 2]);
///
/// let env = StreamEnvironment::new("orders").parallelism(4);
/// env.source("cents", VecSource::new(vec![250u64, 100_000])).partition_with(BySize::default).for_each("work", |_| {});
/// # env.explain().unwrap();
/// ```
pub trait Partitioner<T>: 'static {
    /// Writes the channel of each record of `batch`, in order, below `channels`, into `targets`, which is empty.
    ///
    /// # Panics
    /// A panic fails the task.
    fn assign(&mut self, batch: &Batch<T>, channels: u32, targets: &mut Vec<u32>);
}
