//! Requests that a job answers: each processed once, and each answer given once and for all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod dead_letters;
mod disk;
mod ends;
mod handler;
mod kills;
mod lives;
mod other_log;
mod sharing;

use std::path::Path;
use std::time::Duration;

use millstream::prelude::*;
use millstream::request::{Ask, RequestOptions};
use millstream::source::IngestOptions;
use serde::{Deserialize, Serialize};

/// What is asked: to add so much to an account, which is rejected if it is nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deposit {
    pub(crate) account: u64,
    pub(crate) amount: u64,
}

/// How an account stands after a deposit, which is the so-manyth.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Balance {
    pub(crate) deposits: u64,
    pub(crate) sum: u64,
}

pub(crate) type Bank = Requests<Deposit, Balance>;

pub(crate) fn options() -> RequestOptions {
    RequestOptions::new().timeout(Duration::from_secs(100)).log(IngestOptions::new().splits(3))
}

pub(crate) fn open(folder: &Path, options: RequestOptions) -> (RequestSource<Deposit, Balance>, Bank) {
    RequestSource::open(folder.join("requests"), options).unwrap()
}

/// A deposit with its number as idempotency key.
pub(crate) fn deposit(number: u64) -> Ask<Deposit> {
    let account = number % 5;
    Ask::new(Deposit { account, amount: number }).key(&account).idempotency_key(number.to_string())
}

/// The accounts: a keyed state, of which each answer depends on all requests of its account before.
#[derive(Clone)]
struct Accounts;

impl KeyedProcessFunction<u64, Request<Deposit>> for Accounts {
    type Out = Answer<Balance>;
    type State = ValueState<Balance>;

    fn state(&self) -> Self::State {
        ValueState::new("balance")
    }

    fn process(
        &mut self,
        request: Request<Deposit>,
        mut balance: Row<'_, Self, u64, Request<Deposit>>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Answer<Balance>>,
    ) {
        let amount = request.body().amount;
        if amount == 0 {
            return out.emit(request.reject("nothing to deposit"));
        }
        let balance = balance.get_or_insert_with(|| Balance { deposits: 0, sum: 0 });
        balance.deposits += 1;
        balance.sum += amount;
        out.emit(request.answer(balance.clone()));
    }
}

/// The job that answers.
pub(crate) fn bank(
    env: &StreamEnvironment,
    (source, bank): (RequestSource<Deposit, Balance>, &Bank),
    each: impl Fn() + Clone + Send + 'static,
) {
    env.source("deposits", source)
        .inspect(move |_| each())
        .key_by(|request: &Request<Deposit>| request.body().account)
        .process("accounts", Accounts)
        .sink("answers", bank.answers());
}

/// That these are the answers of deposits `0..`, each processed once: of each account they are those of one order of its deposits.
pub(crate) fn assert_each_once(answers: &[(u64, Balance)]) {
    for account in 0..5 {
        let of_account = answers.iter().filter(|(number, _)| number % 5 == account && *number > 0);
        let mut of_account: Vec<_> = of_account.map(|(number, balance)| (balance.clone(), *number)).collect();
        of_account.sort();
        let mut sum = 0;
        for (deposits, (balance, number)) in (1..).zip(of_account) {
            sum += number;
            assert_eq!(balance, Balance { deposits, sum }, "deposit {number} in account {account}");
        }
    }
}

/// Blocks on a future that needs no runtime.
pub(crate) fn wait<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
