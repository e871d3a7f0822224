//! The job: invoices and accounts from orders, answers to reservations.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::prelude::*;
use millstream::request::RequestOptions;
use millstream::source::{IngestHandle, IngestOptions};
use redb::{Database, TableDefinition};

use crate::records::{Account, Invoice, Order, Reservation, Reserved, STOCK, reserve};

/// By the id of the order, as JSON.
pub(crate) const INVOICES: TableDefinition<'_, &str, &str> = TableDefinition::new("invoices");
/// Orders that cannot be processed, by id: why.
pub(crate) const DEAD_LETTERS: TableDefinition<'_, &str, &str> = TableDefinition::new("dead-letters");

/// What the service has in its hands of the job.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) job: JobHandle,
    pub(crate) orders: IngestHandle<Order>,
    pub(crate) reservations: Requests<Reservation, Reserved>,
    /// The service's own.
    pub(crate) database: Arc<Database>,
    /// Has the job panic once.
    pub(crate) panic_button: Arc<AtomicBool>,
}

/// Starts the job on what the folder has.
pub(crate) fn start(dir: &Path) -> Result<Shop, Box<dyn Error + Send + Sync>> {
    let (order_log, orders) = IngestSource::<Order>::open(dir.join("orders.log"), IngestOptions::new())?;
    let (requests, reservations) = RequestSource::open(dir.join("reservations.log"), RequestOptions::new())?;
    let database = Arc::new(Database::create(dir.join("service.redb"))?);
    let panic_button = Arc::new(AtomicBool::new(false));

    let env = StreamEnvironment::new("orders")
        .snapshot_store(RedbStore::open(dir.join("job.redb"))?)
        .checkpointing(Checkpointing::every(Duration::from_millis(100)));

    let broken = OutputTag::<DeadLetter<Order>>::new("broken");
    let button = panic_button.clone();
    let invoices = env
        .source("orders", order_log)
        .inspect(move |_| assert!(!button.swap(false, Ordering::Relaxed), "the panic button was pressed"))
        .key_by_ref(|order: &Order| order.customer.as_str())
        .process("customers", Customers)
        .on_panic(OnPanic::dead_letter(&broken));
    let dead_letters = RedbSink::new(database.clone(), DEAD_LETTERS, |letter: DeadLetter<Order>, rows| {
        rows.insert(letter.record.id.as_str(), letter.message.as_str());
    });
    invoices.side_output(&broken).sink("dead-letters", dead_letters);
    let written = RedbSink::new(database.clone(), INVOICES, |invoice: Invoice, rows| {
        let json = serde_json::to_string(&invoice).expect("an invoice has a form in JSON");
        rows.insert(invoice.order.as_str(), json.as_str());
    });
    invoices.sink("invoices", written);

    env.source("reservations", requests)
        .key_by_ref(|request: &Request<Reservation>| request.body().item.as_str())
        .process("stock", Stock)
        .sink("answers", reservations.answers());

    Ok(Shop { job: env.start()?, orders, reservations, database, panic_button })
}

/// The accounts of customers. Panics at an order of nothing.
#[derive(Clone)]
struct Customers;

impl KeyedProcessFunction<String, Order> for Customers {
    type Out = Invoice;
    type State = ValueState<Account>;

    fn state(&self) -> Self::State {
        ValueState::new("account")
    }

    fn process(
        &mut self,
        order: Order,
        mut account: Row<'_, Self, String, Order>,
        _: &mut KeyedContext<'_, String>,
        out: &mut Emitter<'_, Invoice>,
    ) {
        out.emit(account.get_or_insert_with(Account::default).take(order));
    }
}

/// How many of each item are left.
#[derive(Clone)]
struct Stock;

impl KeyedProcessFunction<String, Request<Reservation>> for Stock {
    type Out = Answer<Reserved>;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("left")
    }

    fn process(
        &mut self,
        request: Request<Reservation>,
        mut left: Row<'_, Self, String, Request<Reservation>>,
        _: &mut KeyedContext<'_, String>,
        out: &mut Emitter<'_, Answer<Reserved>>,
    ) {
        out.emit(match reserve(left.get_or_insert_with(|| STOCK), request.body().quantity) {
            Ok(reserved) => request.answer(reserved),
            Err(why) => request.reject(why),
        });
    }
}
