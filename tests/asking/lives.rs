//! Panics, restarts, other parallelisms, older savepoints: each request is processed once, and an answer that was given stands.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;

use crate::common::{CountedPanics, checkpointed, run, watched};
use crate::{Balance, Bank, assert_each_once, bank, deposit, open, options};

/// Asks for deposits by sixteen tasks, each of which asks again until there is an answer.
async fn ask_all(bank: &Bank, numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, Balance)> {
    let (left, answers) = (Mutex::new(numbers), Mutex::new(Vec::new()));
    let asker = || async {
        loop {
            let Some(number) = left.lock().unwrap().next() else { return };
            let answer = bank.ask(deposit(number)).await.unwrap();
            answers.lock().unwrap().push((number, answer));
        }
    };
    join_all((0..16).map(|_| asker())).await;
    answers.into_inner().unwrap()
}

async fn assert_same_again(bank: &Bank, answers: &[(u64, Balance)]) {
    let again = join_all(answers.iter().map(|(number, _)| bank.ask(deposit(*number)))).await;
    for ((number, first), again) in answers.iter().zip(again) {
        assert_eq!(again.unwrap(), *first, "deposit {number}");
    }
}

// Guarantees A1, A2.
#[test]
fn each_request_is_processed_once_wherever_functions_panic_at_any_parallelism() {
    for (parallelism, at) in [(1, vec![3]), (2, vec![0, 90, 91, 300]), (4, (0..12).map(|n| 40 * n).collect())] {
        run("panics", move |handles| async move {
            let folder = tempfile::tempdir().unwrap();
            let (source, requests) = open(folder.path(), options());
            let panics = CountedPanics::at(&at);
            let env = checkpointed("bank", parallelism, None)
                .snapshot_store(MemoryStore::new())
                .restart_strategy(RestartStrategy::fixed_delay(20, Duration::ZERO));
            bank(&env, (source, &requests), move || panics.count_and_panic());
            let job = env.start().unwrap();
            watched(&handles, &job);
            let answers = ask_all(&requests, 1..=600).await;
            assert_each_once(&answers);
            assert_same_again(&requests, &answers).await;
            assert_eq!(requests.status().surplus_answers, 0);
            let outcome = job.finish().await.unwrap();
            assert!(outcome.restarts >= 1);
        });
    }
}

// Guarantees A1, A2, G9.
#[test]
fn lives_at_other_parallelisms_that_end_in_every_way_process_each_request_once() {
    run("lives", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let mut all = Vec::new();
        for (life, end) in (0..6).zip(["drain", "cancel", "savepoint", "cancel", "drain", "finish"]) {
            let (source, requests) = open(folder.path(), options());
            let panics = CountedPanics::at(&[7 * life]);
            let env = checkpointed("bank", [1, 4, 2][life as usize % 3], None)
                .snapshot_store(RedbStore::open(folder.path().join("store")).unwrap());
            bank(&env, (source, &requests), move || panics.count_and_panic());
            let job = env.start().unwrap();
            watched(&handles, &job);
            assert_same_again(&requests, &all).await;
            all.extend(ask_all(&requests, 50 * life + 1..=50 * (life + 1)).await);
            // Some that nobody waits for in the end.
            let more: Vec<_> = (0..20).map(|n| actix_rt::spawn(requests.ask(deposit(1_000 + 50 * life + n)))).collect();
            match end {
                "drain" => drop(job.drain().await.unwrap()),
                "cancel" => drop(job.cancel().await.unwrap()),
                "savepoint" => drop(job.stop_with_savepoint(folder.path().join("savepoint")).await.unwrap()),
                _ => drop(job.finish().await.unwrap()),
            }
            for (ask, n) in more.into_iter().zip(0..) {
                match ask.await.unwrap() {
                    Ok(balance) => all.push((1_000 + 50 * life + n, balance)),
                    Err(AskError::NotTaken(_)) => {}
                    Err(AskError::Ended { .. }) => assert_ne!(end, "finish"),
                    Err(other) => panic!("{end}: {other}"),
                }
            }
            requests.closed().await;
        }
        all.sort_by_key(|(number, _)| *number);
        let known: Vec<u64> = all.iter().map(|(number, _)| *number).filter(|number| *number <= 300).collect();
        assert!(known.into_iter().eq(1..=300));
    });
}

// Guarantee A5.
#[test]
fn answer_that_was_given_stands_when_the_job_goes_back_to_an_older_savepoint() {
    run("an older savepoint", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let env = |store: &str, parallelism| {
            StreamEnvironment::new("bank")
                .parallelism(parallelism)
                .snapshot_store(RedbStore::open(path(store)).unwrap())
                .checkpointing(Checkpointing::every(Duration::from_secs(3600)).retain(64))
        };
        let (source, requests) = open(folder.path(), options());
        let first = env("first", 2);
        bank(&first, (source, &requests), || {});
        let job = first.start().unwrap();
        watched(&handles, &job);
        let early = requests.ask(deposit(5)).await.unwrap();
        job.savepoint(path("savepoint")).await.unwrap();
        let mut given = vec![(5, early)];
        for number in [10, 15, 1, 20] {
            given.push((number, requests.ask(deposit(number)).await.unwrap()));
        }
        job.drain().await.unwrap();
        requests.closed().await;

        let (source, requests) = open(folder.path(), options());
        let second = env("second", 3).restore_from(path("savepoint"));
        bank(&second, (source, &requests), || {});
        let job = second.start().unwrap();
        watched(&handles, &job);
        assert_same_again(&requests, &given).await;
        // State has it all: what was given before the savepoint, and what was replayed behind it.
        let next = requests.ask(deposit(25)).await.unwrap();
        assert_eq!(next, Balance { deposits: 5, sum: 5 + 10 + 15 + 20 + 25 });
        job.drain().await.unwrap();
    });
}

/// Multiplies what it answers, as another version of the job does.
fn multiplied(env: &StreamEnvironment, source: RequestSource<u64, u64>, requests: &Requests<u64, u64>, by: u64) {
    env.source("requests", source)
        .map(move |request: Request<u64>| request.answer(request.body() * by))
        .sink("answers", requests.answers());
}

// Guarantee A5.
#[test]
fn replay_that_answers_otherwise_changes_no_answer_that_was_given() {
    run("another answer", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let ask = |requests: &Requests<u64, u64>, n: u64| {
            requests.ask(millstream::request::Ask::new(n).idempotency_key(n.to_string()))
        };
        for (store, by) in [("first", 10), ("second", 100)] {
            let (source, requests) = RequestSource::open(path("log"), options()).unwrap();
            let env = StreamEnvironment::new("multiplied")
                .parallelism(2)
                .snapshot_store(RedbStore::open(path(store)).unwrap())
                .checkpointing(Checkpointing::every(Duration::from_secs(3600)).retain(64));
            multiplied(&env, source, &requests, by);
            let job = env.start().unwrap();
            watched(&handles, &job);
            if by == 10 {
                // So that nothing is trimmed: the second life begins where the log does.
                job.checkpoint().await.unwrap();
            }
            for n in 1..=9 {
                assert_eq!(ask(&requests, n).await.unwrap(), 10 * n);
            }
            assert_eq!(ask(&requests, by).await.unwrap(), by * by);
            job.drain().await.unwrap();
            let surplus = requests.status().surplus_answers;
            assert_eq!(surplus, if by == 10 { 0 } else { 10 });
            requests.closed().await;
        }
    });
}
