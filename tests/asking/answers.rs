//! What who asks is told, and told again.

use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::source::{IngestError, IngestLogError, IngestOptions};
use millstream::time::ManualClock;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::common::{checkpointed, run, watched};
use crate::{Balance, bank, deposit, open, options, wait};

/// What a job is to do with a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Wish {
    Answer(String),
    Reject,
    Nothing,
    Twice,
    /// An answer of so many bytes.
    Large(usize),
}

type Wishes = Requests<Wish, String>;

fn obey(request: Request<Wish>, out: &mut Emitter<'_, Answer<String>>) {
    match request.body() {
        Wish::Answer(text) => out.emit(request.answer(text.clone())),
        Wish::Reject => out.emit(request.reject("told to")),
        Wish::Nothing => {}
        Wish::Twice => (0..2).for_each(|n| out.emit(request.answer(n.to_string()))),
        Wish::Large(bytes) => out.emit(request.answer("x".repeat(*bytes))),
    }
}

fn start(folder: &TempDir, options: RequestOptions) -> (JobHandle, Wishes) {
    let (source, wishes) = RequestSource::open(folder.path().join("wishes"), options.answer_bytes_max(100)).unwrap();
    let env = checkpointed("wishes", 2, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
    env.source("wishes", source).flat_map(obey).sink("answers", wishes.answers());
    (env.start().unwrap(), wishes)
}

// Guarantee A1, A4.
#[test]
fn each_outcome_is_typed_and_a_retry_gets_the_same_also_after_the_next_start() {
    run("outcomes", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        for life in 0..3 {
            let (job, wishes) = start(&folder, options());
            watched(&handles, &job);
            let ask = |key: &str, wish| wishes.ask(Ask::new(wish).idempotency_key(key));
            // What a retry holds does not matter.
            let of_life = |wish| if life == 0 { wish } else { Wish::Answer("another".to_owned()) };
            assert_eq!(ask("answer", of_life(Wish::Answer("yes".to_owned()))).await.unwrap(), "yes");
            let rejected = ask("reject", of_life(Wish::Reject)).await.unwrap_err();
            assert!(matches!(&rejected, AskError::Rejected { reason , .. } if reason == "told to"), "{rejected}");
            let several = ask("twice", of_life(Wish::Twice)).await.unwrap_err();
            assert!(matches!(several, AskError::Several { answers: 2, .. }), "{several}");
            let large = ask("large", of_life(Wish::Large(500))).await.unwrap_err();
            assert!(matches!(large, AskError::AnswerTooLarge { bytes , .. } if bytes > 500), "{large}");
            assert!([rejected, several, large].iter().all(|error| !error.is_retryable()));
            assert_eq!(ask(&format!("new in {life}"), Wish::Answer("new".to_owned())).await.unwrap(), "new");
            assert_eq!(wishes.status().surplus_answers, 0);
            job.drain().await.unwrap();
        }
    });
}

// Guarantee A4.
#[test]
fn request_without_answer_is_told_so_when_the_job_has_finished() {
    run("no answer", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (job, wishes) = start(&folder, options());
        watched(&handles, &job);
        let unanswered = actix_rt::spawn(wishes.ask(Wish::Nothing));
        let keyed = actix_rt::spawn(wishes.ask(Ask::new(Wish::Nothing).idempotency_key("a")));
        wishes.ask(Wish::Answer(String::new())).await.unwrap();
        while wishes.status().waiting < 2 {
            actix_rt::task::yield_now().await;
        }
        job.finish().await.unwrap();
        for told in [unanswered.await.unwrap(), keyed.await.unwrap()] {
            assert!(matches!(told, Err(AskError::Unanswered)), "{told:?}");
        }
        let ended = wishes.ask(Wish::Nothing).await.unwrap_err();
        assert!(matches!(ended, AskError::NotTaken(IngestError::Ended { .. })) && ended.is_retryable(), "{ended}");
    });
}

