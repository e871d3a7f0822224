//! Answers that were given, when the checkpoint that covers them is damaged.

use std::path::Path;

use millstream::JobEventKind;
use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::source::IngestOptions;

use crate::damage::{flip_newest_of, retained_of};
use crate::run::block_on;

const JOB: &str = "notes";

/// Requests that the first life answers.
const GIVEN: u64 = 6;

/// Which life of the job has answered, and the how-manyth note it was.
type Noted = (u64, u64);

/// Keeps all notes, and tells how many there are.
#[derive(Clone)]
struct Notes {
    life: u64,
}

impl KeyedProcessFunction<u8, Request<u64>> for Notes {
    type Out = Answer<Noted>;
    type State = ValueState<Vec<String>>;

    fn state(&self) -> Self::State {
        ValueState::new("notes")
    }

    fn process(
        &mut self,
        request: Request<u64>,
        mut notes: Row<'_, Self, u8, Request<u64>>,
        _: &mut KeyedContext<'_, u8>,
        out: &mut Emitter<'_, Answer<Noted>>,
    ) {
        let notes = notes.get_or_insert_with(Vec::new);
        // Long, so that the bytes of a checkpoint are found in the file of the store.
        notes.push(format!("{:0>100}", request.body()));
        out.emit(request.answer((self.life, notes.len() as u64)));
    }
}

/// One life of the job, on its log and its store in `folder`.
fn live(folder: &Path, life: u64) -> (JobHandle, Requests<u64, Noted>) {
    let options = RequestOptions::new().log(IngestOptions::new().splits(1));
    let (source, requests) = RequestSource::open(folder.join("requests"), options).unwrap();
    let env = StreamEnvironment::new(JOB)
        .parallelism(2)
        .snapshot_store(RedbStore::open(folder.join("store.redb")).unwrap())
        // None but those that answers wait for.
        .checkpointing(Checkpointing::every(std::time::Duration::from_secs(3_600)));
    env.source("requests", source)
        .key_by(|_: &Request<u64>| 0)
        .process("notes", Notes { life })
        .sink("answers", requests.answers());
    (env.start().unwrap(), requests)
}

async fn ask(requests: &Requests<u64, Noted>, n: u64) -> Result<Noted, AskError> {
    requests.ask(Ask::new(n).idempotency_key(n.to_string())).await
}

/// That asking again gives the answers of the first life.
async fn assert_stand(requests: &Requests<u64, Noted>) {
    for n in 1..=GIVEN {
        assert_eq!(ask(requests, n).await.unwrap(), (1, n), "the answer to {n} stands");
    }
}

// Guarantee A5.
#[test]
fn answer_that_was_given_stands_when_the_job_falls_back_behind_its_checkpoint() {
    for damaged in 1..=2 {
        let dir = tempfile::tempdir().unwrap();
        block_on("a life that answers", async {
            let (job, requests) = live(dir.path(), 1);
            for n in 1..=GIVEN {
                assert_eq!(ask(&requests, n).await.unwrap(), (1, n));
            }
            job.cancel().await.unwrap();
            requests.closed().await;
        });
        let path = dir.path().join("store.redb");
        let manifests = retained_of(JOB, &path);
        let (whole, broken) = manifests.split_at(manifests.len() - damaged as usize);
        flip_newest_of(JOB, "notes", &path, broken);
        block_on("a life that falls back", async {
            let (job, requests) = live(dir.path(), 2);
            // Those of the damaged checkpoints are processed again, and answered otherwise.
            assert_stand(&requests).await;
            assert_eq!(ask(&requests, GIVEN + 1).await.unwrap(), (2, GIVEN + 1), "each note counts once");
            // Those answers are durable by now.
            assert_stand(&requests).await;
            assert_eq!(requests.status().surplus_answers, damaged);
            let history = job.history();
            let fell_back = history.iter().rev().find_map(|event| match &event.kind {
                JobEventKind::FellBack { to, withdrawn, .. } => Some((*to, withdrawn.clone())),
                _ => None,
            });
            let withdrawn = broken.iter().map(|manifest| manifest.checkpoint).collect();
            assert_eq!(fell_back, Some((whole.last().unwrap().checkpoint, withdrawn)));
            job.finish().await.unwrap();
            requests.closed().await;
        });
        // They stand for good.
        block_on("a life after it", async {
            let (job, requests) = live(dir.path(), 3);
            assert!(job.await.unwrap().already_complete);
            let error = ask(&requests, GIVEN + 2).await.unwrap_err();
            assert!(matches!(error, AskError::NotTaken(_)), "{error}");
        });
    }
}
