//! The copier: a thread of its own that copies completed checkpoints, newest first.
//!
//! Order within a copy: packs of chunks that are not there yet, then a listing (is this life still the latest? are all
//! packs there?), then the object that completes it. After that, what retained copies do not need is removed. A copy
//! that fails is begun again after a delay, with the packs that are there already, or given up for a newer one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_actors::contract::{ChunkAddress, ChunkRef, Manifest, SnapshotError, SnapshotStore};
use millstream_actors::protocol::{CheckpointId, Incarnation};

use super::layout::{Copied, Object, PackId, Place, Version};
use super::options::CopyOptions;
use super::progress::{Exchange, Pending, Work};
use super::remote::{Listing, Remote, Trouble};

/// A pack of which a checkpoint needs less than one byte in so many is not relied on: its chunks are packed again, so
/// that removing old copies frees the space.
const SPARSE: u64 = 4;

/// Copies one life's checkpoints.
pub(super) struct Copier<S> {
    pub(super) local: Arc<S>,
    pub(super) remote: Remote,
    pub(super) options: CopyOptions,
    pub(super) exchange: Arc<Exchange>,
    pub(super) incarnation: Incarnation,
    /// What this store retained last when it was opened: newer copies are of others.
    pub(super) opened_with: Option<Version>,
    pub(super) known: Option<Known>,
    pub(super) next_pack: u64,
    /// Tells this life's claim from one that another machine made under the same number.
    pub(super) nonce: u64,
}

/// What is in the object store, as far as this life has seen or made it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The packs that each copy needs; `None` for one that cannot be read.
    copies: BTreeMap<Version, Option<BTreeSet<PackId>>>,
    placed: HashMap<ChunkAddress, Placed>,
    /// With their lengths in bytes.
    packs: BTreeMap<PackId, u64>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    place: Place,
    len: u32,
    checksum: u64,
}

impl<S: SnapshotStore> Copier<S> {
    pub(super) async fn run(mut self) {
        let mut delay = self.options.retry_first;
        loop {
            match self.exchange.next().await {
                Work::Stop => break,
                Work::Abandon(above) => {
                    let outcome = self.abandon(above).await;
                    self.exchange.abandoned(outcome.map_err(|trouble| trouble.to_string()));
                }
                Work::Copy(pending) => match self.copy(&pending).await {
                    Ok(()) => {
                        delay = self.options.retry_first;
                        self.tell_copied(pending.manifest.checkpoint);
                        self.tidy_up(pending.retain).await;
                    }
                    Err(Trouble::Fenced { by }) => return self.fence(&by),
                    Err(trouble) => self.recover(pending, trouble, &mut delay).await,
                },
            }
        }
        self.exchange.ended();
    }

    fn tell_copied(&self, checkpoint: CheckpointId) {
        let name = self.remote.name();
        if let Some(outage) = self.exchange.copied(checkpoint) {
            log::info!(target: "millstream::checkpoint", "{name}: copying works again (it did not: {outage})");
        }
        log::debug!(target: "millstream::checkpoint", "{name}: checkpoint {checkpoint} copied");
    }

    fn fence(&self, by: &str) {
        log::error!(
            target: "millstream::checkpoint",
            "{}: copying ends, a later run of the job copies there ({by}); this job goes on without copies",
            self.remote.name()
        );
        self.exchange.fenced();
    }

    async fn recover(&self, pending: Pending, trouble: Trouble, delay: &mut Duration) {
        let (name, checkpoint) = (self.remote.name(), pending.manifest.checkpoint);
        if self.exchange.is_interrupted() {
            self.exchange.failed(pending, None);
            return;
        }
        if let Trouble::Local(error @ (SnapshotError::ChunkMissing { .. } | SnapshotError::Damaged { .. })) = &trouble {
            log::warn!(target: "millstream::checkpoint", "{name}: checkpoint {checkpoint} is not copied: {error}");
            return self.exchange.given_up();
        }
        if self.exchange.failed(pending, Some(trouble.to_string())) {
            log::warn!(
                target: "millstream::checkpoint",
                "{name}: checkpoint {checkpoint} cannot be copied now, trying again: {trouble}"
            );
        }
        // Running out is the ordinary end.
        let _ = self.options.within(*delay, self.exchange.interrupted()).await;
        *delay = (*delay * 2).min(self.options.retry_max);
    }

    fn check(&self) -> Result<(), Trouble> {
        if self.exchange.is_interrupted() { Err(Trouble::Interrupted) } else { Ok(()) }
    }

