//! How a job is rescaled: one order after the other, each first by a checkpoint, in which nothing is lost or done, and then by a restart
//! of all regions from that.

use std::collections::{BTreeSet, VecDeque};

use super::{CheckpointId, RegionId};

/// What follows. `E` is why an order is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RescaleCommand<E> {
    /// Find out what this parallelism makes a difference to, and have ready what it needs.
    Prepare { request: u64, to: u32 },
    /// Have all sources wait.
    HoldSources { request: u64 },
    /// Take a checkpoint, and none after it.
    TakeCheckpoint { request: u64 },
    /// Nothing comes of it: have the sources read on, and checkpoints taken as ever.
    Release,
    /// Have all regions stop, and stay so.
    StopRegions { checkpoint: CheckpointId },
    /// No region has a task left: have all of them start with the new tasks.
    StartRegions,
    /// Answer a request. `None`: nothing was to be done.
    Answer { request: u64, result: Result<Option<CheckpointId>, E> },
}

/// What a parallelism makes a difference to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Nothing.
    Nothing,
    /// The number of some tasks' subtasks.
    Tasks,
}

/// What a region has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionReached {
    /// None of its tasks is left, and it waits.
    Rest,
    /// All its tasks run, or it is parked.
    Running,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for an order.
    Idle,
    /// Waits for what is found out.
    Preparing { request: u64 },
    /// Waits until no source reads.
    Holding { request: u64 },
    /// Waits for the checkpoint.
    Checkpointing { request: u64 },
    /// Waits until no region has a task.
    Stopping { request: u64, checkpoint: CheckpointId, awaited: BTreeSet<RegionId> },
    /// Waits until all regions have run.
    Starting { request: u64, checkpoint: CheckpointId, awaited: BTreeSet<RegionId> },
}

/// Who wants a job to have another parallelism, and how far that is.
#[derive(Debug)]
pub(crate) struct Rescaling {
    regions: u32,
    waiting: VecDeque<(u64, u32)>,
    phase: Phase,
}

impl Rescaling {
    /// Of a job with so many regions.
    pub(crate) fn new(regions: u32) -> Self {
        Self { regions, waiting: VecDeque::new(), phase: Phase::Idle }
    }

    /// The job is to have this parallelism.
    pub(crate) fn asked<E>(&mut self, order: (u64, u32), out: &mut Vec<RescaleCommand<E>>) {
        self.waiting.push_back(order);
        self.advance(out);
    }

    /// The job is about to end. Whoever is not past the checkpoint is told so.
    pub(crate) fn ending<E>(&mut self, error: impl Fn() -> E, out: &mut Vec<RescaleCommand<E>>) {
        let refuse = |request| RescaleCommand::Answer { request, result: Err(error()) };
        out.extend(self.waiting.drain(..).map(|(request, _)| refuse(request)));
        if let Phase::Holding { request } | Phase::Checkpointing { request } = self.phase {
            self.phase = Phase::Idle;
            out.extend([RescaleCommand::Release, refuse(request)]);
        }
    }

    /// What was to be found out.
    pub(crate) fn prepared<E>(&mut self, result: Result<Difference, E>, out: &mut Vec<RescaleCommand<E>>) {
        let Phase::Preparing { request } = self.phase else { return };
        match result {
            Ok(Difference::Tasks) => {
                self.phase = Phase::Holding { request };
                out.push(RescaleCommand::HoldSources { request });
            }
            Ok(Difference::Nothing) => self.answer(request, Ok(None), out),
            Err(error) => self.answer(request, Err(error), out),
        }
    }

    /// No source reads, on behalf of this request.
    pub(crate) fn sources_wait<E>(&mut self, of: u64, out: &mut Vec<RescaleCommand<E>>) {
        if self.phase == (Phase::Holding { request: of }) {
            self.phase = Phase::Checkpointing { request: of };
            out.push(RescaleCommand::TakeCheckpoint { request: of });
        }
    }

    /// What became of the checkpoint of this request.
    pub(crate) fn taken<E>(&mut self, of: u64, result: Result<CheckpointId, E>, out: &mut Vec<RescaleCommand<E>>) {
        if self.phase != (Phase::Checkpointing { request: of }) {
            return;
        }
        match result {
            Ok(checkpoint) => {
                self.phase = Phase::Stopping { request: of, checkpoint, awaited: self.all() };
                out.push(RescaleCommand::StopRegions { checkpoint });
            }
            Err(error) => {
                out.push(RescaleCommand::Release);
                self.answer(of, Err(error), out);
            }
        }
    }

    /// A region has come so far.
    pub(crate) fn reached<E>(&mut self, region: RegionId, what: RegionReached, out: &mut Vec<RescaleCommand<E>>) {
        match (&mut self.phase, what) {
            (Phase::Stopping { request, checkpoint, awaited }, RegionReached::Rest) => {
                awaited.remove(&region);
                if awaited.is_empty() {
                    let (request, checkpoint) = (*request, *checkpoint);
                    self.phase = Phase::Starting { request, checkpoint, awaited: self.all() };
                    out.push(RescaleCommand::StartRegions);
                }
            }
            (Phase::Starting { request, checkpoint, awaited }, RegionReached::Running) => {
                awaited.remove(&region);
                if awaited.is_empty() {
                    let (request, checkpoint) = (*request, *checkpoint);
                    self.answer(request, Ok(Some(checkpoint)), out);
                }
            }
            _ => {}
        }
    }

