//! What unit tests of sinks share.

use millstream_actors::contract::SinkContext;
use millstream_actors::protocol::{Attempt, Execution, Incarnation, RegionId};

use crate::testing::sink_context;

pub(crate) fn context(incarnation: u64, attempt: u32, subtask_index: u32, parallelism: u32) -> SinkContext {
    let execution = Execution { incarnation: Incarnation(incarnation), region: RegionId(0), attempt: Attempt(attempt) };
    SinkContext { execution, ..sink_context(subtask_index, parallelism) }
}
