//! The decoders of this folder, for [`testing::decoders`](crate::testing::decoders).

use millstream_actors::contract::PendingCommit;
use millstream_actors::protocol::CheckpointId;

use super::record::{PendingFile, Record};
use crate::decoder::Decoder;

pub(crate) fn decoders() -> Vec<Decoder> {
    vec![
        Decoder::new("pending file", vec![PendingFile::example().encode().data], |bytes| {
            let pending = PendingCommit { checkpoint: CheckpointId(1), data: bytes.to_vec() };
            PendingFile::decode(&pending).map(drop).map_err(|error| error.to_string())
        }),
        Decoder::new("record of published files", vec![Record::example().encode()], |bytes| {
            Record::decode(bytes).map(drop)
        }),
    ]
}
