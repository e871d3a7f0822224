//! A log of requests that is lost, and another in its place: answers to lost requests are given to nobody.

use std::time::Duration;

use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::source::{IngestOptions, OffsetReset};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::common::{run, watched};

/// What is to be done with an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Wish {
    /// Answer this when the account is released.
    Hold(u64),
    Release(u64),
    Nothing,
}

pub(crate) type Held = Requests<Wish, String>;

/// Keeps one request of each account.
#[derive(Clone)]
struct Hold;

impl KeyedProcessFunction<u64, Request<Wish>> for Hold {
    type Out = Answer<String>;
    type State = ValueState<Request<Wish>>;

    fn state(&self) -> Self::State {
        ValueState::new("held")
    }

    fn process(
        &mut self,
        request: Request<Wish>,
        mut held: Row<'_, Self, u64, Request<Wish>>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Answer<String>>,
    ) {
        match request.body() {
            Wish::Hold(_) => return held.set(request),
            Wish::Release(account) => {
                let kept = held.take();
                kept.iter().for_each(|kept| out.emit(kept.answer(format!("of account {account}"))));
            }
            Wish::Nothing => {}
        }
        out.emit(request.answer("done".to_owned()));
    }
}

/// Checkpoints are those that are waited for.
pub(crate) fn start(folder: &TempDir) -> (JobHandle, Held) {
    let log = IngestOptions::new().splits(1).offset_reset(OffsetReset::Earliest);
    let options = RequestOptions::new().timeout(Duration::from_secs(100)).log(log);
    let (source, requests) = RequestSource::open(folder.path().join("log"), options).unwrap();
    let env = StreamEnvironment::new("holds")
        .parallelism(1)
        .snapshot_store(RedbStore::open(folder.path().join("store")).unwrap())
        .checkpointing(Checkpointing::every(Duration::from_secs(3600)).retain(1));
    let account = |request: &Request<Wish>| match request.body() {
        Wish::Hold(account) | Wish::Release(account) => *account,
        Wish::Nothing => 0,
    };
    env.source("requests", source).key_by(account).process("hold", Hold).sink("answers", requests.answers());
    (env.start().unwrap(), requests)
}

pub(crate) async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        actix_rt::task::yield_now().await;
    }
}

// Guarantee A5.
#[test]
fn answer_to_a_request_that_was_lost_is_not_given_to_one_in_its_place_also_after_that_was_trimmed() {
    run("another log", |handles| async move {
        for is_keyed in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let hold = |account: u64| {
                let ask = Ask::new(Wish::Hold(account));
                if is_keyed { ask.idempotency_key(format!("hold {account}")) } else { ask }
            };
            let (job, requests) = start(&folder);
            watched(&handles, &job);
            let lost = actix_rt::spawn(requests.ask(hold(1)));
            until(|| requests.status().waiting == 1).await;
            requests.ask(Wish::Nothing).await.unwrap();
            job.drain().await.unwrap();
            assert!(matches!(lost.await.unwrap(), Err(AskError::Ended { .. })));
            requests.closed().await;
            std::fs::remove_file(folder.path().join("log")).unwrap();

            let (job, requests) = start(&folder);
            watched(&handles, &job);
            let waits = actix_rt::spawn(requests.ask(hold(2)));
            until(|| requests.status().waiting == 1).await;
            while requests.status().log.splits[0].start == 0 {
                requests.ask(Wish::Nothing).await.unwrap();
            }
            requests.ask(Wish::Release(1)).await.unwrap();
            assert_eq!(requests.status().waiting, 1);
            requests.ask(Wish::Release(2)).await.unwrap();
            assert_eq!(waits.await.unwrap().unwrap(), "of account 2");
            if is_keyed {
                assert_eq!(requests.ask(hold(2)).await.unwrap(), "of account 2");
            }
            assert_eq!(requests.status().surplus_answers, 0);
            job.drain().await.unwrap();
        }
    });
}
