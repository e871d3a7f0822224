//! An object store in memory that fails on request.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not done, and an error.
    Refuse,
    /// Done, and an error: the answer was lost.
    LoseAnswer,
    /// A body with its second half missing, or nothing written of it.
    Cut,
    /// No answer, ever.
    Hang,
}

/// An object store of which the requests fail that are told to.
#[derive(Debug)]
pub(super) struct FaultyObjects {
    /// What is there, without faults.
    pub(super) inner: InMemory,
    requests: AtomicU64,
    faults: Mutex<Vec<(Range<u64>, Fault)>>,
}

impl FaultyObjects {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: InMemory::new(), requests: AtomicU64::new(0), faults: Mutex::default() })
    }

    /// The requests with these numbers, counted from now, fail, and no others.
    pub(super) fn fail(&self, numbers: Range<u64>, fault: Fault) {
        self.fail_each([(numbers, fault)]);
    }

    /// As [`fail`](Self::fail); of plans for the same request the first is followed.
    pub(super) fn fail_each(&self, plans: impl IntoIterator<Item = (Range<u64>, Fault)>) {
        let from = self.requests.load(Ordering::SeqCst);
        let counted = |numbers: Range<u64>| numbers.start.saturating_add(from)..numbers.end.saturating_add(from);
        *self.faults.lock().unwrap() = plans.into_iter().map(|(numbers, fault)| (counted(numbers), fault)).collect();
    }

    pub(super) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// What is to happen to the next request.
    fn count(&self) -> Option<Fault> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let faults = self.faults.lock().unwrap();
        faults.iter().find(|(numbers, _)| numbers.contains(&number)).map(|(_, fault)| *fault)
    }

    async fn next(&self) -> Option<Fault> {
        let fault = self.count();
        if fault == Some(Fault::Hang) {
            std::future::pending::<()>().await;
        }
        fault
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn refused() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "told to fail".into() }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(&self, at: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        match self.next().await {
            None => self.inner.put_opts(at, payload, opts).await,
            Some(Fault::LoseAnswer) => self.inner.put_opts(at, payload, opts).await.and(Err(refused())),
            Some(_) => Err(refused()),
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        let fault = self.next().await;
        if matches!(fault, Some(Fault::Refuse | Fault::LoseAnswer)) {
            return Err(refused());
        }
        let mut result = self.inner.get_opts(at, options).await?;
        if fault == Some(Fault::Cut) {
            let (range, meta, attributes) = (result.range.clone(), result.meta.clone(), result.attributes.clone());
            let bytes = result.bytes().await?;
            let half = bytes.slice(..bytes.len() / 2);
            let payload = GetResultPayload::Stream(stream::once(async move { Ok(half) }).boxed());
            result = GetResult { payload, meta, range, attributes, extensions: Default::default() };
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.count() {
            None => self.inner.delete_stream(locations),
            Some(Fault::Hang) => stream::pending().boxed(),
            Some(Fault::LoseAnswer) => self.inner.delete_stream(locations).map(|_| Err(refused())).boxed(),
            Some(_) => stream::once(async { Err(refused()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.count() {
            None => self.inner.list(prefix),
            Some(Fault::Hang) => stream::pending().boxed(),
            Some(_) => stream::once(async { Err(refused()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
