//! One task, built from the engine's own state machines: what `source_task.rs`, `operator_task.rs` and `edge.rs` do
//! with them, without the actors.

use millstream_actors::protocol::{
    Barrier, CheckpointId, CheckpointMode, Element, Grant, Inlet, Input, Mark, Milestone, PortId, ReceiveWindow,
    SendWindow, Timestamp,
};

use crate::graph::{Emit, Tally, TaskSpec};
use crate::line::{Line, OpenStep};
use crate::message::{Batch, Effects, Message, Snapshot};
use crate::rules::{Broken, Setting};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stepped {
    On,
    Waiting,
}

/// A source or operator task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    inlet: Inlet<Batch>,
    ends: Vec<ReceiveWindow>,
    seen: Vec<Tally>,
    worked_off: Vec<u32>,
    /// Of each input, the records of those.
    taken: Vec<u32>,
    /// Of each input, the batches and paid watermarks taken, less the credits given back for them.
    unreturned: Vec<u32>,
    lines: Vec<Line>,
    step: Option<OpenStep>,
    /// Records held back until the alarm, in order.
    held: Vec<u8>,
    /// The end is behind them.
    holds_end: bool,
    watermark: Timestamp,
    /// The last that was given to it.
    milestone: Milestone,
    /// One that is behind what is held.
    held_milestone: Option<Milestone>,
    /// Of a source: one that is to be sent.
    asked_for: Option<Milestone>,
    /// Of a source: how far its script is.
    position: usize,
    ended: bool,
    requested: Option<Barrier>,
    last_barrier: CheckpointId,
}

impl Task {
    pub(crate) fn new(setting: Setting<'_>, mode: CheckpointMode) -> Self {
        let Setting { graph, spec, broken, .. } = setting;
        let mode = if broken == Broken::Unblocking { CheckpointMode::AtLeastOnce } else { mode };
        let inputs = spec.inputs.len();
        let window = SendWindow::new(graph.window);
        // What is not granted at first is as if it were owed.
        let owed = graph.window - window.credits();
        let line = Line { window, open: Vec::new(), pushed: 0, records_sent: 0, sent: 0, owed };
        Self {
            inlet: Inlet::new(inputs, mode),
            ends: vec![ReceiveWindow::new(graph.window); inputs],
            seen: vec![Tally::default(); inputs],
            worked_off: vec![0; inputs],
            taken: vec![0; inputs],
            unreturned: vec![owed; inputs],
            lines: vec![line; spec.outputs.len()],
            step: None,
            held: Vec::new(),
            holds_end: false,
            watermark: Timestamp::MIN,
            milestone: Milestone::NONE,
            held_milestone: None,
            asked_for: None,
            position: 0,
            ended: false,
            requested: None,
            last_barrier: CheckpointId::NONE,
        }
    }

    /// Batches sent on a line and not yet taken from it.
    pub(crate) fn sent(&self, line: usize) -> u32 {
        self.lines[line].sent
    }

    /// Batches of an input that were worked off.
    pub(crate) fn worked_off(&self, input: usize) -> u32 {
        self.worked_off[input]
    }

    /// Batches that wait for credit on a line.
    pub(crate) fn unsent(&self, line: usize) -> u32 {
        let Line { window, pushed, records_sent, .. } = &self.lines[line];
        // Where barriers cost credit they wait too, and have no records.
        window.batches_waiting().min(pushed - records_sent)
    }

    /// Whether the receiver of a line has credits to give back.
    pub(crate) fn awaits_credit(&self, line: usize) -> bool {
        self.lines[line].owed > 0
    }

    /// Of a source: how far it has read.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Whether it has passed this milestone.
    pub(crate) fn has_passed(&self, milestone: Milestone) -> bool {
        self.milestone >= milestone
    }

    /// Whether all input is taken and all output sent.
    pub(crate) fn is_finished(&self, spec: &TaskSpec, all_sources_end: bool) -> bool {
        spec.script.as_ref().is_none_or(|script| self.position == script.len())
            && self.ended == if spec.script.is_some() { spec.ends } else { all_sources_end }
            && self.inlet.is_empty()
            && self.step.is_none()
            && (self.held.is_empty() || !self.ended)
            && self.requested.is_none()
            && self.asked_for.is_none()
            && self.lines.iter().all(|line| line.open.is_empty() && line.window.is_empty())
    }

