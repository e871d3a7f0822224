//! What a second process on a store says of the first: what it knows, and no more.

use millstream::prelude::*;
use millstream::{CheckpointId, JobEventKind};

use crate::handed::{Hand, HandedSource};
use crate::listener::events_of;
use crate::rig::in_system;

/// Reads 100 numbers, takes two checkpoints, and is cancelled; the events.
fn life(store: &MemoryStore) -> Vec<JobEventKind> {
    in_system(async {
        let hand = Hand::default();
        let env = StreamEnvironment::new("lives")
            .snapshot_store(store.clone())
            .checkpointing(Checkpointing::every(std::time::Duration::from_secs(86_400)));
        env.source("numbers", HandedSource(hand.clone())).sink("sink", PrintSink::new());
        let job = env.start().expect("the job starts");
        let mut events = events_of(&job);
        for _ in 0..2 {
            job.checkpoint().await.expect("nothing fails");
        }
        events.checkpoints(2).await;
        job.cancel().await.expect("it ends");
        job.history().into_iter().map(|event| event.kind).collect()
    })
}

/// A process that was killed may have read more than it had told anybody.
#[test]
fn what_an_earlier_process_had_read_is_unknown_and_not_none() {
    let store = MemoryStore::new();
    life(&store);
    let events = life(&store);
    let restored = events.iter().find(|kind| matches!(kind, JobEventKind::Restored { .. })).expect("it restores");
    assert!(matches!(restored, JobEventKind::Restored { rewinds: None, .. }), "{restored}");
    assert!(!restored.to_string().contains("0 records"), "{restored}");
}

#[test]
fn ids_that_an_earlier_process_had_reserved_are_said_to_be_passed_over() {
    let store = MemoryStore::new();
    let passed_over = |events: Vec<JobEventKind>| {
        let all = events.into_iter().filter_map(|kind| match kind {
            JobEventKind::IdsPassedOver { first, last, .. } => Some((first, last)),
            _ => None,
        });
        all.collect::<Vec<_>>()
    };
    assert_eq!(passed_over(life(&store)), []);
    assert_eq!(passed_over(life(&store)), [(CheckpointId(3), CheckpointId(1_000))], "once, at the first checkpoint");
    assert_eq!(passed_over(life(&store)), [(CheckpointId(1_003), CheckpointId(2_000))]);
}
