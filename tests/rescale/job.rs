//! The job that is rescaled: files in several splits, state of every kind, transactional sinks.
//!
//! ```text
//! orders -> tally -+-> key_by(customer) -> accounts -> accounts-out
//!                  +-> rebalance -+
//! rules  -> broadcast ------------+-> price -> priced-out
//!           tally's side output ----> tallies-out
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use millstream::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::common::committed_lines;
use crate::held_back::HeldBack;

const FILES: u64 = 8;
const ORDERS_PER_FILE: u64 = 120;
/// Of each file; a customer's orders are in one split, and so in one order.
const CUSTOMERS_PER_FILE: u64 = 5;
const CATEGORIES: u64 = 14;

/// Orders that a subtask reads between two barriers.
const ORDERS_PER_STEP: u64 = 16;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    id: u64,
    customer: u64,
    category: u64,
    /// 0: the customer is forgotten.
    amount: u64,
}

/// What things of a category cost. There is one rule for each category.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rule {
    category: u64,
    price: u64,
}

/// A customer's account after an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Account {
    customer: u64,
    id: u64,
    orders: u64,
    amount: u64,
    /// The largest order.
    note: String,
    /// How many orders of this order's category.
    of_category: u64,
    /// All orders, oldest first.
    ids: Vec<u64>,
}

impl Account {
    /// After these orders, of which there is one.
    fn of(orders: &[Order]) -> Self {
        let last = orders.last().expect("an order");
        let most = orders.iter().rev().max_by_key(|order| order.amount).expect("an order");
        Self {
            customer: last.customer,
            id: last.id,
            orders: orders.len() as u64,
            amount: orders.iter().map(|order| order.amount).sum(),
            note: format!("order {} of {}", most.id, most.amount),
            of_category: orders.iter().filter(|order| order.category == last.category).count() as u64,
            ids: orders.iter().map(|order| order.id).collect(),
        }
    }
}

/// An order with its price.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Priced {
    id: u64,
    /// `None`: its rule never came.
    price: Option<u64>,
}

/// How many orders of a category one subtask had counted at the end of its input.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Tally {
    category: u64,
    orders: u64,
}

/// Keyed states.
#[derive(Clone)]
struct KeepAccounts;

impl KeyedProcessFunction<u64, Order> for KeepAccounts {
    type Out = Account;
    type State = (ValueState<u64>, ValueState<(u64, u64)>, ValueState<String>, MapState<u64, u64>, ListState<u64>);

    fn state(&self) -> Self::State {
        let values = (ValueState::new("orders"), ValueState::new("amounts"), ValueState::new("note"));
        (values.0, values.1, values.2, MapState::new("categories"), ListState::new("ids"))
    }

    fn process(
        &mut self,
        order: Order,
        (mut orders, mut amounts, mut note, mut categories, mut ids): Row<'_, Self, u64, Order>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, Account>,
    ) {
        if order.amount == 0 {
            orders.clear();
            amounts.clear();
            note.clear();
            categories.clear();
            ids.clear();
            return;
        }
        let orders = orders.get_or_insert_with(|| 0);
        *orders += 1;
        let (sum, most) = amounts.get_or_insert_with(|| (0, 0));
        *sum += order.amount;
        if order.amount > *most {
            *most = order.amount;
            note.set(format!("order {} of {}", order.id, order.amount));
        }
        let of_category = categories.get_or_insert_with(order.category, || 0);
        *of_category += 1;
        ids.push(order.id);
        out.emit(Account {
            customer: order.customer,
            id: order.id,
            orders: *orders,
            amount: *sum,
            note: note.get().cloned().unwrap_or_default(),
            of_category: *of_category,
            ids: ids.get().to_vec(),
        });
    }
}

/// List state in the task of a source: counts orders by category. After a rescale a subtask may have two counts of one
/// category, or none.
#[derive(Clone)]
struct CountByCategory(OutputTag<Tally>);

type Tallies = OperatorListState<Tally>;

impl ProcessFunction<Order> for CountByCategory {
    type Out = Order;
    type State = Tallies;

    fn state(&self) -> Tallies {
        OperatorListState::new("tallies")
    }

    fn process(
        &mut self,
        order: Order,
        mut tallies: States<'_, Self, Order>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Order>,
    ) {
        let category = order.category;
        let mut orders = 1;
        tallies.retain(|tally| {
            let counts = tally.category == category;
            orders += if counts { tally.orders } else { 0 };
            !counts
        });
        tallies.push(Tally { category, orders });
        out.emit(order);
    }

    fn end_of_input(
        &mut self,
        mut tallies: States<'_, Self, Order>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Order>,
    ) {
        tallies.take().into_iter().for_each(|tally| out.emit_to(&self.0, tally));
    }
}

#[derive(Clone)]
enum PriceInput {
    Rule(Rule),
    Order(Order),
}

/// Broadcast state and list state: orders wait for the rule of their category. The rules of some come only when the job
/// has been rescaled several times.
#[derive(Clone)]
struct Price;

impl ProcessFunction<PriceInput> for Price {
    type Out = Priced;
    type State = (BroadcastState<u64, Rule>, OperatorListState<Order>);

    fn state(&self) -> Self::State {
        (BroadcastState::new("rules"), OperatorListState::new("waiting"))
    }

    fn process(
        &mut self,
        input: PriceInput,
        (mut rules, mut waiting): States<'_, Self, PriceInput>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Priced>,
    ) {
        match input {
            PriceInput::Rule(rule) => {
                let price = rule.price;
                let is_due = |order: &Order| order.category == rule.category;
                let due = waiting.iter().filter(|order| is_due(order));
                due.for_each(|order| out.emit(Priced { id: order.id, price: Some(price * order.amount) }));
                waiting.retain(|order| !is_due(order));
                rules.insert(rule.category, rule);
            }
            PriceInput::Order(order) => match rules.get(&order.category) {
                Some(rule) => out.emit(Priced { id: order.id, price: Some(rule.price * order.amount) }),
                None => waiting.push(order),
            },
        }
    }

