//! Requests to the object store: each with a time limit, none repeated here.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use millstream_actors::contract::SnapshotError;
use millstream_actors::protocol::{CheckpointId, Incarnation};
use object_store::{GetOptions, ObjectStore, PutMode, PutOptions, PutPayload};

use super::layout::{Copied, Layout, Object, PackId, Version};
use super::options::CopyOptions;

/// Why a request, or a copy, did not work.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The request failed; it may work later.
    Request { action: &'static str, source: Box<dyn StdError + Send + Sync> },
    /// There is no such object.
    NotFound { object: String },
    /// What is there is not what was written.
    Damaged { what: String, reason: String },
    /// The local store could not be read.
    Local(SnapshotError),
    /// A later life of the job owns the copies.
    Fenced { by: String },
    /// Asked to do something else.
    Interrupted,
}

impl Trouble {
    /// As an error of the store whose name is `store`; `checkpoint` is what cannot be read.
    pub(super) fn into_error(self, store: &str, checkpoint: CheckpointId) -> SnapshotError {
        let store = store.to_owned();
        let damaged =
            |what, reason| SnapshotError::Damaged { store: store.clone(), what, reason, checkpoints: vec![checkpoint] };
        match self {
            Self::Local(error) => error,
            Self::Request { action, source } => SnapshotError::Io { store, action, source },
            Self::NotFound { object } => damaged(object, "it is missing".to_owned()),
            Self::Damaged { what, reason } => damaged(what, reason),
            Self::Fenced { by } => {
                SnapshotError::Io { store, action: "copy checkpoints", source: format!("superseded by {by}").into() }
            }
            Self::Interrupted => SnapshotError::Io { store, action: "copy checkpoints", source: "interrupted".into() },
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request { action, source } => write!(f, "cannot {action}: {source}"),
            Self::NotFound { object } => write!(f, "{object} is missing"),
            Self::Damaged { what, reason } => write!(f, "{what} is damaged: {reason}"),
            Self::Local(error) => error.fmt(f),
            Self::Fenced { by } => write!(f, "superseded by {by}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// What is in the folder of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) claims: BTreeSet<Incarnation>,
    pub(super) manifests: BTreeSet<Version>,
    /// With their lengths in bytes.
    pub(super) packs: BTreeMap<PackId, u64>,
}

impl Listing {
    /// The latest life that left something.
    pub(super) fn latest(&self) -> Incarnation {
        let of_manifest = self.manifests.last().map(|version| version.incarnation);
        self.claims.last().copied().max(of_manifest).unwrap_or_default()
    }
}

/// The objects of one job.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    objects: Arc<dyn ObjectStore>,
    layout: Layout,
    options: CopyOptions,
}

impl Remote {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, layout: Layout, options: CopyOptions) -> Self {
        Self { objects, layout, options }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.objects, self.layout.root())
    }

    async fn limited<T>(
        &self,
        action: &'static str,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        let limit = self.options.request_timeout;
        match self.options.within(limit, request).await {
            Some(Ok(value)) => Ok(value),
            Some(Err(object_store::Error::NotFound { path, .. })) => Err(Trouble::NotFound { object: path }),
            Some(Err(error)) => Err(Trouble::Request { action, source: Box::new(error) }),
            None => {
                let source = format!("no answer within {limit:?}").into();
                Err(Trouble::Request { action, source })
            }
        }
    }

    pub(super) async fn list(&self) -> Result<Listing, Trouble> {
        let request = async {
            let mut listing = Listing::default();
            let mut objects = self.objects.list(Some(self.layout.root()));
            while let Some(object) = objects.next().await {
                let object = object?;
                match self.layout.parse(&object.location) {
                    Some(Object::Claim(incarnation)) => drop(listing.claims.insert(incarnation)),
                    Some(Object::Manifest(version)) => drop(listing.manifests.insert(version)),
                    Some(Object::Pack(pack)) => drop(listing.packs.insert(pack, object.size)),
                    None => {}
                }
            }
            Ok(listing)
        };
        match self.limited("list objects", request).await {
            // Some object stores have no empty folders.
            Err(Trouble::NotFound { .. }) => Ok(Listing::default()),
            listed => listed,
        }
    }

    /// Reads an object, or a range of it. A shorter answer than asked for is an error.
    pub(super) async fn get(&self, object: Object, range: Option<Range<u64>>) -> Result<Bytes, Trouble> {
        let path = self.layout.path(object);
        let asked = range.as_ref().map(|range| range.end - range.start);
        let request = async {
            let options = GetOptions { range: range.map(Into::into), ..GetOptions::default() };
            let result = self.objects.get_opts(&path, options).await?;
            let announced = result.range.end - result.range.start;
            Ok((result.bytes().await?, announced))
        };
        let (bytes, announced) = self.limited("read an object", request).await?;
        let expected = asked.unwrap_or(announced);
        if bytes.len() as u64 != expected {
            let reason = format!("{} of {expected} bytes", bytes.len());
            return Err(Trouble::Damaged { what: path.to_string(), reason });
        }
        Ok(bytes)
    }

    /// Reads what completes a copy.
    pub(super) async fn get_copied(&self, version: Version) -> Result<Copied, Trouble> {
        let object = Object::Manifest(version);
        let bytes = self.get(object, None).await?;
        let damaged = |reason| Trouble::Damaged { what: self.layout.path(object).to_string(), reason };
        let copied = Copied::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
        if Version::of(&copied.manifest) != version {
            return Err(damaged(format!("it is of {:?}", Version::of(&copied.manifest))));
        }
        Ok(copied)
    }

    pub(super) async fn put(&self, object: Object, payload: PutPayload) -> Result<(), Trouble> {
        let path = self.layout.path(object);
        let request = self.objects.put_opts(&path, payload, PutOptions::default());
        self.limited("write an object", request).await.map(drop)
    }

    /// Writes an object that is not there. If it is, its bytes are the answer: an earlier attempt may have come through.
    pub(super) async fn create(&self, object: Object, bytes: Bytes) -> Result<Option<Bytes>, Trouble> {
        let path = self.layout.path(object);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let request = async {
            match self.objects.put_opts(&path, bytes.into(), options).await {
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                result => result.map(|_| true),
            }
        };
        if self.limited("create an object", request).await? {
            return Ok(None);
        }
        self.get(object, None).await.map(Some)
    }

    /// Removes an object, if it is there.
    pub(super) async fn delete(&self, object: Object) -> Result<(), Trouble> {
        let path = self.layout.path(object);
        let request = async {
            let paths = futures_util::stream::once(async { Ok(path) }).boxed();
            self.objects.delete_stream(paths).next().await.transpose()
        };
        match self.limited("remove an object", request).await {
            Err(Trouble::NotFound { .. }) => Ok(()),
            result => result.map(drop),
        }
    }
}
