//! State whose serializer or deserializer misbehaves, and stages that write it wrongly.

use std::time::Duration;

use millstream::operator::{
    BatchOperator, Output, Progress, RestoredSection, RunBudget, SectionWriter, StateError, Stateful,
};
use millstream::prelude::*;
use millstream::source::Batch;
use millstream::{CheckpointError, JobEventKind, TaskError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rig::{Ended, Rig, Running, environment, in_system};

/// A sum whose codec panics or fails when armed. Deserializers see no value, so what arms them is static: one set of
/// faults for each test.
#[derive(Clone, Default)]
struct Fragile<const TEST: usize>(u64);

mod armed {
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    pub(super) struct Static(AtomicU32);

    impl Static {
        pub(super) const fn new() -> Self {
            Self(AtomicU32::new(0))
        }

        pub(super) fn arm(&self, times: u32) {
            self.0.store(times, Ordering::SeqCst);
        }

        pub(super) fn strikes(&self) -> bool {
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        }
    }

    pub(super) static SERIALIZE_PANICS: [Static; 3] = [const { Static::new() }; 3];
    pub(super) static SERIALIZE_FAILS: [Static; 3] = [const { Static::new() }; 3];
    pub(super) static DESERIALIZE_PANICS: [Static; 3] = [const { Static::new() }; 3];
}

impl<const TEST: usize> Serialize for Fragile<TEST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(!armed::SERIALIZE_PANICS[TEST].strikes(), "injected: serializer");
        if armed::SERIALIZE_FAILS[TEST].strikes() {
            return Err(serde::ser::Error::custom("injected refusal"));
        }
        self.0.serialize(serializer)
    }
}

impl<'de, const TEST: usize> Deserialize<'de> for Fragile<TEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        assert!(!armed::DESERIALIZE_PANICS[TEST].strikes(), "injected: deserializer");
        u64::deserialize(deserializer).map(Self)
    }
}

fn start<const TEST: usize>(rig: Rig, name: &str) -> Running {
    rig.start_with(environment(name), Fragile::<TEST>(0), |sum, x| sum.0 += x, |sum| sum.0)
}

#[test]
fn panic_of_a_serializer_is_survived() {
    in_system(async {
        let running = start::<0>(Rig::default(), "serializer");
        running.gate.reached().await;
        armed::SERIALIZE_PANICS[0].arm(1);
        running.checkpoint_at_gate().await;
        let ended = running.finish_exactly().await;
        assert_eq!(ended.panics(), ["injected: serializer"]);
        assert_eq!(ended.outcome.restarts, 1);
    });
}

#[test]
fn panic_of_a_deserializer_during_restore_is_survived() {
    in_system(async {
        let rig = Rig::default();
        let faults = rig.faults.clone();
        let running = start::<1>(rig, "deserializer");
        running.checkpoint_at_gate().await;
        faults.operator.arm(1);
        armed::DESERIALIZE_PANICS[1].arm(1);
        let ended = running.finish_exactly().await;
        assert_eq!(ended.panics(), ["injected: operator", "injected: deserializer"]);
        assert_eq!(ended.outcome.restarts, 2);
    });
}

#[test]
fn serializer_that_refuses_declines_the_checkpoint_and_the_job_goes_on() {
    in_system(async {
        let running = start::<2>(Rig::default(), "refusal");
        running.gate.reached().await;
        armed::SERIALIZE_FAILS[2].arm(1);
        let refused = running.job.checkpoint().await.expect_err("declined");
        assert!(matches!(refused, CheckpointError::Aborted(_)), "{refused}");
        running.job.checkpoint().await.expect("the next one completes");
        let ended = running.finish_exactly().await;
        assert_eq!(ended.outcome.restarts, 0);
        let declined = declined(&ended);
        assert_eq!(declined.len(), 1);
        for part in ["checkpoint=1", "'sums'", "key group", "injected refusal"] {
            assert!(declined[0].contains(part), "'{part}' is missing in: {}", declined[0]);
        }
    });
}

/// A stage that passes records on, and starts a section twice in its first snapshot.
#[derive(Default)]
struct WritesTwice {
    snapshots: u32,
}

impl BatchOperator for WritesTwice {
    type In = u64;
    type Out = u64;

    fn process(
        &mut self,
        input: &mut Batch<u64>,
        out: &mut Output<u64>,
        _: &mut RunBudget,
    ) -> Result<Progress, TaskError> {
        out.pass_on(input);
        Ok(if input.is_empty() { Progress::Done } else { Progress::Suspended })
    }

    fn stateful(&mut self) -> Option<&mut dyn Stateful> {
        Some(self)
    }
}

impl Stateful for WritesTwice {
    fn snapshot(&mut self, writer: &mut SectionWriter) -> Result<Progress, StateError> {
        self.snapshots += 1;
        let sections = if self.snapshots == 1 { 2 } else { 1 };
        (0..sections).for_each(|_| writer.subtask(&"tally".into()).put(b"x"));
        Ok(Progress::Done)
    }

    fn restore(&mut self, _: Vec<RestoredSection>) -> Result<(), StateError> {
        Ok(())
    }
}

/// Once the writer of the snapshot panicked over the repeated address of the second section, and was restarted again
/// and again; now the task declines the checkpoint.
#[test]
fn section_written_twice_declines_the_checkpoint_and_the_job_goes_on() {
    in_system(async {
        for in_source_task in [true, false] {
            let env = StreamEnvironment::new("twice")
                .parallelism(1)
                .snapshot_store(MemoryStore::new())
                .checkpointing(Checkpointing::every(Duration::from_secs(3600)));
            let numbers = env.source("numbers", SequenceSource::unbounded().rate_per_second(1000));
            let stage = numbers.transform("stage", WritesTwice::default);
            let stage = if in_source_task { stage } else { stage.start_new_chain() };
            stage.sink("out", CollectSink::new());
            let job = env.start().expect("starts");
            let refused = job.checkpoint().await.expect_err("declined");
            let CheckpointError::Aborted(reason) = &refused else { panic!("{refused}") };
            for part in ["'stage'", "'tally'", "subtask 1", "twice"] {
                assert!(reason.to_string().contains(part), "'{part}' is missing in: {reason}");
            }
            job.checkpoint().await.expect("the next one completes");
            let outcome = job.finish().await.expect("finished");
            assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
            let history = job.history();
            assert!(!history.iter().any(|event| matches!(event.kind, JobEventKind::ActorRestarted { .. })));
        }
    });
}

fn declined(ended: &Ended) -> Vec<String> {
    let events = ended.events.iter().filter(|event| matches!(event, JobEventKind::CheckpointDeclined { .. }));
    events.map(ToString::to_string).collect()
}
