//! A source that waits half-way until it is told to go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition, Threading,
};
use tokio::sync::watch;

use crate::rig::{Faults, GATE_AT, RECORDS};

const SPLIT: &str = "numbers";
const BATCH: u64 = 100;
/// A source that pauses finds nothing here, for [`PAUSE`].
const PAUSE_AT: u64 = 700;
/// Unlike any other delay of the job, so that a clock can tell it from them.
pub(crate) const PAUSE: Duration = Duration::from_nanos(1_000_007);

/// Holds a source at [`GATE_AT`] until it is opened. Clones are one gate.
#[derive(Clone)]
pub(crate) struct Gate {
    is_open: watch::Sender<bool>,
    is_reached: watch::Sender<bool>,
    waker: Arc<Mutex<Option<SourceWaker>>>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { is_open: watch::Sender::new(false), is_reached: watch::Sender::new(false), waker: Arc::default() }
    }
}

impl Gate {
    /// Lets the source pass from now on.
    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
        let waker = self.waker.lock().expect("no panic under the lock").clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Resolves once the source has come to the gate, since it was opened last.
    pub(crate) async fn reached(&self) {
        self.is_reached.subscribe().wait_for(|reached| *reached).await.expect("the sender is here");
    }
}

/// The numbers below [`RECORDS`] on one subtask.
pub(crate) struct GatedSource {
    pub(crate) gate: Gate,
    pub(crate) faults: Faults,
    pub(crate) blocking: bool,
    pub(crate) pauses: bool,
}

impl Source for GatedSource {
    type Item = u64;

    fn threading(&self) -> Threading {
        if self.blocking { Threading::Blocking } else { Threading::Inline }
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        self.faults.source_open.meet("source open");
        *self.gate.waker.lock().expect("no panic under the lock") = Some(cx.waker.clone());
        self.gate.is_reached.send_replace(false);
        let restored = restored.into_iter().flatten().next();
        let next = restored.map_or(0, |split| u64::from_le_bytes(split.position.try_into().expect("eight bytes")));
        let (gate, faults, pauses) = (self.gate.clone(), self.faults.clone(), self.pauses);
        Ok(Box::new(GatedReader { gate, faults, pauses, next }))
    }
}

struct GatedReader {
    gate: Gate,
    faults: Faults,
    pauses: bool,
    next: u64,
}

impl SourceReader for GatedReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        if self.next >= RECORDS {
            return Ok(ReadStatus::End);
        }
        if self.next == GATE_AT && !*self.gate.is_open.borrow() {
            self.gate.is_reached.send_replace(true);
            return Ok(ReadStatus::Idle { retry_after: None });
        }
        if self.next == PAUSE_AT && std::mem::take(&mut self.pauses) {
            return Ok(ReadStatus::Idle { retry_after: Some(PAUSE) });
        }
        (self.next..self.next + BATCH).for_each(|x| batch.push(x, 8));
        self.next += BATCH;
        // With records in hand: they must not be lost, nor read twice.
        self.faults.source_read.meet("source read");
        Ok(if self.next < RECORDS { ReadStatus::More } else { ReadStatus::End })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition::new(SPLIT, self.next.to_le_bytes()));
    }
}