    /// Claims the folder for this life, and learns what earlier ones left there.
    async fn begin(&self) -> Result<Known, Trouble> {
        let claim = Bytes::copy_from_slice(&self.nonce.to_le_bytes());
        let object = Object::Claim(self.incarnation);
        if self.remote.create(object, claim.clone()).await?.is_some_and(|found| found != claim) {
            return Err(Trouble::Fenced { by: format!("another claim of incarnation {}", self.incarnation) });
        }
        let listing = self.remote.list().await?;
        self.check_latest(&listing)?;
        if let Some(newest) = listing.manifests.last().filter(|newest| Some(**newest) > self.opened_with) {
            return Err(Trouble::Fenced { by: format!("{newest:?}") });
        }
        let mut known = Known { packs: listing.packs.clone(), ..Known::default() };
        for version in &listing.manifests {
            match self.remote.get_copied(*version).await {
                Ok(copied) => known.add(*version, &copied),
                Err(Trouble::Damaged { .. } | Trouble::NotFound { .. }) => drop(known.copies.insert(*version, None)),
                Err(trouble) => return Err(trouble),
            }
        }
        known.forget_missing();
        Ok(known)
    }

    fn check_latest(&self, listing: &Listing) -> Result<(), Trouble> {
        let latest = listing.latest();
        if latest > self.incarnation { Err(Trouble::Fenced { by: format!("incarnation {latest}") }) } else { Ok(()) }
    }

    async fn copy(&mut self, pending: &Pending) -> Result<(), Trouble> {
        let mut known = match self.known.take() {
            Some(known) => known,
            None => self.begin().await?,
        };
        let outcome = self.copy_with(&mut known, pending).await;
        self.known = Some(known);
        outcome
    }

    async fn copy_with(&mut self, known: &mut Known, pending: &Pending) -> Result<(), Trouble> {
        let manifest = &*pending.manifest;
        let sparse = known.sparse_packs(manifest);
        let mut missing =
            manifest.chunks.iter().filter(|chunk| !known.has(chunk, &sparse)).collect::<Vec<_>>().into_iter();
        while missing.len() > 0 {
            self.upload_pack(known, manifest.checkpoint, &mut missing).await?;
        }
        self.check()?;
        let listing = self.remote.list().await?;
        self.check_latest(&listing)?;
        known.packs = listing.packs;
        known.forget_missing();
        let version = Version::of(manifest);
        if known.is_whole(version) {
            return Ok(());
        }
        let places: Option<Vec<Place>> =
            manifest.chunks.iter().map(|chunk| known.placed.get(&chunk.address).map(|placed| placed.place)).collect();
        let places = places.ok_or_else(|| Trouble::NotFound { object: "a pack that had been there".to_owned() })?;
        self.check()?;
        let copied = Copied { manifest: manifest.clone(), reserved_up_to: pending.reserved_up_to, places };
        let object = Object::Manifest(version);
        if listing.manifests.contains(&version) {
            // Left by an earlier attempt or life, and could not be read. Replaced, never removed first: it may be sound,
            // and all that there is if this machine is lost now.
            self.remote.put(object, copied.encode().into()).await?;
        } else if self
            .remote
            .create(object, copied.encode().into())
            .await?
            .is_some_and(|found| found != copied.encode())
        {
            return Err(Trouble::Fenced { by: format!("another copy of {version:?}") });
        }
        known.copies.insert(version, Some(copied.packs()));
        Ok(())
    }

    /// Uploads one pack of what is missing.
    async fn upload_pack(
        &mut self,
        known: &mut Known,
        checkpoint: CheckpointId,
        missing: &mut std::vec::IntoIter<&ChunkRef>,
    ) -> Result<(), Trouble> {
        self.check()?;
        let pack = PackId { incarnation: self.incarnation, checkpoint, seq: self.next_pack };
        self.next_pack += 1;
        let mut parts: Vec<Bytes> = Vec::new();
        let mut placed: Vec<(ChunkAddress, Placed)> = Vec::new();
        let mut bytes = 0;
        while let Some(chunk) = missing.as_slice().first() {
            if bytes > 0 && bytes + u64::from(chunk.len) > self.options.pack_bytes as u64 {
                break;
            }
            parts.push(self.local.read_chunk(chunk).map_err(Trouble::Local)?.into());
            let place = Place { pack, offset: bytes };
            placed.push((chunk.address.clone(), Placed { place, len: chunk.len, checksum: chunk.checksum }));
            bytes += u64::from(chunk.len);
            missing.next();
        }
        self.remote.put(Object::Pack(pack), parts.into_iter().collect()).await?;
        known.packs.insert(pack, bytes);
        known.placed.extend(placed);
        Ok(())
    }

