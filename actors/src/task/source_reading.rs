//! How a source task reads: inline, or ahead on a thread of the connector's own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use actix::{Message, Recipient};

use crate::contract::{
    Batch, CompletedPositions, Fence, ReadStatus, SideRecord, Source, SourceContext, SourceError, SourceReader,
    SplitPosition, Threading,
};
use crate::protocol::{Mark, OperatorId, ReadRange, TaskError};
use crate::runtime::connector_thread::{self, ConnectorPanicked};
use crate::runtime::guard::ExitSlot;
use crate::runtime::order_queue::{OrderReceiver, OrderSender, order_queue};

/// What one read found, with the positions after it.
pub(crate) struct ReadResult<T> {
    pub(crate) batch: Box<Batch<T>>,
    pub(crate) side: Vec<SideRecord>,
    /// Behind the records.
    pub(crate) marks: Vec<Mark>,
    /// They say when the stream is idle.
    pub(crate) tells_idleness: bool,
    pub(crate) moved: Moved,
    pub(crate) status: ReadStatus,
}

impl<T: 'static> ReadResult<T> {
    /// What there is to know behind a read.
    pub(crate) fn of(
        reader: &mut dyn SourceReader<Item = T>,
        batch: Box<Batch<T>>,
        moved: Moved,
        status: ReadStatus,
    ) -> Self {
        let (side, marks) = (reader.take_side_records(), reader.take_marks());
        Self { batch, side, marks, tells_idleness: reader.tells_idleness(), moved, status }
    }
}

/// From the connector's thread: the reader is open, or a read has returned.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum ReaderEvent<T: Send + 'static> {
    /// The reader is open, at these positions.
    Opened(Moved),
    /// A read.
    Read(ReadResult<T>),
    /// Opening or reading failed.
    Failed(SourceError),
}

/// To a reader's thread.
enum ReaderOrder<T> {
    /// Fill this batch.
    Read(Box<Batch<T>>),
    /// A checkpoint is complete.
    Completed(CompletedPositions),
    /// Nothing is read any more.
    Ended,
    /// Nothing more is read in this attempt.
    Stopped,
    /// Come to an end.
    Finish,
}

/// The reader of a source task.
pub(crate) enum Reading<T> {
    /// Called on the arbiter.
    Inline { reader: Box<dyn SourceReader<Item = T>>, spare: Box<Batch<T>> },
    /// Called on a thread of its own.
    Ahead(ReadAhead<T>),
}

impl<T: 'static> Reading<T> {
    /// What is read now, at most `records` records, or was read ahead; `None` if the connector's thread is behind.
    pub(crate) fn next(&mut self, records: usize) -> Result<Option<ReadResult<T>>, SourceError> {
        match self {
            Self::Inline { reader, spare } => {
                let mut batch = std::mem::take(spare);
                batch.limit_to(records);
                let status = reader.read(&mut batch)?;
                Ok(Some(ReadResult::of(&mut **reader, batch, Moved::default(), status)))
            }
            Self::Ahead(ahead) => Ok(ahead.take()),
        }
    }

    /// Tells the reader that nothing is read any more.
    pub(crate) fn ended(&mut self) {
        match self {
            Self::Inline { reader, .. } => reader.input_ended(),
            Self::Ahead(ahead) => ahead.orders.send(ReaderOrder::Ended),
        }
    }

    /// Tells the reader that nothing more is read in this attempt.
    pub(crate) fn stopped(&mut self) {
        match self {
            Self::Inline { reader, .. } => reader.reading_stopped(),
            Self::Ahead(ahead) => ahead.orders.send(ReaderOrder::Stopped),
        }
    }

    /// Tells the reader to come to an end.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Inline { reader, .. } => reader.finish(),
            Self::Ahead(ahead) => ahead.orders.send(ReaderOrder::Finish),
        }
    }
}

/// A reader that reads ahead on its thread whenever it is given a batch to fill.
pub(crate) struct ReadAhead<T> {
    /// Dropping it ends the thread.
    orders: OrderSender<ReaderOrder<T>>,
    /// Batches that the thread has, or has filled and which were not taken.
    under_way: usize,
    arrived: VecDeque<ReadResult<T>>,
}

impl<T> ReadAhead<T> {
    /// Lets the thread read until this many batches, each of at most `records` records, are under way. A thread that has ended
    /// says why by itself.
    pub(crate) fn refill(&mut self, batches: usize, records: usize) {
        while self.under_way < batches {
            self.give(Box::default(), records);
        }
    }

    /// Lets the thread fill this batch with at most `records` records.
    pub(crate) fn give(&mut self, mut batch: Box<Batch<T>>, records: usize) {
        batch.limit_to(records);
        self.under_way += 1;
        self.orders.send(ReaderOrder::Read(batch));
    }

    /// Lets the thread tell its reader.
    pub(crate) fn completed(&self, completed: CompletedPositions) {
        self.orders.send(ReaderOrder::Completed(completed));
    }