    /// A message arrived.
    pub(crate) fn arrive(&mut self, setting: Setting<'_>, message: Message, effects: &mut Effects) {
        match message {
            Message::Deliver { input, element: Element::Batch(Batch { barrier: Some(barrier), .. }) } => {
                self.inlet.arrive(input, Element::Barrier(barrier));
                self.unreturned[input] += 1;
                self.give_back(setting, input, 0, effects);
            }
            Message::Deliver { input, element: Element::Barrier(barrier) }
                if setting.broken == Broken::AlignmentOfOnePort =>
            {
                // One of the first port stands for those of the second, which count for nothing.
                if setting.port_of(input) == PortId::FIRST {
                    let others = (0..self.ends.len()).filter(|&other| setting.port_of(other) != PortId::FIRST);
                    others.chain([input]).for_each(|input| self.inlet.arrive(input, Element::Barrier(barrier)));
                }
            }
            Message::Deliver { element: element @ Element::Milestone(_), .. }
                if setting.broken == Broken::MilestoneOfOneInput =>
            {
                (0..self.ends.len()).for_each(|input| self.inlet.arrive(input, element.clone()));
            }
            Message::Deliver { input, element } => {
                if let Element::Batch(batch) = &element {
                    let (sent, port) = (batch.port, setting.port_of(input));
                    effects.check(sent == port, || format!("a batch for port {sent} came to port {port}"));
                }
                if setting.broken == Broken::CreditOnArrival
                    && let Element::Batch(batch) = &element
                {
                    self.give_back(setting, input, batch.records.len(), effects);
                }
                self.inlet.arrive(input, element);
            }
            Message::Credit { line, grant } => {
                self.lines[line].window.grant(grant);
                self.lines[line].owed -= grant.credits;
                if setting.broken == Broken::BarriersCostCredit {
                    self.send_one_by_one(setting, effects);
                } else {
                    self.send(setting, line, effects);
                }
            }
            Message::Request(barrier) => self.requested = Some(barrier),
            Message::Milestone(milestone) => self.asked_for = self.asked_for.max(Some(milestone)),
            Message::Expect(_) if setting.broken == Broken::UntoldOfBarriers => {}
            Message::Expect(checkpoint) => self.inlet.expect(checkpoint),
            Message::Aborted(checkpoint) if setting.spec.script.is_some() => {
                self.last_barrier = self.last_barrier.max(checkpoint);
                self.requested = self.requested.filter(|barrier| barrier.checkpoint > checkpoint);
            }
            Message::Aborted(_) if setting.broken == Broken::Abort => {}
            Message::Aborted(checkpoint) => {
                self.inlet.abort(checkpoint);
            }
        }
    }

    /// Takes steps until there is nothing to do, as an actor does on each message.
    pub(crate) fn run(&mut self, setting: Setting<'_>, effects: &mut Effects) {
        while self.take_step(setting, effects) == Stepped::On {}
    }

    /// Takes one step; what an actor does that yields after it.
    pub(crate) fn step(&mut self, setting: Setting<'_>, effects: &mut Effects) {
        self.take_step(setting, effects);
    }

