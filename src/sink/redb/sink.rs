//! The description of a redb sink.

use std::borrow::Borrow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use millstream_actors::contract::{Sink, SinkContext, SinkError, SinkGuarantee, SinkRestore, SinkWriter, Threading};
use millstream_actors::protocol::CheckpointId;
use redb::{Database, Durability, Key, TableDefinition, TableHandle, Value, WriteTransaction};

use super::error::RedbSinkError;
use super::ledger::{Ledger, Prepared, RESERVED, Target};
use super::piece::{Change, Piece};
use super::writer::{Encode, Place, RedbWriter};
use crate::sink::committed_blocks::writer_id;

/// Writes rows into a table of the service's own [`redb`] database (version 4). Exactly once: the rows of a checkpoint appear
/// together, subtask by subtask, once it has completed, and stay out of sight before that.
///
/// A function says what becomes of a record: rows that are [inserted](RedbRows::insert), which replaces one of the same key, or
/// [removed](RedbRows::remove); none, one or several. The rows of a subtask are written in the order of its records. Between
/// subtasks there is no order, so rows of one key should come from one of them, as they do behind a `key_by` by that key.
///
/// The service goes on using the database as it likes: it reads the table in transactions of its own, may change and remove what
/// it finds there, and writes other tables. Any number of sinks and jobs may write to one database, also to one table; they are
/// told apart by the job's name and the sink's id, so these must not be in use twice for one database.
/// `docs/embedding.md` says what happens at kills and restarts.
///
/// redb lets one transaction write at a time. A sink waits for those of the service, on a thread of its own: one that stays open
/// for long holds the sink back and has checkpoints expire, and nothing else. At each checkpoint with new rows a subtask writes
/// twice, each time with a sync: what is prepared, and then the table. Prepared rows wait in the table `millstream.sink.rows`
/// of the same database; in memory there is some 1 MiB for a subtask, and a batch.
///
/// ```
/// use std::sync::Arc;
///
/// use millstream::prelude::*;
/// use redb::{Database, ReadableDatabase, TableDefinition};
///
/// const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("totals");
///
/// # let folder = tempfile::tempdir()?;
/// # let (path, store) = (folder.path().join("service.redb"), folder.path().join("job.redb"));
/// let database = Arc::new(Database::create(path)?);
/// let env = StreamEnvironment::new("orders").snapshot_store(RedbStore::open(store)?);
/// env.source("orders", VecSource::new(vec![("ada".to_owned(), 5), ("bob".to_owned(), 7), ("ada".to_owned(), 3)]))
///     .key_by(|(customer, _): &(String, u64)| customer.clone())
///     .fold("total", 0, |total: &mut u64, (_, cents)| *total += cents)
///     .sink(
///         "totals",
///         RedbSink::new(database.clone(), TOTALS, |(customer, total): (String, u64), rows| {
///             rows.insert(customer.as_str(), total);
///         }),
///     );
/// env.start()?.wait()?;
///
/// let totals = database.begin_read()?.open_table(TOTALS)?;
/// assert_eq!(totals.get("ada")?.map(|total| total.value()), Some(8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// With a [`RedbSinkError`] as reason: `WouldRepeat` where the job starts from before what the sink has written; `PendingLost` and
/// `PendingDamaged` if prepared rows are not as they were; `Misfit` if the table has other types; `Database` if the database fails.
pub struct RedbSink<T> {
    database: Arc<Database>,
    target: Target,
    encode: Encode<T>,
    accepts_repeats: bool,
}

/// The rows of one record, of which a [`RedbSink`]'s function says what they are: changes of the table, made in this order.
///
/// ```
/// use std::sync::Arc;
///
/// use millstream::prelude::*;
/// use redb::backends::InMemoryBackend;
/// use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
///
/// const STOCK: TableDefinition<'_, u32, u64> = TableDefinition::new("stock");
///
/// fn stock((article, left): (u32, u64), rows: &mut RedbRows<'_, u32, u64>) {
///     match left {
///         0 => rows.remove(article),
///         left => rows.insert(article, left),
///     }
/// }
///
/// let database = Arc::new(Database::builder().create_with_backend(InMemoryBackend::new())?);
/// let env = StreamEnvironment::new("stock").parallelism(1);
/// env.source("changes", VecSource::new(vec![(1, 5), (2, 8), (1, 0)])).sink("stock", RedbSink::new(database.clone(), STOCK, stock));
/// env.start()?.wait()?;
///
/// let table = database.begin_read()?.open_table(STOCK)?;
/// let rows: Vec<_> = table.iter()?.map(|row| row.map(|(key, value)| (key.value(), value.value()))).collect::<Result<_, _>>()?;
/// assert_eq!(rows, [(2, 8)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedbRows<'a, K, V> {
    piece: &'a mut Piece,
    of: PhantomData<fn(K, V)>,
}

impl<K: Key + 'static, V: Value + 'static> RedbRows<'_, K, V> {
    /// Sets the value of a key, in the place of one that it has.
    pub fn insert<'k, 'v>(&mut self, key: impl Borrow<K::SelfType<'k>>, value: impl Borrow<V::SelfType<'v>>) {
        let (key, value) = (K::as_bytes(key.borrow()), V::as_bytes(value.borrow()));
        self.piece.push(Change::Insert { key: key.as_ref(), value: value.as_ref() });
    }

    /// Removes the row of a key, if there is one.
    pub fn remove<'k>(&mut self, key: impl Borrow<K::SelfType<'k>>) {
        self.piece.push(Change::Remove { key: K::as_bytes(key.borrow()).as_ref() });
    }
}

impl<K, V> fmt::Debug for RedbRows<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbRows").finish_non_exhaustive()
    }
}

