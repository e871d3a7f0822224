//! Bringing a copy back to a local store that holds none.

use std::io;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use millstream_actors::contract::{Chunk, ChunkRef, SnapshotError, SnapshotStore, checksum};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::layout::{Copied, Object, PackId, Version};
use super::options::CopyOptions;
use super::remote::{Listing, Remote, Trouble};

/// How often a read is tried before a start fails. Bytes that are wrong are read again, too: the way may be at fault.
const ATTEMPTS: u32 = 4;
/// The longest delay between attempts: a start waits.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Neighbouring chunks are read together up to so many bytes.
const READ_BYTES_MAX: u64 = 8 << 20;
/// No more than one checkpoint begins in a millisecond; this many may be under way beside that.
const IDS_SPARE: u64 = 1_000;

/// A copy, now in the local store.
pub(super) struct Fetched {
    pub(super) version: Version,
    /// The latest life that left something.
    pub(super) latest: Incarnation,
}

/// Runs what is asynchronous on a thread of its own: the caller's may be inside a runtime already.
pub(super) fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("millstream-copy-open".to_owned()).spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(future))
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Puts the newest copy of `job` into `local`; `None` if there is none.
pub(super) async fn fetch(
    local: &impl SnapshotStore,
    remote: &Remote,
    options: &CopyOptions,
    job: &str,
    now: Incarnation,
) -> Result<Option<Fetched>, SnapshotError> {
    let mut listing = list(remote, options).await?;
    loop {
        match fetch_from(local, remote, options, job, now, &listing).await {
            // Another life that still copies may have replaced what was listed.
            Err(error) if error.is_damage() => {
                let again = list(remote, options).await?;
                if again == listing {
                    return Err(error);
                }
                listing = again;
            }
            outcome => return outcome,
        }
    }
}

async fn list(remote: &Remote, options: &CopyOptions) -> Result<Listing, SnapshotError> {
    let listed = retrying(options, || remote.list()).await;
    listed.map_err(|trouble| trouble.into_error(&remote.name(), CheckpointId::NONE))
}

async fn fetch_from(
    local: &impl SnapshotStore,
    remote: &Remote,
    options: &CopyOptions,
    job: &str,
    now: Incarnation,
    listing: &Listing,
) -> Result<Option<Fetched>, SnapshotError> {
    let mut ids_seen = CheckpointId::NONE;
    for version in listing.manifests.iter().rev() {
        ids_seen = ids_seen.max(version.checkpoint);
        let fetched = fetch_one(local, remote, options, job, now, *version, &mut ids_seen).await;
        match fetched {
            Ok(()) => return Ok(Some(Fetched { version: *version, latest: listing.latest() })),
            Err(error) if error.is_damage() && options.accept_older => {
                log::warn!(target: "millstream::checkpoint", "trying an older copy: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    match listing.manifests.last() {
        None => Ok(None),
        Some(newest) => Err(SnapshotError::Damaged {
            store: remote.name(),
            what: "every copy".to_owned(),
            reason: format!("none of {} could be read", listing.manifests.len()),
            checkpoints: vec![newest.checkpoint],
        }),
    }
}

async fn fetch_one(
    local: &impl SnapshotStore,
    remote: &Remote,
    options: &CopyOptions,
    job: &str,
    now: Incarnation,
    version: Version,
    ids_seen: &mut CheckpointId,
) -> Result<(), SnapshotError> {
    let store = remote.name();
    let to_error = |trouble: Trouble| trouble.into_error(&store, version.checkpoint);
    let copied = retrying(options, || remote.get_copied(version)).await.map_err(to_error)?;
    let manifest = &copied.manifest;
    if manifest.job != job {
        return Err(SnapshotError::OtherJob { store, owner: manifest.job.clone(), job: job.to_owned() });
    }
    // Incarnations are the wall clock's milliseconds, where that has not been set back.
    let elapsed = now.0.saturating_sub(manifest.triggered_unix_ms);
    *ids_seen = (*ids_seen).max(copied.reserved_up_to);
    let lost_up_to = CheckpointId(ids_seen.0.saturating_add(elapsed).saturating_add(IDS_SPARE));
    for (pack, chunks, range) in reads(&copied) {
        let bytes =
            retrying(options, || read_verified(remote, pack, &chunks, range.clone())).await.map_err(to_error)?;
        let chunks: Vec<Chunk> = chunks
            .into_iter()
            .map(|(reference, offset)| {
                let bytes = slice(&bytes, &reference, offset - range.start).to_vec();
                Chunk { reference, bytes }
            })
            .collect();
        local.put_chunks(&chunks)?;
    }
    local.import(manifest, lost_up_to)?;
    log::info!(
        target: "millstream::checkpoint",
        "{store}: checkpoint {} of incarnation {} was copied to {}: {} bytes in {} chunks",
        version.checkpoint,
        version.incarnation,
        local.describe(),
        manifest.state_bytes(),
        manifest.chunks.len()
    );
    Ok(())
}

/// Chunks with their offsets in a pack, and the range that holds them.
type Read = (PackId, Vec<(ChunkRef, u64)>, Range<u64>);

fn reads(copied: &Copied) -> Vec<Read> {
    let mut chunks: Vec<(&ChunkRef, _)> = copied.chunks().collect();
    chunks.sort_by_key(|(_, place)| (place.pack, place.offset));
    let mut reads: Vec<Read> = Vec::new();
    for (chunk, place) in chunks {
        let end = place.offset + u64::from(chunk.len);
        match reads.last_mut() {
            Some((pack, chunks, range))
                if *pack == place.pack && range.end == place.offset && end - range.start <= READ_BYTES_MAX =>
            {
                chunks.push((chunk.clone(), place.offset));
                range.end = end;
            }
            _ => reads.push((place.pack, vec![(chunk.clone(), place.offset)], place.offset..end)),
        }
    }
    reads
}

fn slice<'a>(bytes: &'a Bytes, reference: &ChunkRef, offset: u64) -> &'a [u8] {
    &bytes[offset as usize..][..reference.len as usize]
}

async fn read_verified(
    remote: &Remote,
    pack: PackId,
    chunks: &[(ChunkRef, u64)],
    range: Range<u64>,
) -> Result<Bytes, Trouble> {
    // An empty range is not a request that every object store takes.
    let bytes = match range.is_empty() {
        true => Bytes::new(),
        false => remote.get(Object::Pack(pack), Some(range.clone())).await?,
    };
    for (reference, offset) in chunks {
        let computed = checksum(slice(&bytes, reference, offset - range.start));
        if computed != reference.checksum {
            let reason = format!("checksum {:016x} recorded, {computed:016x} computed", reference.checksum);
            return Err(Trouble::Damaged { what: format!("chunk {:?} in {pack:?}", reference.address), reason });
        }
    }
    Ok(bytes)
}

async fn retrying<T, F: Future<Output = Result<T, Trouble>>>(
    options: &CopyOptions,
    request: impl Fn() -> F,
) -> Result<T, Trouble> {
    let mut delay = options.retry_first;
    for _ in 1..ATTEMPTS {
        match request().await {
            Err(Trouble::Request { .. } | Trouble::Damaged { .. }) => {}
            outcome => return outcome,
        }
        options.clock.sleep(delay.min(RETRY_MAX)).await;
        delay *= 2;
    }
    request().await
}