    fn take_step(&mut self, setting: Setting<'_>, effects: &mut Effects) -> Stepped {
        if setting.broken == Broken::SuspendedStep
            && let Some(barrier) = self.requested.take()
        {
            return self.answer(setting, barrier, effects);
        }
        if setting.broken == Broken::MilestoneWithinStep && self.send_asked_for(setting, effects) {
            return Stepped::On;
        }
        if let Some(step) = self.step.take() {
            return self.push(setting, step, effects);
        }
        if let Some(barrier) = self.requested.take() {
            return self.answer(setting, barrier, effects);
        }
        if self.send_asked_for(setting, effects) {
            return Stepped::On;
        }
        let waits_for_alarm = setting.broken == Broken::BarrierAfterAlarm && !self.held.is_empty();
        if setting.spec.script.is_some() || self.is_blocked(setting) || waits_for_alarm {
            return Stepped::Waiting;
        }
        let is_full = setting.spec.capacity.is_some_and(|capacity| self.held.len() >= capacity);
        let awaits = self.inlet.awaits_barrier();
        let input = match is_full {
            true if awaits => self.inlet.take_awaited(),
            true => None,
            false => self.inlet.take(),
        };
        match input {
            Some(Input::Batch { channel, batch }) => {
                let expected = self.taken[channel];
                effects.check(batch.sequence == expected, || {
                    format!("input {channel} took record {} where {expected} is due", batch.sequence)
                });
                let pieces_left = if setting.spec.holds_back { 0 } else { setting.spec.burst };
                if setting.spec.holds_back {
                    self.held.extend(&batch.records);
                }
                return self.push(setting, OpenStep { input: Some(channel), batch, pieces_left }, effects);
            }
            Some(Input::Credit { channel }) => {
                self.unreturned[channel] += 1;
                self.give_back(setting, channel, 0, effects);
            }
            Some(Input::Mark(mark)) => self.mark(setting, mark, effects),
            Some(Input::AlignmentStarted(_)) => {}
            Some(Input::Barrier(barrier)) => self.checkpoint(setting, barrier, effects),
            None => return Stepped::Waiting,
        }
        Stepped::On
    }

    /// A source sends the milestone that was asked for, if any.
    fn send_asked_for(&mut self, setting: Setting<'_>, effects: &mut Effects) -> bool {
        match self.asked_for.take() {
            Some(milestone) if !self.ended => self.mark(setting, Mark::Milestone(milestone), effects),
            Some(_) => {}
            None => return false,
        }
        true
    }

    /// Whether the alarm leads to a step.
    pub(crate) fn can_wake(&self, setting: Setting<'_>) -> bool {
        !self.held.is_empty() && self.may_begin(setting)
    }

    /// A suspended step comes first, and in a source a barrier that was asked for; a blocked task takes none.
    fn may_begin(&self, setting: Setting<'_>) -> bool {
        self.step.is_none() && self.requested.is_none() && self.asked_for.is_none() && !self.is_blocked(setting)
    }

    /// The alarm: what was held back goes.
    pub(crate) fn wake(&mut self, setting: Setting<'_>, effects: &mut Effects) {
        let batch = Batch { sequence: 0, port: PortId::FIRST, records: std::mem::take(&mut self.held), barrier: None };
        self.push(setting, OpenStep { input: None, batch, pieces_left: setting.spec.burst }, effects);
        if let Some(milestone) = self.held_milestone.take() {
            self.emit(setting, || Element::Milestone(milestone), effects);
        }
        if std::mem::take(&mut self.holds_end) {
            self.end(effects, setting);
        }
    }

    /// Whether it waits for an answer, which may never come.
    pub(crate) fn waits_for_answer(&self, spec: &TaskSpec) -> bool {
        spec.capacity.is_some() && !self.held.is_empty()
    }

    /// Whether a source has something to read and may.
    pub(crate) fn can_read(&self, setting: Setting<'_>) -> bool {
        let Some(script) = &setting.spec.script else { return false };
        let has_input = self.position < script.len() || setting.spec.ends && !self.ended;
        has_input && self.may_begin(setting)
    }

    /// A source reads.
    pub(crate) fn read(&mut self, setting: Setting<'_>, effects: &mut Effects) {
        let script = setting.spec.script.as_deref().expect("only sources read");
        let next = script.get(self.position).copied();
        self.position += usize::from(next.is_some());
        match next {
            Some(Emit::Record(record)) if setting.spec.holds_back => self.held.push(record),
            Some(Emit::Record(record)) => {
                let batch = Batch { sequence: 0, port: PortId::FIRST, records: vec![record], barrier: None };
                self.push(setting, OpenStep { input: None, batch, pieces_left: setting.spec.burst }, effects);
            }
            Some(Emit::Watermark(at)) => self.mark(setting, Mark::Watermark(at), effects),
            Some(Emit::Idle) => self.mark(setting, Mark::Idle, effects),
            None => self.mark(setting, Mark::End, effects),
        }
    }

