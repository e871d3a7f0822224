//! The decoders of this folder, for [`testing::decoders`](crate::testing::decoders).

use millstream_actors::contract::PendingCommit;
use millstream_actors::protocol::CheckpointId;

use super::ledger::Prepared;
use super::piece::{Change, Piece, changes};
use crate::decoder::Decoder;

pub(crate) fn decoders() -> Vec<Decoder> {
    let prepared = Prepared { checkpoint: CheckpointId(1), writer: (1, 0, 2, 3), pieces: 4 };
    let mut piece = Piece::new();
    piece.push(Change::Insert { key: b"key", value: b"value" });
    piece.push(Change::Remove { key: b"key" });
    vec![
        Decoder::new("pending rows", vec![prepared.encode().data], |bytes| {
            let pending = PendingCommit { checkpoint: CheckpointId(1), data: bytes.to_vec() };
            Prepared::decode(&pending).map(drop).map_err(|error| error.to_string())
        }),
        Decoder::new("prepared rows", vec![piece.seal()], |bytes| changes(bytes).map(drop)),
    ]
}
