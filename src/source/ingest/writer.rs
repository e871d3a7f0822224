//! The thread that writes a log. What has come while it wrote becomes durable together: group commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_actors::contract::Clock;
use millstream_actors::runtime::guard::catch_panic;

use super::answering::Placed;
use super::askers::GivenCall;
use super::batch::OpenBatch;
use super::keys::{KnownKeys, NewKeys, Place};
use super::log::IngestLog;
use super::log_file::{Change, SplitRow};
use super::open_logs::OpenLog;
use super::place_in_log::IngestPosition;
use super::queue::{Call, Receipts, Work};
use super::record::{EncodedRecord, IngestReceipt};
use super::{IngestError, IngestLogError};

/// What has failed is tried again after so long at least, also if nobody sends; after twice as long each time that it fails again.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest time between two tries.
const RETRY_MAX: Duration = Duration::from_secs(10);

pub(super) struct Writer {
    pub(super) log: Arc<IngestLog>,
    pub(super) clock: Arc<dyn Clock>,
    /// How splits stand.
    pub(super) rows: Vec<SplitRow>,
    pub(super) keys: KnownKeys,
    pub(super) log_bytes_max: u64,
    /// The present life has durable records.
    pub(super) has_begun: bool,
    /// The split of the next record without a key.
    pub(super) turn: u32,
    /// The last change failed, and the file was not opened again yet.
    pub(super) is_broken: bool,
    /// Changes that have failed one after another.
    pub(super) failures: u32,
    /// Calls that are being written, without their records.
    pub(super) in_hand: Vec<Call>,
    /// Until the file is closed.
    pub(super) open: Option<OpenLog>,
}

/// Calls that become durable together, and what is written for them.
struct Group {
    change: Change,
    keys: Option<NewKeys>,
    /// The receipts that each call gets, or why it gets none.
    answers: Vec<Result<Receipts, IngestError>>,
    /// Who waits for the answers to records.
    placed: Vec<Placed>,
}

/// Records of a group that have got their places.
struct Staging<'a> {
    log: &'a IngestLog,
    rows: &'a [SplitRow],
    known: &'a KnownKeys,
    open: Vec<Option<OpenBatch>>,
    change: Change,
    new_keys: HashMap<Arc<str>, Place>,
    turn: u32,
    placed: Vec<Placed>,
}

impl Writer {
    /// Writes until nobody reads the log any more, then closes it.
    pub(super) fn run(mut self) {
        let log = self.log.clone();
        if let Err(report) = catch_panic(|| self.write_all()) {
            log::error!(target: "millstream::ingest", "ingest log {}: its writer panicked: {report}", log.name);
            self.panicked(report.to_string());
        }
        log.close(self.open.take());
    }

    /// Nothing is written any more. Readers need the file until the job has ended.
    fn panicked(&mut self, reason: String) {
        let log = &self.log;
        let error = Arc::new(IngestLogError::Damaged { log: log.name.clone(), what: "its writer".to_owned(), reason });
        log.queue.lose(error.clone());
        let calls = std::mem::take(&mut self.in_hand);
        log.queue.done(calls.iter().map(|call| call.size));
        log.wake_readers();
        for call in calls {
            // The sender may have given up.
            let _ = call.reply.send(Err(IngestError::Log(error.clone())));
        }
        while !matches!(log.queue.next(0, None), Work::End) {}
    }

    fn write_all(&mut self) {
        loop {
            let held: u64 = self.rows.iter().map(|row| row.bytes).sum();
            match self.log.queue.next(self.log_bytes_max.saturating_sub(held), self.retry_in()) {
                Work::Write(calls, given) => self.write(calls, given),
                Work::Retry => self.retry(),
                Work::Reopen => {
                    self.is_broken = true;
                    self.retry();
                }
                Work::End => return,
            }
        }
    }

    /// When what has failed is tried again.
    fn retry_in(&self) -> Option<Duration> {
        let doubled = self.failures.checked_sub(1)?.min(10);
        Some((RETRY_MIN * 2_u32.pow(doubled)).min(RETRY_MAX))
    }

    /// Opens the file if that has failed, and trims the log if that has.
    fn retry(&mut self) {
        match self.reopen_if_broken() {
            Ok(()) => {
                self.failures = 0;
                self.write(Vec::new(), Vec::new());
            }
            Err(error) => {
                self.failures += 1;
                self.not_reopened(error);
            }
        }
    }

    fn not_reopened(&self, error: IngestLogError) {
        log::error!(target: "millstream::ingest", "{error}");
        if !error.is_retryable() {
            self.log.queue.lose(Arc::new(error));
        }
    }

    fn write(&mut self, calls: Vec<Call>, given: Vec<GivenCall>) {
        let records = self.take_in_hand(calls);
        self.keys.forget(self.clock.unix_ms());
        let mut group = self.stage(records);
        let answers = self.stage_answers(given);
        group.change.answers = answers.stored();
        let written = self.commit(&group.change);
        if let (Ok(_), Some(keys)) = (&written, group.keys.take()) {
            self.keys.add(keys);
            self.keys.is_forgotten();
        }
        if written.is_ok() {
            self.register(group.placed);
        }
        self.told_answers(answers, written.as_deref());
        let wakers = match &written {
            Ok(_) => self.log.published().advance(&group.change, &self.rows),
            Err(_) => Vec::new(),
        };
        // Records can be read before their senders know that they are there.
        let calls = std::mem::take(&mut self.in_hand);
        self.log.queue.done(calls.iter().map(|call| call.size));
        if self.log.queue.is_complete() {
            self.log.wake_readers();
        }
        wakers.iter().for_each(millstream_actors::contract::SourceWaker::wake);
        for (call, answer) in calls.into_iter().zip(group.answers) {
            let answer = match (&written, answer) {
                (Err(error), Ok(_)) => Err(IngestError::Log(error.clone())),
                (_, answer) => answer,
            };
            // The sender may have given up.
            let _ = call.reply.send(answer);
        }
    }