    /// Whether records wait for a batch to fill.
    pub(crate) fn can_flush(&self) -> bool {
        self.step.is_none() && self.lines.iter().any(|line| !line.open.is_empty())
    }

    /// No more input is at hand.
    pub(crate) fn flush(&mut self, setting: Setting<'_>, effects: &mut Effects) {
        (0..self.lines.len()).for_each(|line| self.close(setting, line, effects));
    }

    /// A source's answer to a request.
    fn answer(&mut self, setting: Setting<'_>, barrier: Barrier, effects: &mut Effects) -> Stepped {
        let leaves = setting.broken == Broken::AnswerAfterEnd && self.ended;
        if barrier.checkpoint > self.last_barrier && !leaves {
            self.last_barrier = barrier.checkpoint;
            self.checkpoint(setting, barrier, effects);
        }
        Stepped::On
    }

    fn checkpoint(&mut self, setting: Setting<'_>, barrier: Barrier, effects: &mut Effects) {
        match setting.broken {
            Broken::BarriersCostCredit => {
                for line in 0..self.lines.len() {
                    self.close(setting, line, effects);
                    let (records, barrier) = (Vec::new(), Some(barrier));
                    let batch = Batch { sequence: u32::MAX, port: PortId::FIRST, records, barrier };
                    self.lines[line].window.push(Element::Batch(batch));
                }
                self.send_one_by_one(setting, effects);
            }
            Broken::BarrierOrder => {
                for &channel in &setting.spec.outputs {
                    let input = setting.graph.channels[channel].input;
                    let element = Element::Barrier(barrier);
                    effects.sent.push((channel, true, Message::Deliver { input, element }));
                }
            }
            _ => self.emit(setting, || Element::Barrier(barrier), effects),
        }
        let mut held = Tally::default();
        if setting.broken != Broken::HeldBackInSnapshot {
            self.held.iter().for_each(|&record| held.add(record, u64::from(setting.spec.burst)));
        }
        let (seen, position) = (self.seen.clone(), self.position);
        effects.snapshots.push(Snapshot { checkpoint: barrier.checkpoint, seen, held, position });
    }

    /// Emits what is left of a step; stops where an output is blocked.
    fn push(&mut self, setting: Setting<'_>, mut step: OpenStep, effects: &mut Effects) -> Stepped {
        while step.pieces_left > 0 {
            if self.is_blocked(setting) {
                self.step = Some(step);
                return Stepped::Waiting;
            }
            step.pieces_left -= 1;
            for line in 0..self.lines.len() {
                for &record in step.batch.records.iter().filter(|&&record| setting.spec.takes_line(record, line)) {
                    self.lines[line].open.push(record);
                }
                if self.lines[line].open.len() >= setting.graph.batch_records {
                    self.close(setting, line, effects);
                }
            }
        }
        if let Some(input) = step.input {
            step.batch.records.iter().for_each(|&record| self.seen[input].add(record, 1));
            self.worked_off[input] += 1;
            self.taken[input] += step.batch.records.len() as u32;
            self.unreturned[input] += 1;
            if setting.broken != Broken::CreditOnArrival {
                self.give_back(setting, input, step.batch.records.len(), effects);
            }
        }
        Stepped::On
    }

