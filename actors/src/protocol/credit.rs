//! Credits: how much may be under way on one channel, on both of its ends.
//!
//! A mailbox bounds nothing, so each channel counts. Batches cost a credit; barriers and ends never do; a watermark
//! right after a batch is free, and so is one that a barrier or the end follows; any other costs a credit and waits for
//! one, and a later one takes its place. An idle mark is free, but is sent once until the stream is active again, and
//! waits behind a watermark that waits: a stream that goes to and fro between both floods nobody.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Element, Limits};

/// The sending end: what may go out now, and what must wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SendWindow<B> {
    credits: u32,
    waiting: VecDeque<Element<B>>,
    batches_waiting: u32,
    after_batch: bool,
    /// The last mark of a stream's activity that was queued said idle.
    is_idle: bool,
}

impl<B> SendWindow<B> {
    /// A window of this many batches.
    pub fn new(credits: u32) -> Self {
        Self { credits, waiting: VecDeque::new(), batches_waiting: 0, after_batch: false, is_idle: false }
    }

    /// Batches that may go out before another credit comes.
    pub fn credits(&self) -> u32 {
        self.credits
    }

    /// Queues an element behind all before it.
    pub fn push(&mut self, element: Element<B>) {
        match &element {
            Element::Batch(_) => self.batches_waiting += 1,
            Element::Watermark { at, .. } => {
                // What waits for credit is overtaken by what is newer: a later time, and being active again.
                if let [.., Element::Watermark { .. }, Element::Idle] = self.waiting.make_contiguous() {
                    self.waiting.pop_back();
                }
                if let Some(Element::Watermark { at: waiting, .. }) = self.waiting.back_mut() {
                    *waiting = (*waiting).max(*at);
                    self.is_idle = false;
                    return;
                }
            }
            Element::Idle if self.is_idle => return,
            Element::Idle | Element::Barrier(_) | Element::End => {}
        }
        match element {
            Element::Batch(_) | Element::Watermark { .. } => self.is_idle = false,
            Element::Idle => self.is_idle = true,
            Element::Barrier(_) | Element::End => {}
        }
        self.waiting.push_back(element);
    }

    /// The next element that may go out, in order.
    pub fn pop(&mut self) -> Option<Element<B>> {
        let free = match self.waiting.front()? {
            Element::Batch(_) => false,
            Element::Watermark { .. } => self.after_batch || self.must_go_ahead(),
            Element::Idle | Element::Barrier(_) | Element::End => true,
        };
        if !free {
            self.credits = self.credits.checked_sub(1)?;
        }
        let mut element = self.waiting.pop_front()?;
        self.after_batch = matches!(element, Element::Batch(_));
        match &mut element {
            Element::Batch(_) => self.batches_waiting -= 1,
            Element::Watermark { paid, .. } => *paid = !free,
            _ => {}
        }
        Some(element)
    }

    /// The receiver has given credits back.
    pub fn grant(&mut self, credits: u32) {
        self.credits += credits;
    }

    /// Whether a batch waits for credit: the task takes no new input until it has gone.
    pub fn is_blocked(&self) -> bool {
        self.batches_waiting > 0
    }

    /// Whether everything has gone out.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a barrier or the end waits behind the watermark in front, with at most an idle mark between them.
    fn must_go_ahead(&self) -> bool {
        let mut behind = self.waiting.iter().skip(1).filter(|element| !matches!(element, Element::Idle));
        matches!(behind.next(), Some(Element::Barrier(_) | Element::End))
    }
}

/// The receiving end: how many credits the sender should have, by how fast batches are worked off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReceiveWindow {
    window: u32,
    granted: u32,
}

impl ReceiveWindow {
    /// A channel whose sender starts with `window` credits.
    pub fn new(window: u32) -> Self {
        Self { window, granted: window }
    }

    /// A credit's worth was worked off: how many to give back, so that the sender comes to hold `target`.
    pub fn give_back(&mut self, target: u32) -> u32 {
        let target = target.clamp(1, self.window);
        if self.granted > target {
            self.granted -= 1;
            0
        } else if self.granted < target {
            self.granted += 1;
            2
        } else {
            1
        }
    }
}

/// The rate at which a task works batches off, as a running mean, and the window that follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkRate {
    backlog_max: Duration,
    credits_min: u32,
    channels: u32,
    per_batch: Duration,
}