// Guarantee A4.
#[test]
fn request_without_answer_is_told_so_by_the_checkpoint_that_covers_it_where_answers_come_at_once() {
    run("no answer at once", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let (job, wishes) = start(&folder, options().answers_at_once(true));
            watched(&handles, &job);
            for key in ["a", "a", "b"] {
                let told = wishes.ask(Ask::new(Wish::Nothing).idempotency_key(key)).await;
                assert!(matches!(told, Err(AskError::Unanswered)), "{told:?}");
            }
            let many = join_all((0..100).map(|n| wishes.ask(Wish::Answer(n.to_string())))).await;
            assert!(many.into_iter().zip(0..).all(|(answer, n)| answer.unwrap() == n.to_string()));
            job.drain().await.unwrap();
        }
    });
}

// Guarantee A2.
#[test]
fn retries_while_the_first_is_on_its_way_get_its_answer_and_it_is_processed_once() {
    run("retries", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = open(folder.path(), options());
        let asks: Vec<_> = (0..40).map(|n| actix_rt::spawn(requests.ask(deposit(1 + n % 4)))).collect();
        while requests.status().waiting < 4 {
            actix_rt::task::yield_now().await;
        }
        let env = checkpointed("bank", 2, None).snapshot_store(MemoryStore::new());
        bank(&env, (source, &requests), || {});
        let job = env.start().unwrap();
        watched(&handles, &job);
        for (ask, n) in asks.into_iter().zip(0..) {
            assert_eq!(ask.await.unwrap().unwrap(), Balance { deposits: 1, sum: 1 + n % 4 });
        }
        job.drain().await.unwrap();
    });
}

// Guarantee A3.
#[test]
fn time_out_is_typed_and_leaves_the_request_in_place() {
    run("time-out", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let log = IngestOptions::new().clock(clock.clone());
        let (source, requests) = open(folder.path(), options().log(log));
        let ask = actix_rt::spawn(requests.ask(deposit(7).timeout(Duration::from_secs(3))));
        while requests.status().waiting == 0 {
            actix_rt::task::yield_now().await;
        }
        // A request counts as waiting shortly before it is told that it is durable, and the next one after that.
        let next = actix_rt::spawn(requests.ask(deposit(1)));
        while requests.status().waiting < 2 {
            actix_rt::task::yield_now().await;
        }
        next.abort();
        assert!(next.await.unwrap_err().is_cancelled());
        clock.advance(Duration::from_secs(3));
        let error = ask.await.unwrap().unwrap_err();
        let is_as_said =
            matches!(error, AskError::TimedOut { after, is_durable: true , .. } if after == Duration::from_secs(3));
        assert!(is_as_said && error.is_retryable(), "{error}");
        assert_eq!(requests.status().waiting, 0);

        let env = checkpointed("bank", 1, None).snapshot_store(MemoryStore::new());
        bank(&env, (source, &requests), || {});
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert_eq!(requests.ask(deposit(7)).await.unwrap(), Balance { deposits: 1, sum: 7 });
        assert_eq!(requests.ask(deposit(2)).await.unwrap(), Balance { deposits: 2, sum: 9 });
        job.drain().await.unwrap();
    });
}

// Guarantee A2.
#[test]
fn answer_is_kept_as_long_as_its_key_is_known_and_a_retry_after_that_is_a_new_request() {
    run("retention", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        for life in 0..2 {
            let log = IngestOptions::new().clock(clock.clone()).idempotency_retention(Duration::from_secs(60));
            let (source, requests) = open(folder.path(), options().log(log.idempotency_keys_max(2)));
            let env =
                checkpointed("bank", 1, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            bank(&env, (source, &requests), || {});
            let job = env.start().unwrap();
            watched(&handles, &job);
            let mut sum = 10 * life;
            for _ in 0..2 {
                sum += 5;
                for _ in 0..3 {
                    assert_eq!(requests.ask(deposit(5)).await.unwrap().sum, sum);
                    clock.advance(Duration::from_secs(19));
                }
                assert_eq!(requests.ask(deposit(6)).await.unwrap().deposits, sum / 5);
                let full = requests.ask(deposit(7)).await.unwrap_err();
                assert!(matches!(full, AskError::NotTaken(IngestError::KeysFull { keys_max: 2, .. })), "{full}");
                clock.advance(Duration::from_secs(60));
            }
            job.drain().await.unwrap();
            requests.closed().await;
        }
    });
}