    fn mark(&mut self, setting: Setting<'_>, mark: Mark, effects: &mut Effects) {
        effects.check(!self.ended, || format!("{mark:?} follows the end"));
        match mark {
            Mark::Watermark(at) => {
                let before = std::mem::replace(&mut self.watermark, at);
                effects.check(at > before, || format!("watermark {at} follows watermark {before}"));
            }
            Mark::Milestone(milestone) => {
                let before = std::mem::replace(&mut self.milestone, milestone);
                effects.check(milestone > before || setting.spec.script.is_some(), || {
                    format!("{milestone:?} follows {before:?}")
                });
                effects.milestones.push((milestone, self.seen.clone()));
                let waits = setting.spec.capacity.is_some() && !self.held.is_empty();
                if waits && setting.broken != Broken::MilestoneAheadOfAnswers {
                    self.held_milestone = Some(milestone);
                    return;
                }
                if setting.broken == Broken::MilestoneOrder {
                    for &channel in &setting.spec.outputs {
                        let element = Element::Milestone(milestone);
                        let input = setting.graph.channels[channel].input;
                        effects.sent.push((channel, true, Message::Deliver { input, element }));
                    }
                    return;
                }
            }
            Mark::End if setting.spec.capacity.is_some() && !self.held.is_empty() => {
                self.holds_end = true;
                return;
            }
            Mark::End => {
                if !self.held.is_empty() {
                    self.wake(setting, effects);
                }
                return self.end(effects, setting);
            }
            _ => {}
        }
        self.emit(setting, || mark.into(), effects);
    }

    fn end(&mut self, effects: &mut Effects, setting: Setting<'_>) {
        self.ended = true;
        self.milestone = Milestone::END;
        self.emit(setting, || Mark::End.into(), effects);
    }

    fn emit(&mut self, setting: Setting<'_>, element: impl Fn() -> Element<Batch>, effects: &mut Effects) {
        for line in 0..self.lines.len() {
            self.close(setting, line, effects);
            self.lines[line].window.push(element());
            self.send(setting, line, effects);
        }
    }

    fn close(&mut self, setting: Setting<'_>, line: usize, effects: &mut Effects) {
        let port = setting.graph.channels[setting.spec.outputs[line]].port;
        let Line { window, open, pushed, .. } = &mut self.lines[line];
        if !open.is_empty() {
            let batch = Batch { sequence: *pushed, port, records: std::mem::take(open), barrier: None };
            *pushed += batch.records.len() as u32;
            window.push(Element::Batch(batch));
            self.send(setting, line, effects);
        }
    }

    fn send(&mut self, setting: Setting<'_>, line: usize, effects: &mut Effects) {
        let channel = setting.spec.outputs[line];
        let input = setting.input_of(channel);
        let Line { window, records_sent, sent, owed, .. } = &mut self.lines[line];
        let records_max = window.records_max();
        while let Some(element) = window.pop(Batch::default) {
            if let Element::Batch(batch) = &element {
                let records = batch.records.len();
                effects
                    .check(records <= records_max, || format!("{records} records are sent where {records_max} may be"));
                *records_sent += records as u32;
                *sent += u32::from(batch.barrier.is_none());
            }
            *owed += u32::from(matches!(element, Element::Batch(_) | Element::Watermark { paid: true, .. }));
            effects.sent.push((channel, true, Message::Deliver { input, element }));
        }
    }

    /// Serves a line only once all before it are served.
    fn send_one_by_one(&mut self, setting: Setting<'_>, effects: &mut Effects) {
        for line in 0..self.lines.len() {
            self.send(setting, line, effects);
            if !self.lines[line].window.is_empty() {
                return;
            }
        }
    }

    fn is_blocked(&self, setting: Setting<'_>) -> bool {
        if setting.broken == Broken::BarriersCostCredit {
            return self.lines.iter().any(|line| line.pushed > line.records_sent);
        }
        self.lines.iter().any(|line| line.window.is_blocked())
    }

    fn give_back(&mut self, setting: Setting<'_>, input: usize, records: usize, effects: &mut Effects) {
        let slow = setting.uneven_rate && self.worked_off[input].is_multiple_of(2);
        let target = if slow { Grant { credits: 1, records: 1 } } else { Grant { credits: u32::MAX, records: 1024 } };
        let grant = self.ends[input].give_back(target, records);
        let channel = setting.spec.inputs[input];
        let line = setting.graph.channels[channel].line;
        let (credits, unreturned) = (grant.credits, &mut self.unreturned[input]);
        effects
            .check(credits <= *unreturned, || format!("input {input} gives {credits} credits back for {unreturned}"));
        *unreturned = unreturned.saturating_sub(credits);
        effects.sent.push((channel, false, Message::Credit { line, grant }));
    }
}
