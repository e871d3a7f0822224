//! The input side of a task: from the elements of its channels to the steps it takes, one at a time.

use std::collections::VecDeque;

use super::alignment::{Alignment, BarrierAligner};
use super::watermarks::{EventTime, WatermarkMerge};
use super::{Barrier, ChannelOrder, CheckpointId, CheckpointMode, Element, Mark, MilestoneMerge};

/// What a task does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input<B> {
    /// Take these records; then give the channel its credit back.
    Batch {
        /// Where they came from.
        channel: usize,
        /// The records.
        batch: B,
    },
    /// Nothing but credit: a paid watermark was taken. Give the channel its credit back.
    Credit {
        /// The channel.
        channel: usize,
    },
    /// Pass this mark on. Watermarks and milestones are merged; [`Mark::Idle`] means that all inputs are idle, [`Mark::End`] that all
    /// have ended. Barriers follow the end.
    Mark(Mark),
    /// The first barrier of a checkpoint is here; others are awaited.
    AlignmentStarted(CheckpointId),
    /// Take the snapshot of this checkpoint.
    Barrier(Barrier),
}

/// The input channels of one task. Elements wait here while the task is busy, out of credit downstream, or while their
/// channel is blocked; credits bound how many.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inlet<B> {
    channels: Vec<Channel<B>>,
    /// The unblocked channels in which elements wait, in turn: one element of each, however many a channel may hold. In the
    /// order of arrival a channel would be served as its window is large, and a source whose channels are small starve.
    turns: VecDeque<usize>,
    aligner: BarrierAligner,
    /// The newest checkpoint whose barrier was said to come.
    expected: CheckpointId,
    watermarks: WatermarkMerge,
    milestones: MilestoneMerge,
    open: usize,
    /// What the last element leads to besides the step it gave.
    then: VecDeque<Mark>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Channel<B> {
    order: ChannelOrder,
    waiting: VecDeque<Element<B>>,
    blocked: bool,
}

impl<B> Inlet<B> {
    /// An inlet of this many channels.
    pub fn new(channels: usize, mode: CheckpointMode) -> Self {
        Self {
            channels: (0..channels)
                .map(|_| Channel { order: ChannelOrder::default(), waiting: VecDeque::new(), blocked: false })
                .collect(),
            turns: VecDeque::new(),
            aligner: BarrierAligner::new(channels, mode),
            expected: CheckpointId::NONE,
            watermarks: WatermarkMerge::new(channels),
            milestones: MilestoneMerge::new(channels),
            open: channels,
            then: VecDeque::new(),
        }
    }

    /// An element arrived.
    ///
    /// # Panics
    /// If it violates the order of its channel.
    pub fn arrive(&mut self, channel: usize, element: Element<B>) {
        self.channels[channel].order.check(&element);
        if let Element::Milestone(later) = &element
            && let Some(Element::Milestone(waiting)) = self.channels[channel].waiting.back_mut()
        {
            *waiting = *later.max(waiting);
            return;
        }
        self.channels[channel].waiting.push_back(element);
        if !self.channels[channel].blocked && self.channels[channel].waiting.len() == 1 {
            self.turns.push_back(channel);
        }
    }

    /// The next step; `None` when no element may be taken.
    pub fn take(&mut self) -> Option<Input<B>> {
        if let Some(mark) = self.then.pop_front() {
            return Some(Input::Mark(mark));
        }
        while let Some(channel) = self.turns.pop_front() {
            if let Some(input) = self.take_of(channel) {
                return Some(input);
            }
        }
        None
    }

    /// The next step towards a barrier that is [awaited](Self::awaits_barrier): none of a channel on which that has come.
    pub fn take_awaited(&mut self) -> Option<Input<B>> {
        if let Some(mark) = self.then.pop_front() {
            return Some(Input::Mark(mark));
        }
        while let Some(turn) = self.turns.iter().position(|&channel| !self.aligner.has_delivered(channel)) {
            let channel = self.turns.remove(turn)?;
            if let Some(input) = self.take_of(channel) {
                return Some(input);
            }
        }
        None
    }

    /// The step that the first element of a channel leads to, whose turn it was.
    fn take_of(&mut self, channel: usize) -> Option<Input<B>> {
        let waiting = &mut self.channels[channel].waiting;
        let element = waiting.pop_front().expect("a channel whose turn it is has an element");
        if !waiting.is_empty() {
            self.turns.push_back(channel);
        }
        self.step(channel, element)
    }

