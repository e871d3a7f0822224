//! Credits: how much may be under way on one channel, on both of its ends.
//!
//! A mailbox bounds nothing, so each channel counts. Batches cost a credit; barriers and ends never do; a watermark
//! right after a batch is free, and so is one that a barrier or the end follows; any other costs a credit and waits for
//! one, and a later one takes its place. An idle mark is free, but is sent once until the stream is active again, and
//! waits behind a watermark that waits: a stream that goes to and fro between both floods nobody. A milestone is free, waits for the
//! records before it alone, and takes the place of one that waits, here and at the receiver.
//!
//! With each credit the receiver says how many records a batch may have. What is larger is cut as it goes out, so that the
//! receiver has no more before it than it works off soon, however much was gathered for it.

use std::collections::VecDeque;

use super::work_rate::{Grant, RECORDS_AT_FIRST};
use super::{Element, Milestone};

/// Credits of a sender whose receiver has worked nothing off yet: one batch is worked on while the next is on its way.
const CREDITS_AT_FIRST: u32 = 2;

/// A batch as a channel sees it: a number of records, in order.
pub trait Portion: Sized {
    /// Number of records.
    fn records(&self) -> usize;

    /// Moves the first `records` records, which are fewer than all, into `to`, which is empty.
    fn cut(&mut self, records: usize, to: &mut Self);
}

/// The sending end: what may go out now, and what must wait.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SendWindow<B> {
    credits: u32,
    /// Most records of a batch.
    records_max: u32,
    waiting: VecDeque<Element<B>>,
    batches_waiting: u32,
    after_batch: bool,
    /// The last mark of a stream's activity that was queued said idle.
    is_idle: bool,
}

impl<B: Portion> SendWindow<B> {
    /// The window of a channel that may come to hold this many batches.
    pub fn new(window: u32) -> Self {
        Self {
            credits: window.min(CREDITS_AT_FIRST),
            records_max: RECORDS_AT_FIRST,
            waiting: VecDeque::new(),
            batches_waiting: 0,
            after_batch: false,
            is_idle: false,
        }
    }

    /// Batches that may go out before another credit comes.
    pub fn credits(&self) -> u32 {
        self.credits
    }

    /// Most records of a batch that goes out.
    pub fn records_max(&self) -> usize {
        self.records_max as usize
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
            Element::Milestone(milestone) => return self.push_milestone(*milestone),
            Element::Idle | Element::Barrier(_) | Element::End => {}
        }
        match element {
            Element::Batch(_) | Element::Watermark { .. } => self.is_idle = false,
            Element::Idle => self.is_idle = true,
            Element::Milestone(_) | Element::Barrier(_) | Element::End => {}
        }
        self.waiting.push_back(element);
    }

    /// Behind all records, and ahead of what is said of event time, which may have to wait for credit.
    fn push_milestone(&mut self, milestone: Milestone) {
        let is_of_time = |element: &Element<B>| matches!(element, Element::Watermark { .. } | Element::Idle);
        let place = self.waiting.iter().rposition(|element| !is_of_time(element)).map_or(0, |last| last + 1);
        match place.checked_sub(1).and_then(|before| self.waiting.get_mut(before)) {
            Some(Element::Milestone(waiting)) => *waiting = milestone.max(*waiting),
            _ => self.waiting.insert(place, Element::Milestone(milestone)),
        }
    }

    /// The next element that may go out, in order. Of a batch that is too large its first records, in the batch that `spare`
    /// gives.
    pub fn pop(&mut self, spare: impl FnOnce() -> B) -> Option<Element<B>> {
        let free = match self.waiting.front()? {
            Element::Batch(_) => false,
            Element::Watermark { .. } => self.after_batch || self.must_go_ahead(),
            Element::Idle | Element::Milestone(_) | Element::Barrier(_) | Element::End => true,
        };
        if !free {
            self.credits = self.credits.checked_sub(1)?;
        }
        let records_max = self.records_max();
        if let Some(Element::Batch(batch)) = self.waiting.front_mut()
            && batch.records() > records_max
        {
            let mut piece = spare();
            batch.cut(records_max, &mut piece);
            self.after_batch = true;
            return Some(Element::Batch(piece));
        }
        let mut element = self.waiting.pop_front()?;
        if !matches!(element, Element::Milestone(_)) {
            self.after_batch = matches!(element, Element::Batch(_));
        }
        match &mut element {
            Element::Batch(_) => self.batches_waiting -= 1,
            Element::Watermark { paid, .. } => *paid = !free,
            _ => {}
        }
        Some(element)
    }

    /// The receiver has given credits back, and says how many records batches may have from now on.
    pub fn grant(&mut self, grant: Grant) {
        self.credits += grant.credits;
        self.records_max = grant.records.max(1);
    }

    /// Batches that wait for credit, one that was cut among them.
    pub fn batches_waiting(&self) -> u32 {
        self.batches_waiting
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

/// The receiving end: what the sender should have, by how fast batches are worked off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReceiveWindow {
    window: u32,
    granted: u32,
    /// Records that may be under way at most: twice what was worked off since they were fewest.
    reach: u32,
}

