//! Writes the rows of one subtask.

use std::mem;
use std::sync::Arc;

use millstream_actors::contract::{Batch, Fence, PendingCommit, SinkError, SinkWriter};
use millstream_actors::protocol::CheckpointId;
use redb::{Database, Durability};

use super::error::RedbSinkError;
use super::ledger::{Ledger, Prepared, Target, in_transaction};
use super::piece::Piece;
use crate::sink::committed_blocks::WriterId;

/// A piece of at least this is full. Below the size at which redb's pages double.
const PIECE_BYTES: usize = 128 << 10;
/// Full pieces of so many bytes are handed to the database before the checkpoint.
const UNSTORED_BYTES_MAX: usize = 1 << 20;
/// After this many checkpoints the marks of earlier executions are forgotten: more than a job retains.
const CHECKPOINTS_UNTIL_EARLIER_ARE_FORGOTTEN: u32 = 64;

/// Where a writer writes.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) database: Arc<Database>,
    pub(super) target: Target,
    pub(super) job: Arc<str>,
    pub(super) sink: Arc<str>,
    pub(super) fence: Fence,
}

impl Place {
    /// See [`in_transaction`].
    pub(super) fn change<T>(
        &self,
        durability: Durability,
        action: &'static str,
        change: impl FnOnce(&Ledger<'_>) -> Result<T, RedbSinkError>,
    ) -> Result<T, SinkError> {
        let (sink, at) = ((&*self.job, &*self.sink), (self.target.name.as_str(), action));
        in_transaction(&self.database, sink, &self.fence, durability, at, |ledger| {
            change(ledger).map_err(|error| error.at(&self.target.name))
        })
    }
}

/// Adds the rows of a record to a piece.
pub(super) type Encode<T> = Arc<dyn Fn(T, &mut Piece) + Send + Sync>;

/// One subtask's writer.
pub(super) struct RedbWriter<T> {
    place: Place,
    me: WriterId,
    encode: Encode<T>,
    /// Being filled.
    piece: Piece,
    /// Full, not in the database yet.
    full: Vec<Vec<u8>>,
    full_bytes: usize,
    /// Pieces in the database; they have the numbers below.
    stored: u64,
    /// Of these, pieces that are durable.
    durable: u64,
    /// Not committed; oldest first.
    prepared: Vec<Prepared>,
    newest_commit: CheckpointId,
    commits: u32,
}

impl<T> RedbWriter<T> {
    /// Numbers its pieces from `stored` on.
    pub(super) fn new(place: Place, me: WriterId, stored: u64, encode: Encode<T>) -> Self {
        Self {
            place,
            me,
            encode,
            piece: Piece::new(),
            full: Vec::new(),
            full_bytes: 0,
            stored,
            durable: stored,
            prepared: Vec::new(),
            newest_commit: CheckpointId::NONE,
            commits: 0,
        }
    }

    fn close_piece(&mut self) {
        if !self.piece.is_empty() {
            let piece = mem::replace(&mut self.piece, Piece::new()).seal();
            self.full_bytes += piece.len();
            self.full.push(piece);
        }
    }

    /// Hands full pieces to the database, which makes them durable if `durability` says so. They are kept if that fails.
    fn store(&mut self, durability: Durability) -> Result<(), SinkError> {
        let Self { place, me, full, stored, .. } = self;
        let action = "store prepared rows";
        place.change(durability, action, |ledger| {
            ledger.add(*me, *stored, full).map_err(|error| RedbSinkError::of(action, error))
        })?;
        self.stored += self.full.len() as u64;
        self.full.clear();
        self.full_bytes = 0;
        Ok(())
    }
}

impl<T: Send + 'static> SinkWriter for RedbWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), SinkError> {
        for record in batch.drain() {
            (self.encode)(record, &mut self.piece);
            if self.piece.len() >= PIECE_BYTES {
                self.close_piece();
            }
        }
        batch.clear();
        if self.full_bytes >= UNSTORED_BYTES_MAX { self.store(Durability::None) } else { Ok(()) }
    }

    fn prepare(&mut self, checkpoint: CheckpointId) -> Result<Vec<PendingCommit>, SinkError> {
        self.close_piece();
        if !self.full.is_empty() || self.durable < self.stored {
            self.store(Durability::Immediate)?;
            self.durable = self.stored;
            self.prepared.push(Prepared { checkpoint, writer: self.me, pieces: self.stored });
        }
        // The newest stands for all before it.
        Ok(self.prepared.last().map(|prepared| prepared.encode()).into_iter().collect())
    }

    fn commit(&mut self, up_to: CheckpointId) -> Result<(), SinkError> {
        let due = self.prepared.partition_point(|prepared| prepared.checkpoint <= up_to);
        let newest = self.prepared[..due].last().copied();
        let is_first = self.newest_commit < up_to;
        let forgets = is_first && self.commits + 1 == CHECKPOINTS_UNTIL_EARLIER_ARE_FORGOTTEN && self.me.3 == 0;
        if newest.is_some() || forgets {
            self.place.change(Durability::Immediate, "write rows", |ledger| {
                newest.map_or(Ok(()), |prepared| ledger.write(prepared, &self.place.target))?;
                if forgets {
                    ledger.forget_earlier(self.me).map_err(|error| RedbSinkError::of("forget marks", error))?;
                }
                Ok(())
            })?;
            self.prepared.drain(..due);
        }
        if is_first {
            self.newest_commit = up_to;
            self.commits = self.commits.saturating_add(1);
        }
        Ok(())
    }
}