    /// Whether elements wait on a channel that has delivered a barrier which others have not.
    pub fn holds_elements_back(&self) -> bool {
        self.aligner.is_pending() && self.channels.iter().any(|channel| channel.blocked && !channel.waiting.is_empty())
    }

    /// The checkpoint, and every older one that is pending, was aborted. True if an alignment ended by that.
    pub fn abort(&mut self, checkpoint: CheckpointId) -> bool {
        let aligned_for_it = self.aligner.abort(checkpoint);
        if aligned_for_it {
            self.follow_aligner();
        }
        aligned_for_it
    }

    /// Whether no element waits, blocked ones included.
    pub fn is_empty(&self) -> bool {
        self.then.is_empty() && self.channels.iter().all(|channel| channel.waiting.is_empty())
    }

    /// The barrier of this checkpoint will come, unless that is aborted.
    pub fn expect(&mut self, checkpoint: CheckpointId) {
        self.expected = checkpoint.max(self.expected);
    }

    /// Whether a barrier will come, or has come on some channels and is awaited on others. What comes before it is to be taken: who
    /// sends that may be held up by this task, and the barrier with it.
    pub fn awaits_barrier(&self) -> bool {
        self.aligner.is_pending() || self.expected > self.aligner.settled()
    }

    fn step(&mut self, channel: usize, element: Element<B>) -> Option<Input<B>> {
        match element {
            Element::Batch(batch) => {
                self.watermarks.active(channel);
                Some(Input::Batch { channel, batch })
            }
            Element::Watermark { at, paid } => {
                let advanced = self.watermarks.watermark(channel, at);
                if !paid {
                    return self.event_time(advanced);
                }
                if let EventTime::Advanced(at) = advanced {
                    self.then.push_back(Mark::Watermark(at));
                }
                Some(Input::Credit { channel })
            }
            Element::Idle => {
                let change = self.watermarks.idle(channel);
                self.event_time(change)
            }
            Element::Milestone(milestone) => {
                let milestone = self.milestones.milestone(channel, milestone)?;
                Some(Input::Mark(Mark::Milestone(milestone)))
            }
            Element::Barrier(barrier) => self.barrier(channel, barrier),
            Element::End => {
                self.open -= 1;
                let change = self.watermarks.end(channel);
                let milestone = self.milestones.end(channel).map(Mark::Milestone);
                if self.open == 0 {
                    let highest = self.watermarks.all_ended().map(Mark::Watermark);
                    self.then.extend(highest.map(|_| Mark::End));
                    return Some(Input::Mark(highest.unwrap_or(Mark::End)));
                }
                let first = self.event_time(change);
                self.then.extend(milestone);
                first.or_else(|| self.then.pop_front().map(Input::Mark))
            }
        }
    }

    fn event_time(&mut self, change: EventTime) -> Option<Input<B>> {
        match change {
            EventTime::Unchanged => None,
            EventTime::Advanced(at) => Some(Input::Mark(Mark::Watermark(at))),
            EventTime::Idle => Some(Input::Mark(Mark::Idle)),
            EventTime::AdvancedThenIdle(at) => {
                self.then.push_back(Mark::Idle);
                Some(Input::Mark(Mark::Watermark(at)))
            }
        }
    }

    fn barrier(&mut self, channel: usize, barrier: Barrier) -> Option<Input<B>> {
        let alignment = self.aligner.barrier(channel, barrier);
        self.follow_aligner();
        match alignment {
            Alignment::Obsolete => None,
            Alignment::Waiting { first } => first.then_some(Input::AlignmentStarted(barrier.checkpoint)),
            Alignment::Aligned => Some(Input::Barrier(barrier)),
        }
    }

