//! What a finalisation has to look at beside the manifest itself: chunks put in this life, chunks shared with retained
//! checkpoints, and what nobody names any more. Pure, and the same for every store here.
//!
//! Manifests are compared as sorted lists, side by side: a finalisation costs a comparison per reference of what is
//! dropped and of what is shared, and hashes only the keys of what changes hands.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::slice;
use std::sync::Arc;

use millstream_actors::contract::{Chunk, ChunkAddress, ChunkRef, Manifest, SnapshotError, checksum};
use millstream_actors::protocol::CheckpointId;

use super::format::{ChunkKey, checkpoint_of, chunk_key};

/// Keys of chunks by their checkpoint.
pub(super) type Keys = BTreeMap<CheckpointId, HashSet<ChunkKey>>;

/// The retained manifests.
pub(super) type Manifests = BTreeMap<CheckpointId, Arc<Manifest>>;

/// Length and checksum of bytes that the store has taken, computed from those bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    len: usize,
    checksum: u64,
}

impl Taken {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { len: bytes.len(), checksum: checksum(bytes) }
    }

    /// `Damaged` if these are not the bytes that `reference` names.
    pub(super) fn verify(self, store: &str, reference: &ChunkRef) -> Result<(), SnapshotError> {
        if self.len as u64 == u64::from(reference.len) && self.checksum == reference.checksum {
            return Ok(());
        }
        Err(differs(store, reference, self.len as u64, self.checksum))
    }
}

/// Chunks that may be in the store and that no retained manifest names. What a store holds is these and the named ones.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    /// With what is known to be stored under the key, if it is known.
    chunks: BTreeMap<CheckpointId, HashMap<ChunkKey, Option<Taken>>>,
}

impl Unnamed {
    /// A chunk is, or may be, stored.
    pub(super) fn insert(&mut self, key: ChunkKey, taken: Option<Taken>) {
        self.chunks.entry(checkpoint_of(&key)).or_default().insert(key, taken);
    }

    /// These are named no more. What is stored of them is not known.
    pub(super) fn insert_all(&mut self, keys: impl IntoIterator<Item = ChunkKey>) {
        for key in keys {
            self.insert(key, None);
        }
    }

    /// After the store lost what was not durable: nothing is known to be stored, and what `manifests` name is not here.
    pub(super) fn settle(&mut self, manifests: &Manifests) {
        let named = named_chunks(manifests.values().map(Arc::as_ref));
        for keys in self.chunks.values_mut() {
            keys.retain(|key, taken| {
                *taken = None;
                !named.contains(key)
            });
        }
    }

    /// The chunks of `checkpoint`.
    pub(super) fn of(&self, checkpoint: CheckpointId) -> Keys {
        let keys = self.chunks.get(&checkpoint).map(|keys| keys.keys().copied().collect());
        keys.map(|keys| (checkpoint, keys)).into_iter().collect()
    }

    /// The chunks of `checkpoint` are gone.
    pub(super) fn remove(&mut self, checkpoint: CheckpointId) {
        self.chunks.remove(&checkpoint);
    }

    /// All up to `checkpoint` are gone, or named.
    pub(super) fn remove_up_to(&mut self, checkpoint: CheckpointId) {
        self.chunks.retain(|of, _| *of > checkpoint);
    }
}

/// The chunks of `manifest` that have to be read back to be verified: those of its own checkpoint of which this life has
/// not seen the bytes. The others are verified.
///
/// For a chunk that was put in this life, what the store has taken was hashed then, and the commit that completes the
/// checkpoint makes exactly that durable. An older chunk was verified when the checkpoint completed by which it is named.
///
/// # Errors
/// `Damaged`, `ChunkMissing`.
pub(super) fn unverified<'a>(
    store: &str,
    manifest: &'a Manifest,
    unnamed: &Unnamed,
    retained: &Manifests,
) -> Result<Vec<&'a ChunkRef>, SnapshotError> {
    let own = manifest.own_chunks();
    // None is of a later checkpoint: encoding the manifest asserts that.
    verify_shared(store, &manifest.chunks[..manifest.chunks.len() - own.len()], retained)?;
    verify_put(store, own, unnamed)
}

