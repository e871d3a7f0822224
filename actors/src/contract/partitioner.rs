//! The contract of a partitioner: which channel of an edge a record takes.

use super::Batch;

/// Distributes records over the channels of one edge.
pub trait Partitioner<T>: 'static {
    /// Writes the channel of each record of `batch`, in order, below `channels`, into `targets`, which is empty.
    ///
    /// # Panics
    /// A panic fails the task.
    fn assign(&mut self, batch: &Batch<T>, channels: u32, targets: &mut Vec<u32>);
}
