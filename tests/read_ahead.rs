//! A blocking source whose reads find nothing, and then something.
//!
//! Cause of the defect: four reads are under way at once. One that found nothing had the task give out no more reads
//! until the rest had come back; when these did find records, none said that there was nothing, so no timer was set
//! and no read given out: the source was never read again. Repair: a read that finds records has reading go on.

use std::time::Duration;

use millstream::StreamEnvironment;
use millstream::sink::CollectSink;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SplitPosition, Threading,
};

/// Hands out `0..RECORDS`, one with each read; reads whose number is divisible by seven find nothing.
struct Halting;

const RECORDS: u64 = 100;

struct HaltingReader {
    reads: u64,
    next: u64,
}

impl Source for Halting {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(
        &self,
        _: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(HaltingReader { reads: 0, next: 0 }))
    }
}

impl SourceReader for HaltingReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.reads += 1;
        if self.reads % 7 == 1 {
            return Ok(ReadStatus::Idle { retry_after: Some(Duration::from_millis(1)) });
        }
        batch.push(self.next, 0);
        self.next += 1;
        Ok(if self.next < RECORDS { ReadStatus::More } else { ReadStatus::End })
    }

    fn report_positions(&mut self, moved: &mut Vec<SplitPosition>) {
        moved.push(SplitPosition { split: "halting".into(), position: self.next.to_le_bytes().into() });
    }
}

#[test]
fn blocking_source_that_finds_records_after_it_had_none_is_read_on() {
    actix_rt::System::new().block_on(async {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let env = StreamEnvironment::new("halting");
        env.source("halting", Halting).sink("numbers", sink);
        let job = env.start().expect("the graph is right");
        actix_rt::time::timeout(Duration::from_secs(30), job)
            .await
            .expect("the source is read on")
            .expect("no failure");
        assert_eq!(collected.snapshot(), (0..RECORDS).collect::<Vec<_>>());
    });
}
