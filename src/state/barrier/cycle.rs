//! From one barrier to the next.

use std::sync::Arc;

use millstream_actors::contract::{Progress, RunBudget, SectionWriter, StateError};
use millstream_actors::protocol::{CheckpointId, OperatorId};

use super::capture::Capture;
use super::known::KnownCheckpoints;
use super::plan::{Compaction, GroupAtBarrier, GroupChain};
use crate::state::codec::{StateFormat, encoding_of};
use crate::state::{Access, Stamp, StateKey, StateRows, StateSet};

/// The barriers that the rows of a subtask have seen.
#[derive(Debug)]
pub(in crate::state) struct Barriers {
    /// The stamp of what changes now.
    pub(in crate::state) current: Stamp,
    /// The stamp that the newest base closed, as of the last barrier; 0 if there is none.
    pub(in crate::state) base: Stamp,
    /// The version of the keys' type.
    pub(in crate::state) key_version: u32,
    known: KnownCheckpoints,
    compaction: Compaction,
    /// What is being written.
    pub(in crate::state) capture: Option<Box<Capture>>,
}

impl Barriers {
    /// There was none yet.
    pub(in crate::state) fn new() -> Self {
        let (known, compaction) = (KnownCheckpoints::default(), Compaction::default());
        Self { current: 1, base: 0, key_version: 1, known, compaction, capture: None }
    }

    /// Whether no checkpoint can have any of the rows.
    pub(in crate::state) fn has_no_base(&self) -> bool {
        self.known.is_empty()
    }

    /// A barrier: what changes from now on belongs to the next checkpoint. `now` is the moment, and `close_groups` closes a
    /// stamp (the first argument) in the accounts of all groups, of which the base closed the second.
    pub(in crate::state) fn begin<K: StateKey, S: StateSet>(
        &mut self,
        states: &S,
        names: &[Arc<str>],
        first_group: u32,
        now: Access,
        writer: &mut SectionWriter,
        close_groups: impl FnOnce(Stamp, Stamp) -> Vec<GroupAtBarrier>,
    ) {
        let closed = self.current;
        self.current = closed.checked_add(1).expect("2^32 barriers in one attempt");
        let base = self.known.base(writer.base()).map(|(stamp, chains)| (stamp, chains.to_vec()));
        self.base = base.as_ref().map_or(0, |(stamp, _)| *stamp);
        let plan = self.compaction.plan(base, &close_groups(closed, self.base), states.writes_parts());
        names.iter().for_each(|name| writer.carry(name, plan.carried(first_group)));
        let is_base = plan.is_base();
        self.known.push(writer.checkpoint(), closed, plan.chains);
        let at_barrier = Access { stamp: closed, ..now };
        let (base, formats) = ((writer.base(), self.base), states.formats());
        let keys = StateFormat { values: encoding_of::<K>(), version: self.key_version };
        self.capture = Some(Box::new(Capture::new(base, at_barrier, plan.after, is_base, keys, formats)));
    }

    /// Ends the capture, whether it is complete or not wanted any more. Stamps stay as they are.
    pub(in crate::state) fn abandon(&mut self, writer: Option<&mut SectionWriter>) {
        if let (Some(capture), Some(writer)) = (self.capture.take(), writer) {
            capture.give_back(writer);
        }
    }

    /// The rows are those of `checkpoint`, with stamps up to `top`, and `chains` is what it has of each group: a delta may
    /// build on it.
    pub(in crate::state) fn restored(&mut self, checkpoint: CheckpointId, top: Stamp, chains: Vec<GroupChain>) {
        let closed = top.max(1);
        self.known = KnownCheckpoints::default();
        self.known.push(checkpoint, closed, chains);
        self.current = closed + 1;
        self.base = closed;
    }
}

/// Rows that are written group after group, in slices.
pub(in crate::state) trait Sweep<K: StateKey> {
    /// The barriers they have seen.
    fn barriers(&mut self) -> &mut Barriers;

    /// Looks at some more of what is to be written of a group; true when it is through with it.
    ///
    /// # Errors
    /// The capture is over then.
    fn sweep_some(&mut self, group: usize) -> Result<bool, StateError>;

    /// Ends the capture.
    fn abandon(&mut self, writer: Option<&mut SectionWriter>) {
        self.barriers().abandon(writer);
    }

    /// Writes more of the barrier's state, until the budget is exhausted or the writer has no room. `first_group` is the
    /// number of the first group.
    ///
    /// # Errors
    /// [`StateError::Encode`], [`StateError::CaptureFull`], and those of [`sweep_some`](Self::sweep_some). The capture is
    /// over then.
    fn sweep_slice(
        &mut self,
        operator: &OperatorId,
        names: &[Arc<str>],
        first_group: u32,
        held_max: usize,
        writer: &mut SectionWriter,
        budget: &mut RunBudget,
    ) -> Result<Progress, StateError> {
        let mut out_of_time = false;
        loop {
            let Some(capture) = &mut self.barriers().capture else { return Ok(Progress::Done) };
            let handed = capture.hand_over::<K>(operator, names, first_group, held_max, writer);
            if handed.is_err() || capture.is_done() {
                self.abandon(Some(writer));
                return handed.map(|()| Progress::Done);
            }
            if writer.room() == 0 || std::mem::replace(&mut out_of_time, false) {
                return Ok(Progress::Suspended);
            }
            if let Some(group) = capture.next_group() {
                match self.sweep_some(group) {
                    Err(error) => {
                        self.abandon(Some(writer));
                        return Err(error);
                    }
                    Ok(false) => {}
                    Ok(true) => {
                        let capture = self.barriers().capture.as_mut().expect("it runs");
                        capture.finish_group::<K>(group);
                        capture.at += 1;
                    }
                }
            }
            out_of_time = budget.check();
        }
    }
}
