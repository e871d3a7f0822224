//! The loop of operators whose functions emit what they like.

use millstream_actors::contract::{Batch, Output, Progress, RunBudget};
use millstream_actors::protocol::TaskError;

use super::slices::Slices;
use super::{Emission, Emitter};

/// Calls `function` with each record of `input`, as long as there is room and time.
pub(crate) fn emit_each<T, U>(
    mut function: impl FnMut(T, &mut Emitter<'_, U>),
    slices: &mut Slices,
    emission: &mut Emission,
    input: &mut Batch<T>,
    out: &mut Output<U>,
    budget: &mut RunBudget,
) -> Result<Progress, TaskError> {
    slices.start(budget);
    while !input.is_empty() {
        if out.is_full() {
            return Ok(Progress::Suspended);
        }
        let mut front = input.front(slices.next(input.len()));
        let bytes_each = front.bytes_each();
        let mut time = front.time();
        while let Some(record) = front.next() {
            emission.call(out, bytes_each, time, |out| function(record, out))?;
            time = front.time();
            if out.is_full() {
                break;
            }
        }
        let records = front.taken();
        drop(front);
        if !slices.has_time_after(records, budget) && !input.is_empty() {
            return Ok(Progress::Suspended);
        }
    }
    Ok(Progress::Done)
}