/// The same for chunks of any checkpoint that no retained manifest names.
///
/// # Errors
/// `Damaged`.
pub(super) fn verify_put<'a>(
    store: &str,
    references: &'a [ChunkRef],
    unnamed: &Unnamed,
) -> Result<Vec<&'a ChunkRef>, SnapshotError> {
    let mut unknown = Vec::new();
    for reference in references {
        let put = unnamed.chunks.get(&reference.address.checkpoint);
        match put.and_then(|put| put.get(&chunk_key(&reference.address))) {
            Some(Some(taken)) => taken.verify(store, reference)?,
            Some(None) | None => unknown.push(reference),
        }
    }
    Ok(unknown)
}

fn verify_shared(store: &str, older: &[ChunkRef], retained: &Manifests) -> Result<(), SnapshotError> {
    // Most are named by the newest.
    let mut walks: Vec<Walk<'_>> = retained.values().rev().map(|manifest| Walk::new(&manifest.chunks)).collect();
    for reference in older {
        let known = walks.iter_mut().find_map(|walk| walk.find(&reference.address));
        let known = known.ok_or_else(|| missing(store, &reference.address))?;
        if (known.len, known.checksum) != (reference.len, reference.checksum) {
            return Err(differs(store, reference, u64::from(known.len), known.checksum));
        }
    }
    Ok(())
}

/// What is garbage once `manifests`, the completed `checkpoint` among them, are kept and `dropped` no more.
pub(super) fn garbage<'a>(
    checkpoint: CheckpointId,
    unnamed: &Unnamed,
    dropped: impl IntoIterator<Item = &'a Arc<Manifest>>,
    manifests: &Manifests,
) -> Keys {
    let mut garbage: Keys = unnamed
        .chunks
        .range(..=checkpoint)
        .map(|(checkpoint, keys)| (*checkpoint, keys.keys().copied().collect()))
        .collect();
    if let Some(manifest) = manifests.get(&checkpoint) {
        for (of, keys) in &mut garbage {
            for reference in manifest.chunks_of(*of) {
                keys.remove(&chunk_key(&reference.address));
            }
        }
    }
    for manifest in dropped {
        for key in no_longer_named(manifest, manifests) {
            garbage.entry(checkpoint_of(&key)).or_default().insert(key);
        }
    }
    garbage.retain(|_, keys| !keys.is_empty());
    garbage
}

/// What `dropped` names and none of `manifests` does.
pub(super) fn no_longer_named(dropped: &Manifest, manifests: &Manifests) -> Vec<ChunkKey> {
    let mut walks: Vec<Walk<'_>> = manifests.values().map(|manifest| Walk::new(&manifest.chunks)).collect();
    let is_named = |reference: &&ChunkRef| walks.iter_mut().any(|walk| walk.find(&reference.address).is_some());
    let mut is_named = is_named;
    dropped.chunks.iter().filter(|reference| !is_named(reference)).map(|chunk| chunk_key(&chunk.address)).collect()
}

/// Whether any of `manifests` names a chunk of `checkpoint`.
pub(super) fn is_in_use(checkpoint: CheckpointId, manifests: &Manifests) -> bool {
    manifests.values().any(|manifest| !manifest.chunks_of(checkpoint).is_empty())
}

/// Whether `chunk` is named by one of `manifests`: it must not be replaced.
pub(super) fn is_named(chunk: &Chunk, manifests: &Manifests) -> bool {
    let address = &chunk.reference.address;
    manifests.range(address.checkpoint..).any(|(_, manifest)| manifest.chunk_at(address).is_some())
}

/// Retained and pinned ones together.
pub(super) fn kept(retained: &Manifests, pinned: &Manifests) -> Manifests {
    retained.iter().chain(pinned).map(|(checkpoint, manifest)| (*checkpoint, manifest.clone())).collect()
}