    /// Removes copies beyond the newest `retain`, and packs that none needs. What cannot be removed now is by the next
    /// copy.
    async fn tidy_up(&mut self, retain: usize) {
        let Some(mut known) = self.known.take() else { return };
        let outcome = self.tidy_up_with(&mut known, retain).await;
        self.known = Some(known);
        if let Err(trouble) = outcome {
            log::debug!(target: "millstream::checkpoint", "{}: old copies stay until after the next: {trouble}", self.remote.name());
        }
    }

    async fn tidy_up_with(&self, known: &mut Known, retain: usize) -> Result<(), Trouble> {
        let surplus = known.copies.len().saturating_sub(retain.max(1));
        let expired: Vec<Version> = known.copies.keys().take(surplus).copied().collect();
        for version in expired {
            self.check()?;
            self.remote.delete(Object::Manifest(version)).await?;
            known.copies.remove(&version);
        }
        // A copy that cannot be read may need any.
        let needed: Option<Vec<&BTreeSet<PackId>>> = known.copies.values().map(Option::as_ref).collect();
        let Some(needed) = needed else { return Ok(()) };
        let needed: BTreeSet<PackId> = needed.into_iter().flatten().copied().collect();
        let garbage: Vec<PackId> = known.packs.keys().filter(|pack| !needed.contains(pack)).copied().collect();
        for pack in garbage.into_iter().filter(|pack| pack.incarnation <= self.incarnation) {
            self.check()?;
            known.packs.remove(&pack);
            known.forget_missing();
            self.remote.delete(Object::Pack(pack)).await?;
        }
        Ok(())
    }

    /// Removes the copies of checkpoints above this one, before the local store gives them up.
    async fn abandon(&mut self, above: CheckpointId) -> Result<(), Trouble> {
        // Not what is known, but what is there.
        let listing = self.remote.list().await?;
        self.check_latest(&listing)?;
        for version in listing.manifests.iter().filter(|version| version.checkpoint > above) {
            self.remote.delete(Object::Manifest(*version)).await?;
            if let Some(known) = &mut self.known {
                known.copies.remove(version);
            }
        }
        Ok(())
    }
}

impl Known {
    fn add(&mut self, version: Version, copied: &Copied) {
        self.copies.insert(version, Some(copied.packs()));
        for (chunk, place) in copied.chunks() {
            let placed = Placed { place, len: chunk.len, checksum: chunk.checksum };
            self.placed.insert(chunk.address.clone(), placed);
        }
    }

    /// Whether a copy is there with all that it needs.
    fn is_whole(&self, version: Version) -> bool {
        let packs = self.copies.get(&version).and_then(Option::as_ref);
        packs.is_some_and(|packs| packs.iter().all(|pack| self.packs.contains_key(pack)))
    }

    fn has(&self, chunk: &ChunkRef, sparse: &BTreeSet<PackId>) -> bool {
        self.placed.get(&chunk.address).is_some_and(|placed| {
            (placed.len, placed.checksum) == (chunk.len, chunk.checksum) && !sparse.contains(&placed.place.pack)
        })
    }

    /// Another life may have removed packs between its last look and its end.
    fn forget_missing(&mut self) {
        let packs = &self.packs;
        self.placed.retain(|_, placed| {
            let end = placed.place.offset + u64::from(placed.len);
            packs.get(&placed.place.pack).is_some_and(|bytes| end <= *bytes)
        });
    }

    /// The packs of which `manifest` needs little.
    fn sparse_packs(&self, manifest: &Manifest) -> BTreeSet<PackId> {
        let mut used: BTreeMap<PackId, u64> = BTreeMap::new();
        for placed in manifest.chunks.iter().filter_map(|chunk| self.placed.get(&chunk.address)) {
            *used.entry(placed.place.pack).or_default() += u64::from(placed.len);
        }
        let is_sparse = |pack: &PackId, used: u64| self.packs.get(pack).is_some_and(|bytes| used * SPARSE < *bytes);
        used.into_iter().filter(|(pack, used)| is_sparse(pack, *used)).map(|(pack, _)| pack).collect()
    }
}
