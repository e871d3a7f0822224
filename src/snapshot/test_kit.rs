//! Small checkpoints, and files with a flipped bit, for the tests of stores.

use millstream_actors::contract::{CheckpointDurations, Chunk, ChunkAddress, ChunkRef, Manifest, StateScope};
use millstream_actors::protocol::{CheckpointId, Incarnation};

pub(crate) const JOB: &str = "flights";

/// A chunk of `len` bytes, other ones for each checkpoint and scope.
pub(crate) fn chunk(checkpoint: u64, scope: StateScope, len: usize) -> Chunk {
    let (StateScope::KeyGroup(number) | StateScope::Subtask(number)) = scope;
    let address = ChunkAddress {
        checkpoint: CheckpointId(checkpoint),
        operator: "an operator whose name is long enough to matter in a key".into(),
        state: "totals".into(),
        scope,
        seq: 0,
    };
    let bytes = (0..len).map(|at| (at as u64 * 31 + checkpoint * 7 + u64::from(number)) as u8).collect();
    Chunk::seal(address, bytes)
}

/// A checkpoint of [`JOB`] that names these chunks.
pub(crate) fn manifest(checkpoint: u64, chunks: impl IntoIterator<Item = ChunkRef>) -> Manifest {
    Manifest {
        checkpoint: CheckpointId(checkpoint),
        job: JOB.to_owned(),
        incarnation: Incarnation(1),
        triggered_unix_ms: 0,
        max_parallelism: 128,
        is_final: false,
        durations: CheckpointDurations::default(),
        chunks: chunks.into_iter().collect(),
    }
}

/// What chunks are named by.
pub(crate) fn references(chunks: &[Chunk]) -> impl Iterator<Item = ChunkRef> {
    chunks.iter().map(|chunk| chunk.reference.clone())
}

/// Calls `meet` with copies of `bytes` in each of which one bit is flipped, and with words for which one. In every second
/// copy it is a bit of a byte that is not zero, and so in use.
pub(crate) fn each_flipped(bytes: &[u8], seed: u64, copies: u32, mut meet: impl FnMut(&[u8], &str)) {
    let mut random = seed;
    for copy in 0..copies {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut at = (random >> 24) as usize % bytes.len();
        while copy % 2 == 0 && bytes[at] == 0 {
            at = (at + 1) % bytes.len();
        }
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << ((random >> 16) % 8);
        meet(&damaged, &format!("seed {seed:#x}, copy {copy}: a bit of byte {at} is flipped"));
    }
}
