//! A source on a thread of its own that is woken while it says that it has nothing.
//!
//! Cause: the wake-up came before the answer "nothing" to which it belonged, and was forgotten; without a delay to try
//! again after, the source slept for good. Repair: a wake-up during a read has the source read once more.

use millstream::prelude::*;
use millstream::source::{
    Batch, ReadStatus, Source, SourceContext, SourceError, SourceReader, SourceWaker, SplitPosition, Threading,
};

use crate::rig::{environment, in_system, limits};

struct Racing;

struct RacingReader {
    waker: SourceWaker,
    reads: u64,
}

impl Source for Racing {
    type Item = u64;

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn open(
        &self,
        cx: &SourceContext,
        _: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = u64>>, SourceError> {
        Ok(Box::new(RacingReader { waker: cx.waker.clone(), reads: 0 }))
    }
}

impl SourceReader for RacingReader {
    type Item = u64;

    fn read(&mut self, batch: &mut Batch<u64>) -> Result<ReadStatus, SourceError> {
        self.reads += 1;
        if self.reads == 1 {
            // A record arrives right after the look for one.
            self.waker.wake();
            return Ok(ReadStatus::Idle { retry_after: None });
        }
        batch.push(7, 8);
        Ok(ReadStatus::End)
    }

    fn report_positions(&mut self, _: &mut Vec<SplitPosition>) {}
}

#[test]
fn wake_up_during_a_read_that_finds_nothing_is_not_lost() {
    in_system(async {
        let sink = CollectSink::new();
        let collected = sink.handle();
        let env = environment("wakes").parallelism(1).limits(limits(|limits| limits.read_ahead = 1));
        env.source("racing", Racing).sink("all", sink);
        env.start().expect("the job starts").await.expect("finished");
        assert_eq!(collected.snapshot(), [7]);
    });
}