    /// A channel that is blocked now loses its turn; one that is free now comes after the others, in channel order.
    fn follow_aligner(&mut self) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            let blocked = self.aligner.is_blocked(index);
            if blocked == channel.blocked {
                continue;
            }
            channel.blocked = blocked;
            if blocked {
                self.turns.retain(|&turn| turn != index);
            } else if !channel.waiting.is_empty() {
                self.turns.push_back(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Milestone;

    fn barrier(checkpoint: u64) -> Barrier {
        Barrier { checkpoint: CheckpointId(checkpoint), base: CheckpointId::NONE }
    }

    fn inlet(channels: usize) -> Inlet<u32> {
        Inlet::new(channels, CheckpointMode::ExactlyOnce)
    }

    fn drain(inlet: &mut Inlet<u32>) -> Vec<Input<u32>> {
        std::iter::from_fn(|| inlet.take()).collect()
    }

    fn batch(channel: usize, batch: u32) -> Input<u32> {
        Input::Batch { channel, batch }
    }

    #[test]
    fn channels_take_turns_however_many_elements_each_holds() {
        let mut inlet = inlet(3);
        (0..6).for_each(|n| inlet.arrive(0, Element::Batch(n)));
        (10..12).for_each(|n| inlet.arrive(2, Element::Batch(n)));
        let taken = [batch(0, 0), batch(2, 10), batch(0, 1)];
        assert_eq!([inlet.take(), inlet.take(), inlet.take()], taken.map(Some));
        inlet.arrive(1, Element::Batch(20));
        assert_eq!(drain(&mut inlet), [batch(2, 11), batch(0, 2), batch(1, 20), batch(0, 3), batch(0, 4), batch(0, 5)]);
    }

    #[test]
    fn elements_of_a_blocked_channel_wait_for_the_others() {
        let mut inlet = inlet(2);
        for element in [Element::Batch(1), Element::Barrier(barrier(1)), Element::Batch(2)] {
            inlet.arrive(0, element);
        }
        assert_eq!(drain(&mut inlet), [batch(0, 1), Input::AlignmentStarted(CheckpointId(1))]);
        inlet.arrive(0, Element::Batch(3));
        inlet.arrive(1, Element::Batch(10));
        assert_eq!(drain(&mut inlet), [batch(1, 10)]);
        inlet.arrive(1, Element::Barrier(barrier(1)));
        assert_eq!(drain(&mut inlet), [Input::Barrier(barrier(1)), batch(0, 2), batch(0, 3)]);
        assert!(inlet.is_empty());
    }

    #[test]
    fn end_of_input_while_blocked_is_taken_after_the_barrier() {
        let mut inlet = inlet(2);
        inlet.arrive(0, Element::Barrier(barrier(1)));
        inlet.arrive(0, Element::End);
        inlet.arrive(1, Element::End);
        assert_eq!(drain(&mut inlet), [Input::AlignmentStarted(CheckpointId(1))]);
        inlet.arrive(1, Element::Barrier(barrier(1)));
        assert_eq!(drain(&mut inlet), [Input::Barrier(barrier(1)), Input::Mark(Mark::End)]);
        inlet.arrive(0, Element::Barrier(barrier(2)));
        inlet.arrive(1, Element::Barrier(barrier(2)));
        assert_eq!(drain(&mut inlet), [Input::AlignmentStarted(CheckpointId(2)), Input::Barrier(barrier(2))]);
    }

    #[test]
    fn abort_lets_blocked_elements_go() {
        let mut inlet = inlet(2);
        inlet.arrive(0, Element::Barrier(barrier(1)));
        inlet.arrive(0, Element::Batch(1));
        assert_eq!(drain(&mut inlet), [Input::AlignmentStarted(CheckpointId(1))]);
        inlet.abort(CheckpointId(1));
        assert_eq!(drain(&mut inlet), [batch(0, 1)]);
        inlet.arrive(1, Element::Barrier(barrier(1)));
        inlet.arrive(1, Element::Batch(2));
        assert_eq!(drain(&mut inlet), [batch(1, 2)], "the straggler is dropped");
    }

    #[test]
    fn newer_barrier_frees_channels_blocked_for_the_older_one() {
        let mut inlet = inlet(2);
        inlet.arrive(0, Element::Barrier(barrier(1)));
        inlet.arrive(0, Element::Batch(1));
        inlet.arrive(1, Element::Barrier(barrier(2)));
        inlet.arrive(1, Element::Batch(2));
        let steps = drain(&mut inlet);
        let expected =
            [Input::AlignmentStarted(CheckpointId(1)), Input::AlignmentStarted(CheckpointId(2)), batch(0, 1)];
        assert_eq!(steps, expected, "channel 1 is blocked now");
    }

    #[test]
    fn paid_watermark_gives_its_credit_back_before_it_takes_effect() {
        let mut inlet = inlet(1);
        inlet.arrive(0, Element::Watermark { at: 7, paid: true });
        assert_eq!(drain(&mut inlet), [Input::Credit { channel: 0 }, Input::Mark(Mark::Watermark(7))]);
    }

    #[test]
    fn all_inputs_idle_flush_the_highest_watermark_first() {
        let mut inlet = inlet(2);
        inlet.arrive(0, Element::Watermark { at: 7, paid: false });
        inlet.arrive(0, Element::Idle);
        assert_eq!(drain(&mut inlet), []);
        inlet.arrive(1, Element::Idle);
        assert_eq!(drain(&mut inlet), [Input::Mark(Mark::Watermark(7)), Input::Mark(Mark::Idle)]);
    }

    #[test]
    fn an_input_that_ends_lets_event_time_go_on_and_the_last_one_ends_the_task() {
        let mut inlet = inlet(2);
        inlet.arrive(0, Element::Watermark { at: 7, paid: false });
        inlet.arrive(1, Element::Watermark { at: 3, paid: false });
        assert_eq!(drain(&mut inlet), [Input::Mark(Mark::Watermark(3))]);
        inlet.arrive(1, Element::End);
        assert_eq!(drain(&mut inlet), [Input::Mark(Mark::Watermark(7))]);
        inlet.arrive(0, Element::End);
        assert_eq!(drain(&mut inlet), [Input::Mark(Mark::End)]);
    }

    #[test]
    fn milestone_comes_once_all_inputs_have_it_and_blocks_none() {
        let milestone = |number| Element::Milestone(Milestone(number));
        let mark = |number| Input::Mark(Mark::Milestone(Milestone(number)));
        let mut inlet = inlet(2);
        for element in [milestone(1), Element::Batch(1), milestone(2), milestone(3)] {
            inlet.arrive(0, element);
        }
        assert_eq!(drain(&mut inlet), [batch(0, 1)], "of two next to each other the later one is kept");
        for element in [Element::Batch(10), milestone(1), Element::Barrier(barrier(1)), milestone(2)] {
            inlet.arrive(1, element);
        }
        assert_eq!(drain(&mut inlet), [batch(1, 10), mark(1), Input::AlignmentStarted(CheckpointId(1))]);
        inlet.arrive(0, Element::Barrier(barrier(1)));
        assert_eq!(drain(&mut inlet), [Input::Barrier(barrier(1)), mark(2)]);
        inlet.arrive(1, Element::End);
        assert_eq!(drain(&mut inlet), [mark(3)]);
    }

    #[test]
    fn highest_watermark_goes_ahead_of_the_end() {
        let mut inlet = inlet(2);
        inlet.arrive(0, Element::Watermark { at: 7, paid: false });
        inlet.arrive(0, Element::End);
        inlet.arrive(1, Element::Watermark { at: 3, paid: false });
        inlet.arrive(1, Element::End);
        assert_eq!(drain(&mut inlet).last_chunk(), Some(&[Mark::Watermark(7), Mark::End].map(Input::Mark)));
    }

    #[test]
    fn end_of_one_input_leads_to_event_time_and_to_a_milestone() {
        let mut inlet = inlet(2);
        for element in [Element::Watermark { at: 7, paid: false }, Element::Milestone(Milestone(4)), Element::Idle] {
            inlet.arrive(0, element);
        }
        assert_eq!(drain(&mut inlet), []);
        inlet.arrive(1, Element::End);
        let marks = [Mark::Watermark(7), Mark::Idle, Mark::Milestone(Milestone(4))];
        assert_eq!(drain(&mut inlet), marks.map(Input::Mark));
    }

    #[test]
    fn towards_a_barrier_only_channels_are_taken_from_on_which_it_has_not_come() {
        for mode in [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce] {
            let mut inlet = Inlet::new(2, mode);
            inlet.expect(CheckpointId(1));
            for element in [Element::Batch(1), Element::Barrier(barrier(1)), Element::Batch(2)] {
                inlet.arrive(0, element);
            }
            assert!(inlet.awaits_barrier());
            assert_eq!(inlet.take_awaited(), Some(Input::Batch { channel: 0, batch: 1 }));
            assert_eq!(inlet.take_awaited(), Some(Input::AlignmentStarted(CheckpointId(1))));
            assert_eq!(inlet.take_awaited(), None);
            assert_eq!(inlet.holds_elements_back(), mode == CheckpointMode::ExactlyOnce);
            inlet.arrive(1, Element::Batch(3));
            inlet.arrive(1, Element::Barrier(barrier(1)));
            assert_eq!(inlet.take_awaited(), Some(Input::Batch { channel: 1, batch: 3 }));
            assert!(matches!(inlet.take_awaited(), Some(Input::Barrier(_))));
            assert!(!inlet.awaits_barrier() && !inlet.holds_elements_back());
            assert_eq!(inlet.take(), Some(Input::Batch { channel: 0, batch: 2 }));
        }
    }
}
