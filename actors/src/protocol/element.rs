//! What a channel carries, and in which order.

use super::{CheckpointId, Milestone, Timestamp};

/// Marks the boundary between two checkpoints in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Barrier {
    /// The checkpoint that it closes.
    pub checkpoint: CheckpointId,
    /// The newest completed checkpoint at the trigger: what a delta would build on.
    pub base: CheckpointId,
}

/// What a stream says of itself between its records. Operators may originate marks, hold them back and release them;
/// what is written as state at a barrier does not wait for a mark that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mark {
    /// Event time has come this far: no record of an earlier time is expected.
    Watermark(Timestamp),
    /// No records at present: event time need not wait for this stream.
    Idle,
    /// All that the sources had read when this milestone was asked for is before it. An operator passes it on behind what it emits for
    /// the records before it, and so behind those that it has yet to answer; what it keeps as state it need not wait for. Of several
    /// the latest will do.
    Milestone(Milestone),
    /// No more records and no further marks. Nothing is held back beyond it.
    End,
}

/// One element of a channel. Legal order: `(batch | watermark | idle | milestone | barrier)* end barrier*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Element<B> {
    /// Records. Costs a credit.
    Batch(B),
    /// Event time has come this far.
    Watermark {
        /// The time.
        at: Timestamp,
        /// Whether it cost a credit, which the receiver gives back.
        paid: bool,
    },
    /// No records at present: the channel does not hold event time back.
    Idle,
    /// What the sources had read when it was asked for is before it. Never costs a credit.
    Milestone(Milestone),
    /// A checkpoint's boundary. Never costs a credit.
    Barrier(Barrier),
    /// No more records; barriers still follow. Never costs a credit.
    End,
}

impl<B> Element<B> {
    /// The element with another batch in it.
    pub fn map<C>(self, batch: impl FnOnce(B) -> C) -> Element<C> {
        match self {
            Self::Batch(records) => Element::Batch(batch(records)),
            Self::Watermark { at, paid } => Element::Watermark { at, paid },
            Self::Idle => Element::Idle,
            Self::Milestone(milestone) => Element::Milestone(milestone),
            Self::Barrier(barrier) => Element::Barrier(barrier),
            Self::End => Element::End,
        }
    }
}

impl<B> From<Mark> for Element<B> {
    fn from(mark: Mark) -> Self {
        match mark {
            Mark::Watermark(at) => Self::Watermark { at, paid: false },
            Mark::Idle => Self::Idle,
            Mark::Milestone(milestone) => Self::Milestone(milestone),
            Mark::End => Self::End,
        }
    }
}

/// Checks the order of one channel.
///
/// # Panics
/// A violation is a bug of the engine and panics, naming both elements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChannelOrder {
    last_barrier: CheckpointId,
    ended: bool,
}

impl ChannelOrder {
    /// The next element of the channel is this.
    ///
    /// # Panics
    /// If it may not follow what came before: a barrier that is not above the last, or anything but a barrier after
    /// the end. That is a bug of the sender.
    pub fn check<B>(&mut self, element: &Element<B>) {
        match element {
            Element::Barrier(barrier) => {
                assert!(
                    barrier.checkpoint > self.last_barrier,
                    "barrier {} follows barrier {} on one channel of one attempt",
                    barrier.checkpoint,
                    self.last_barrier
                );
                self.last_barrier = barrier.checkpoint;
            }
            Element::End => {
                assert!(!self.ended, "end follows end");
                self.ended = true;
            }
            Element::Batch(_) => assert!(!self.ended, "a batch follows the end"),
            Element::Watermark { at, .. } => assert!(!self.ended, "watermark {at} follows the end"),
            Element::Idle => assert!(!self.ended, "an idle mark follows the end"),
            Element::Milestone(Milestone(number)) => assert!(!self.ended, "milestone {number} follows the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn barrier(checkpoint: u64) -> Element<()> {
        Element::Barrier(Barrier { checkpoint: CheckpointId(checkpoint), base: CheckpointId::NONE })
    }

    #[test]
    fn legal_order_passes() {
        let mut order = ChannelOrder::default();
        for element in [Element::Batch(()), barrier(1), Element::Idle, barrier(4), Element::End, barrier(5), barrier(9)]
        {
            order.check(&element);
        }
    }

    #[test]
    #[should_panic(expected = "barrier 4 follows barrier 4")]
    fn barrier_that_does_not_increase_panics() {
        let mut order = ChannelOrder::default();
        order.check(&barrier(4));
        order.check(&barrier(4));
    }

    #[test]
    #[should_panic(expected = "a batch follows the end")]
    fn batch_after_end_panics() {
        let mut order = ChannelOrder::default();
        order.check(&Element::<()>::End);
        order.check(&Element::Batch(()));
    }
}