impl ReceiveWindow {
    /// A channel that may come to hold `window` batches.
    pub fn new(window: u32) -> Self {
        let granted = window.min(CREDITS_AT_FIRST);
        Self { window, granted, reach: granted * RECORDS_AT_FIRST }
    }

    /// A credit's worth of so many records was worked off: the credits to give back, so that the sender comes to hold those
    /// of `target` or what a slow start allows, and the records that its batches may have.
    pub fn give_back(&mut self, target: Grant, worked_off: usize) -> Grant {
        let (credits, records) = (target.credits.clamp(1, self.window), target.records.max(1));
        let worked_off = u32::try_from(worked_off).unwrap_or(u32::MAX);
        self.reach = self.reach.saturating_add(worked_off).min(credits.saturating_mul(records));
        let records = records.min((self.reach / credits.min(CREDITS_AT_FIRST)).max(1));
        let credits = credits.min((self.reach / records).max(1));
        if self.granted > credits {
            self.granted -= 1;
            return Grant { credits: 0, records };
        }
        let given = credits - self.granted + 1;
        self.granted = credits;
        Grant { credits: given, records }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Barrier, CheckpointId};

    impl Portion for Vec<u32> {
        fn records(&self) -> usize {
            self.len()
        }

        fn cut(&mut self, records: usize, to: &mut Self) {
            to.extend(self.drain(..records));
        }
    }

    fn batch<const N: usize>(records: [u32; N]) -> Element<Vec<u32>> {
        Element::Batch(records.to_vec())
    }

    fn credits(credits: u32) -> Grant {
        Grant { credits, records: 1024 }
    }

    fn barrier(checkpoint: u64) -> Element<Vec<u32>> {
        Element::Barrier(Barrier { checkpoint: CheckpointId(checkpoint), base: CheckpointId::NONE })
    }

    fn watermark(at: i64, paid: bool) -> Element<Vec<u32>> {
        Element::Watermark { at, paid }
    }

    fn drain(window: &mut SendWindow<Vec<u32>>) -> Vec<Element<Vec<u32>>> {
        std::iter::from_fn(|| window.pop(Vec::new)).collect()
    }

    #[test]
    fn barrier_passes_without_credit_but_not_past_a_waiting_batch() {
        let mut window = SendWindow::new(1);
        window.push(batch([1]));
        window.push(barrier(1));
        window.push(batch([2]));
        window.push(barrier(2));
        assert_eq!(drain(&mut window), [batch([1]), barrier(1)]);
        assert!(window.is_blocked());
        window.grant(credits(1));
        assert_eq!(drain(&mut window), [batch([2]), barrier(2)]);
        assert!(!window.is_blocked() && window.is_empty());
    }

