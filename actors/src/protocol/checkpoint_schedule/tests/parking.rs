//! Regions that are parked: what checkpoints hold of them, and what is refused meanwhile.

use super::*;
use crate::protocol::{ChunkAddress, ChunkRef};

/// Two regions, each of a source, which writes a state, and a sink.
struct Pair {
    harness: Harness,
    attempts: [u32; 2],
}

fn subtask(region: u32, kind: TaskKind) -> SubtaskId {
    SubtaskId { task: TaskId(2 * region + u32::from(kind == TaskKind::Sink)), index: 0 }
}

fn chunk(checkpoint: u64, region: u32) -> ChunkRef {
    let operator = format!("r{region}").as_str().into();
    let (state, scope, checkpoint) = ("s".into(), StateScope::Subtask(0), CheckpointId(checkpoint));
    ChunkRef { address: ChunkAddress { checkpoint, operator, state, scope, seq: 0 }, len: 1, checksum: 1 }
}

fn participants() -> Vec<Participant> {
    let of_region = |region| {
        [TaskKind::Source, TaskKind::Sink].map(|kind| Participant {
            subtask: subtask(region, kind),
            region: RegionId(region),
            kind,
            holds_end: false,
        })
    };
    (0..2).flat_map(of_region).collect()
}

impl Pair {
    fn asking(may_fall_back: bool, origin: Option<Arc<Manifest>>) -> Self {
        let settings = ScheduleSettings {
            job: "job".into(),
            incarnation: Incarnation(1),
            max_parallelism: 128,
            checkpointing: Checkpointing::disabled(),
            ids_per_block: 1_000,
            may_fall_back,
            participants: participants(),
            operators: (0..2).map(|r| (RegionId(r), [format!("r{r}").as_str().into()].into())).collect(),
            origin,
        };
        let mut out = Vec::new();
        let none = CheckpointId::NONE;
        let reserved = CheckpointId(100);
        let schedule = CheckpointSchedule::new(settings, reserved, none, None, BTreeSet::new(), &mut out);
        Self { harness: Harness { schedule, now_ms: 0 }, attempts: [0; 2] }
    }

    fn running() -> Self {
        let mut pair = Self::asking(true, None);
        pair.harness.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
        (0..2).for_each(|region| pair.start(region));
        pair
    }

    fn execution(&self, region: u32) -> Execution {
        Execution { region: RegionId(region), ..execution(self.attempts[region as usize]) }
    }

    /// A new attempt of the region; what it is to restore.
    fn ask(&mut self, region: u32, damaged: Option<u64>) -> Vec<ScheduleCommand> {
        self.attempts[region as usize] += 1;
        let (execution, damaged) = (self.execution(region), damaged.map(CheckpointId));
        self.harness.apply(ScheduleEvent::RestoreRequested { execution, damaged })
    }

    fn runs(&mut self, region: u32, restored: u64) -> Vec<ScheduleCommand> {
        let (execution, restored) = (self.execution(region), CheckpointId(restored));
        self.harness.apply(ScheduleEvent::RegionRunning { execution, restored })
    }

    fn start(&mut self, region: u32) {
        let restored = match answer(&self.ask(region, None)) {
            RestoreDecision::From { manifest, .. } => manifest.as_ref().map_or(0, |manifest| manifest.checkpoint.0),
            RestoreDecision::Refused(reason) => panic!("{reason}"),
        };
        self.runs(region, restored);
    }

    fn fail(&mut self, region: u32) -> Vec<ScheduleCommand> {
        let execution = self.execution(region);
        self.harness.apply(ScheduleEvent::RegionDown { execution, failed: true, restarts_at: None })
    }

    fn park(&mut self, region: u32) -> Vec<ScheduleCommand> {
        self.fail(region);
        let execution = self.execution(region);
        self.harness.apply(ScheduleEvent::ParkRequested { execution })
    }

    /// The job has other tasks; these regions ran, and do so again.
    fn rescale(&mut self, regions: &[u32]) {
        regions.iter().for_each(|region| drop(self.fail(*region)));
        for step in [RescaleStep::TasksReplaced { by: participants() }, RescaleStep::Over] {
            self.harness.apply(ScheduleEvent::Rescale(step));
        }
        regions.iter().for_each(|region| self.start(*region));
    }

    fn request(&mut self) -> Vec<ScheduleCommand> {
        self.harness.now_ms += 1;
        let out = self.harness.apply(ScheduleEvent::CheckpointRequested { waiter: 1 });
        match out[..] {
            [ScheduleCommand::ReserveIds { up_to }] => self.harness.apply(ScheduleEvent::IdsReserved { up_to }),
            _ => out,
        }
    }

