//! A sink that panics where it is told to, around one that collects.

use std::io;

use millstream::CheckpointId;
use millstream::prelude::*;
use millstream::sink::{
    Batch, PendingCommit, Retry, Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter, Threading,
};

use crate::rig::{Faults, Figure};

pub(crate) struct FaultySink<S = CollectSink<Figure>> {
    pub(crate) inner: S,
    pub(crate) faults: Faults,
    pub(crate) blocking: bool,
}

impl<S: Sink<Item = Figure>> Sink for FaultySink<S> {
    type Item = Figure;

    fn guarantee(&self) -> SinkGuarantee {
        self.inner.guarantee()
    }

    fn threading(&self) -> Threading {
        if self.blocking { Threading::Blocking } else { Threading::Inline }
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = Figure>>, SinkError> {
        self.faults.sink_open.meet("sink open");
        let inner = self.inner.open(cx, restored)?;
        Ok(Box::new(FaultyWriter { inner, faults: self.faults.clone() }))
    }
}

struct FaultyWriter {
    inner: Box<dyn SinkWriter<Item = Figure>>,
    faults: Faults,
}

impl SinkWriter for FaultyWriter {
    type Item = Figure;

    fn write(&mut self, batch: &mut Batch<Figure>) -> Result<(), SinkError> {
        self.faults.sink_write.meet("sink write");
        self.inner.write(batch)
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        let prepared = self.inner.prepare(checkpoint)?;
        // Half-way: prepared, and not said so.
        self.faults.sink_prepare.meet("sink prepare");
        Ok(prepared)
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        if self.faults.sink_commit_fails.strikes() {
            let source = io::Error::other("injected");
            return Err(SinkError::external("figures", source, Retry::Call));
        }
        self.faults.sink_commit.meet("sink commit");
        self.inner.commit(up_to)
    }
}
