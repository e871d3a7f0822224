//! The decoders of this folder, for [`testing::decoders`](crate::testing::decoders).

use millstream_actors::contract::{CheckpointDurations, Chunk, ChunkAddress, Manifest, StateScope};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::format::{decode_ledger, decode_manifest, decode_payloads, encode_ledger, encode_manifest, payload_of};
use super::ledger::Ledger;
use super::savepoint::decode_tables;
use crate::decoder::Decoder;

pub(crate) fn decoders() -> Vec<Decoder> {
    let record = encode_manifest(&example()).0;
    let mut ledger = Ledger { job: Some("job".to_owned()), ..Ledger::default() };
    ledger.complete(CheckpointId(7), 1, 3);
    let ledger = encode_ledger(&ledger);
    let payloads = vec![payload_of(&record).to_vec(), payload_of(&ledger).to_vec()];
    vec![
        Decoder::new("ledger", vec![ledger], |bytes| shown(decode_ledger(bytes))),
        Decoder::new("manifest", vec![record], |bytes| shown(decode_manifest(bytes))),
        Decoder::new("manifest and ledger payloads", payloads, |bytes| shown(decode_payloads(bytes))),
        Decoder::new(
            "savepoint tables",
            vec![super::savepoint::encode_tables(&example()).unwrap_or_default()],
            |bytes| decode_tables(bytes).map(drop).map_err(|error| format!("{error:?}")),
        ),
    ]
}

fn shown<T, E: ToString>(result: Result<T, E>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

fn example() -> Manifest {
    let chunk = |checkpoint, state: &str, scope| {
        let (checkpoint, operator, state) = (CheckpointId(checkpoint), "op".into(), state.into());
        Chunk::seal(ChunkAddress { checkpoint, operator, state, scope, seq: 0 }, vec![1; 40]).reference
    };
    Manifest {
        checkpoint: CheckpointId(7),
        job: "job".to_owned(),
        incarnation: Incarnation(3),
        triggered_unix_ms: 1_700_000_000_000,
        max_parallelism: 128,
        is_final: false,
        durations: CheckpointDurations::default(),
        chunks: vec![
            chunk(5, "count", StateScope::KeyGroup(0)),
            chunk(7, "count", StateScope::KeyGroup(0)),
            chunk(7, "list", StateScope::Subtask(1)),
        ],
    }
}