#[test]
fn log_of_records_and_log_of_requests_are_not_taken_for_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let (records, requests) = (folder.path().join("records"), folder.path().join("requests"));
    for _ in 0..2 {
        let (source, handle) = IngestSource::<u64>::open(&records, IngestOptions::new()).unwrap();
        wait(handle.send(1)).unwrap();
        drop(source);
        wait(handle.closed());
        let opened = RequestSource::<u64, u64>::open(&records, RequestOptions::new());
        assert!(matches!(opened, Err(IngestLogError::Foreign { .. })));
        let (source, handle) = RequestSource::<u64, u64>::open(&requests, RequestOptions::new()).unwrap();
        drop(source);
        wait(handle.closed());
        let opened = IngestSource::<u64>::open(&requests, IngestOptions::new());
        assert!(matches!(opened, Err(IngestLogError::Foreign { .. })));
    }
    let none = RequestSource::<u64, u64>::open(&requests, RequestOptions::new().answer_bytes_max(0));
    assert!(matches!(none, Err(IngestLogError::Options { .. })));
}

/// An answer of a version before, and one of a version after.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    total: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct After {
    total: u64,
    #[serde(default)]
    currency: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Other {
    amount: u64,
}

/// What a retry of a request gets that was answered by another version.
async fn answer_as<A>(folder: &TempDir, make: impl Fn() -> A + Clone + Send + 'static) -> Result<A, AskError>
where
    A: Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let (source, requests) = RequestSource::<u64, A>::open(folder.path().join("versions"), options()).unwrap();
    let env = checkpointed("versions", 1, None).snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
    env.source("requests", source)
        .map(move |request: Request<u64>| request.answer(make()))
        .sink("out", requests.answers());
    let job = env.start().unwrap();
    let answer = requests.ask(Ask::new(1).idempotency_key("one")).await;
    job.drain().await.unwrap();
    answer
}

#[test]
fn stored_answer_is_read_by_the_names_of_its_fields() {
    run("versions", |_| async move {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(answer_as(&folder, || Before { total: 3 }).await.unwrap().total, 3);
        let after = answer_as(&folder, || After { total: 9, currency: Some("EUR".to_owned()) }).await.unwrap();
        assert_eq!((after.total, after.currency), (3, None));
        let other = answer_as(&folder, || Other { amount: 9 }).await.unwrap_err();
        assert!(matches!(&other, AskError::Undecodable { .. }) && !other.is_retryable(), "{other}");
    });
}

// Guarantee A5.
#[test]
fn later_answer_to_a_request_that_has_one_is_left_out_and_counted() {
    run("two answers in two checkpoints", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (source, requests) = RequestSource::<u64, u64>::open(folder.path().join("log"), options()).unwrap();
        let env = checkpointed("twice", 1, None).snapshot_store(MemoryStore::new());
        // Each request has all those before it answered once more.
        env.source("requests", source)
            .key_by(|_| 0)
            .fold_map(
                "all",
                Vec::new(),
                |all: &mut Vec<Request<u64>>, request| all.push(request),
                |_, all| all.iter().map(|request| request.answer(all.len() as u64)).collect::<Vec<_>>(),
            )
            .flat_map(|answers: Vec<Answer<u64>>, out| answers.into_iter().for_each(|answer| out.emit(answer)))
            .sink("answers", requests.answers());
        let job = env.start().unwrap();
        watched(&handles, &job);
        let ask = |n: u64| requests.ask(Ask::new(n).idempotency_key(n.to_string()));
        for n in 1..=4 {
            assert_eq!(ask(n).await.unwrap(), n);
        }
        for n in 1..=4 {
            assert_eq!(ask(n).await.unwrap(), n);
        }
        assert_eq!(requests.status().surplus_answers, 1 + 2 + 3);
        job.drain().await.unwrap();
    });
}

#[test]
fn two_sinks_of_one_log_are_a_mistake_of_the_graph() {
    let folder = tempfile::tempdir().unwrap();
    let (source, requests) = open(folder.path(), options());
    let env = checkpointed("two sinks", 1, None);
    let answers = env.source("deposits", source).map(|request: Request<crate::Deposit>| request.reject("no"));
    answers.clone().sink("one", requests.answers());
    answers.sink("two", requests.answers());
    let error = env.start().unwrap_err().to_string();
    assert!(error.contains("the answers to the requests of log"), "{error}");
}
