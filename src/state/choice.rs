//! Which backend keeps the state of keyed operators, as a job says it.

use std::path::{Path, PathBuf};

/// From this size on a cache is a slip: sizes of parts of it are worked out from it, and must not overflow.
const CACHE_BYTES_LIMIT: usize = usize::MAX >> 8;

/// Where keyed state is kept while a job runs. What a checkpoint has of it does not depend on that: a checkpoint of one
/// restores into another.
///
/// ```
/// use millstream::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # let scratch = scratch.path();
/// # let sink = CollectSink::new();
/// # let counts = sink.handle();
/// let env = StreamEnvironment::new("counts").state_backend(StateBackend::redb(scratch).cache_bytes(16 << 20));
/// env.source("numbers", SequenceSource::new(0..1_000))
///     .key_by(|n| n % 10)
///     .fold("counts", 0u64, |count, _| *count += 1)        // larger than memory: rows in use in the cache, others in files
///     .key_by(|(_, count)| count % 2)
///     .fold("parity", 0u64, |count, _| *count += 1)
///     .state_backend(StateBackend::memory())               // two keys only
///     .sink("out", sink);
/// env.start()?.wait()?;
/// assert_eq!(counts.snapshot().last(), Some(&(0, 500)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateBackend(Kind);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Memory,
    Redb {
        dir: PathBuf,
        cache_bytes: usize,
    },
    /// A size was set for a cache that memory does not have.
    CachedMemory,
}

impl StateBackend {
    /// The cache of [`redb`](Self::redb) unless it is set: 256 MiB.
    pub const CACHE_BYTES: usize = 256 << 20;

    /// All state in memory: the default, and the fastest.
    pub fn memory() -> Self {
        Self(Kind::Memory)
    }

    /// State larger than memory: rows in use in a cache, the others in working files in the directory `dir`, which must
    /// exist when the job starts. Several jobs may share it.
    ///
    /// A row is read and written as a whole, but for large maps: of those only the entries that are used, and their neighbours
    /// ([`MapState`](crate::state::MapState)).
    ///
    /// What is in memory beside the cache: what one call of a function uses, so all of a map that it goes through, and the pages that
    /// it changes until it returns. A checkpoint holds what it stores of one key in one piece: a map that takes more than
    /// `Limits::capture_bytes_max` (512 MiB) where it is stored can be worked on, but not be part of a checkpoint, which is declined
    /// with [`StateError::CaptureFull`](crate::operator::StateError::CaptureFull) each time. Whether a checkpoint has all of a key group or its
    /// changes is decided by how many of its keys have changed, not by how much of them: with few keys to a group and large maps
    /// nearly every second checkpoint has all of it.
    ///
    /// A working file is scratch space of one subtask and one attempt. It is created when the cache is full, never
    /// synced, and removed at the end; those of a process that was killed are removed when the job starts again. What
    /// survives is in the snapshot store.
    pub fn redb(dir: impl Into<PathBuf>) -> Self {
        Self(Kind::Redb { dir: dir.into(), cache_bytes: Self::CACHE_BYTES })
    }

    /// Sets the memory that an operator's subtasks together use for rows in the cache, for pages of the files, and for
    /// the filter by which new keys are told from known ones; by default [`CACHE_BYTES`](Self::CACHE_BYTES). Each
    /// subtask has a share by its key groups.
    pub fn cache_bytes(self, bytes: usize) -> Self {
        match self.0 {
            Kind::Redb { dir, .. } => Self(Kind::Redb { dir, cache_bytes: bytes }),
            Kind::Memory | Kind::CachedMemory => Self(Kind::CachedMemory),
        }
    }

    /// Directory and bytes of the cache; none if all is in memory.
    pub(crate) fn spills(&self) -> Option<(&Path, usize)> {
        match &self.0 {
            Kind::Redb { dir, cache_bytes } => Some((dir, *cache_bytes)),
            Kind::Memory | Kind::CachedMemory => None,
        }
    }

    /// What is wrong with it.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        match &self.0 {
            Kind::Redb { dir, .. } if dir.as_os_str().is_empty() => {
                Some("an empty path is no directory; the current one is \".\"")
            }
            Kind::Redb { cache_bytes: CACHE_BYTES_LIMIT.., .. } => Some("a cache larger than any memory"),
            Kind::Redb { cache_bytes: 0, .. } => Some("a cache of zero bytes; a few MiB are the least that is of use"),
            Kind::CachedMemory => Some("cache_bytes(..) of a backend that keeps all state in memory"),
            Kind::Memory | Kind::Redb { .. } => None,
        }
    }
}
