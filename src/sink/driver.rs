//! What unit tests of sinks share.

use millstream_actors::contract::{Fence, SinkContext};
use millstream_actors::protocol::{Attempt, Execution, Incarnation, OperatorId, RegionId};

use crate::source::driver::TestClock;

pub(crate) fn context(incarnation: u64, attempt: u32, subtask_index: u32, parallelism: u32) -> SinkContext {
    SinkContext {
        job: "job".into(),
        operator: OperatorId::new("sink"),
        subtask_index,
        parallelism,
        execution: Execution { incarnation: Incarnation(incarnation), region: RegionId(0), attempt: Attempt(attempt) },
        clock: TestClock::new(),
        fenced: Fence::default(),
    }
}
