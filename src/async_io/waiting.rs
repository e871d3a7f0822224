//! What waits for answers in one subtask, and what of it may leave. After Flink's `OrderedStreamElementQueue` and
//! `UnorderedStreamElementQueue`.

use std::collections::{BTreeMap, VecDeque};

use millstream_actors::contract::Held;
use millstream_actors::protocol::{Mark, Timestamp};

/// A record that waits, and what goes with its answer.
#[derive(Clone, Debug)]
pub(super) struct Record<T> {
    pub(super) record: T,
    /// Its event time, or [`NO_TIME`](millstream_actors::protocol::NO_TIME).
    pub(super) time: Timestamp,
    /// How many bytes of its batch it counts for.
    pub(super) bytes: usize,
}

/// What leaves.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leaving<U> {
    Answer { answer: U, time: Timestamp, bytes: usize },
    Mark(Mark),
}

/// Records by the order of their coming, and the marks between them. A record is asked for, is answered, and leaves; it may be asked
/// for only once all before it are.
#[derive(Debug)]
pub(super) struct Waiting<T, U> {
    is_ordered: bool,
    /// The number of the next record to come.
    next: u64,
    asked: BTreeMap<u64, Asked<T, U>>,
    /// Behind all that are asked for.
    unasked: VecDeque<Record<T>>,
    unasked_bytes: usize,
    /// Each with the number of the first record behind it. A mark without a record before it may leave.
    marks: VecDeque<(u64, Mark)>,
    /// If answers need not leave in order: those that have no mark before them, in the order of their coming.
    ready: VecDeque<u64>,
}

#[derive(Debug)]
struct Asked<T, U> {
    record: Record<T>,
    answer: Option<U>,
}

