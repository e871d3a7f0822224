//! Names of the objects of a job, and the bytes of the object that completes a copy.

use std::collections::{BTreeMap, BTreeSet};

use millstream_actors::contract::{ChunkRef, Manifest, checksum};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use object_store::path::Path;

use crate::snapshot::format::{FormatError, decode, decode_manifest, encode_manifest, seal, unseal};

const INDEX_KIND: [u8; 4] = *b"MSCI";
const INDEX_FORMAT: u32 = 1;
const LENGTH_BYTES: usize = 4;

/// Of a copy. The newest is that of the latest incarnation, whatever an earlier one that still runs may add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Version {
    pub(super) incarnation: Incarnation,
    pub(super) checkpoint: CheckpointId,
}

impl Version {
    pub(super) fn of(manifest: &Manifest) -> Self {
        Self { incarnation: manifest.incarnation, checkpoint: manifest.checkpoint }
    }
}

/// An object that holds chunks one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackId {
    pub(super) incarnation: Incarnation,
    pub(super) checkpoint: CheckpointId,
    /// Counts in an incarnation, also over uploads that failed: one that arrives late replaces nothing.
    pub(super) seq: u64,
}

/// Where a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pack: PackId,
    pub(super) offset: u64,
}

/// What an object's name says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// A life of the job.
    Claim(Incarnation),
    /// A completed copy.
    Manifest(Version),
    Pack(PackId),
}

/// Names under one folder.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: Path,
}

impl Layout {
    pub(super) fn new(prefix: &str, job: &str) -> Self {
        Self { root: Path::from(prefix).join(job) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Numbers have 20 digits, so that names sort as what they name.
    pub(super) fn path(&self, object: Object) -> Path {
        match object {
            Object::Claim(incarnation) => self.root.clone().join("claims").join(digits(&[incarnation.0])),
            Object::Manifest(version) => {
                self.root.clone().join("manifests").join(digits(&[version.incarnation.0, version.checkpoint.0]))
            }
            Object::Pack(pack) => {
                self.root.clone().join("packs").join(digits(&[pack.incarnation.0, pack.checkpoint.0, pack.seq]))
            }
        }
    }

    /// What the object at `path` is; `None` for what is not ours.
    pub(super) fn parse(&self, path: &Path) -> Option<Object> {
        let mut parts = path.prefix_match(&self.root)?;
        let (folder, name) = (parts.next()?, parts.next()?);
        let numbers: Vec<u64> = name.as_ref().split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
        let object = match (folder.as_ref(), numbers.as_slice()) {
            ("claims", [incarnation]) => Object::Claim(Incarnation(*incarnation)),
            ("manifests", [incarnation, checkpoint]) => Object::Manifest(Version {
                incarnation: Incarnation(*incarnation),
                checkpoint: CheckpointId(*checkpoint),
            }),
            ("packs", [incarnation, checkpoint, seq]) => Object::Pack(PackId {
                incarnation: Incarnation(*incarnation),
                checkpoint: CheckpointId(*checkpoint),
                seq: *seq,
            }),
            _ => return None,
        };
        (self.path(object) == *path).then_some(object)
    }
}

fn digits(numbers: &[u64]) -> String {
    numbers.iter().map(|number| format!("{number:020}")).collect::<Vec<_>>().join("-")
}

/// What completes a copy: the manifest, and where each of its chunks is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) manifest: Manifest,
    /// No id above it had been used when the checkpoint completed.
    pub(super) reserved_up_to: CheckpointId,
    /// One per chunk of the manifest, in its order.
    pub(super) places: Vec<Place>,
}

/// `[xxh3-64 of the manifest record, reserved up to, [[incarnation, checkpoint, seq]...], [[index of the pack, offset]...]]`
type IndexPayload = (u64, u64, Vec<(u64, u64, u64)>, Vec<(u32, u64)>);

impl Copied {
    /// The packs it needs.
    pub(super) fn packs(&self) -> BTreeSet<PackId> {
        self.places.iter().map(|place| place.pack).collect()
    }

    /// Chunks with their places.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (&ChunkRef, Place)> {
        self.manifest.chunks.iter().zip(self.places.iter().copied())
    }

