//! What a task of the model is, and the rules that it follows or breaks.

use millstream_actors::protocol::PortId;

use crate::graph::{Graph, TaskSpec};

/// Rules of the engine, each of which can be broken to see that the checker notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// None.
    Nothing,
    /// Barriers cost credit, do not stop a task from taking input, and outputs are served one by one.
    BarriersCostCredit,
    /// Channels that delivered a barrier are not blocked.
    Unblocking,
    /// A barrier does not wait for the channel's unsent batch.
    BarrierOrder,
    /// Credit is returned when a batch arrives, also on a blocked channel.
    CreditOnArrival,
    /// Aborts free no channel.
    Abort,
    /// A source whose input has ended answers no barrier.
    AnswerAfterEnd,
    /// A task snapshots before it has finished the step that was suspended.
    SuspendedStep,
    /// Senders count a receiver's channels over its ports as they come, not port by port.
    ChannelsOfPorts,
    /// Alignment counts the channels of the first port alone.
    AlignmentOfOnePort,
    /// A barrier waits for the alarm of a task that holds records back.
    BarrierAfterAlarm,
    /// A task that takes no input is not told of barriers on their way.
    UntoldOfBarriers,
    /// What a task holds back is not in its snapshot.
    HeldBackInSnapshot,
    /// A milestone does not wait for the channel's unsent batch.
    MilestoneOrder,
    /// The first channel that delivers a milestone stands for all.
    MilestoneOfOneInput,
    /// A source sends a milestone before it has finished the step that was suspended.
    MilestoneWithinStep,
    /// A milestone does not wait for the records that wait for their answers.
    MilestoneAheadOfAnswers,
}

/// What a task is and the rules it follows.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) spec: &'a TaskSpec,
    pub(crate) broken: Broken,
    /// Whether the receivers shrink and grow their windows by turns.
    pub(crate) uneven_rate: bool,
}

impl Setting<'_> {
    /// The port that one of the task's own inputs belongs to.
    pub(crate) fn port_of(self, input: usize) -> PortId {
        self.graph.channels[self.spec.inputs[input]].port
    }

    /// The receiver's number for a channel that leaves the task.
    pub(crate) fn input_of(self, channel: usize) -> usize {
        let spec = self.graph.channels[channel];
        if self.broken == Broken::ChannelsOfPorts {
            // Channels are listed in the order in which they were made.
            return self.graph.channels[..channel].iter().filter(|other| other.to == spec.to).count();
        }
        spec.input
    }
}
