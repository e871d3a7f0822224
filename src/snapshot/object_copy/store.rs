//! A store whose completed checkpoints are copied to an object store.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use millstream_actors::contract::{Chunk, ChunkRef, Finalised, Manifest, SnapshotError, SnapshotStore, StoreOpening};
use millstream_actors::protocol::{CheckpointId, Incarnation};
use object_store::ObjectStore;

use super::copier::Copier;
use super::fetch::{block_on, fetch};
use super::layout::{Layout, Version};
use super::options::CopyOptions;
use super::progress::{CopyProgress, Exchange, Pending};
use super::remote::Remote;

/// A local store of which every completed checkpoint is copied to an object store, so that the job of a machine that is
/// lost starts on another.
///
/// Checkpoints complete in the local store; copying goes on beside, on a thread of its own, and never holds up or fails
/// a checkpoint. Only what is not there yet is copied. If copying is slower than checkpoints, some are passed over: when
/// a copy is done, or fails, the newest is next. [`progress`](Self::progress) tells how far it is.
///
/// # A new machine
/// A job that starts on a local store with nothing in it, while there are copies, begins with the newest copy: every
/// chunk is verified and put into the local store first. What had completed on the lost machine and was not yet copied is
/// done again: sinks that can withdraw what they published are told to, for others those results appear twice. A
/// [`RedbSink`](crate::sink::RedbSink) whose database has more than the copy refuses the start, unless repeats are accepted. A damaged
/// copy is a typed error that names it, unless [`CopyOptions::accept_older`] is set.
///
/// A local store that has checkpoints is used as it is. If the copies show that the job has since run elsewhere, the
/// start is refused with [`SnapshotError::Superseded`].
///
/// # Two machines at once
/// Each start of the job claims the copies under its incarnation. An earlier one that still runs notices before its next
/// copy, stops copying and says so in the log; it goes on with its local store: **nothing here stops a job that runs
/// twice from publishing twice**. What it may add or remove in the moment of the change never damages a copy of the later
/// one for longer than until that one's next copy, and a start always takes the copy of the latest incarnation. Claims
/// are told apart by wall clocks: that of a machine which is to take over must not be behind by more than the time since
/// the other's start.
///
/// # Object stores
/// Any [`object_store::ObjectStore`] that can create an object only if it is absent (`PutMode::Create`): local folders,
/// memory, S3 and compatible ones (feature `object-store-aws`), and others through their own crates.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use millstream::snapshot::{CopiedStore, CopyOptions, RedbStore, SnapshotError, object_store};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let objects = object_store::local::LocalFileSystem::new_with_prefix("/mnt/backup")?;
/// let store = CopiedStore::new(RedbStore::open("word-count.redb")?, Arc::new(objects), CopyOptions::new("checkpoints"));
/// let progress = store.progress();
/// // StreamEnvironment::new("word-count").snapshot_store(store)
/// println!("copied up to checkpoint {}", progress.copied_up_to());
/// # Ok(())
/// # }
/// ```
///
/// HDFS, with the crate `hdfs-native-object-store` 0.17, which is for the same version of `object_store`:
///
/// ```text
/// let objects = hdfs_native_object_store::HdfsObjectStoreBuilder::new().with_url("hdfs://namenode:9000").build()?;
/// let store = CopiedStore::new(RedbStore::open("word-count.redb")?, Arc::new(objects), CopyOptions::new("checkpoints"));
/// ```
pub struct CopiedStore<S> {
    local: Arc<S>,
    objects: Arc<dyn ObjectStore>,
    options: CopyOptions,
    progress: CopyProgress,
    life: Mutex<Life>,
}

/// What is known of the local store.
#[derive(Debug, Default)]
struct Life {
    newest: CheckpointId,
    reserved_up_to: CheckpointId,
    /// As of the last finalisation.
    retain: usize,
}

impl<S: SnapshotStore> CopiedStore<S> {
    /// Copies what completes in `local` to `objects`.
    pub fn new(local: S, objects: Arc<dyn ObjectStore>, options: CopyOptions) -> Self {
        let (progress, life) = (CopyProgress::default(), Mutex::default());
        Self { local: Arc::new(local), objects, options, progress, life }
    }

