//! All tasks of a graph, the messages under way between them, and the coordinator that asks for checkpoints.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use millstream_actors::protocol::{Barrier, CheckpointId, CheckpointMode, Milestone};

use crate::graph::Tally;
use crate::links::{Link, Links};
use crate::message::{Effects, Message, Snapshot};
use crate::rules::Setting;
use crate::scenario::{GiveUp, Orders, Pace, Scenario};
use crate::task::Task;

/// A part of the state that most moves leave as it is: shared, and hashed once.
#[derive(Clone, Debug)]
struct Part<T> {
    value: Rc<T>,
    hash: u64,
}

impl<T: Clone + Hash> Part<T> {
    fn new(value: T) -> Self {
        let hash = hash_of(&value);
        Self { value: Rc::new(value), hash }
    }

    fn change(&mut self, change: impl FnOnce(&mut T)) {
        change(Rc::make_mut(&mut self.value));
        self.hash = hash_of(&*self.value);
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[derive(Clone, Debug, Hash)]
struct Coordinator {
    asked: u64,
    pending: Option<CheckpointId>,
    completed: CheckpointId,
    /// A bit for each task that has acknowledged what is pending.
    acknowledged: u32,
    give_ups_left: u8,
    /// Of each checkpoint, where each source's barrier was.
    cuts: Vec<Vec<Option<usize>>>,
    /// Of each checkpoint, what each task held back.
    held: Vec<Vec<Tally>>,
    /// Of each milestone, how far each source had read when it was asked for.
    milestones: Vec<Vec<Option<usize>>>,
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The first message of a link arrives.
    Arrive(Link, usize),
    /// A task takes a step.
    Step(usize),
    /// A source reads.
    Read(usize),
    /// A task notices that no more input is at hand.
    Flush(usize),
    /// A task's alarm wakes it.
    Wake(usize),
    /// All have acknowledged.
    Complete,
    /// A checkpoint is asked for.
    Trigger,
    /// A milestone is asked for.
    AskMilestone,
    /// The pending checkpoint is given up.
    GiveUp,
}

impl Move {
    /// The task that makes it.
    fn task(self) -> Option<usize> {
        match self {
            Self::Arrive(Link { to: task, .. }, _)
            | Self::Step(task)
            | Self::Read(task)
            | Self::Flush(task)
            | Self::Wake(task) => Some(task),
            Self::Complete | Self::Trigger | Self::AskMilestone | Self::GiveUp => None,
        }
    }

    /// Whether it must not be needed for the others to come to an end.
    fn is_optional(self) -> bool {
        matches!(self, Self::Trigger | Self::AskMilestone | Self::GiveUp | Self::Wake(_))
    }
}

/// Which promise did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// Nothing can happen although there is something left to do.
    Progress,
    /// A snapshot holds exactly, or at least, what came before the barrier.
    Consistency,
    /// Windows, order on a channel, watermarks.
    Channel,
    /// Who has a milestone has what the sources had read when it was asked for.
    Milestone,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    pub(crate) what: String,
}

/// A state of the whole graph.
#[derive(Clone, Debug)]
pub(crate) struct World {
    tasks: Vec<Part<Task>>,
    under_way: Vec<Part<VecDeque<Message>>>,
    coordinator: Coordinator,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, links: &Links) -> Self {
        let graph = &scenario.graph;
        let tasks = (0..graph.tasks.len()).map(|task| Task::new(scenario.setting(task), scenario.mode));
        Self {
            tasks: tasks.map(Part::new).collect(),
            under_way: links.links.iter().map(|_| Part::new(VecDeque::new())).collect(),
            coordinator: Coordinator {
                asked: 0,
                pending: None,
                completed: CheckpointId::NONE,
                acknowledged: 0,
                give_ups_left: scenario.give_ups,
                cuts: Vec::new(),
                held: Vec::new(),
                milestones: Vec::new(),
            },
        }
    }

