//! Runs the service in processes of its own, presses its buttons, kills and terminates them, and compares what it says with plain
//! loops.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{request, send};
use crate::life::Life;
use crate::records::{Account, Invoice, Order, Reservation, STOCK, reserve};

/// What is sent to a process that is killed then: so many orders, and a reservation with each third.
const ORDERS_A_LIFE: u64 = 9;
const CUSTOMERS: u64 = 5;
const ITEMS: u64 = 3;
/// No machine takes nearly as long to work off what was sent as so many requests take.
const REQUESTS_MAX: usize = 100_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Runs so many lives of the service, each of which `serve` starts in a folder, and gives a line that says what was seen. Blocks.
pub(crate) fn run(lives: usize, serve: impl Fn(&Path) -> Result<Command>) -> Result<String> {
    let scratch = tempfile::tempdir()?;
    let start = || Life::start(serve(scratch.path())?);
    let (mut shop, mut sent, mut kills) = (Plain::default(), 0, 0);
    let mut life = start()?;
    for nth in 0..lives {
        for at in 0..ORDERS_A_LIFE {
            if at == ORDERS_A_LIFE / 2 {
                shop.disturb(&life, nth)?;
            }
            life.order(&shop.order(sent))?;
            if sent % 3 == 0 {
                shop.check_reservation(&life, sent)?;
            }
            sent += 1;
        }
        // They may have been taken, or not: nobody has heard of it. The next process is sent them again.
        let (order, reservation) = (plain_order(sent), plain_reservation(sent));
        drop(send(life.address, "POST", "/orders", &serde_json::to_string(&order)?)?);
        drop(send(life.address, "POST", "/reservations", &serde_json::to_string(&reservation)?)?);
        if nth % 4 == 3 {
            life.terminate()?;
        } else {
            life.kill()?;
            kills += 1;
        }
        life = start()?;
        life.order(&shop.order(sent))?;
        shop.check_reservation(&life, sent)?;
        sent += 1;
    }
    life.refuses_what_is_wrong()?;
    shop.compare(&life)?;
    life.terminate()?;
    Ok(format!(
        "OK: {sent} orders, {} reservations and {} dead letters as in plain loops; killed {kills} times",
        shop.answers.len(),
        shop.poisoned.len()
    ))
}

fn customer(n: u64) -> String {
    format!("customer-{}", n % CUSTOMERS)
}

fn plain_order(n: u64) -> Order {
    Order { id: format!("order-{n}"), customer: customer(n), quantity: 1 + n % 4, cents: 100 + 37 * n % 900 }
}

fn plain_reservation(n: u64) -> Reservation {
    Reservation { id: format!("reservation-{n}"), item: format!("item-{}", n / 3 % ITEMS), quantity: 1 + 11 * n % 29 }
}

/// What a plain loop makes of what was sent.
#[derive(Default)]
struct Plain {
    accounts: BTreeMap<String, Account>,
    invoices: BTreeMap<String, Invoice>,
    poisoned: Vec<String>,
    left: BTreeMap<String, u64>,
    /// By the number of the reservation.
    answers: BTreeMap<u64, std::result::Result<u64, String>>,
}

impl Plain {
    fn order(&mut self, n: u64) -> Order {
        let order = plain_order(n);
        let invoice = self.accounts.entry(order.customer.clone()).or_default().take(order.clone());
        self.invoices.insert(order.id.clone(), invoice);
        order
    }

    /// Presses a button in some of the lives.
    fn disturb(&mut self, life: &Life, nth: usize) -> Result<()> {
        if nth % 3 == 1 {
            life.accepts("/panic")?;
        }
        if nth % 4 == 2 {
            let id = format!("poison-{nth:03}");
            life.posts("/poison", &json!({ "id": id, "customer": customer(nth as u64) }))?;
            self.poisoned.push(id);
        }
        Ok(())
    }

    /// Sends a reservation, and compares the answer.
    fn check_reservation(&mut self, life: &Life, n: u64) -> Result<()> {
        let reservation = plain_reservation(n);
        let left = self.left.entry(reservation.item.clone()).or_insert(STOCK);
        let expected = reserve(left, reservation.quantity).map(|reserved| reserved.left);
        let answer = life.reserve(&reservation)?;
        if answer != expected {
            return Err(format!("reservation {n} is answered with {answer:?}, expected is {expected:?}").into());
        }
        self.answers.insert(n, expected);
        Ok(())
    }

