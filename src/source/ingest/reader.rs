//! Reads the splits of one subtask, in turn.

use std::collections::{HashMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_actors::contract::{
    Batch, CompletedPositions, ReadStatus, SourceBacklog, SourceContext, SourceError, SourceReader, SplitBacklog,
    SplitPosition, SplitRead,
};
use serde::{Deserialize, Serialize};

use super::batch::{BatchCursor, RecordBatch};
use super::keys::Place;
use super::log::IngestLog;
use super::log_file::SplitRow;
use super::queue::Phase;
use super::{IngestLogError, OffsetReset};
use crate::source::{decode_position, encode_position};

/// Where a split has been read to: the id of the log, the life of the record before, and the offset.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Position(pub(crate) u64, pub(crate) u64, pub(crate) u64);

/// From where a job reads.
pub(crate) struct Start {
    pub(crate) restored: Option<Vec<SplitPosition>>,
    pub(crate) offset_reset: OffsetReset,
}

/// `D` makes a record of its bytes and its place, and takes all of them.
pub(crate) struct IngestReader<T, D> {
    log: Arc<IngestLog>,
    splits: Vec<ReadSplit>,
    /// The split whose turn it is next.
    turn: usize,
    /// The one that the last read was of.
    last: Option<usize>,
    /// By which the log knows it.
    id: u64,
    decode: D,
    records: PhantomData<fn() -> T>,
}

struct ReadSplit {
    number: u32,
    /// Offset of the next record.
    next: u64,
    is_moved: bool,
    /// The same offset, for whoever asks how much waits.
    shown: Arc<AtomicU64>,
    cursor: Option<BatchCursor>,
    /// Behind those of the cursor.
    fetched: VecDeque<Arc<RecordBatch>>,
}

impl<T, D: Fn(&mut &[u8], Place) -> Result<T, String>> IngestReader<T, D> {
    pub(crate) fn open(log: Arc<IngestLog>, cx: &SourceContext, start: Start, decode: D) -> Result<Self, SourceError> {
        let Start { restored, offset_reset } = start;
        let mut positions = HashMap::new();
        for stored in restored.iter().flatten() {
            positions.insert(stored.split.as_str(), decode_position::<Position>(stored)?);
        }
        let mut splits = Vec::new();
        for (number, id) in (0..).zip(&log.splits).filter(|(_, id)| cx.owns(id)) {
            let row = log.published().row(number);
            let next = match check_position(&log, number, positions.get(id.as_str()).copied(), row) {
                Ok(next) => next,
                Err(gap) if offset_reset == OffsetReset::Earliest => {
                    log::warn!(target: "millstream::ingest", "{gap}: reads on from offset {}", row.start);
                    row.start
                }
                Err(gap) => return Err(gap.into()),
            };
            log.askers.reads_anew(number);
            let shown = Arc::new(AtomicU64::new(next));
            splits.push(ReadSplit { number, next, is_moved: true, shown, cursor: None, fetched: VecDeque::new() });
        }
        tell_backlog(&log, cx, &splits);
        let numbers = splits.iter().map(|split| split.number).collect();
        let id = log.published().add_reader(numbers, cx.waker.clone());
        Ok(Self { log, splits, turn: 0, last: None, id, decode, records: PhantomData })
    }

    /// Records of a split, up to the end of what was fetched at once.
    fn read_split(&mut self, place: usize, batch: &mut Batch<T>) -> Result<(), SourceError> {
        let (log, split) = (&self.log, &mut self.splits[place]);
        if split.cursor.is_none() && split.fetched.is_empty() {
            split.fetched = log.batches(split.number, split.next)?.into();
        }
        split.is_moved = true;
        while !batch.is_full() {
            let cursor = match &mut split.cursor {
                Some(cursor) => cursor,
                None => match split.fetched.pop_front() {
                    Some(fetched) => split.cursor.insert(BatchCursor::new(fetched, split.next)),
                    None => break,
                },
            };
            let Some(mut bytes) = cursor.take() else {
                split.cursor = None;
                continue;
            };
            let len = bytes.len();
            let place = Place { split: split.number, offset: split.next };
            let record = (self.decode)(&mut bytes, place).and_then(|record| match bytes.len() {
                0 => Ok(record),
                rest => Err(format!("{rest} bytes follow it")),
            });
            let record = record.map_err(|reason| IngestLogError::Undecodable {
                log: log.name.clone(),
                split: log.splits[split.number as usize].clone(),
                offset: split.next,
                reason,
            })?;
            batch.push(record, len);
            split.next += 1;
        }
        split.shown.store(split.next, Ordering::Relaxed);
        Ok(())
    }

    /// The first split from the one on whose turn it is that has records.
    fn at_hand(&self) -> Option<usize> {
        let published = self.log.published();
        let places = (0..self.splits.len()).map(|offset| (self.turn + offset) % self.splits.len());
        let mut has_more = places.filter(|&place| {
            let split = &self.splits[place];
            split.next < published.row(split.number).end
        });
        has_more.next()
    }
}

/// Says how what waits before this subtask is asked for. What all share, the first subtask tells.
fn tell_backlog(log: &Arc<IngestLog>, cx: &SourceContext, splits: &[ReadSplit]) {
    let shown: Vec<_> = splits.iter().map(|split| (split.number, split.shown.clone())).collect();
    // Who asks need not keep the log.
    let (log, tells_shared) = (Arc::downgrade(log), cx.subtask_index == 0);
    cx.counters.set_backlog(move || {
        let Some(log) = log.upgrade() else { return SourceBacklog::default() };
        let status = log.status();
        let splits = shown.iter().map(|(number, read)| SplitBacklog {
            split: log.splits[*number as usize].clone(),
            durable_offset: status.splits[*number as usize].end,
            read_offset: read.load(Ordering::Relaxed),
        });
        let splits: Vec<_> = splits.collect();
        let pending = splits.iter().map(|split| split.durable_offset.saturating_sub(split.read_offset)).sum();
        SourceBacklog {
            pending_records: Some(pending),
            queued_records: tells_shared.then_some(status.waiting_records as u64),
            queued_bytes: tells_shared.then_some(status.waiting_bytes as u64),
            log_bytes: tells_shared.then_some(status.log_bytes),
            splits,
        }
    });
}

/// Where a split is read on from; a gap if that is not possible.
fn check_position(
    log: &IngestLog,
    number: u32,
    position: Option<Position>,
    row: SplitRow,
) -> Result<u64, IngestLogError> {
    let Some(Position(id, life, position)) = position else {
        return check_position(log, number, Some(log.position(number, 0)), row);
    };
    let (name, split) = (log.name.clone(), log.splits[number as usize].clone());
    if id != log.id {
        Err(IngestLogError::OtherLog { log: name, expected: id, found: log.id })
    } else if position < row.start {
        Err(IngestLogError::Trimmed { log: name, split, position, start: row.start })
    } else if position > row.end {
        Err(IngestLogError::Lost { log: name, split, position, end: row.end })
    } else if let Some(end) = log.lineage.lost_from(number, life, position) {
        Err(IngestLogError::Lost { log: name, split, position, end })
    } else {
        Ok(position)
    }
}

impl<T, D> SourceReader for IngestReader<T, D>
where
    T: Send + 'static,
    D: Fn(&mut &[u8], Place) -> Result<T, String> + Send + 'static,
{
    type Item = T;

    fn read(&mut self, batch: &mut Batch<T>) -> Result<ReadStatus, SourceError> {
        self.last = None;
        // Before it looks for records: none is added once this is so.
        let is_complete = self.splits.is_empty() || self.log.queue.is_complete();
        if let Some(place) = self.at_hand() {
            self.read_split(place, batch)?;
            self.last = Some(place);
            self.turn = (place + 1) % self.splits.len();
        }
        Ok(if self.at_hand().is_some() {
            ReadStatus::More
        } else if is_complete {
            if !self.splits.is_empty() {
                self.log.askers.is_read();
            }
            ReadStatus::End
        } else {
            ReadStatus::Idle { retry_after: None }
        })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        for split in self.splits.iter_mut().filter(|split| split.is_moved) {
            split.is_moved = false;
            moved.push(encode_position(
                &self.log.splits[split.number as usize],
                &self.log.position(split.number, split.next),
            ));
        }
    }

    fn checkpoint_completed(&mut self, completed: &CompletedPositions) -> Result<(), SourceError> {
        let mut reached = HashMap::new();
        for position in &completed.positions {
            reached.insert(position.split.as_str(), decode_position::<Position>(position)?);
        }
        for split in &self.splits {
            if let Some(Position(id, life, offset)) = reached.get(self.log.splits[split.number as usize].as_str())
                && *id == self.log.id
                && self.log.lineage.lost_from(split.number, *life, *offset).is_none()
            {
                self.log.askers.covered(split.number, completed.checkpoint, *offset);
            }
        }
        for needed in completed.oldest_needed.iter().flatten() {
            let Position(id, life, offset) = decode_position(needed)?;
            let split = self.splits.iter().find(|split| self.log.splits[split.number as usize] == needed.split);
            // A checkpoint of before a reset may be of another log, or of what was lost: nothing is known of what is there now.
            let is_passed =
                reached.get(needed.split.as_str()).is_some_and(|Position(of, _, at)| *of == id && *at >= offset);
            let is_there = |number| id == self.log.id && self.log.lineage.lost_from(number, life, offset).is_none();
            if let Some(split) = split.filter(|split| is_passed && is_there(split.number)) {
                self.log.needs_from(split.number, offset);
            }
        }
        Ok(())
    }

    fn reading_stopped(&mut self) {
        self.log.stop(self.id);
    }

    fn finish(&mut self) {
        self.log.go_on_to(Phase::Finishing);
    }

    fn last_read(&self) -> Option<SplitRead<'_>> {
        let split = &self.splits[self.last?];
        Some(SplitRead { split: &self.log.splits[split.number as usize], at_end: false })
    }

    fn concurrent_splits(&self) -> Vec<String> {
        self.splits.iter().map(|split| self.log.splits[split.number as usize].clone()).collect()
    }
}

impl<T, D> Drop for IngestReader<T, D> {
    fn drop(&mut self) {
        self.log.published().remove_reader(self.id);
    }
}
