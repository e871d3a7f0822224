//! Barrier alignment: when a task with several inputs has reached a checkpoint.
//!
//! Asynchronous barrier snapshotting (Carbone et al. 2015, algorithm 1). Exactly-once follows Flink's
//! `SingleCheckpointBarrierHandler`, at-least-once its `CheckpointBarrierTracker` with one checkpoint in flight. There
//! is no case for ended channels: barriers follow the end of input, so alignment always counts all channels.

use super::{Barrier, CheckpointId, CheckpointMode};

/// What a barrier led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// It belongs to a finished or aborted checkpoint: ignored.
    Obsolete,
    /// Other channels are awaited. `first` marks the start of the alignment.
    Waiting {
        /// Whether it is the checkpoint's first barrier here.
        first: bool,
    },
    /// All channels have delivered it.
    Aligned,
}

/// The barriers of one task's input channels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BarrierAligner {
    blocks: bool,
    pending: Option<CheckpointId>,
    received: Vec<bool>,
    missing: usize,
    /// Highest checkpoint that was aligned or aborted here.
    settled: CheckpointId,
}

impl BarrierAligner {
    /// An aligner over this many channels.
    pub fn new(channels: usize, mode: CheckpointMode) -> Self {
        Self {
            blocks: mode == CheckpointMode::ExactlyOnce,
            pending: None,
            received: vec![false; channels],
            missing: channels,
            settled: CheckpointId::NONE,
        }
    }

    /// A barrier arrived on `channel`.
    pub fn barrier(&mut self, channel: usize, barrier: Barrier) -> Alignment {
        let id = barrier.checkpoint;
        if id <= self.settled || self.pending.is_some_and(|pending| id < pending) {
            return Alignment::Obsolete;
        }
        let first = self.pending != Some(id);
        if first {
            // An older pending checkpoint was given up upstream: its alignment ends here.
            if let Some(older) = self.pending {
                self.settle(older);
            }
            self.pending = Some(id);
        }
        if !std::mem::replace(&mut self.received[channel], true) {
            self.missing -= 1;
        }
        if self.missing == 0 {
            self.settle(id);
            return Alignment::Aligned;
        }
        Alignment::Waiting { first }
    }

    /// The checkpoint, and with it every older one, was aborted. True if channels that were blocked are free now.
    pub fn abort(&mut self, checkpoint: CheckpointId) -> bool {
        let frees = self.pending.is_some_and(|pending| pending <= checkpoint);
        if frees {
            self.settle(checkpoint);
        }
        self.settled = self.settled.max(checkpoint);
        frees
    }

    /// Whether elements of `channel` must wait.
    pub fn is_blocked(&self, channel: usize) -> bool {
        self.blocks && self.received[channel]
    }

    /// Whether the pending barrier has come on `channel`.
    pub fn has_delivered(&self, channel: usize) -> bool {
        self.received[channel]
    }

    /// Whether a barrier has come on some channels and is awaited on others.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The newest checkpoint that was aligned or aborted here.
    pub fn settled(&self) -> CheckpointId {
        self.settled
    }

    fn settle(&mut self, checkpoint: CheckpointId) {
        self.pending = None;
        self.settled = self.settled.max(checkpoint);
        self.received.fill(false);
        self.missing = self.received.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(checkpoint: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId(checkpoint), base: CheckpointId::NONE }
    }

    #[test]
    fn barrier_on_one_of_two_inputs_blocks_only_that_input() {
        let mut aligner = BarrierAligner::new(2, CheckpointMode::ExactlyOnce);
        assert_eq!(aligner.barrier(0, barrier(1)), Alignment::Waiting { first: true });
        assert!(aligner.is_blocked(0) && !aligner.is_blocked(1));
        assert_eq!(aligner.barrier(1, barrier(1)), Alignment::Aligned);
        assert!(!aligner.is_blocked(0) && !aligner.is_blocked(1));
    }

    #[test]
    fn at_least_once_blocks_nothing() {
        let mut aligner = BarrierAligner::new(2, CheckpointMode::AtLeastOnce);
        assert_eq!(aligner.barrier(0, barrier(1)), Alignment::Waiting { first: true });
        assert!(!aligner.is_blocked(0));
        assert_eq!(aligner.barrier(1, barrier(1)), Alignment::Aligned);
    }

    #[test]
    fn abort_frees_channels_and_makes_stragglers_obsolete() {
        let mut aligner = BarrierAligner::new(2, CheckpointMode::ExactlyOnce);
        assert_eq!(aligner.barrier(0, barrier(3)), Alignment::Waiting { first: true });
        assert!(aligner.abort(CheckpointId(3)));
        assert!(!aligner.is_blocked(0));
        assert_eq!(aligner.barrier(1, barrier(3)), Alignment::Obsolete);
        assert_eq!(aligner.barrier(1, barrier(4)), Alignment::Waiting { first: true });
        assert_eq!(aligner.barrier(0, barrier(4)), Alignment::Aligned);
        assert_eq!(aligner.barrier(0, barrier(4)), Alignment::Obsolete, "finished");
    }

    #[test]
    fn abort_before_any_barrier_makes_it_obsolete() {
        let mut aligner = BarrierAligner::new(2, CheckpointMode::ExactlyOnce);
        assert!(!aligner.abort(CheckpointId(7)));
        assert_eq!(aligner.barrier(0, barrier(7)), Alignment::Obsolete);
        assert!(!aligner.is_blocked(0));
    }

    #[test]
    fn newer_barrier_gives_up_the_pending_one() {
        let mut aligner = BarrierAligner::new(3, CheckpointMode::ExactlyOnce);
        assert_eq!(aligner.barrier(0, barrier(1)), Alignment::Waiting { first: true });
        assert_eq!(aligner.barrier(1, barrier(2)), Alignment::Waiting { first: true });
        assert!(!aligner.is_blocked(0), "freed");
        assert!(aligner.is_blocked(1));
        assert_eq!(aligner.barrier(2, barrier(1)), Alignment::Obsolete);
        assert_eq!(aligner.barrier(0, barrier(2)), Alignment::Waiting { first: false });
        assert_eq!(aligner.barrier(2, barrier(2)), Alignment::Aligned);
    }

    #[test]
    fn at_least_once_forgets_an_aborted_checkpoint_when_the_next_begins() {
        let mut aligner = BarrierAligner::new(2, CheckpointMode::AtLeastOnce);
        assert_eq!(aligner.barrier(0, barrier(1)), Alignment::Waiting { first: true });
        assert!(aligner.abort(CheckpointId(1)));
        assert_eq!(aligner.barrier(0, barrier(2)), Alignment::Waiting { first: true });
        assert_eq!(aligner.barrier(1, barrier(1)), Alignment::Obsolete);
        assert_eq!(aligner.barrier(1, barrier(2)), Alignment::Aligned);
    }
}