    fn compare(&self, life: &Life) -> Result<()> {
        for (customer, account) in &self.accounts {
            life.await_account(customer, account)?;
        }
        for (n, expected) in &self.answers {
            let again = life.reserve(&plain_reservation(*n))?;
            if again != *expected {
                return Err(format!("reservation {n} was answered with {expected:?}, and is with {again:?}").into());
            }
        }
        let poisoned = life.await_rows("/dead-letters", self.poisoned.len())?;
        if !poisoned.iter().map(|(id, _)| id).eq(&self.poisoned) {
            return Err(format!("dead letters are {poisoned:?}, expected are {:?}", self.poisoned).into());
        }
        let invoices = life.await_rows("/invoices", self.invoices.len())?;
        for ((id, invoice), (expected_id, expected)) in invoices.iter().zip(&self.invoices) {
            if id != expected_id || serde_json::from_str::<Invoice>(invoice)? != *expected {
                return Err(format!("an invoice is {invoice}, expected is {expected:?}").into());
            }
        }
        Ok(())
    }
}

impl Life {
    fn posts(&self, path: &str, body: &Value) -> Result<Value> {
        request(self.address, "POST", path, &body.to_string())
    }

    fn order(&self, order: &Order) -> Result<()> {
        let answer = self.posts("/orders", &serde_json::to_value(order)?)?;
        if answer["taken"] == order.id { Ok(()) } else { Err(format!("an order is answered with {answer}").into()) }
    }

    fn reserve(&self, reservation: &Reservation) -> Result<std::result::Result<u64, String>> {
        match self.posts("/reservations", &serde_json::to_value(reservation)?) {
            Ok(answer) => Ok(Ok(answer["left"].as_u64().ok_or_else(|| format!("no answer: {answer}"))?)),
            Err(error) => match error.to_string().split_once("409 Conflict: ") {
                Some((_, why)) => Ok(Err(why.to_owned())),
                None => Err(error),
            },
        }
    }

    /// Sends nothing, and expects no more than that it is accepted.
    fn accepts(&self, path: &str) -> Result<()> {
        let mut answer = String::new();
        send(self.address, "POST", path, "")?.read_to_string(&mut answer)?;
        if answer.contains(" 202 ") { Ok(()) } else { Err(format!("{path} is answered with {answer}").into()) }
    }

    /// Waits until the job's state has this account; more than that it never has.
    fn await_account(&self, customer: &str, expected: &Account) -> Result<()> {
        let mut last = None;
        for _ in 0..REQUESTS_MAX {
            let Ok(said) = request::<Value>(self.address, "GET", &format!("/customers/{customer}"), "") else {
                continue;
            };
            let account = Account {
                orders: said["orders"].as_u64().ok_or("no orders")?,
                cents: said["cents"].as_u64().ok_or("no cents")?,
            };
            if account == *expected {
                return Ok(());
            }
            let is_beyond = account.orders > expected.orders;
            last = Some(account);
            if is_beyond {
                break;
            }
        }
        Err(format!("the account of {customer} is {last:?}, expected is {expected:?}").into())
    }

    /// Waits until there are so many rows.
    fn await_rows(&self, path: &str, expected: usize) -> Result<Vec<(String, String)>> {
        let mut last = 0;
        for _ in 0..REQUESTS_MAX {
            let rows: Vec<(String, String)> = request(self.address, "GET", path, "")?;
            if rows.len() == expected {
                return Ok(rows);
            }
            last = rows.len();
            if last > expected {
                break;
            }
        }
        Err(format!("{path} has {last} rows, expected are {expected}").into())
    }

    /// None of these may be answered with success, nor end the service.
    fn refuses_what_is_wrong(&self) -> Result<()> {
        let long = "4".repeat(5_000);
        let bodies = ["", "{", "[]", "null", r#"{"id": "", "customer": "", "item": "", "quantity": 1, "cents": 1}"#];
        for path in ["/orders", "/reservations", "/poison"] {
            let strangers = [
                json!({ "id": "o", "customer": "ada", "quantity": 0, "cents": 1, "more": 1 }).to_string(),
                json!({ "id": "", "customer": "", "item": "", "quantity": 1, "cents": 1 }).to_string(),
                json!({ "id": "o", "customer": long, "item": long, "quantity": 1, "cents": 1 }).to_string(),
                json!({ "id": "o", "customer": "ada", "item": "tea", "quantity": -1, "cents": 1e300 }).to_string(),
            ];
            for body in bodies.iter().copied().chain(strangers.iter().map(String::as_str)) {
                match request::<Value>(self.address, "POST", path, body) {
                    Err(error) if error.to_string().contains(" 4") => {}
                    other => return Err(format!("'{body}' to {path} is answered with {other:?}").into()),
                }
            }
        }
        Ok(())
    }
}
