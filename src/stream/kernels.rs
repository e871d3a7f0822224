//! How keyed operators get their kernels, on the backend that the job has.

use millstream_actors::contract::SubtaskInfo;
use millstream_actors::data::pipeline::PipelineBuilder;
use millstream_actors::protocol::OperatorId;

use crate::graph::NodeContext;
use crate::keyed::Kernel;
use crate::operator::Emission;
use crate::state::{KeySchema, KeyedBackend, KeyedTable, RedbBackend, Share, SpillPlace, StateKey, StateSet};

/// Puts an operator on a kernel into a pipeline.
pub(super) trait LinkOnKernel<K: StateKey, St: StateSet> {
    /// What then comes before the operator.
    type Head;

    fn link<B: KeyedBackend<K, St>>(
        self,
        builder: &mut PipelineBuilder<'_>,
        id: OperatorId,
        kernel: Kernel<K, St, B>,
        emission: Emission,
    ) -> Self::Head;
}

/// Links an operator on a kernel of one subtask, with the states that `declare` gives.
pub(super) fn link_on_kernel<K: StateKey, St: StateSet, L: LinkOnKernel<K, St>>(
    builder: &mut PipelineBuilder<'_>,
    cx: NodeContext<'_>,
    keys: &KeySchema<K>,
    declare: impl Fn() -> St + 'static,
    operator: L,
) -> L::Head {
    let (id, task) = (cx.id.clone(), cx.subtask);
    let (groups, max, states) = (task.key_groups, task.max_parallelism, declare());
    let emission = Emission::new(id.clone(), cx.sides, task.limits.emit_per_call_max);
    let timers = cx.careful_timers;
    match cx.state_backend.spills() {
        None => {
            let mut kernel = kernel_of(&id, task, keys, KeyedTable::new(states, groups, max), declare);
            kernel.careful_timers(timers);
            operator.link(builder, id, kernel, emission)
        }
        Some((dir, cache_bytes)) => {
            let (dir, job, subtask) = (dir.to_owned(), task.job.to_string(), task.subtask.index);
            let place = SpillPlace { dir, job, operator: id.clone(), subtask };
            let share = (cache_bytes as u128 * groups.len() as u128 / u128::from(max)) as usize;
            let mut kernel = kernel_of(&id, task, keys, RedbBackend::new(states, groups, max, place, share), declare);
            kernel.careful_timers(timers);
            operator.link(builder, id, kernel, emission)
        }
    }
}

fn kernel_of<K: StateKey, St: StateSet, B: KeyedBackend<K, St>>(
    operator: &OperatorId,
    subtask: &SubtaskInfo,
    keys: &KeySchema<K>,
    backend: B,
    declare: impl Fn() -> St + 'static,
) -> Kernel<K, St, B> {
    let mut kernel = Kernel::new(operator.clone(), backend, declare);
    kernel.clock(subtask.clock.clone());
    kernel.share(Share { subtask: subtask.subtask.index, parallelism: subtask.parallelism });
    kernel.counters(subtask.counters.operator(operator));
    kernel.capture_bytes_max(subtask.limits.capture_bytes_max);
    kernel.key_schema(keys.clone());
    kernel
}