    fn all(&self) -> BTreeSet<RegionId> {
        (0..self.regions).map(RegionId).collect()
    }

    fn answer<E>(&mut self, request: u64, result: Result<Option<CheckpointId>, E>, out: &mut Vec<RescaleCommand<E>>) {
        self.phase = Phase::Idle;
        out.push(RescaleCommand::Answer { request, result });
        self.advance(out);
    }

    fn advance<E>(&mut self, out: &mut Vec<RescaleCommand<E>>) {
        if self.phase == Phase::Idle
            && let Some((request, to)) = self.waiting.pop_front()
        {
            self.phase = Phase::Preparing { request };
            out.push(RescaleCommand::Prepare { request, to });
        }
    }
}

#[cfg(test)]
mod tests {
    use RescaleCommand::*;

    use super::*;

    type Commands = Vec<RescaleCommand<&'static str>>;

    fn story(act: impl FnOnce(&mut Commands)) -> Commands {
        let mut out = Vec::new();
        act(&mut out);
        out
    }

    /// Of a job with two regions, with its first order as far as its checkpoint.
    fn at_its_checkpoint() -> Rescaling {
        let mut rules = Rescaling::new(2);
        assert_eq!(story(|out| rules.asked((1, 4), out)), [Prepare { request: 1, to: 4 }]);
        assert_eq!(story(|out| rules.prepared(Ok(Difference::Tasks), out)), [HoldSources { request: 1 }]);
        assert_eq!(story(|out| rules.sources_wait(1, out)), [TakeCheckpoint { request: 1 }]);
        rules
    }

    const CHECKPOINT: CheckpointId = CheckpointId(9);

    #[test]
    fn order_goes_by_a_checkpoint_to_a_restart_of_all_regions_and_the_next_follows_it() {
        let mut rules = at_its_checkpoint();
        assert_eq!(story(|out| rules.asked((2, 2), out)), []);
        assert_eq!(story(|out| rules.taken(1, Ok(CHECKPOINT), out)), [StopRegions { checkpoint: CHECKPOINT }]);
        for _ in 0..2 {
            assert_eq!(story(|out| rules.reached(RegionId(0), RegionReached::Running, out)), [], "the old tasks");
            assert_eq!(story(|out| rules.reached(RegionId(0), RegionReached::Rest, out)), []);
        }
        assert_eq!(story(|out| rules.reached(RegionId(1), RegionReached::Rest, out)), [StartRegions]);
        assert_eq!(story(|out| rules.reached(RegionId(1), RegionReached::Running, out)), []);
        assert_eq!(
            story(|out| rules.reached(RegionId(0), RegionReached::Running, out)),
            [Answer { request: 1, result: Ok(Some(CHECKPOINT)) }, Prepare { request: 2, to: 2 }]
        );
        let nothing = story(|out| rules.prepared(Ok(Difference::Nothing), out));
        assert_eq!(nothing, [Answer { request: 2, result: Ok(None) }]);
    }

    #[test]
    fn order_without_its_checkpoint_changes_nothing() {
        let mut rules = at_its_checkpoint();
        let refused = story(|out| rules.taken(1, Err("aborted"), out));
        assert_eq!(refused, [Release, Answer { request: 1, result: Err("aborted") }]);
        assert_eq!(story(|out| rules.asked((2, 2), out)), [Prepare { request: 2, to: 2 }]);
        let refused = story(|out| rules.prepared(Err("no threads"), out));
        assert_eq!(refused, [Answer { request: 2, result: Err("no threads") }], "no source waits");
    }

    #[test]
    fn end_refuses_what_is_not_past_its_checkpoint_and_late_answers_to_it_mean_nothing() {
        let mut rules = at_its_checkpoint();
        story(|out| rules.asked((2, 2), out));
        let refused = story(|out| rules.ending(|| "ends", out));
        let answer = |request| Answer { request, result: Err("ends") };
        assert_eq!(refused, [answer(2), Release, answer(1)]);
        // The end is taken back, and another order comes.
        story(|out| rules.asked((3, 2), out));
        story(|out| rules.prepared(Ok(Difference::Tasks), out));
        assert_eq!(story(|out| rules.taken(1, Ok(CHECKPOINT), out)), []);
        assert_eq!(story(|out| rules.sources_wait(1, out)), []);
        assert_eq!(story(|out| rules.sources_wait(3, out)), [TakeCheckpoint { request: 3 }]);
        assert_eq!(story(|out| rules.taken(3, Ok(CHECKPOINT), out)), [StopRegions { checkpoint: CHECKPOINT }]);
        assert_eq!(story(|out| rules.ending(|| "ends", out)), [], "the job ends with its new tasks");
        for region in [0, 1] {
            story(|out| rules.reached(RegionId(region), RegionReached::Rest, out));
        }
        story(|out| rules.reached(RegionId(0), RegionReached::Running, out));
        let done = story(|out| rules.reached(RegionId(1), RegionReached::Running, out));
        assert_eq!(done, [Answer { request: 3, result: Ok(Some(CHECKPOINT)) }]);
    }
}