impl WorkRate {
    /// A rate of a task with this many input channels; fast until measured.
    pub fn new(limits: &Limits, channels: u32) -> Self {
        Self {
            backlog_max: limits.channel_backlog_max,
            credits_min: limits.credits_per_channel_min,
            channels: channels.max(1),
            per_batch: Duration::ZERO,
        }
    }

    /// A batch took this long.
    pub fn measured(&mut self, took: Duration) {
        self.per_batch = (self.per_batch * 7 + took) / 8;
    }

    /// Credits per channel with which all channels together hold no more than the allowed backlog.
    pub fn target(&self) -> u32 {
        let Some(batches) = self.backlog_max.as_nanos().checked_div(self.per_batch.as_nanos()) else {
            return u32::MAX;
        };
        let share = batches / u128::from(self.channels);
        u32::try_from(share).unwrap_or(u32::MAX).max(self.credits_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Barrier, CheckpointId};

    fn barrier(checkpoint: u64) -> Element<u32> {
        Element::Barrier(Barrier { checkpoint: CheckpointId(checkpoint), base: CheckpointId::NONE })
    }

    fn watermark(at: i64, paid: bool) -> Element<u32> {
        Element::Watermark { at, paid }
    }

    fn drain(window: &mut SendWindow<u32>) -> Vec<Element<u32>> {
        std::iter::from_fn(|| window.pop()).collect()
    }

    #[test]
    fn barrier_passes_without_credit_but_not_past_a_waiting_batch() {
        let mut window = SendWindow::new(1);
        window.push(Element::Batch(1));
        window.push(barrier(1));
        window.push(Element::Batch(2));
        window.push(barrier(2));
        assert_eq!(drain(&mut window), [Element::Batch(1), barrier(1)]);
        assert!(window.is_blocked());
        window.grant(1);
        assert_eq!(drain(&mut window), [Element::Batch(2), barrier(2)]);
        assert!(!window.is_blocked() && window.is_empty());
    }

    #[test]
    fn watermark_after_a_batch_is_free() {
        let mut window = SendWindow::new(1);
        window.push(Element::Batch(1));
        window.push(watermark(5, false));
        assert_eq!(drain(&mut window), [Element::Batch(1), watermark(5, false)]);
    }

    #[test]
    fn watermark_without_credit_waits_coalesces_and_goes_ahead_of_a_barrier() {
        let mut window = SendWindow::new(1);
        window.push(watermark(1, false));
        assert_eq!(drain(&mut window), [watermark(1, true)], "costs the only credit");
        window.push(watermark(2, false));
        window.push(watermark(3, false));
        assert_eq!(drain(&mut window), []);
        assert!(!window.is_blocked(), "only batches block a task");
        window.push(barrier(1));
        assert_eq!(drain(&mut window), [watermark(3, false), barrier(1)]);
    }

    #[test]
    fn stream_that_goes_idle_again_and_again_adds_nothing_without_credit() {
        let mut window = SendWindow::new(1);
        window.push(watermark(1, false));
        window.push(Element::Idle);
        assert_eq!(drain(&mut window), [watermark(1, true), Element::Idle]);
        for at in 2..100 {
            window.push(watermark(at, false));
            window.push(Element::Idle);
            window.push(Element::Idle);
        }
        assert_eq!(drain(&mut window), [], "no credit");
        window.push(barrier(1));
        assert_eq!(drain(&mut window), [watermark(99, false), Element::Idle, barrier(1)]);
        window.push(Element::Idle);
        assert_eq!(drain(&mut window), [], "idle is said once");
    }

    #[test]
    fn slow_receiver_shrinks_the_window_and_fast_one_restores_it() {
        let mut window = ReceiveWindow::new(4);
        assert_eq!([window.give_back(2), window.give_back(2), window.give_back(2)], [0, 0, 1]);
        assert_eq!([window.give_back(u32::MAX), window.give_back(u32::MAX), window.give_back(u32::MAX)], [2, 2, 1]);
    }

    #[test]
    fn target_bounds_the_backlog() {
        let limits = Limits::default();
        let mut rate = WorkRate::new(&limits, 4);
        assert_eq!(rate.target(), u32::MAX);
        for _ in 0..100 {
            rate.measured(Duration::from_millis(5));
        }
        assert!((4..=6).contains(&rate.target()), "100 ms / 5 ms / 4 channels is {}", rate.target());
        for _ in 0..100 {
            rate.measured(Duration::from_secs(1));
        }
        assert_eq!(rate.target(), limits.credits_per_channel_min);
    }
}
