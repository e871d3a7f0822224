//! Which subtask gets a record.

use std::marker::PhantomData;

use millstream_actors::contract::{Batch, Partitioner};
use millstream_actors::protocol::subtask_of_group;

use super::KeySelector;
use crate::state::{group_of_hash, stable_hash};

/// Spreads records evenly, a run of neighbours at a time so that batches stay whole: each batch is cut into as many
/// runs as there are channels, and the channel that comes first moves on with each batch.
#[derive(Clone, Debug, Default)]
pub struct Rebalance {
    next: u32,
}

impl Rebalance {
    /// Starts with channel `first`: different senders begin with different receivers.
    pub fn starting_at(first: u32) -> Self {
        Self { next: first }
    }
}

impl<T> Partitioner<T> for Rebalance {
    fn assign(&mut self, batch: &Batch<T>, channels: u32, targets: &mut Vec<u32>) {
        let run = batch.len().div_ceil(channels as usize).max(1);
        let mut left = batch.len();
        while left > 0 {
            let records = run.min(left);
            self.next %= channels;
            targets.extend(std::iter::repeat_n(self.next, records));
            self.next += 1;
            left -= records;
        }
    }
}

/// Sends each record to the subtask that owns its key's group.
#[derive(Clone, Debug)]
pub struct KeyGroupPartitioner<S> {
    selector: S,
    max_parallelism: u32,
    /// The channel of each group: looked up for each record, where computing it would take a division.
    channel_of: Vec<u32>,
    /// The number of channels of which it says so.
    channels: u32,
}

impl<S> KeyGroupPartitioner<S> {
    /// Keys by `selector`, in `max_parallelism` groups.
    pub fn new(selector: S, max_parallelism: u32) -> Self {
        Self { selector, max_parallelism, channel_of: Vec::new(), channels: 0 }
    }
}

impl<T, S: KeySelector<T>> Partitioner<T> for KeyGroupPartitioner<S> {
    fn assign(&mut self, batch: &Batch<T>, channels: u32, targets: &mut Vec<u32>) {
        let Self { selector, max_parallelism, channel_of, channels: known } = self;
        if *known != channels {
            let of_group = |group| subtask_of_group(group, channels, *max_parallelism);
            (*channel_of, *known) = ((0..*max_parallelism).map(of_group).collect(), channels);
        }
        targets.extend(batch.iter().map(|record| {
            let held = selector.hold(record);
            let hash = stable_hash(selector.query(record, &held));
            channel_of[group_of_hash(hash, *max_parallelism) as usize]
        }));
    }
}

/// Asks a user's function: the record, the number of channels. The engine checks its answers.
#[derive(Clone, Debug)]
pub struct CustomPartitioner<T, F> {
    function: F,
    of: PhantomData<fn(T)>,
}

impl<T, F: Fn(&T, u32) -> u32> CustomPartitioner<T, F> {
    /// Distributes by `function`.
    pub fn new(function: F) -> Self {
        Self { function, of: PhantomData }
    }
}

impl<T: 'static, F: Fn(&T, u32) -> u32 + 'static> Partitioner<T> for CustomPartitioner<T, F> {
    fn assign(&mut self, batch: &Batch<T>, channels: u32, targets: &mut Vec<u32>) {
        targets.extend(batch.iter().map(|record| (self.function)(record, channels)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::{ByRef, ByValue};
    use millstream_actors::protocol::KeyGroupRange;

    fn assign<T>(partitioner: &mut impl Partitioner<T>, records: Vec<T>, channels: u32) -> Vec<u32> {
        let mut targets = Vec::new();
        partitioner.assign(&Batch::counted(records, 0), channels, &mut targets);
        targets
    }

    #[test]
    fn rebalance_gives_every_channel_its_share() {
        let mut rebalance = Rebalance::starting_at(7);
        assert_eq!(assign(&mut rebalance, vec![0; 6], 3), [1, 1, 2, 2, 0, 0]);
        for _ in 0..3 {
            assign(&mut rebalance, vec![0; 1], 3);
        }
        assert_eq!(assign(&mut rebalance, vec![0; 4], 3), [1, 1, 2, 2]);
        assert!(assign(&mut rebalance, Vec::<u8>::new(), 3).is_empty());
        let mut counts = [0u32; 3];
        assign(&mut rebalance, vec![0; 1024], 3).iter().for_each(|target| counts[*target as usize] += 1);
        assert!(counts.iter().all(|count| (340..=342).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_key_goes_to_the_subtask_whose_range_holds_its_group() {
        let mut partitioner = KeyGroupPartitioner::new(ByValue::new(|x: &u64| *x), 128);
        for channels in [3, 128, 2] {
            for (key, target) in assign(&mut partitioner, (0..1000).collect(), channels).into_iter().enumerate() {
                let group = group_of_hash(stable_hash(&(key as u64)), 128);
                assert!(KeyGroupRange::of_subtask(target, channels, 128).contains(group));
            }
        }
    }

    #[test]
    fn keys_by_value_and_by_reference_go_the_same_way() {
        let records: Vec<String> = (0..100).map(|x| format!("key {x}")).collect();
        let mut by_value = KeyGroupPartitioner::new(ByValue::new(|x: &String| x.clone()), 128);
        let mut by_ref = KeyGroupPartitioner::new(ByRef::<_, str>::new(|x: &String| x.as_str()), 128);
        assert_eq!(assign(&mut by_value, records.clone(), 5), assign(&mut by_ref, records, 5));
    }

    #[test]
    fn a_custom_function_is_asked_for_each_record() {
        let mut custom = CustomPartitioner::new(|x: &u32, channels| x % channels);
        assert_eq!(assign(&mut custom, vec![0, 1, 2, 3, 4], 3), [0, 1, 2, 0, 1]);
    }
}