    fn end_of_input(
        &mut self,
        (_, mut waiting): States<'_, Self, PriceInput>,
        _: &mut ProcessContext<'_>,
        out: &mut Emitter<'_, Priced>,
    ) {
        waiting.take().into_iter().for_each(|order| out.emit(Priced { id: order.id, price: None }));
    }
}

/// How much a life of the job may read: as if the rest of the input were still to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    pub(crate) orders: u64,
    pub(crate) rules: u64,
}

impl Portion {
    pub(crate) const ALL: Self = Self { orders: u64::MAX, rules: u64::MAX };
    /// Three of these leave some orders and some rules for the last life.
    pub(crate) const FIFTH: Self = Self { orders: FILES * ORDERS_PER_FILE / 5, rules: CATEGORIES / 5 };
}

/// Input and output of the job.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Writes the input into `dir`.
    pub(crate) fn write(dir: &Path) -> Self {
        let (orders, out) = (dir.join("orders"), dir.join("out"));
        fs::create_dir_all(&orders).expect("a directory");
        fs::create_dir_all(&out).expect("a directory");
        for file in 0..FILES {
            json_lines(&orders.join(format!("{file}.jsonl")), orders_of(file));
        }
        json_lines(&dir.join("rules.jsonl"), rules());
        Self { dir: dir.to_owned() }
    }

    /// Where a sink writes.
    pub(crate) fn out(&self, sink: &str) -> PathBuf {
        self.dir.join("out").join(sink)
    }

    fn lines<T: DeserializeOwned>(&self, sink: &str) -> Vec<T> {
        let lines = committed_lines(&self.out(sink));
        lines.iter().map(|line| serde_json::from_str(line).expect("a whole line")).collect()
    }

    /// The output so far.
    pub(crate) fn output(&self) -> Results {
        let mut results = Results::default();
        for account in self.lines::<Account>("accounts") {
            results.accounts.entry(account.customer).or_default().push(account);
        }
        results.priced = self.lines("priced");
        results.priced.sort();
        for tally in self.lines::<Tally>("tallies") {
            *results.tallies.entry(tally.category).or_default() += tally.orders;
        }
        results
    }
}

/// What the job puts out, where order is not promised without it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    /// By customer, in order.
    accounts: BTreeMap<u64, Vec<Account>>,
    priced: Vec<Priced>,
    tallies: BTreeMap<u64, u64>,
}

impl Results {
    /// What a plain loop gives.
    pub(crate) fn expected() -> Self {
        let mut results = Self::default();
        let prices: BTreeMap<u64, u64> = rules().map(|rule| (rule.category, rule.price)).collect();
        for order in (0..FILES).flat_map(orders_of) {
            *results.tallies.entry(order.category).or_default() += 1;
            let price = Some(prices[&order.category] * order.amount);
            results.priced.push(Priced { id: order.id, price });
        }
        results.priced.sort();
        for file in 0..FILES {
            let mut open: BTreeMap<u64, Vec<Order>> = BTreeMap::new();
            for order in orders_of(file) {
                if order.amount == 0 {
                    open.remove(&order.customer);
                    continue;
                }
                let orders = open.entry(order.customer).or_default();
                orders.push(order.clone());
                results.accounts.entry(order.customer).or_default().push(Account::of(orders));
            }
        }
        results
    }
}

fn orders_of(file: u64) -> impl Iterator<Item = Order> {
    (0..ORDERS_PER_FILE).map(move |line| {
        let id = file * ORDERS_PER_FILE + line;
        let customer = file * CUSTOMERS_PER_FILE + line % CUSTOMERS_PER_FILE;
        Order { id, customer, category: id * id % CATEGORIES, amount: id * 7 % 23 }
    })
}

fn rules() -> impl Iterator<Item = Rule> {
    (0..CATEGORIES).map(|category| Rule { category, price: 100 + category })
}

fn json_lines<T: Serialize>(path: &Path, records: impl Iterator<Item = T>) {
    let lines: Vec<String> = records.map(|record| serde_json::to_string(&record).expect("plain data")).collect();
    fs::write(path, lines.join("\n")).expect("written");
}

/// Writes the job down; it may read `portion`.
pub(crate) fn write(env: &StreamEnvironment, files: &Files, portion: Portion) {
    let source = |path: &str, records, step| {
        let pattern = files.dir.join(path).to_str().expect("text").to_owned();
        (pattern, Arc::new(AtomicU64::new(records)), step)
    };
    let (pattern, left, step) = source("orders", portion.orders, ORDERS_PER_STEP);
    let tallies = OutputTag::new("tallies");
    let orders = env
        .source("orders", HeldBack::new(FileSource::json_lines::<Order>(pattern), left, step))
        .process("tally", CountByCategory(tallies.clone()));
    orders.side_output(&tallies).sink("tallies-out", FileSink::json_lines(files.out("tallies")));

    let (pattern, left, step) = source("rules.jsonl", portion.rules, 1);
    let rules = env
        .source("rules", HeldBack::new(FileSource::json_lines::<Rule>(pattern), left, step))
        .map(PriceInput::Rule)
        .broadcast();
    orders
        .clone()
        .map(PriceInput::Order)
        .rebalance()
        .union(rules)
        .process("price", Price)
        .sink("priced-out", FileSink::json_lines(files.out("priced")));

    orders
        .key_by(|order| order.customer)
        .process("accounts", KeepAccounts)
        .sink("accounts-out", FileSink::json_lines(files.out("accounts")));
}