    #[test]
    fn watermark_after_a_batch_is_free() {
        let mut window = SendWindow::new(1);
        window.push(batch([1]));
        window.push(watermark(5, false));
        assert_eq!(drain(&mut window), [batch([1]), watermark(5, false)]);
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
    fn batch_goes_out_in_pieces_as_large_as_the_receiver_takes_and_the_barrier_behind_them() {
        let mut window = SendWindow::new(2);
        window.push(batch([1, 2, 3, 4, 5]));
        window.push(watermark(7, false));
        window.push(barrier(1));
        assert_eq!(drain(&mut window), [batch([1]), batch([2])], "nothing is known of the receiver");
        window.grant(Grant { credits: 1, records: 2 });
        assert_eq!(drain(&mut window), [batch([3, 4])]);
        assert!(window.is_blocked());
        window.grant(Grant { credits: 2, records: 2 });
        assert_eq!(drain(&mut window), [batch([5]), watermark(7, false), barrier(1)], "the watermark is free");
        assert_eq!((window.credits(), window.is_blocked()), (1, false));
    }

    #[test]
    fn milestone_waits_for_records_alone_and_takes_the_place_of_one_that_waits() {
        let milestone = |number| Element::Milestone(Milestone(number));
        let mut window = SendWindow::new(2);
        window.grant(Grant { credits: 0, records: 9 });
        for element in [batch([1]), milestone(1), watermark(3, false), batch([2]), watermark(5, false)] {
            window.push(element);
        }
        let sent = [batch([1]), milestone(1), watermark(3, false), batch([2]), watermark(5, false)];
        assert_eq!(drain(&mut window), sent, "the watermark behind a batch is free, milestone or not");
        for element in [watermark(6, false), milestone(2), Element::Idle, milestone(3), batch([3]), milestone(4)] {
            window.push(element);
        }
        assert_eq!(drain(&mut window), [milestone(3)], "the watermark waits for credit");
        for element in [watermark(8, false), milestone(5), barrier(1)] {
            window.push(element);
        }
        window.grant(Grant { credits: 2, records: 9 });
        let sent = [watermark(6, true), Element::Idle, batch([3]), milestone(5), watermark(8, false), barrier(1)];
        assert_eq!(drain(&mut window), sent);
    }

    /// What the sender holds and may put into a batch, after each of these batches was worked off.
    fn granted(window: &mut ReceiveWindow, target: Grant, batches: &[usize]) -> Vec<(u32, u32)> {
        let after = |&records: &usize| {
            let Grant { records, .. } = window.give_back(target, records);
            (window.granted, records)
        };
        batches.iter().map(after).collect()
    }

    #[test]
    fn sender_may_have_as_much_more_under_way_as_was_worked_off() {
        let mut window = ReceiveWindow::new(64);
        let fast = Grant { credits: u32::MAX, records: 1024 };
        assert_eq!(granted(&mut window, fast, &[1, 1, 1, 1]), [(3, 1), (2, 2), (2, 2), (2, 3)]);
        let mut batches = 0;
        while window.granted < 64 {
            let size = window.give_back(fast, 0).records as usize;
            window.give_back(fast, size);
            batches += 1;
        }
        assert!(batches < 100, "{batches} batches until all is granted");
        assert_eq!(window.give_back(fast, 1024), credits(1));
    }

    #[test]
    fn slow_receiver_shrinks_the_window_and_leaves_the_sender_one_record() {
        let mut window = ReceiveWindow::new(4);
        window.give_back(Grant { credits: 4, records: 10 }, 1000);
        assert_eq!(window.granted, 4);
        let slow = Grant { credits: 2, records: 10 };
        assert_eq!(granted(&mut window, slow, &[10, 10, 10]), [(3, 10), (2, 10), (2, 10)]);
        let slower = Grant { credits: 0, records: 0 };
        assert_eq!(granted(&mut window, slower, &[10, 1, 1]), [(1, 1), (1, 1), (1, 1)]);
        assert_eq!(window.give_back(slower, 1), Grant { credits: 1, records: 1 });
        let fast = Grant { credits: 4, records: 10 };
        assert_eq!(granted(&mut window, fast, &[1, 2, 3]), [(2, 1), (2, 2), (2, 3)], "a slow start again");
    }
}