    /// How far the copies are.
    pub fn progress(&self) -> CopyProgress {
        self.progress.clone()
    }

    /// Waits until the newest completed checkpoint is copied, at most so long. Answers whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        self.progress.exchange().flush(limit)
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remote(&self, job: &str) -> Remote {
        let layout = Layout::new(&self.options.prefix, job);
        Remote::new(self.objects.clone(), layout, self.options.clone())
    }

    /// What the job starts from: the local store, or the newest copy if nothing is in that.
    fn settle(&self, job: &str, floor: Incarnation, opening: StoreOpening) -> Result<StoreOpening, SnapshotError> {
        let remote = self.remote(job);
        let thread_error = |source: io::Error| SnapshotError::Io {
            store: remote.name(),
            action: "begin to read",
            source: source.into(),
        };
        let Some(newest) = opening.retained.last() else {
            let fetched = block_on(fetch(&*self.local, &remote, &self.options, job, floor)).map_err(thread_error)??;
            let Some(fetched) = fetched else { return Ok(opening) };
            self.local.close();
            let above = Incarnation(fetched.latest.0.saturating_add(1)).max(floor);
            let opening = self.local.open_job(job, above)?;
            let brought = opening.retained.last().map(|manifest| Version::of(manifest));
            assert_eq!(brought, Some(fetched.version), "the copy that was brought to {}", self.local.describe());
            return Ok(opening);
        };
        let limited = self.options.within(self.options.open_timeout, remote.list());
        match block_on(limited).map_err(thread_error)? {
            Some(Ok(listing)) => match listing.manifests.last() {
                Some(found) if *found > Version::of(newest) => Err(SnapshotError::Superseded {
                    store: self.local.describe(),
                    copy: remote.name(),
                    newest: newest.checkpoint,
                    found: found.checkpoint,
                }),
                _ => Ok(opening),
            },
            unknown => {
                let reason =
                    unknown.and_then(Result::err).map_or_else(|| "no answer".to_owned(), |trouble| trouble.to_string());
                log::warn!(
                    target: "millstream::checkpoint",
                    "{}: cannot see whether job '{job}' has since run elsewhere, starting without: {reason}",
                    remote.name()
                );
                Ok(opening)
            }
        }
    }

    fn start_copier(&self, job: &str, opening: &StoreOpening) -> Result<(), SnapshotError> {
        let exchange = Arc::new(Exchange::default());
        let copier = Copier {
            local: self.local.clone(),
            remote: self.remote(job),
            options: self.options.clone(),
            exchange: exchange.clone(),
            incarnation: opening.incarnation,
            opened_with: opening.retained.last().map(|manifest| Version::of(manifest)),
            known: None,
            next_pack: 0,
            nonce: RandomState::new().hash_one(opening.incarnation.0),
        };
        let store = self.describe();
        let started = tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
            let ended = EndedOnDrop(exchange.clone());
            thread::Builder::new().name("millstream-copy".to_owned()).spawn(move || {
                let _ended = ended;
                runtime.block_on(copier.run());
            })
        });
        started.map_err(|source| SnapshotError::Io { store, action: "start to copy", source: source.into() })?;
        *self.life() = Life {
            newest: opening.retained.last().map_or(CheckpointId::NONE, |manifest| manifest.checkpoint),
            reserved_up_to: opening.reserved_up_to,
            // Nothing is removed before the first finalisation says how many.
            retain: usize::MAX,
        };
        self.progress.replace(exchange);
        // The last checkpoint of an earlier life may not have been copied.
        if let Some(newest) = opening.retained.last() {
            self.enqueue(newest.clone());
        }
        Ok(())
    }

    fn enqueue(&self, manifest: Arc<Manifest>) {
        let pending = {
            let mut life = self.life();
            life.newest = manifest.checkpoint;
            Pending { manifest, reserved_up_to: life.reserved_up_to.max(life.newest), retain: life.retain }
        };
        let needed = self.progress.exchange().completed(pending);
        self.local.pin(&needed);
    }
}

/// Whoever waits for the copier learns that it has ended, also by a panic.
struct EndedOnDrop(Arc<Exchange>);

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        self.0.ended();
    }
}

