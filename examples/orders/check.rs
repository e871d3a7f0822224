//! Runs the service in processes of its own, presses its buttons, kills and terminates them, and compares what it says with plain
//! loops.

#[path = "nonsense.rs"]
mod nonsense;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{answer, request, send};
use crate::life::Life;
use crate::records::{Account, Invoice, Order, Reservation, STOCK, reserve};

/// What is sent to a process one by one: so many orders, and a reservation with each third.
const ORDERS_A_LIFE: u64 = 6;
/// And then so many orders at once, and reservations with the first and the last of them. They are under way when it is killed.
const UNDER_WAY: u64 = 4;
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
            let is_half_way = at == ORDERS_A_LIFE / 2;
            match is_half_way && nth % 3 == 1 {
                true => shop.panic_at_order(&life, sent)?,
                false => life.order(&shop.order(sent))?,
            }
            if is_half_way && nth % 4 == 2 {
                shop.poison(&life, nth)?;
            }
            if sent % 3 == 0 {
                shop.check_reservation(&life, sent)?;
            }
            sent += 1;
        }
        let mut under_way = UnderWay::send(&life, sent)?;
        under_way.await_one()?;
        if nth % 4 == 3 {
            life.terminate()?;
        } else {
            life.kill()?;
            kills += 1;
        }
        life = start()?;
        shop.send_again(&life, under_way)?;
        sent += UNDER_WAY;
    }
    life.refuses_what_is_wrong()?;
    shop.compare(&life)?;
    let restarts = life.restarts()?;
    nonsense::send(&life, |order| shop.take(order))?;
    shop.compare(&life)?;
    match life.restarts()? - restarts {
        0 => life.terminate()?,
        more => return Err(format!("requests that are wrong have the job restart {more} times").into()),
    }
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
    answers: BTreeMap<u64, Reserve>,
}

/// How many are left, or why none was reserved.
type Reserve = std::result::Result<u64, String>;

/// What the service says to a reservation; an error if that is no answer of the job.
fn reserved(told: Result<Value>) -> Result<Reserve> {
    match told {
        Ok(answer) => Ok(Ok(answer["left"].as_u64().ok_or_else(|| format!("no answer: {answer}"))?)),
        Err(error) => match error.to_string().split_once("409 Conflict: ") {
            Some((_, why)) => Ok(Err(why.to_owned())),
            None => Err(error),
        },
    }
}

/// Requests that were sent and are not answered yet. Each has its number.
struct UnderWay {
    /// And whether it is acknowledged.
    orders: Vec<(u64, bool, TcpStream)>,
    reservations: Vec<(u64, TcpStream)>,
}

impl UnderWay {
    /// Sends what comes from this number on, all at once.
    fn send(life: &Life, from: u64) -> Result<Self> {
        let post = |path: &str, body: &Value| send(life.address, "POST", path, &body.to_string());
        let (mut orders, mut reservations) = (Vec::new(), Vec::new());
        for n in from..from + UNDER_WAY {
            orders.push((n, false, post("/orders", &serde_json::to_value(plain_order(n))?)?));
        }
        // Of different items: nothing says which of the reservations of one item comes first.
        for n in [from, from + UNDER_WAY - 1] {
            reservations.push((n, post("/reservations", &serde_json::to_value(plain_reservation(n))?)?));
        }
        Ok(Self { orders, reservations })
    }

    /// Waits until one order is acknowledged.
    fn await_one(&mut self) -> Result<()> {
        let (n, acknowledged, stream) = &mut self.orders[0];
        answer::<Value>(stream.try_clone()?).map_err(|error| format!("order {n}: {error}"))?;
        *acknowledged = true;
        Ok(())
    }
}

impl Plain {
    fn order(&mut self, n: u64) -> Order {
        let order = plain_order(n);
        self.take(order.clone());
        order
    }

    /// An order with a known id is the known one, whatever else it says.
    fn take(&mut self, order: Order) {
        if !self.invoices.contains_key(&order.id) {
            let invoice = self.accounts.entry(order.customer.clone()).or_default().take(order);
            self.invoices.insert(invoice.order.clone(), invoice);
        }
    }

    /// Presses the panic button, sends an order, and waits until the job restarts.
    fn panic_at_order(&mut self, life: &Life, n: u64) -> Result<()> {
        // No order of nothing is left to have it restart.
        life.await_rows("/dead-letters", self.poisoned.len())?;
        let before = life.restarts()?;
        life.accepts("/panic")?;
        life.order(&self.order(n))?;
        for _ in 0..REQUESTS_MAX {
            if life.restarts()? > before {
                return Ok(());
            }
        }
        Err("the panic button was pressed, and the job does not restart".into())
    }

    /// Sends an order of nothing.
    fn poison(&mut self, life: &Life, nth: usize) -> Result<()> {
        let id = format!("poison-{nth:03}");
        life.posts("/poison", &json!({ "id": id, "customer": customer(nth as u64) }))?;
        self.poisoned.push(id);
        Ok(())
    }

    /// Sends a reservation, and compares the answer.
    fn check_reservation(&mut self, life: &Life, n: u64) -> Result<()> {
        let answer = life.reserve(&plain_reservation(n))?;
        self.check_answer(n, &answer)
    }

    fn check_answer(&mut self, n: u64, answer: &Reserve) -> Result<()> {
        let reservation = plain_reservation(n);
        let left = self.left.entry(reservation.item).or_insert(STOCK);
        let expected = reserve(left, reservation.quantity).map(|reserved| reserved.left);
        if *answer != expected {
            return Err(format!("reservation {n} is answered with {answer:?}, expected is {expected:?}").into());
        }
        self.answers.insert(n, expected);
        Ok(())
    }

    /// Has the next process take what the one before has not acknowledged, and that alone.
    fn send_again(&mut self, life: &Life, UnderWay { orders, reservations }: UnderWay) -> Result<()> {
        for (n, acknowledged, stream) in orders {
            let order = self.order(n);
            if !acknowledged && answer::<Value>(stream).is_err() {
                life.order(&order)?;
            }
        }
        for (n, stream) in reservations {
            match reserved(answer(stream)) {
                Ok(answer) => self.check_answer(n, &answer)?,
                Err(_) => self.check_reservation(life, n)?,
            }
        }
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

    fn reserve(&self, reservation: &Reservation) -> Result<Reserve> {
        reserved(self.posts("/reservations", &serde_json::to_value(reservation)?))
    }

    /// How often the job has restarted in this process.
    fn restarts(&self) -> Result<u64> {
        let status: Value = request(self.address, "GET", "/status", "")?;
        Ok(status["restarts"].as_u64().ok_or("no restarts")?)
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