    /// Keeps calls for their answers. Answers the records of each.
    fn take_in_hand(&mut self, calls: Vec<Call>) -> Vec<Vec<EncodedRecord>> {
        self.in_hand = calls;
        self.in_hand.iter_mut().map(|call| std::mem::take(&mut call.records)).collect()
    }

    /// Gives the records of each call their places.
    fn stage(&mut self, calls: Vec<Vec<EncodedRecord>>) -> Group {
        let mut staging = Staging {
            log: &self.log,
            rows: &self.rows,
            known: &self.keys,
            open: self.rows.iter().map(|_| None).collect(),
            change: Change { trimmed: self.log.published().unneeded(), ..Change::default() },
            new_keys: HashMap::new(),
            turn: self.turn,
            placed: Vec::new(),
        };
        let answers = calls.into_iter().map(|records| staging.add_all(records, self.log.keys_max)).collect();
        self.turn = staging.turn;
        let placed = std::mem::take(&mut staging.placed);
        let (mut change, new_keys) = staging.close();
        let keys = (!new_keys.is_empty()).then(|| self.keys.row(self.log.lineage.present(), new_keys));
        change.keys = keys.as_ref().map(|keys| (keys.number, keys.stored()));
        let begins = !self.has_begun && !change.appended.is_empty();
        change.lineage = begins.then(|| self.log.lineage.stored());
        change.forgotten = self.keys.forgotten().filter(|_| keys.is_some());
        if keys.is_some() {
            change.unanswered = self.keys.forgotten_places().to_vec();
        }
        Group { change, keys, answers, placed }
    }

    /// Answers what stands of the answers.
    fn commit(&mut self, change: &Change) -> Result<Vec<Arc<[u8]>>, Arc<IngestLogError>> {
        if change.is_empty() {
            return Ok(Vec::new());
        }
        let written = self.reopen_if_broken().and_then(|()| self.log.file.commit(change, &mut self.rows));
        let error = match written {
            Ok(standing) => {
                self.failures = 0;
                self.has_begun |= change.lineage.is_some();
                return Ok(standing);
            }
            Err(error) => Arc::new(error),
        };
        log::error!(target: "millstream::ingest", "{error}");
        self.is_broken = true;
        self.failures += 1;
        // Readers need the file; if it does not open, that is tried again, unless it is of no use.
        if let IngestLogError::Gone { .. } = &*error {
            self.log.queue.lose(error.clone());
        } else if let Err(error) = self.reopen_if_broken() {
            self.not_reopened(error);
        }
        Err(error)
    }

    fn reopen_if_broken(&mut self) -> Result<(), IngestLogError> {
        if self.is_broken {
            self.log.file.reopen(&mut self.rows, self.keys.next_number())?;
            self.is_broken = false;
        }
        Ok(())
    }
}

impl Staging<'_> {
    /// All records of a call, or none.
    fn add_all(&mut self, records: Vec<EncodedRecord>, keys_max: usize) -> Result<Receipts, IngestError> {
        let is_new = |record: &&EncodedRecord| {
            record.idempotency_key.as_deref().is_some_and(|key| self.known_place(key).is_none())
        };
        if !self.known.has_room(self.new_keys.len() + records.iter().filter(is_new).count()) {
            return Err(IngestError::KeysFull { keys_max });
        }
        Ok(records.into_iter().map(|record| self.add(record)).collect())
    }

    fn known_place(&self, key: &str) -> Option<Place> {
        self.known.place(key).or_else(|| self.new_keys.get(key).copied())
    }

    fn add(&mut self, record: EncodedRecord) -> IngestReceipt {
        let EncodedRecord { bytes, key_hash, idempotency_key, asker } = record;
        let known = idempotency_key.as_deref().and_then(|key| self.known_place(key));
        let place = known.unwrap_or_else(|| self.append(&bytes, key_hash));
        if let Some(key) = idempotency_key.filter(|_| known.is_none()) {
            self.new_keys.insert(Arc::from(key), place);
        }
        let is_repeated = known.is_some();
        self.placed.extend(asker.map(|asker| Placed { place, is_repeated, asker }));
        let position = IngestPosition::of(self.log, place);
        IngestReceipt { split: place.split, offset: place.offset, is_repeated, position }
    }

    fn append(&mut self, bytes: &[u8], key_hash: Option<u64>) -> Place {
        let splits = self.rows.len() as u32;
        let split = match key_hash {
            Some(hash) => (hash % u64::from(splits)) as u32,
            None => {
                self.turn = (self.turn + 1) % splits;
                self.turn
            }
        };
        let open = &mut self.open[split as usize];
        let mut batch = open.take().unwrap_or_else(|| OpenBatch::new(self.rows[split as usize].end));
        if !batch.takes(bytes.len()) {
            let next = batch.next();
            self.change.appended.push((split, Arc::new(batch.close())));
            batch = OpenBatch::new(next);
        }
        let offset = batch.push(bytes);
        *open = Some(batch);
        Place { split, offset }
    }

    fn close(self) -> (Change, Vec<(Arc<str>, Place)>) {
        let Self { open, mut change, new_keys, .. } = self;
        let batches = (0..).zip(open).filter_map(|(split, batch)| Some((split, Arc::new(batch?.close()))));
        change.appended.extend(batches);
        (change, new_keys.into_iter().collect())
    }
}