    fn acknowledge(&mut self, region: u32, id: u64, state: SourceState) -> Vec<ScheduleCommand> {
        let mut out = Vec::new();
        for kind in [TaskKind::Sink, TaskKind::Source] {
            let is_source = kind == TaskKind::Source;
            let chunks = if is_source { vec![chunk(id, region)] } else { Vec::new() };
            out.extend(self.harness.apply(ScheduleEvent::Acknowledged {
                execution: self.execution(region),
                subtask: subtask(region, kind),
                checkpoint: CheckpointId(id),
                written: Contribution { chunks, carried: Vec::new() },
                facts: AckFacts { source: is_source.then_some(state), ..AckFacts::default() },
            }));
        }
        out
    }

    fn commit(&mut self, region: u32, id: u64) -> Vec<ScheduleCommand> {
        let event =
            ScheduleEvent::SinkCommitted { subtask: subtask(region, TaskKind::Sink), checkpoint: CheckpointId(id) };
        self.harness.apply(event)
    }

    /// A checkpoint in which these regions take part.
    fn checkpoint(&mut self, regions: &[u32], state: SourceState) -> Arc<Manifest> {
        let (id, _, _) = triggered(&self.request()).expect("it is triggered");
        let out: Vec<_> = regions.iter().flat_map(|region| self.acknowledge(*region, id, state)).collect();
        let [ScheduleCommand::Finalise { manifest }] = &out[..] else { panic!("{out:?}") };
        self.harness.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(id) });
        regions.iter().for_each(|region| drop(self.commit(*region, id)));
        manifest.clone()
    }
}

fn parked(out: &[ScheduleCommand]) -> Option<(Option<u64>, bool)> {
    out.iter().find_map(|command| match command {
        ScheduleCommand::AnswerPark { newest, is_refused, .. } => Some((newest.map(|id| id.0), *is_refused)),
        _ => None,
    })
}

/// P3. Every order of checkpoints, failures, parkings and resumptions of one of two regions, and rescales, up to six.
#[test]
fn each_checkpoint_has_of_each_region_what_the_newest_has_in_which_it_took_part() {
    #[derive(Clone, Copy, Debug)]
    enum Does {
        Checkpoint,
        Restart,
        Park,
        Resume,
        Rescale,
    }
    const ALL: [Does; 5] = [Does::Checkpoint, Does::Restart, Does::Park, Does::Resume, Does::Rescale];
    for code in 0..5_usize.pow(6) {
        let mut pair = Pair::running();
        let (mut is_parked, mut newest, mut newest_of_1) = (false, None, None);
        for does in (0..6).map(|place| ALL[code / 5_usize.pow(place) % 5]) {
            let regions: &[u32] = if is_parked { &[0] } else { &[0, 1] };
            match does {
                Does::Checkpoint => {
                    let manifest = pair.checkpoint(regions, SourceState::Reading);
                    let id = manifest.checkpoint.0;
                    newest = Some(id);
                    newest_of_1 = if is_parked { newest_of_1 } else { Some(id) };
                    let mut expected: Vec<ChunkRef> = newest_of_1.map(|id| chunk(id, 1)).into_iter().collect();
                    expected.push(chunk(id, 0));
                    expected.sort_by(|a, b| a.address.cmp(&b.address));
                    assert_eq!(manifest.chunks, expected, "{code}");
                }
                Does::Restart if !is_parked => {
                    pair.fail(1);
                    pair.start(1);
                }
                Does::Park if !is_parked => {
                    assert_eq!(parked(&pair.park(1)), Some((newest, false)), "{code}");
                    is_parked = true;
                }
                Does::Resume if is_parked => {
                    pair.start(1);
                    is_parked = false;
                }
                Does::Rescale => pair.rescale(regions),
                Does::Restart | Does::Park | Does::Resume => {}
            }
        }
    }
}

#[test]
fn region_is_parked_once_it_is_known_whether_a_checkpoint_has_it() {
    let mut pair = Pair::running();
    let (id, _, _) = triggered(&pair.request()).expect("it is triggered");
    (0..2).for_each(|region| drop(pair.acknowledge(region, id, SourceState::Reading)));
    assert_eq!(parked(&pair.park(1)), None, "the manifest is being written");
    let out = pair.harness.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(id) });
    assert_eq!(parked(&out), Some((Some(id), false)));
}

#[test]
fn resumed_region_restores_the_checkpoint_that_is_in_flight_without_it() {
    let mut pair = Pair::running();
    pair.checkpoint(&[0, 1], SourceState::Reading);
    pair.park(1);
    let (id, _, _) = triggered(&pair.request()).expect("it is triggered");
    assert!(pair.ask(1, None).is_empty(), "it is not disturbed");
    let out = pair.acknowledge(0, id, SourceState::Reading);
    assert!(matches!(out[..], [ScheduleCommand::Finalise { .. }]));
    let out = pair.harness.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(id) });
    assert!(matches!(answer(&out), RestoreDecision::From { manifest: Some(m), .. } if m.checkpoint.0 == id));
    assert!(pair.request().is_empty(), "none is triggered before it runs");
    assert!(triggered(&pair.runs(1, id)).is_some());
}

