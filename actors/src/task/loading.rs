//! How a task loads its state at a start: on blocking threads, several key groups at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::contract::{ChunkRef, GroupLoader, LoadedGroup, RestoredChunk, RestoredState, StateScope, Step, monotonic};
use crate::data::pipeline::{GroupLoaders, LoadedState};
use crate::protocol::{Claim, OperatorId, StateError, Succession, TaskError};
use crate::runtime::blocking;
use crate::runtime::guard::{catch_panic, resume_panic, tell_host};
use crate::task::{RestoreFigures, RestorePlan, RestoreProgress, SubtaskContext};

/// What loading gave.
pub(crate) type Loaded = Result<(LoadedState, RestoreFigures), TaskError>;

/// Loads the state of these operators on blocking threads, each of which gets a set of loaders.
pub(crate) fn load(
    cx: &SubtaskContext,
    plan: RestorePlan,
    operators: &[OperatorId],
    loaders: &mut dyn FnMut() -> GroupLoaders,
) -> impl Future<Output = Loaded> + use<> {
    cx.reached(Step::Restoring);
    let first = loaders();
    let load = Arc::new(Load::new(plan, cx.clone(), operators, &first));
    let threads = load.groups.len().clamp(1, load.cx.info.limits.restore_threads.max(1));
    let more = (1..threads).map(|_| loaders()).collect::<Vec<_>>();
    let parts: Vec<_> = std::iter::once(first)
        .chain(more)
        .enumerate()
        .map(|(thread, loaders)| {
            let load = load.clone();
            blocking(move || {
                tell_host(load.cx.tells_host);
                catch_panic(|| load.run(thread, loaders))
            })
        })
        .collect();
    async move {
        let mut state = LoadedState { checkpoint: load.plan.manifest.checkpoint, ..LoadedState::default() };
        let mut outcome = Ok(());
        for part in parts {
            // A panic on a blocking thread goes on here, under the task's guard.
            match part.await.unwrap_or_else(|report| resume_panic(report)) {
                Ok(part) => part.merge_into(&mut state),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome.map(|()| (state, load.figures()))
    }
}

/// One subtask's share of a checkpoint, and how far its threads are.
struct Load {
    plan: RestorePlan,
    cx: SubtaskContext,
    /// What has no loader.
    plain: Vec<ChunkRef>,
    /// What has one, by operator and key group, in the order in which it is applied; first the subtask's own groups.
    groups: Vec<(OperatorId, u32, Vec<ChunkRef>)>,
    /// The operators of the task.
    successions: Vec<Succession>,
    bytes_total: u64,
    started: Duration,
    next: AtomicUsize,
    failed: AtomicBool,
    bytes: AtomicU64,
    entries: AtomicU64,
    /// When it was last said how far that is, since `started`.
    said_ns: AtomicU64,
}

impl Load {
    fn new(plan: RestorePlan, cx: SubtaskContext, operators: &[OperatorId], loaders: &GroupLoaders) -> Self {
        let mut plain = Vec::new();
        let mut groups: BTreeMap<(bool, OperatorId, u32), Vec<ChunkRef>> = BTreeMap::new();
        let mut bytes_total = 0;
        let of_task = |succession: &&Succession| operators.contains(&succession.id);
        let successions: Vec<Succession> = plan.successions.iter().filter(of_task).cloned().collect();
        for reference in plan.manifest.chunks.iter() {
            let address = &reference.address;
            let Some(operator) = taker(&successions, reference) else { continue };
            let loader = loaders.get(operator);
            match address.scope {
                StateScope::KeyGroup(group) if !takes_group(&cx, loader.map(|loader| &**loader), group) => continue,
                StateScope::KeyGroup(group) if loader.is_some() => {
                    let is_foreign = !cx.info.key_groups.contains(group);
                    groups.entry((is_foreign, operator.clone(), group)).or_default().push(reference.clone());
                }
                StateScope::KeyGroup(_) | StateScope::Subtask(_) => plain.push(reference.clone()),
            }
            bytes_total += u64::from(reference.len);
        }
        Self {
            plan,
            cx,
            plain,
            groups: groups.into_iter().map(|((_, operator, group), chunks)| (operator, group, chunks)).collect(),
            successions,
            bytes_total,
            started: monotonic(),
            next: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            said_ns: AtomicU64::new(0),
        }
    }

    /// The work of one thread. Blocks.
    fn run(&self, thread: usize, loaders: GroupLoaders) -> Result<LoadedPart, TaskError> {
        let stop_others = StopOthers(&self.failed);
        let part = self.work(thread, loaders)?;
        std::mem::forget(stop_others);
        Ok(part)
    }

    fn work(&self, thread: usize, mut loaders: GroupLoaders) -> Result<LoadedPart, TaskError> {
        let mut part = LoadedPart::default();
        if thread == 0 {
            self.check_names()?;
            part.sections = self.read(&self.plain)?;
        }
        while let Some((operator, group, chunks)) = self.groups.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            let loader = loaders.get_mut(operator).expect("groups are those of operators that have a loader");
            if !takes_group(&self.cx, Some(&**loader), *group) {
                continue;
            }
            let sections = self.read(chunks)?.take(operator);
            let loaded = loader.load(*group, &sections)?;
            self.entries.fetch_add(loaded.entries, Ordering::Relaxed);
            part.groups.push((operator.clone(), loaded));
            self.say_progress();
        }
        Ok(part)
    }

    /// The checkpoint may be an older one than that which the job started from.
    fn check_names(&self) -> Result<(), StateError> {
        for succession in &self.successions {
            let stored = self.plan.manifest.chunks.iter().map(|chunk| &chunk.address);
            if let Some(conflict) = succession.conflict(stored) {
                let (operator, reason) = (succession.id.clone(), conflict.to_string());
                return Err(StateError::Mismatch { operator, reason });
            }
        }
        Ok(())
    }

    fn read(&self, chunks: &[ChunkRef]) -> Result<RestoredState, TaskError> {
        let mut read = Vec::with_capacity(chunks.len());
        for reference in chunks {
            let mut address = reference.address.clone();
            let mut claims = self.successions.iter().map(|succession| (&succession.id, succession.claim(&address)));
            let taken = claims.find(|(_, claim)| matches!(claim, Claim::Taken { .. }));
            let Some((operator, Claim::Taken { state, is_renamed })) = taken else { continue };
            (address.operator, address.state) = (operator.clone(), state);
            let bytes = self.plan.store.read_chunk(reference)?;
            read.push(RestoredChunk { address, is_renamed, bytes });
            self.bytes.fetch_add(u64::from(reference.len), Ordering::Relaxed);
        }
        Ok(RestoredState::from_chunks(read))
    }

    fn figures(&self) -> RestoreFigures {
        let (bytes, entries) = (self.bytes.load(Ordering::Relaxed), self.entries.load(Ordering::Relaxed));
        RestoreFigures { bytes, entries, took: monotonic() - self.started }
    }

    /// Says how far all threads are together, if it is time to and no other thread does.
    fn say_progress(&self) {
        let now = monotonic() - self.started;
        let (said, now_ns) = (self.said_ns.load(Ordering::Relaxed), now.as_nanos() as u64);
        let is_due = now.saturating_sub(Duration::from_nanos(said)) >= self.cx.info.limits.restore_progress_every;
        if !is_due || self.said_ns.compare_exchange(said, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        self.cx.reports.restoring.do_send(RestoreProgress {
            execution: self.cx.info.execution,
            subtask: self.cx.info.subtask,
            restored: self.figures(),
            bytes_total: self.bytes_total,
        });
    }
}

/// The operator that takes a chunk, if one of these does.
fn taker<'a>(successions: &'a [Succession], chunk: &ChunkRef) -> Option<&'a OperatorId> {
    let takes = |succession: &&Succession| matches!(succession.claim(&chunk.address), Claim::Taken { .. });
    successions.iter().find(takes).map(|succession| &succession.id)
}

/// Whether the subtask loads this key group.
fn takes_group(cx: &SubtaskContext, loader: Option<&dyn GroupLoader>, group: u32) -> bool {
    cx.info.key_groups.contains(group) || loader.is_some_and(GroupLoader::needs_other_groups)
}

/// Tells the other threads, when it is dropped, that one has failed or panicked.
struct StopOthers<'a>(&'a AtomicBool);

impl Drop for StopOthers<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one thread has loaded.
#[derive(Default)]
struct LoadedPart {
    sections: RestoredState,
    groups: Vec<(OperatorId, LoadedGroup)>,
}

impl LoadedPart {
    fn merge_into(self, state: &mut LoadedState) {
        if !self.sections.is_empty() {
            state.sections = self.sections;
        }
        for (operator, group) in self.groups {
            state.groups.entry(operator).or_default().push(group);
        }
    }
}