    /// Two states with the same hash are taken for one: with a million states of 64 bits, one in 37 million chances to
    /// miss any.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.tasks.iter().for_each(|part| part.hash.hash(&mut hasher));
        self.under_way.iter().for_each(|part| part.hash.hash(&mut hasher));
        self.coordinator.hash(&mut hasher);
        hasher.finish()
    }

    /// Checkpoints that were completed.
    pub(crate) fn completed(&self) -> u64 {
        self.coordinator.completed.0
    }

    /// All that can happen here.
    pub(crate) fn moves(&self, scenario: &Scenario, links: &Links) -> Vec<Move> {
        let mut moves = Vec::new();
        for (index, &link) in links.links.iter().enumerate() {
            if !self.under_way[index].value.is_empty() {
                moves.push(Move::Arrive(link, index));
            }
        }
        for (index, task) in self.tasks.iter().enumerate() {
            let setting = scenario.setting(index);
            if scenario.pace == Pace::Yields && self.changes_by_a_step(setting, index) {
                moves.push(Move::Step(index));
            }
            if task.value.can_read(setting) {
                moves.push(Move::Read(index));
            }
            if task.value.can_flush() {
                moves.push(Move::Flush(index));
            }
            if task.value.can_wake(setting) {
                moves.push(Move::Wake(index));
            }
        }
        let Coordinator { asked, pending, acknowledged, give_ups_left, .. } = self.coordinator;
        match pending {
            Some(_) if acknowledged.count_ones() as usize == self.tasks.len() => moves.push(Move::Complete),
            None if asked < scenario.checkpoints => moves.push(Move::Trigger),
            _ => {}
        }
        if self.may_ask_milestone(scenario) {
            moves.push(Move::AskMilestone);
        }
        if pending.is_some() && give_ups_left > 0 {
            moves.push(Move::GiveUp);
        }
        moves
    }

    /// Of these moves, enough to reach every end and every state of every single task (persistent sets: Godefroid,
    /// Partial-Order Methods for the Verification of Concurrent Systems, 1996, chapter 4; nothing here runs in circles).
    ///
    /// A task whose every incoming link holds a message, or stays empty until the task itself moves, cannot be
    /// influenced: the moves of all others commute with its own, which may therefore come first. Not so one that need not
    /// happen: there are states in which all else has come to rest before it.
    pub(crate) fn essential(&self, scenario: &Scenario, links: &Links, moves: Vec<Move>) -> Vec<Move> {
        if scenario.orders == Orders::All {
            return moves;
        }
        // What a source has read when a milestone is asked for counts.
        let is_looked_at =
            |task: usize| scenario.graph.tasks[task].script.is_some() && self.may_ask_milestone(scenario);
        let cannot_be_influenced = |task: usize| {
            !is_looked_at(task)
                && links.links.iter().zip(&self.under_way).all(|(link, under_way)| {
                    link.to != task || !under_way.value.is_empty() || self.stays_empty(scenario, *link)
                })
        };
        let moves_of = |task| moves.iter().filter(move |next| next.task() == Some(task));
        let candidates = (0..self.tasks.len()).filter(|&task| {
            let mut moves = moves_of(task).peekable();
            moves.peek().is_some() && !moves.any(|next| next.is_optional())
        });
        let chosen = candidates.filter(|&task| cannot_be_influenced(task)).min_by_key(|&task| moves_of(task).count());
        match chosen {
            Some(task) => moves_of(task).copied().collect(),
            None => moves,
        }
    }

    fn may_ask_milestone(&self, scenario: &Scenario) -> bool {
        (self.coordinator.milestones.len() as u64) < scenario.milestones
    }

    /// Whether nothing will be sent on an empty link before its receiver moves.
    fn stays_empty(&self, scenario: &Scenario, link: Link) -> bool {
        let graph = &scenario.graph;
        let Link { from: Some(from), to } = link else {
            let spec = &graph.tasks[link.to];
            let is_asked = spec.script.is_some() || spec.capacity.is_some();
            let asks = is_asked && self.coordinator.asked < scenario.checkpoints;
            let asks = asks || spec.script.is_some() && self.may_ask_milestone(scenario);
            let Coordinator { pending, give_ups_left, .. } = self.coordinator;
            let may_give_up = pending.is_some() || self.coordinator.asked < scenario.checkpoints;
            let tells = may_give_up && give_ups_left > 0 && scenario.give_up == GiveUp::Announced;
            return !asks && !tells;
        };
        let is_for_credits = from > to;
        is_for_credits
            && graph.channels.iter().all(|channel| {
                (channel.from, channel.to) != (to, from) || !self.tasks[to].value.awaits_credit(channel.line)
            })
    }

    fn changes_by_a_step(&self, setting: Setting<'_>, index: usize) -> bool {
        let mut task = Task::clone(&self.tasks[index].value);
        task.step(setting, &mut Effects::default());
        task != *self.tasks[index].value
    }

    /// Lets it happen.
    pub(crate) fn make(&mut self, scenario: &Scenario, links: &Links, next: Move) -> Result<(), Violation> {
        match next {
            Move::Arrive(link, index) => {
                let mut message = None;
                self.under_way[index].change(|queue| message = queue.pop_front());
                let message = message.expect("an arrival is a move only where a message is under way");
                self.act(scenario, links, link.to, |task, setting, effects| {
                    task.arrive(setting, message, effects);
                    if scenario.pace == Pace::Runs {
                        task.run(setting, effects);
                    }
                })
            }
            Move::Step(task) => self.act(scenario, links, task, Task::step),
            Move::Read(task) => self.act(scenario, links, task, Task::read),
            Move::Flush(task) => self.act(scenario, links, task, Task::flush),
            Move::Wake(task) => self.act(scenario, links, task, |task, setting, effects| {
                task.wake(setting, effects);
                if scenario.pace == Pace::Runs {
                    task.run(setting, effects);
                }
            }),
            Move::Complete => {
                self.coordinator.completed = self.coordinator.pending.take().expect("a checkpoint is pending");
                Ok(())
            }
            Move::Trigger => {
                self.trigger(scenario);
                Ok(())
            }
            Move::AskMilestone => {
                self.ask_milestone(scenario);
                Ok(())
            }
            Move::GiveUp => {
                self.give_up(scenario);
                Ok(())
            }
        }
    }

    fn trigger(&mut self, scenario: &Scenario) {
        let coordinator = &mut self.coordinator;
        coordinator.asked += 1;
        coordinator.acknowledged = 0;
        coordinator.cuts.push(vec![None; self.tasks.len()]);
        coordinator.held.push(vec![Tally::default(); self.tasks.len()]);
        let barrier = Barrier { checkpoint: CheckpointId(coordinator.asked), base: coordinator.completed };
        coordinator.pending = Some(barrier.checkpoint);
        for (source, _) in scenario.graph.sources() {
            self.under_way[source].change(|queue| queue.push_back(Message::Request(barrier)));
        }
        let may_refuse = |task: &usize| scenario.graph.tasks[*task].capacity.is_some();
        for task in (0..self.tasks.len()).filter(may_refuse) {
            self.under_way[task].change(|queue| queue.push_back(Message::Expect(barrier.checkpoint)));
        }
    }

    fn ask_milestone(&mut self, scenario: &Scenario) {
        let is_source = |task: &usize| scenario.graph.tasks[*task].script.is_some();
        let read = |task: usize| is_source(&task).then(|| self.tasks[task].value.position());
        let read = (0..self.tasks.len()).map(read).collect();
        self.coordinator.milestones.push(read);
        let milestone = Milestone(self.coordinator.milestones.len() as u64);
        for source in (0..self.tasks.len()).filter(is_source) {
            self.under_way[source].change(|queue| queue.push_back(Message::Milestone(milestone)));
        }
    }

    /// What had been read when a milestone was asked for is before it.
    fn check_milestone(
        &self,
        scenario: &Scenario,
        index: usize,
        (milestone, seen): (Milestone, Vec<Tally>),
    ) -> Result<(), Violation> {
        let read = &self.coordinator.milestones[milestone.0 as usize - 1];
        let before = scenario.graph.carried(read);
        for (&channel, seen) in scenario.graph.tasks[index].inputs.iter().zip(seen) {
            let before = before[channel].expect("how far each source had read is known");
            if !seen.covers(before) {
                let from = scenario.graph.channels[channel].from;
                let what = format!("task {index} has {seen:x?} of task {from} at {milestone:?}, not {before:x?}");
                return Err(Violation { promise: Promise::Milestone, what });
            }
        }
        Ok(())
    }

    fn give_up(&mut self, scenario: &Scenario) {
        let checkpoint = self.coordinator.pending.take().expect("a checkpoint is pending");
        self.coordinator.give_ups_left -= 1;
        self.coordinator.acknowledged = 0;
        if scenario.give_up == GiveUp::Announced {
            for task in 0..self.tasks.len() {
                self.under_way[task].change(|queue| queue.push_back(Message::Aborted(checkpoint)));
            }
        }
    }

    fn act(
        &mut self,
        scenario: &Scenario,
        links: &Links,
        index: usize,
        act: impl FnOnce(&mut Task, Setting<'_>, &mut Effects),
    ) -> Result<(), Violation> {
        let mut effects = Effects::default();
        self.tasks[index].change(|task| act(task, scenario.setting(index), &mut effects));
        for (channel, ahead, message) in effects.sent {
            let (elements, credits) = links.of_channel[channel];
            let link = if ahead { elements } else { credits };
            self.under_way[link].change(|queue| queue.push_back(message));
        }
        if let Some(what) = effects.violation {
            return Err(Violation { promise: Promise::Channel, what: format!("task {index}: {what}") });
        }
        for passed in effects.milestones {
            self.check_milestone(scenario, index, passed)?;
        }
        for snapshot in effects.snapshots {
            self.snapshot(scenario, index, &snapshot)?;
        }
        self.check_channels(scenario)
    }

    fn snapshot(&mut self, scenario: &Scenario, index: usize, snapshot: &Snapshot) -> Result<(), Violation> {
        let checkpoint = snapshot.checkpoint;
        let coordinator = &mut self.coordinator;
        if coordinator.pending == Some(checkpoint) {
            coordinator.acknowledged |= 1 << index;
        }
        let cut = &mut coordinator.cuts[checkpoint.0 as usize - 1];
        let spec = &scenario.graph.tasks[index];
        let held = &mut coordinator.held[checkpoint.0 as usize - 1];
        held[index] = snapshot.held;
        if spec.script.is_some() {
            cut[index] = Some(snapshot.position);
            return Ok(());
        }
        let carried = scenario.graph.carried(cut);
        for (&channel, &seen) in spec.inputs.iter().zip(&snapshot.seen) {
            let before = carried[channel];
            // What a task has taken is in its snapshot, or went on before the barrier.
            let seen = seen.and(held[scenario.graph.channels[channel].from]);
            let holds = before.is_some_and(|before| match scenario.mode {
                CheckpointMode::ExactlyOnce => seen == before,
                CheckpointMode::AtLeastOnce => seen.covers(before),
            });
            if !holds {
                let from = scenario.graph.channels[channel].from;
                let what =
                    format!("task {index} has {seen:x?} of task {from} in snapshot {checkpoint}, not {before:x?}");
                return Err(Violation { promise: Promise::Consistency, what });
            }
        }
        Ok(())
    }

    /// What is under way on a channel, on the wire and at the receiver, fits its window; a task holds one unsent batch
    /// for each, and one more where it gathers.
    fn check_channels(&self, scenario: &Scenario) -> Result<(), Violation> {
        let graph = &scenario.graph;
        let unsent_max = if graph.batch_records > 1 { 2 } else { 1 };
        for channel in &graph.channels {
            let (from, to) = (&self.tasks[channel.from].value, &self.tasks[channel.to].value);
            let under_way = from.sent(channel.line) - to.worked_off(channel.input);
            if under_way > graph.window || from.unsent(channel.line) > unsent_max {
                let unsent = from.unsent(channel.line);
                let what = format!("{channel:?}: {under_way} batches under way, {unsent} unsent");
                return Err(Violation { promise: Promise::Channel, what });
            }
        }
        Ok(())
    }

    /// Nothing need happen any more, unless someone wishes to: is all work done?
    pub(crate) fn check_at_rest(&self, scenario: &Scenario, moves: &[Move]) -> Result<(), Violation> {
        if !moves.iter().all(|next| next.is_optional()) {
            return Ok(());
        }
        let progress = |what| Err(Violation { promise: Promise::Progress, what });
        let graph = &scenario.graph;
        if let Some(checkpoint) = self.coordinator.pending {
            let who = self.coordinator.acknowledged;
            return progress(format!("checkpoint {checkpoint} waits for ever; acknowledged by {who:b}"));
        }
        if self.tasks.iter().zip(&graph.tasks).any(|(task, spec)| task.value.waits_for_answer(spec)) {
            return Ok(());
        }
        let last = Milestone(self.coordinator.milestones.len() as u64);
        if let Some(task) = self.tasks.iter().position(|task| !task.value.has_passed(last)) {
            return progress(format!("task {task} waits for {last:?} for ever: {:?}", self.tasks[task].value));
        }
        let all_end = graph.tasks.iter().all(|spec| spec.ends);
        for (index, task) in self.tasks.iter().enumerate() {
            if !task.value.is_finished(&graph.tasks[index], all_end) {
                return progress(format!("task {index} waits for ever: {:?}", task.value));
            }
        }
        for channel in &graph.channels {
            let (from, to) = (&self.tasks[channel.from].value, &self.tasks[channel.to].value);
            if from.sent(channel.line) != to.worked_off(channel.input) {
                return progress(format!("a batch of {channel:?} was never worked off"));
            }
        }
        Ok(())
    }
}