/// P5.
#[test]
fn job_does_not_finish_without_a_parked_region_and_is_drained_without_it() {
    let mut pair = Pair::running();
    pair.park(1);
    let manifest = pair.checkpoint(&[0], SourceState::Ended);
    assert!(!manifest.is_final);
    let halted = ScheduleEvent::SourceHalted {
        execution: pair.execution(0),
        subtask: subtask(0, TaskKind::Source),
        state: SourceState::Ended,
    };
    assert_eq!(triggered(&pair.harness.apply(halted)), None, "the input has not ended");
    let (id, _, reason) = triggered(&pair.harness.apply(ScheduleEvent::DrainRequested)).expect("the last one");
    assert_eq!(reason, TriggerReason::Drain);
    pair.acknowledge(0, id, SourceState::Ended);
    pair.harness.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(id) });
    let out = pair.commit(0, id);
    assert!(
        matches!(out[..], [ScheduleCommand::Settled { checkpoint, is_final: false }] if checkpoint.0 == id),
        "{out:?}"
    );
}

/// P5.
#[test]
fn final_checkpoint_is_not_settled_before_the_parked_sinks_have_committed_unless_the_job_is_drained() {
    for drains in [false, true] {
        let mut pair = Pair::running();
        let (id, _, _) = triggered(&pair.request()).expect("it is triggered");
        (0..2).for_each(|region| drop(pair.acknowledge(region, id, SourceState::Ended)));
        pair.harness.apply(ScheduleEvent::Finalised { checkpoint: CheckpointId(id) });
        pair.park(1);
        assert!(pair.commit(0, id).is_empty(), "region 1 has not committed");
        if drains {
            let out = pair.harness.apply(ScheduleEvent::DrainRequested);
            assert!(matches!(out[..], [ScheduleCommand::Settled { is_final: false, .. }]), "{out:?}");
        } else {
            pair.ask(1, None);
            let out = pair.runs(1, id);
            assert!(matches!(out[..], [ScheduleCommand::Settled { is_final: true, .. }]), "{out:?}");
        }
    }
}

/// P5.
#[test]
fn nothing_is_taken_and_a_drain_is_over_at_once_while_all_regions_are_parked() {
    let mut pair = Pair::running();
    pair.checkpoint(&[0, 1], SourceState::Reading);
    (0..2).for_each(|region| drop(pair.park(region)));
    let out = pair.request();
    assert!(matches!(out[..], [ScheduleCommand::AnswerWaiter { result: Err(NoCheckpoint::AllParked), .. }]), "{out:?}");
    let out = pair.harness.apply(ScheduleEvent::DrainRequested);
    assert!(
        matches!(out[..], [ScheduleCommand::Settled { checkpoint: CheckpointId(101), is_final: false }]),
        "{out:?}"
    );
}

/// P4.
#[test]
fn others_do_not_fall_back_behind_where_a_region_is_parked() {
    let mut pair = Pair::running();
    for _ in 0..2 {
        pair.checkpoint(&[0, 1], SourceState::Reading);
    }
    pair.park(1);
    pair.checkpoint(&[0], SourceState::Reading);
    let out = pair.ask(0, Some(103));
    assert!(matches!(out[..], [ScheduleCommand::AbandonAbove { checkpoint: CheckpointId(102), .. }]), "{out:?}");
    let (above, completed) = (CheckpointId(102), vec![CheckpointId(103)]);
    pair.harness.apply(ScheduleEvent::Abandoned { above, completed });
    let out = pair.ask(0, Some(102));
    let refused = matches!(
        answer(&out),
        RestoreDecision::Refused(NoRestore::Parked { region: RegionId(1), from: CheckpointId(102) })
    );
    assert!(refused, "{out:?}");
}

/// P4.
#[test]
fn region_of_which_no_checkpoint_could_hold_anything_is_not_parked() {
    let origin = Some(manifest(5, false));
    let mut pair = Pair::asking(true, origin);
    pair.harness.apply(ScheduleEvent::WriterReported { retained: Some(Vec::new()) });
    (0..2).for_each(|region| pair.start(region));
    assert_eq!(parked(&pair.park(1)), Some((None, true)), "all that there is of it is in the savepoint");

    let mut pair = Pair::running();
    for _ in 0..2 {
        pair.checkpoint(&[0, 1], SourceState::Reading);
    }
    pair.ask(1, Some(102));
    let (above, completed) = (CheckpointId(101), vec![CheckpointId(102)]);
    pair.harness.apply(ScheduleEvent::Abandoned { above, completed });
    assert_eq!(parked(&pair.park(1)), Some((Some(101), true)), "it may have output of 102 to withdraw");
}