/// Pins those of `checkpoints` that are kept, and no others. What nobody names then is noted in `unnamed`.
pub(super) fn pin(checkpoints: &[CheckpointId], retained: &Manifests, pinned: &mut Manifests, unnamed: &mut Unnamed) {
    let before = kept(retained, pinned);
    let now = checkpoints.iter().filter_map(|id| Some((*id, before.get(id)?.clone()))).collect();
    let unpinned = std::mem::replace(pinned, now);
    let kept = kept(retained, pinned);
    for (_, manifest) in unpinned.iter().filter(|(checkpoint, _)| !kept.contains_key(checkpoint)) {
        unnamed.insert_all(no_longer_named(manifest, &kept));
    }
}

/// The keys of all chunks that `manifests` name.
pub(super) fn named_chunks<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> HashSet<ChunkKey> {
    manifests.into_iter().flat_map(|manifest| &manifest.chunks).map(|chunk| chunk_key(&chunk.address)).collect()
}

/// The retained checkpoints that need the chunk.
pub(super) fn users_of(reference: &ChunkRef, manifests: &Manifests) -> Vec<CheckpointId> {
    let uses = |manifest: &&Arc<Manifest>| manifest.chunk_at(&reference.address).is_some();
    manifests.values().filter(uses).map(|manifest| manifest.checkpoint).collect()
}

pub(super) fn missing(store: &str, address: &ChunkAddress) -> SnapshotError {
    SnapshotError::ChunkMissing { store: store.to_owned(), address: Box::new(address.clone()) }
}

/// Other bytes were found than `reference` names.
pub(super) fn differs(store: &str, reference: &ChunkRef, len: u64, checksum: u64) -> SnapshotError {
    SnapshotError::Damaged {
        store: store.to_owned(),
        what: format!("chunk {:?}", reference.address),
        reason: format!(
            "{} bytes with checksum {:016x} recorded, {len} bytes with {checksum:016x} found",
            reference.len, reference.checksum
        ),
        checkpoints: vec![reference.address.checkpoint],
    }
}

/// Goes through a sorted list once, beside another.
struct Walk<'a>(slice::Iter<'a, ChunkRef>);

impl<'a> Walk<'a> {
    fn new(chunks: &'a [ChunkRef]) -> Self {
        Self(chunks.iter())
    }

    /// The chunk at `address`, which is not below any asked for before.
    fn find(&mut self, address: &ChunkAddress) -> Option<&'a ChunkRef> {
        while let Some(next) = self.0.as_slice().first() {
            if next.address >= *address {
                return (next.address == *address).then_some(next);
            }
            self.0.next();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::StateScope;

    use super::*;
    use crate::snapshot::test_kit;

    fn reference(checkpoint: u64, group: u32, content: u8) -> ChunkRef {
        let address = ChunkAddress {
            checkpoint: CheckpointId(checkpoint),
            operator: "count".into(),
            state: "totals".into(),
            scope: StateScope::KeyGroup(group),
            seq: 0,
        };
        Chunk::seal(address, vec![content]).reference
    }

    fn manifest(checkpoint: u64, chunks: &[(u64, u32)]) -> Arc<Manifest> {
        let mut chunks: Vec<ChunkRef> = chunks.iter().map(|(of, group)| reference(*of, *group, 0)).collect();
        chunks.sort_by(|a, b| a.address.cmp(&b.address));
        Arc::new(test_kit::manifest(checkpoint, chunks))
    }

    fn retained(manifests: &[Arc<Manifest>]) -> Manifests {
        manifests.iter().map(|manifest| (manifest.checkpoint, manifest.clone())).collect()
    }

    fn key(checkpoint: u64, group: u32) -> ChunkKey {
        chunk_key(&reference(checkpoint, group, 0).address)
    }

    #[test]
    fn what_only_the_dropped_manifest_names_is_no_longer_named() {
        let mut random = 7_u64;
        for round in 0..500 {
            let mut some = || -> Vec<(u64, u32)> {
                let all = (1..4).flat_map(|of| (0..6).map(move |group| (of, group)));
                all.filter(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    random >> 63 == 1
                })
                .collect()
            };
            let (dropped, a, b) = (some(), some(), some());
            let manifests = retained(&[manifest(5, &a), manifest(6, &b)]);
            let expected: HashSet<ChunkKey> = dropped
                .iter()
                .filter(|chunk| !a.contains(chunk) && !b.contains(chunk))
                .map(|(of, group)| key(*of, *group))
                .collect();
            let found = no_longer_named(&manifest(4, &dropped), &manifests);
            assert_eq!(found.len(), expected.len(), "round {round}");
            assert_eq!(found.into_iter().collect::<HashSet<_>>(), expected, "round {round}");
        }
    }