impl<S: SnapshotStore> SnapshotStore for CopiedStore<S> {
    fn open_job(&self, job: &str, incarnation_floor: Incarnation) -> Result<StoreOpening, SnapshotError> {
        let opening = self.local.open_job(job, incarnation_floor)?;
        let opened = self.settle(job, incarnation_floor, opening).and_then(|opening| {
            self.start_copier(job, &opening)?;
            Ok(opening)
        });
        opened.inspect_err(|_| self.local.close())
    }

    fn reserve_ids(&self, up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.local.reserve_ids(up_to)?;
        let mut life = self.life();
        life.reserved_up_to = life.reserved_up_to.max(up_to);
        Ok(())
    }

    fn put_chunks(&self, chunks: &[Chunk]) -> Result<(), SnapshotError> {
        self.local.put_chunks(chunks)
    }

    fn finalise(&self, manifest: &Manifest, retain: usize) -> Result<Finalised, SnapshotError> {
        // What has been copied since may expire now.
        self.local.pin(&self.progress.exchange().needed());
        let finalised = self.local.finalise(manifest, retain)?;
        self.life().retain = retain.max(1);
        self.enqueue(Arc::new(manifest.clone()));
        Ok(finalised)
    }

    fn import(&self, manifest: &Manifest, lost_up_to: CheckpointId) -> Result<(), SnapshotError> {
        self.local.import(manifest, lost_up_to)?;
        self.enqueue(Arc::new(manifest.clone()));
        Ok(())
    }

    fn discard(&self, checkpoint: CheckpointId) -> Result<(), SnapshotError> {
        self.local.discard(checkpoint)
    }

    /// Copies of newer checkpoints are removed first, so that no start elsewhere begins with what sinks withdraw now.
    /// Fails if the object store does not answer in time.
    fn abandon_above(&self, checkpoint: CheckpointId) -> Result<Vec<CheckpointId>, SnapshotError> {
        if self.life().newest > checkpoint {
            self.progress.exchange().abandon(checkpoint, self.options.request_timeout).map_err(|reason| {
                let (store, source) = (self.describe(), reason.into());
                SnapshotError::Io { store, action: "remove copies of abandoned checkpoints", source }
            })?;
        }
        let abandoned = self.local.abandon_above(checkpoint)?;
        let mut life = self.life();
        life.newest = life.newest.min(checkpoint);
        Ok(abandoned)
    }

    fn read_chunk(&self, reference: &ChunkRef) -> Result<Vec<u8>, SnapshotError> {
        self.local.read_chunk(reference)
    }

    fn reopen(&self) -> Result<Vec<Arc<Manifest>>, SnapshotError> {
        let retained = self.local.reopen()?;
        // A finalisation that failed may have completed.
        let known = self.life().newest;
        if let Some(newest) = retained.last().filter(|newest| newest.checkpoint > known) {
            self.enqueue(newest.clone());
        }
        Ok(retained)
    }

    /// Waits for the newest checkpoint to be copied, at most [`CopyOptions::flush_timeout`].
    fn close(&self) {
        let exchange = self.progress.exchange();
        if !exchange.flush(self.options.flush_timeout) {
            log::warn!(
                target: "millstream::checkpoint",
                "{} closes with {:?} copied: {}",
                self.describe(),
                self.progress,
                self.progress.outage().unwrap_or_else(|| "there was not enough time".to_owned())
            );
        }
        exchange.stop();
        self.local.close();
    }

    fn describe(&self) -> String {
        format!("{} (copied to {})", self.local.describe(), self.objects)
    }

    fn stored_bytes(&self) -> Option<u64> {
        self.local.stored_bytes()
    }

    fn is_durable(&self) -> bool {
        self.local.is_durable()
    }

    fn mistake(&self) -> Option<String> {
        self.options.mistake().or_else(|| self.local.mistake())
    }
}

impl<S> Drop for CopiedStore<S> {
    fn drop(&mut self) {
        self.progress.exchange().stop();
    }
}

impl<S: fmt::Debug> fmt::Debug for CopiedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, objects, options, progress, .. } = self;
        write!(f, "CopiedStore({local:?}, {objects}, {options:?}, {progress:?})")
    }
}
