//! The job: alerts, each exactly once.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use millstream::prelude::*;

use crate::journal::Journal;
use crate::transaction::{Alert, Card, Transaction};

/// Where the service keeps what.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal.jsonl")
    }

    fn store(&self) -> PathBuf {
        self.0.join("fraud.redb")
    }

    pub(crate) fn alerts(&self) -> PathBuf {
        self.0.join("alerts")
    }
}

/// Starts the job on what the folder has.
pub(crate) fn start(folder: &Folder, journal: Journal) -> Result<JobHandle, Box<dyn Error + Send + Sync>> {
    let env = StreamEnvironment::new("fraud")
        .snapshot_store(RedbStore::open(folder.store())?)
        .checkpointing(Checkpointing::every(Duration::from_millis(50)));
    env.source("journal", journal)
        .key_by_ref(|transaction: &Transaction| transaction.card.as_str())
        .process("cards", Cards)
        .sink("alerts", FileSink::json_lines(folder.alerts()));
    Ok(env.start()?)
}

/// Judges the transactions of each card.
#[derive(Clone)]
struct Cards;

impl KeyedProcessFunction<String, Transaction> for Cards {
    type Out = Alert;
    type State = ValueState<Card>;

    fn state(&self) -> Self::State {
        ValueState::new("card")
    }

    fn process(
        &mut self,
        transaction: Transaction,
        mut card: Row<'_, Self, String, Transaction>,
        _: &mut KeyedContext<'_, String>,
        out: &mut Emitter<'_, Alert>,
    ) {
        if let Some(alert) = card.get_or_insert_with(Card::default).take(transaction) {
            out.emit(alert);
        }
    }
}

/// All alerts that are published, sorted. Blocks.
pub(crate) fn published(dir: &Path) -> Result<Vec<Alert>, Box<dyn Error + Send + Sync>> {
    let mut alerts = Vec::new();
    for path in glob::glob(&format!("{}/part-*.jsonl", dir.display()))? {
        for line in std::fs::read_to_string(path?)?.lines() {
            alerts.push(serde_json::from_str(line)?);
        }
    }
    alerts.sort();
    Ok(alerts)
}