    /// A read has returned.
    pub(crate) fn arrive(&mut self, read: ReadResult<T>) {
        self.arrived.push_back(read);
    }

    /// The oldest read that has returned.
    pub(crate) fn take(&mut self) -> Option<ReadResult<T>> {
        let read = self.arrived.pop_front()?;
        self.under_way -= 1;
        Some(read)
    }

    /// Whether the thread has nothing to do and everything was taken.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.under_way == 0
    }
}

/// Where a reader on a thread reports.
pub(crate) struct ReaderReports<T: Send + 'static> {
    pub(crate) events: Recipient<ReaderEvent<T>>,
    pub(crate) panicked: Recipient<ConnectorPanicked>,
}

/// Opens the reader; for a blocking source it is open when [`ReaderEvent::Opened`] arrives.
pub(crate) fn open<S: Source>(
    source: &Arc<S>,
    cx: SourceContext,
    restored: Option<Vec<SplitPosition>>,
    (fence, exit): (&Fence, &ExitSlot),
    reports: ReaderReports<S::Item>,
) -> Result<Reading<S::Item>, TaskError> {
    match source.threading() {
        Threading::Inline => Ok(Reading::Inline { reader: source.open(&cx, restored)?, spare: Box::default() }),
        Threading::Blocking => {
            let (orders, received) = order_queue(fence);
            let (source, name) = (source.clone(), format!("{}-{}", cx.operator, cx.subtask_index));
            connector_thread::spawn(name, exit.clone(), reports.panicked, move || {
                let ended = source.open(&cx, restored).and_then(|mut reader| {
                    reports.events.do_send(ReaderEvent::Opened(moved_of(&mut *reader)));
                    read_ahead(&mut *reader, &received, &reports.events)
                });
                if let Err(error) = ended {
                    reports.events.do_send(ReaderEvent::Failed(error));
                }
            })?;
            Ok(Reading::Ahead(ReadAhead { orders, under_way: 0, arrived: VecDeque::new() }))
        }
    }
}

fn read_ahead<T: Send + 'static>(
    reader: &mut dyn SourceReader<Item = T>,
    orders: &OrderReceiver<ReaderOrder<T>>,
    events: &Recipient<ReaderEvent<T>>,
) -> Result<(), SourceError> {
    let mut has_ended = false;
    while let Some(order) = orders.recv() {
        match order {
            ReaderOrder::Completed(completed) => reader.checkpoint_completed(&completed)?,
            ReaderOrder::Ended => reader.input_ended(),
            ReaderOrder::Stopped => reader.reading_stopped(),
            ReaderOrder::Finish => reader.finish(),
            ReaderOrder::Read(_) if has_ended => {}
            ReaderOrder::Read(mut batch) => {
                let status = reader.read(&mut batch)?;
                let moved = moved_of(reader);
                events.do_send(ReaderEvent::Read(ReadResult::of(reader, batch, moved, status)));
                has_ended = status == ReadStatus::End;
            }
        }
    }
    Ok(())
}

/// What has become of the splits of a reader since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// Where those are that have moved.
    pub(crate) positions: Vec<SplitPosition>,
    /// Those that are no longer part of the input.
    forgotten: Vec<String>,
}

/// Asks a reader what has become of its splits since it was asked last.
pub(crate) fn moved_of<T: 'static>(reader: &mut dyn SourceReader<Item = T>) -> Moved {
    let mut positions = Vec::new();
    reader.report_positions(&mut positions);
    Moved { positions, forgotten: reader.take_forgotten() }
}

/// The positions of all splits of a subtask, as of the last record handed to the pipeline.
#[derive(Debug, Default)]
pub(crate) struct Positions(BTreeMap<String, SplitPosition>);

impl Positions {
    pub(crate) fn update(&mut self, moved: Moved) {
        for split in moved.forgotten {
            self.0.remove(&split);
        }
        self.0.extend(moved.positions.into_iter().map(|position| (position.split.clone(), position)));
    }

    /// Says, when it is asked, which parts of splits were read from these positions to where they have moved.
    pub(crate) fn ranges_to<S: Source>(
        &self,
        moved: &[SplitPosition],
        source: &Arc<S>,
        id: &OperatorId,
    ) -> impl Fn() -> Vec<ReadRange> + Send + 'static + use<S> {
        let ranges: Vec<_> =
            moved.iter().map(|to| (self.0.get(&to.split).map(|from| from.position.clone()), to.clone())).collect();
        let (source, id) = (source.clone(), id.clone());
        move || {
            let ranges = ranges.iter().map(|(from, to)| ReadRange {
                source: id.clone(),
                split: to.split.clone(),
                from: from.as_ref().map(|from| source.describe_position(from)),
                to: source.describe_position(&to.position),
            });
            ranges.collect()
        }
    }

    /// That of a split.
    pub(crate) fn of(&self, split: &str) -> Option<&[u8]> {
        self.0.get(split).map(|position| &*position.position)
    }

    pub(crate) fn to_list(&self) -> Vec<SplitPosition> {
        self.0.values().cloned().collect()
    }
}