    /// `length of the manifest record (u32) | manifest record | index record`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (record, sum) = encode_manifest(&self.manifest);
        let packs: BTreeMap<PackId, u32> = self.packs().into_iter().zip(0..).collect();
        let payload: IndexPayload = (
            sum,
            self.reserved_up_to.0,
            packs.keys().map(|pack| (pack.incarnation.0, pack.checkpoint.0, pack.seq)).collect(),
            self.places.iter().map(|place| (packs[&place.pack], place.offset)).collect(),
        );
        let mut bytes = (record.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&record);
        bytes.extend_from_slice(&seal(INDEX_KIND, INDEX_FORMAT, &payload));
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let short = || FormatError::Short(bytes.len());
        let (length, rest) = bytes.split_at_checked(LENGTH_BYTES).ok_or_else(short)?;
        let length = u32::from_le_bytes(length.try_into().expect("split off 4 bytes"));
        let (record, index) = rest.split_at_checked(length as usize).ok_or_else(short)?;
        let (sum, reserved, packs, places): IndexPayload = decode(unseal(INDEX_KIND, INDEX_FORMAT, index)?)?;
        let computed = checksum(record);
        if sum != computed {
            return Err(FormatError::Checksum { found: sum, computed });
        }
        let manifest = decode_manifest(record)?;
        if places.len() != manifest.chunks.len() {
            let (places, chunks) = (places.len(), manifest.chunks.len());
            return Err(FormatError::Payload(format!("{places} places for {chunks} chunks")));
        }
        let places = places.into_iter().map(|(pack, offset)| {
            let found = packs.get(pack as usize);
            let (incarnation, checkpoint, seq) =
                *found.ok_or_else(|| FormatError::Payload(format!("pack {pack} of {}", packs.len())))?;
            let pack = PackId { incarnation: Incarnation(incarnation), checkpoint: CheckpointId(checkpoint), seq };
            Ok(Place { pack, offset })
        });
        let places = places.collect::<Result<_, FormatError>>()?;
        Ok(Self { manifest, reserved_up_to: CheckpointId(reserved), places })
    }
}

#[cfg(test)]
mod tests {
    use millstream_actors::contract::{CheckpointDurations, Chunk, ChunkAddress, StateScope};

    use super::*;

    fn pack(seq: u64) -> PackId {
        PackId { incarnation: Incarnation(u64::MAX), checkpoint: CheckpointId(seq + 7), seq }
    }

    #[test]
    fn names_say_what_objects_are_and_sort_as_they_do() {
        let layout = Layout::new("backups/blue", "flights/by carrier");
        let version = |incarnation, checkpoint| {
            Object::Manifest(Version { incarnation: Incarnation(incarnation), checkpoint: CheckpointId(checkpoint) })
        };
        for object in [Object::Claim(Incarnation(9)), version(1, u64::MAX), Object::Pack(pack(3))] {
            assert_eq!(layout.parse(&layout.path(object)), Some(object));
        }
        assert!(layout.path(version(9, 100)) < layout.path(version(10, 2)));
        assert!(layout.path(version(9, 9)) < layout.path(version(9, 10)));
        let root = layout.root().clone();
        for foreign in ["x", "manifests/1-2", "manifests/1-2-3", "packs/a-b-c", "claims"] {
            assert_eq!(layout.parse(&Path::from(format!("{root}/{foreign}"))), None, "{foreign}");
        }
        assert_eq!(layout.parse(&Layout::new("backups/blue", "flights").path(version(1, 1))), None);
    }

    #[test]
    fn copied_manifest_comes_back_equal_and_no_flipped_bit_goes_unnoticed() {
        let chunks: Vec<ChunkRef> = (0..5)
            .map(|seq| {
                let checkpoint = CheckpointId(3 + u64::from(seq / 3));
                let (operator, state) = ("count".into(), "totals".into());
                let scope = StateScope::KeyGroup(1);
                Chunk::seal(ChunkAddress { checkpoint, operator, state, scope, seq }, vec![seq as u8; 9]).reference
            })
            .collect();
        let copied = Copied {
            manifest: Manifest {
                checkpoint: CheckpointId(4),
                job: "flights".to_owned(),
                incarnation: Incarnation(5),
                triggered_unix_ms: 6,
                max_parallelism: 128,
                is_final: false,
                durations: CheckpointDurations::default(),
                chunks,
            },
            reserved_up_to: CheckpointId(64),
            places: (0..5).map(|n| Place { pack: pack(n % 2), offset: n * 1_000_000 }).collect(),
        };
        let bytes = copied.encode();
        assert_eq!(Copied::decode(&bytes).unwrap(), copied);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Copied::decode(&flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Copied::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
    }
}
