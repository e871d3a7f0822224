//! That the suite finds sources which cannot be resumed.

use std::thread;

use millstream_actors::contract::SourceError;

use super::*;
use crate::source::{decode_position, encode_position};

const RECORDS: u64 = 5;

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    IsOneBehind,
    IsOneAhead,
    ReportsOnlyWhatHasMoved,
    IgnoresOwners,
    ReadsOverSplits,
    DoesNotMoveAtTheEnd,
    IsGoneWhenResumed,
}

/// Three splits of five records each. Waits now and then: for a while, or to be woken.
struct Splits(Flaw);

struct SplitsReader {
    flaw: Flaw,
    splits: Vec<(String, u64)>,
    moved: Vec<usize>,
    current: usize,
    reads: u32,
    waker: SourceWaker,
}

impl Source for Splits {
    type Item = (String, u64);

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = Self::Item>>, SourceError> {
        let mut splits: Vec<(String, u64)> = match restored {
            Some(_) if self.0 == Flaw::IsGoneWhenResumed => {
                return Err(SourceError::configuration("they are not there any more"));
            }
            Some(stored) => stored
                .into_iter()
                .map(|stored| Ok((stored.split.clone(), decode_position(&stored)?)))
                .collect::<Result<_, SourceError>>()?,
            None => ["a", "b", "c"].map(|id| (id.to_owned(), 0)).into(),
        };
        if self.0 != Flaw::IgnoresOwners {
            splits.retain(|(id, _)| cx.owns(id));
        }
        let moved = if self.0 == Flaw::ReportsOnlyWhatHasMoved { vec![] } else { (0..splits.len()).collect() };
        let waker = cx.waker.clone();
        Ok(Box::new(SplitsReader { flaw: self.0, splits, moved, current: 0, reads: 0, waker }))
    }

    fn describe_position(&self, position: &[u8]) -> String {
        format!("{position:?}")
    }
}

impl SourceReader for SplitsReader {
    type Item = (String, u64);

    fn read(&mut self, batch: &mut Batch<Self::Item>) -> Result<ReadStatus, SourceError> {
        self.reads += 1;
        if self.reads % 3 == 1 {
            return Ok(ReadStatus::Idle { retry_after: Some(Duration::from_secs(1)) });
        }
        if self.reads % 3 == 2 {
            let waker = self.waker.clone();
            thread::spawn(move || waker.wake());
            return Ok(ReadStatus::Idle { retry_after: None });
        }
        while let Some((id, next)) = self.splits.get_mut(self.current) {
            while !batch.is_full() && *next < RECORDS {
                batch.push((id.clone(), *next), 0);
                *next += 1;
            }
            self.moved.push(self.current);
            self.current += usize::from(*next == RECORDS);
            if self.flaw != Flaw::ReadsOverSplits {
                break;
            }
        }
        Ok(if self.current >= self.splits.len() { ReadStatus::End } else { ReadStatus::More })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        for index in self.moved.drain(..) {
            let (id, next) = &self.splits[index];
            let position = match self.flaw {
                Flaw::IsOneBehind if (1..RECORDS).contains(next) => next - 1,
                Flaw::IsOneAhead if (1..RECORDS).contains(next) => next + 1,
                Flaw::DoesNotMoveAtTheEnd if *next == RECORDS => RECORDS - 1,
                _ => *next,
            };
            moved.push(encode_position(id, &position));
        }
    }
}

fn check(flaw: Flaw) {
    assert_resumes_anywhere(&Splits(flaw), |records| {
        let splits = if flaw == Flaw::IgnoresOwners { records.len() } else { 3 * RECORDS as usize };
        assert_eq!(records.len(), splits);
    });
}

#[test]
fn source_that_waits_and_resumes_anywhere_passes() {
    check(Flaw::None);
}

flaws_are_found! {
    position_that_is_one_behind_is_found: IsOneBehind, "it repeats the last one before the stop";
    position_that_is_one_ahead_is_found: IsOneAhead, "records are lost, repeated or out of order";
    split_that_is_not_reported_is_lost_and_found: ReportsOnlyWhatHasMoved, "or a split that nobody took over";
    split_with_two_owners_is_found: IgnoresOwners, "or a split with two owners";
    read_over_two_splits_is_found: ReadsOverSplits, "several splits";
    position_that_does_not_move_is_found: DoesNotMoveAtTheEnd, "records follow the end";
    source_that_does_not_open_again_is_found: IsGoneWhenResumed, "subtask 0 does not open: ";
}
