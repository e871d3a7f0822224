//! What tasks send, and what comes of a step.

use millstream_actors::protocol::{Barrier, CheckpointId, Element, Grant, Milestone, PortId, Portion};

use crate::graph::Tally;

/// What a task sends, by the number of the peer's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    /// `Deliver`.
    Deliver { input: usize, element: Element<Batch> },
    /// `ReturnCredit`.
    Credit { line: usize, grant: Grant },
    /// `RequestBarrier`.
    Request(Barrier),
    /// `EmitMilestone`.
    Milestone(Milestone),
    /// `ExpectBarrier`.
    Expect(CheckpointId),
    /// `CheckpointAborted`.
    Aborted(CheckpointId),
}

/// Records under way, with their place in the channel's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Batch {
    /// Records of the channel before its first one.
    pub(crate) sequence: u32,
    /// The port that it was sent to: the tag of its type.
    pub(crate) port: PortId,
    pub(crate) records: Vec<u8>,
    /// Only where barriers cost credit.
    pub(crate) barrier: Option<Barrier>,
}

impl Portion for Batch {
    fn records(&self) -> usize {
        self.records.len()
    }

    fn cut(&mut self, records: usize, to: &mut Self) {
        (to.sequence, to.port) = (self.sequence, self.port);
        to.records.extend(self.records.drain(..records));
        self.sequence += records as u32;
    }
}

/// What came of a step, besides the new state.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Messages in the order of sending: the channel, whether to its receiver, and the message.
    pub(crate) sent: Vec<(usize, bool, Message)>,
    /// Snapshots taken.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Milestones passed, and what each input had delivered.
    pub(crate) milestones: Vec<(Milestone, Vec<Tally>)>,
    /// The first rule that was found broken.
    pub(crate) violation: Option<String>,
}

/// What a task writes at a barrier.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) checkpoint: CheckpointId,
    /// What each input had delivered.
    pub(crate) seen: Vec<Tally>,
    /// What of it the task held back.
    pub(crate) held: Tally,
    /// Of a source: how far its script was.
    pub(crate) position: usize,
}

impl Effects {
    pub(crate) fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }
}