    #[test]
    fn older_chunk_that_no_retained_checkpoint_names_is_missing() {
        let manifests = retained(&[manifest(1, &[(1, 0)]), manifest(2, &[(1, 1), (2, 0)])]);
        let with = |chunks: &[(u64, u32)]| {
            let next = manifest(3, chunks);
            unverified("test", &next, &Unnamed::default(), &manifests).map(|unknown| unknown.len())
        };
        assert_eq!(with(&[(1, 0), (1, 1), (2, 0), (3, 0)]).unwrap(), 1);
        for unknown in [(1, 2), (2, 1)] {
            match with(&[unknown, (3, 0)]) {
                Err(SnapshotError::ChunkMissing { address, .. }) => {
                    assert_eq!((address.checkpoint.0, address.scope), (unknown.0, StateScope::KeyGroup(unknown.1)));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn older_chunk_with_other_bytes_than_the_retained_is_damaged() {
        let manifests = retained(&[manifest(1, &[(1, 0)])]);
        let mut next = (*manifest(2, &[])).clone();
        next.chunks = vec![reference(1, 0, 9)];
        let refused = unverified("test", &next, &Unnamed::default(), &manifests);
        assert!(matches!(refused, Err(SnapshotError::Damaged { .. })), "{refused:?}");
    }

    #[test]
    fn chunk_put_in_this_life_is_verified_by_what_was_put_until_the_store_is_reopened() {
        let next = manifest(2, &[(2, 0), (2, 1)]);
        let mut unnamed = Unnamed::default();
        unnamed.insert(key(2, 0), Some(Taken::of(&[0])));
        unnamed.insert(key(2, 1), None);
        let unknown = |unnamed: &Unnamed| {
            unverified("test", &next, unnamed, &Manifests::new())
                .map(|unknown| unknown.iter().map(|chunk| chunk.address.scope).collect::<Vec<_>>())
        };
        assert_eq!(unknown(&unnamed).unwrap(), [StateScope::KeyGroup(1)]);
        unnamed.insert(key(2, 1), Some(Taken::of(&[1])));
        assert!(matches!(unknown(&unnamed), Err(SnapshotError::Damaged { .. })));
        unnamed.settle(&Manifests::new());
        assert_eq!(unknown(&unnamed).unwrap().len(), 2);
    }

    #[test]
    fn garbage_is_what_was_put_and_not_named_and_what_only_dropped_manifests_named() {
        let dropped = manifest(2, &[(1, 0), (1, 1), (2, 0)]);
        let done = manifest(4, &[(1, 0), (4, 0)]);
        let mut unnamed = Unnamed::default();
        unnamed.insert_all([key(3, 0), key(4, 0), key(4, 1), key(5, 0)]);
        let found = garbage(CheckpointId(4), &unnamed, [&dropped], &retained(&[done]));
        let expected: Keys = [(1, 1), (2, 0), (3, 0), (4, 1)]
            .map(|(of, group)| (CheckpointId(of), HashSet::from([key(of, group)])))
            .into_iter()
            .collect();
        assert_eq!(found, expected);
    }
}