impl<T, U> Waiting<T, U> {
    pub(super) fn new(is_ordered: bool) -> Self {
        let (asked, unasked, marks, ready) = (BTreeMap::new(), VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { is_ordered, next: 0, asked, unasked, unasked_bytes: 0, marks, ready }
    }

    /// A record has come: the stream is not idle, also if it was said before and is held back.
    pub(super) fn push(&mut self, record: Record<T>) {
        if self.marks.back() == Some(&(self.next, Mark::Idle)) {
            self.marks.pop_back();
        }
        self.unasked_bytes += record.bytes;
        self.unasked.push_back(record);
        self.next += 1;
    }

    /// A mark has come. Where no record has come since the one before, only what is true still is kept.
    pub(super) fn mark(&mut self, mark: Mark) {
        if let Mark::Milestone(_) = mark {
            // It waits for the records alone, so other marks may stay next to each other.
            let place = self.marks.partition_point(|(before, _)| *before < self.next);
            match self.marks.get_mut(place) {
                Some((_, waiting @ Mark::Milestone(_))) => *waiting = mark,
                _ => self.marks.insert(place, (self.next, mark)),
            }
            return;
        }
        while let Some((_, last)) = self.marks.back().filter(|(before, _)| *before == self.next) {
            match (last, mark) {
                (Mark::Watermark(_) | Mark::Idle, Mark::Watermark(_)) => self.marks.pop_back(),
                (Mark::Idle, Mark::Idle) => return,
                _ => break,
            };
        }
        self.marks.push_back((self.next, mark));
    }

    /// How many records are asked for and have not left.
    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// How many records are not asked for yet, and their bytes.
    pub(super) fn unasked(&self) -> (usize, usize) {
        (self.unasked.len(), self.unasked_bytes)
    }

    /// How many records have left: of the first, and of all; and how many have come.
    pub(super) fn held(&self) -> Held {
        let waiting = (self.asked.len() + self.unasked.len()) as u64;
        Held { done_in_a_row: self.first(), done: self.next - waiting, of: self.next }
    }

    fn first(&self) -> u64 {
        let asked = self.asked.first_key_value().map(|(first, _)| *first);
        asked.unwrap_or(self.next - self.unasked.len() as u64)
    }

    /// The next record is asked for: its number.
    pub(super) fn ask(&mut self) -> Option<u64> {
        let number = self.next - self.unasked.len() as u64;
        let record = self.unasked.pop_front()?;
        self.unasked_bytes -= record.bytes;
        self.asked.insert(number, Asked { record, answer: None });
        Some(number)
    }

    /// A record that is asked for and is not answered.
    pub(super) fn unanswered(&self, number: u64) -> Option<&T> {
        self.asked.get(&number).filter(|asked| asked.answer.is_none()).map(|asked| &asked.record.record)
    }

    /// The answer for a record that is asked for and is not answered.
    pub(super) fn answer(&mut self, number: u64, answer: U) {
        let asked = self.asked.get_mut(&number).expect("what is answered is asked for");
        let answered_before = asked.answer.replace(answer).is_some();
        assert!(!answered_before, "record {number} is answered twice");
        if !self.is_ordered && self.marks.front().is_none_or(|(before, _)| number < *before) {
            self.ready.push_back(number);
        }
    }

    /// Takes what may leave next.
    pub(super) fn leave(&mut self) -> Option<Leaving<U>> {
        let first = self.first();
        if let Some((_, mark)) = self.marks.front().copied().filter(|(before, _)| *before <= first) {
            self.marks.pop_front();
            self.make_ready(first);
            return Some(Leaving::Mark(mark));
        }
        let number = if self.is_ordered { Some(first) } else { self.ready.pop_front() };
        let asked = self.asked.remove(&number?)?;
        let Some(answer) = asked.answer else {
            self.asked.insert(first, asked);
            return None;
        };
        let Record { time, bytes, .. } = asked.record;
        Some(Leaving::Answer { answer, time, bytes })
    }

    /// A mark has left, and these records have none before them now, up to the next one.
    fn make_ready(&mut self, first: u64) {
        if !self.is_ordered {
            let end = self.marks.front().map_or(u64::MAX, |(before, _)| *before);
            let answered = self.asked.range(first..end).filter(|(_, asked)| asked.answer.is_some());
            self.ready.extend(answered.map(|(number, _)| *number));
        }
    }

    /// All records that have not left, in the order of their coming.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record<T>> {
        self.asked.values().map(|asked| &asked.record).chain(&self.unasked)
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::protocol::{Milestone, NO_TIME};

    use super::*;

    fn waiting(is_ordered: bool, records: u64) -> Waiting<u64, u64> {
        let mut waiting = Waiting::new(is_ordered);
        push(&mut waiting, records);
        waiting
    }

    fn push(waiting: &mut Waiting<u64, u64>, records: u64) {
        for _ in 0..records {
            let record = waiting.next;
            waiting.push(Record { record, time: NO_TIME, bytes: 0 });
            waiting.ask();
        }
    }

    /// What leaves: the numbers of records, and marks as errors.
    fn left(waiting: &mut Waiting<u64, u64>) -> Vec<Result<u64, Mark>> {
        let leaving = std::iter::from_fn(|| waiting.leave()).map(|leaving| match leaving {
            Leaving::Answer { answer, .. } => Ok(answer),
            Leaving::Mark(mark) => Err(mark),
        });
        leaving.collect()
    }

    fn answer(waiting: &mut Waiting<u64, u64>, numbers: &[u64]) {
        numbers.iter().for_each(|number| waiting.answer(*number, *number));
    }

    const M: Mark = Mark::Milestone(Milestone(3));
    const W: Mark = Mark::Watermark(7);

    #[test]
    fn ordered_answers_leave_in_the_order_of_their_records() {
        let mut waiting = waiting(true, 3);
        answer(&mut waiting, &[2, 1]);
        assert_eq!((left(&mut waiting), waiting.asked()), (vec![], 3));
        answer(&mut waiting, &[0]);
        assert_eq!((left(&mut waiting), waiting.asked()), (vec![Ok(0), Ok(1), Ok(2)], 0));
    }

    #[test]
    fn unordered_answers_leave_as_they_come_and_pass_no_mark() {
        let mut waiting = waiting(false, 3);
        waiting.mark(W);
        push(&mut waiting, 3);
        answer(&mut waiting, &[5, 2, 3, 1]);
        assert_eq!(left(&mut waiting), [Ok(2), Ok(1)]);
        answer(&mut waiting, &[0]);
        assert_eq!(left(&mut waiting), [Ok(0), Err(W), Ok(3), Ok(5)]);
        answer(&mut waiting, &[4]);
        assert_eq!(left(&mut waiting), [Ok(4)]);
    }

    #[test]
    fn mark_without_a_record_before_it_leaves_at_once_and_one_behind_an_unasked_record_does_not() {
        for is_ordered in [true, false] {
            let mut waiting = waiting(is_ordered, 0);
            waiting.mark(W);
            assert_eq!(left(&mut waiting), [Err(W)]);
            waiting.push(Record { record: 0, time: NO_TIME, bytes: 0 });
            waiting.mark(Mark::End);
            assert_eq!(left(&mut waiting), []);
            assert_eq!((waiting.ask(), waiting.ask()), (Some(0), None));
            answer(&mut waiting, &[0]);
            assert_eq!(left(&mut waiting), [Ok(0), Err(Mark::End)]);
        }
    }

    #[test]
    fn marks_that_meet_are_kept_as_far_as_they_are_true() {
        let mut waiting = waiting(true, 1);
        for mark in [Mark::Watermark(1), Mark::Watermark(2), Mark::Idle, Mark::Idle, Mark::Watermark(3), Mark::Idle] {
            waiting.mark(mark);
        }
        waiting.mark(Mark::End);
        assert_eq!(waiting.marks.len(), 3);
        answer(&mut waiting, &[0]);
        assert_eq!(left(&mut waiting), [Ok(0), Err(Mark::Watermark(3)), Err(Mark::Idle), Err(Mark::End)]);
    }

    #[test]
    fn milestone_waits_for_the_records_before_it_and_parts_no_other_marks() {
        for is_ordered in [true, false] {
            let mut waiting = waiting(is_ordered, 1);
            for mark in
                [Mark::Watermark(1), M, Mark::Watermark(2), Mark::Idle, Mark::Milestone(Milestone(4)), W, Mark::Idle]
            {
                waiting.mark(mark);
            }
            push(&mut waiting, 1);
            answer(&mut waiting, &[1]);
            assert_eq!(left(&mut waiting), []);
            answer(&mut waiting, &[0]);
            assert_eq!(left(&mut waiting), [Ok(0), Err(Mark::Milestone(Milestone(4))), Err(W), Ok(1)]);
        }
    }

    #[test]
    fn stream_that_was_idle_is_not_said_to_be_when_a_record_has_come() {
        let mut waiting = waiting(true, 1);
        waiting.mark(W);
        waiting.mark(Mark::Idle);
        push(&mut waiting, 1);
        answer(&mut waiting, &[0]);
        assert_eq!(left(&mut waiting), [Ok(0), Err(W)]);
        waiting.mark(Mark::Idle);
        answer(&mut waiting, &[1]);
        assert_eq!(left(&mut waiting), [Ok(1), Err(Mark::Idle)]);
    }

    #[test]
    fn records_that_have_not_left_are_told_in_the_order_of_their_coming() {
        let mut waiting = waiting(false, 4);
        waiting.push(Record { record: 4, time: NO_TIME, bytes: 0 });
        answer(&mut waiting, &[2, 0]);
        assert_eq!(waiting.leave(), Some(Leaving::Answer { answer: 2, time: NO_TIME, bytes: 0 }));
        assert_eq!(waiting.records().map(|record| record.record).collect::<Vec<_>>(), [0, 1, 3, 4]);
        assert_eq!((waiting.unanswered(0), waiting.unanswered(1), waiting.unanswered(2)), (None, Some(&1), None));
    }
}