impl<T> RedbSink<T> {
    /// Writes to `table`, which is made where there is none, what `rows` says for each record. That is called in `write`, outside of
    /// any transaction, on the sink's own threads.
    ///
    /// The name of the table must not begin with `millstream.`, or the job does not start.
    pub fn new<K: Key + 'static, V: Value + 'static>(
        database: Arc<Database>,
        table: TableDefinition<'_, K, V>,
        rows: impl Fn(T, &mut RedbRows<'_, K, V>) + Send + Sync + 'static,
    ) -> Self {
        let name = table.name().to_owned();
        let target = Target { name, create: create::<K, V>, apply: apply::<K, V> };
        let encode = Arc::new(move |record, piece: &mut Piece| rows(record, &mut RedbRows { piece, of: PhantomData }));
        Self { database, target, encode, accepts_repeats: false }
    }

    /// Whether the job may start from before what the sink has written: from the beginning, as on an empty store, from a savepoint,
    /// a copy of the store or the copies of a [`CopiedStore`](crate::snapshot) that are older than the database. Rows since are then
    /// written again. False if nothing is said: such a start is refused with [`RedbSinkError::WouldRepeat`], unless the job says
    /// [`Checkpointing::accept_repeats`](crate::Checkpointing::accept_repeats), which accepts it for a fall-back behind a damaged
    /// checkpoint and for the copies of a lost machine's store. To be said for one start, and taken out of the program again.
    pub fn accept_repeats(mut self, accept: bool) -> Self {
        self.accepts_repeats = accept;
        self
    }
}

fn create<K: Key + 'static, V: Value + 'static>(transaction: &WriteTransaction, name: &str) -> Result<(), redb::Error> {
    transaction.open_table(TableDefinition::<K, V>::new(name))?;
    Ok(())
}

fn apply<K: Key + 'static, V: Value + 'static>(
    transaction: &WriteTransaction,
    name: &str,
    changes: &[Change<'_>],
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(TableDefinition::<K, V>::new(name))?;
    for change in changes {
        match *change {
            Change::Insert { key, value } => {
                table.insert(K::from_bytes(key), V::from_bytes(value))?;
            }
            Change::Remove { key } => {
                table.remove(K::from_bytes(key))?;
            }
        }
    }
    Ok(())
}

impl<T> fmt::Debug for RedbSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, accepts_repeats) = (&self.target.name, &self.accepts_repeats);
        f.debug_struct("RedbSink")
            .field("table", table)
            .field("accepts_repeats", accepts_repeats)
            .finish_non_exhaustive()
    }
}

impl<T> RedbSink<T> {
    /// Refuses what would be written a second time.
    fn check_start(&self, ledger: &Ledger<'_>, cx: &SinkContext, restored: &SinkRestore) -> Result<(), RedbSinkError> {
        let failed = |error| RedbSinkError::of("read marks", error);
        let committed = ledger.newest().map_err(failed)?;
        let from = restored.checkpoint.unwrap_or(CheckpointId::NONE);
        if committed <= from {
            return Ok(());
        }
        // The list alone says nothing of what is accepted: a start from copies of a lost store abandons what it does not know of.
        let is_accepted = restored.accepts_repeats && restored.withdraw.iter().any(|abandoned| *abandoned >= committed);
        if !self.accepts_repeats && !is_accepted {
            return Err(RedbSinkError::WouldRepeat { committed, restored: restored.checkpoint });
        }
        log::warn!(
            target: "millstream::sink",
            "job={} sink={} starts from checkpoint {from}, and has written up to checkpoint {committed}: rows since are written again",
            cx.job, cx.operator
        );
        ledger.go_back_to(from).map_err(failed)
    }
}

impl<T: Send + 'static> Sink for RedbSink<T> {
    type Item = T;

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::ExactlyOnce
    }

    fn threading(&self) -> Threading {
        Threading::Blocking
    }

    fn mistake(&self) -> Option<String> {
        let name = &self.target.name;
        name.starts_with(RESERVED)
            .then(|| format!("table '{name}': names that begin with '{RESERVED}' are Millstream's own"))
    }

    fn open(&self, cx: &SinkContext, restored: SinkRestore) -> Result<Box<dyn SinkWriter<Item = T>>, SinkError> {
        if let Some(mistake) = self.mistake() {
            return Err(SinkError::configuration(mistake));
        }
        let place = Place {
            database: self.database.clone(),
            target: self.target.clone(),
            job: cx.job.clone(),
            sink: cx.operator.as_str().into(),
            fence: cx.fenced.clone(),
        };
        let decode = |pending: &[_]| pending.iter().map(Prepared::decode).collect::<Result<Vec<_>, _>>();
        let (pending, elsewhere) = (decode(&restored.pending)?, decode(&restored.pending_elsewhere)?);
        let me = writer_id(cx);
        let next_piece = place.change(Durability::Immediate, "take over what earlier attempts left", |ledger| {
            let failed = |error| RedbSinkError::of("take over what earlier attempts left", error);
            ledger.create(&self.target).map_err(failed)?;
            cx.former_operators.iter().try_for_each(|former| ledger.take_over(former.as_str())).map_err(failed)?;
            self.check_start(ledger, cx, &restored)?;
            pending.iter().try_for_each(|prepared| ledger.write(*prepared, &self.target))?;
            ledger.clean(me, &elsewhere).map_err(failed)?;
            if restored.checkpoint.is_none() {
                ledger.forget_earlier(me).map_err(failed)?;
            }
            ledger.next_piece(me).map_err(failed)
        })?;
        Ok(Box::new(RedbWriter::new(place, me, next_piece, self.encode.clone())))
    }
}
