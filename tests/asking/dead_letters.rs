//! Requests at which a function panics: a record directive diverts them, and who asks is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use millstream::prelude::*;
use millstream::request::Ask;
use tempfile::TempDir;

use crate::common::{checkpointed, run, watched};
use crate::options;

const ACCOUNTS: u64 = 3;
/// At an amount that is a multiple of it the function panics.
const POISON: u64 = 13;

/// The sum of each account. Changes it before it panics.
#[derive(Clone)]
struct Sums {
    panics: Arc<AtomicU64>,
}

impl KeyedProcessFunction<u64, Request<u64>> for Sums {
    type Out = Answer<u64>;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("sum")
    }

    fn process(
        &mut self,
        request: Request<u64>,
        mut sum: Row<'_, Self, u64, Request<u64>>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Answer<u64>>,
    ) {
        let sum = sum.get_or_insert_with(|| 0);
        *sum += request.body();
        if request.body().is_multiple_of(POISON) {
            self.panics.fetch_add(1, Ordering::Relaxed);
            panic!("an unlucky request");
        }
        out.emit(request.answer(*sum));
    }
}

fn start(folder: &TempDir, panics: &Arc<AtomicU64>) -> (JobHandle, Requests<u64, u64>) {
    let (source, requests) = RequestSource::open(folder.path().join("requests"), options()).unwrap();
    let store = RedbStore::open(folder.path().join("store")).unwrap();
    let env = checkpointed("sums", 2, None).snapshot_store(store).tell_panic_hook(false);
    let env = env.restart_strategy(RestartStrategy::fixed_delay(20, Duration::ZERO));
    let dead = OutputTag::<DeadLetter<Request<u64>>>::new("dead");
    let sums = env
        .source("amounts", source)
        .key_by(|request: &Request<u64>| request.body() % ACCOUNTS)
        .process("sums", Sums { panics: panics.clone() })
        .on_panic(OnPanic::dead_letter(&dead));
    let rejected = sums.side_output(&dead).map(|letter: DeadLetter<Request<u64>>| letter.record.reject(letter.message));
    sums.union(rejected).sink("answers", requests.answers());
    (env.start().unwrap(), requests)
}

fn is_rejected(told: &Result<u64, AskError>) -> bool {
    matches!(told, Err(error @ AskError::Rejected { reason , .. }) if reason == "an unlucky request" && !error.is_retryable())
}

// Guarantees A1, A2, A4, D1.
#[test]
fn request_that_was_diverted_is_rejected_once_and_so_is_its_retry_also_after_the_next_start() {
    run("diverted requests", |handles| async move {
        let folder = tempfile::tempdir().unwrap();
        let (panics, mut sums, mut answers) = (Arc::<AtomicU64>::default(), BTreeMap::new(), BTreeMap::new());
        for life in 0..3 {
            let (job, requests) = start(&folder, &panics);
            watched(&handles, &job);
            let ask = |amount: u64| requests.ask(Ask::new(amount).idempotency_key(amount.to_string()));
            let panicked = panics.load(Ordering::Relaxed);
            // Those of the lives before: none comes to the function.
            for (amount, sum) in &answers {
                assert_eq!(ask(*amount).await.unwrap(), *sum, "{amount}");
            }
            assert!(join_all((0..life).map(|of| ask(POISON * (1 + of)))).await.iter().all(is_rejected));
            assert_eq!(panics.load(Ordering::Relaxed), panicked);

            for amount in 1 + 20 * life..=20 * (life + 1) {
                if amount.is_multiple_of(POISON) {
                    continue;
                }
                let sum = sums.entry(amount % ACCOUNTS).or_insert(0);
                *sum += amount;
                if amount == 20 * life + 10 {
                    // Beside a request that is answered, and asked for twice at the same time.
                    let poison = POISON * (1 + life);
                    let (told, again, answer) =
                        futures_util::future::join3(ask(poison), ask(poison), ask(amount)).await;
                    assert!(is_rejected(&told) && is_rejected(&again), "{told:?} {again:?}");
                    assert!(is_rejected(&ask(poison).await));
                    assert_eq!(answer.unwrap(), *sum);
                } else {
                    assert_eq!(ask(amount).await.unwrap(), *sum, "{amount}");
                }
                answers.insert(amount, *sum);
            }
            assert!(panics.load(Ordering::Relaxed) > panicked);
            assert_eq!(requests.status().surplus_answers, 0);
            // One without a key is told, too.
            assert!(is_rejected(&requests.ask(POISON * 100).await));
            job.drain().await.unwrap();
        }
    });
}
