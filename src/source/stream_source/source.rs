//! The description of a source that reads asynchronous streams.

use std::collections::{BTreeMap, HashSet};
use std::error::Error as StdError;
use std::fmt::{self, Debug};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{Stream, StreamExt};
use millstream_actors::contract::{Boundedness, Source, SourceContext, SourceError, SourceReader, SplitPosition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StreamSourceError;
use super::reader::{Input, StreamReader, StreamSplit};
use crate::source::decode_position;
use crate::source::position::described;

/// What a stream gives: a record with the position behind it, or why there is none.
pub(super) type Items<P, T> = Pin<Box<dyn Stream<Item = Result<(P, T), Box<dyn StdError + Send + Sync>>> + Send>>;

type OpenSplit<P, T> = dyn Fn(&str, Option<P>) -> Items<P, T> + Send + Sync;

pub(super) type OnCheckpoint<P> = Arc<dyn Fn(CompletedSplit<'_, P>) + Send + Sync>;

/// The only split of a source that names none.
const ONLY_SPLIT: &str = "stream";

/// How a split is stored: its position, and whether its stream has ended.
pub(super) type Stored<P> = (Option<P>, bool);

/// Reads an asynchronous [`Stream`] of positions and records, opened at the position where the job goes on.
///
/// A function opens the stream, in each attempt anew: `None` is the beginning, `Some(position)` says to go on *behind* the record
/// that had this position. So a record's position may be its offset, its sequence number, or the page token and index with which
/// the next one is found; it is stored in checkpoints by serde, structs with the names of their fields, as state is. The positions of a stream strictly ascend by `Ord`, and from a
/// position it must give the same records again: then each record counts exactly once, whatever happens to the job.
///
/// - The stream is polled on the task's arbiter, which is a tokio runtime of one thread: channels, timers and sockets of tokio
///   work there. It must not block, as that would hold up the other tasks of the arbiter; `tokio::task::spawn_blocking` is for what does.
///   It is polled only while the job takes records, and by at most a batch at a time: what it has at hand is held back as far as
///   the stream holds it back, and a stream that is always ready keeps no checkpoint waiting. A batch has few records where
///   the job is slow.
/// - It is not to end by itself: an end is taken as a connection that broke off, and fails the attempt
///   ([`StreamSourceError::Ended`]), so that the restart strategy opens it again. Where the end of a stream is the end of its input
///   say [`bounded`](Self::bounded).
/// - [`with_splits`](Self::with_splits) reads several streams side by side, each with event time of its own.
/// - An `Err` fails the attempt, and the restart strategy opens the stream again at the restored position: any error is taken as
///   one that may pass. One that is a [`SourceError`] says itself whether it is.
/// - A panic in the stream or in the function that opens it fails the attempt, too. When an attempt ends its streams are
///   dropped, on the arbiter.
/// - `JobHandle::finish` ends the input where it has been read to, `drain` and `stop_with_savepoint` leave it to go on from there. So
///   does a job that fails or is killed before it has finished.
///
/// A channel is a stream, here with positions for its records; since a channel does not give its records again this is for what may
/// be lost:
///
/// ```
/// use std::sync::Mutex;
///
/// use futures_util::stream::{self, StreamExt};
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// let (sender, receiver) = tokio::sync::mpsc::channel::<&str>(16);
/// let receiver = Mutex::new(Some(receiver));
/// let source = StreamSource::new(move |_from: Option<u64>| {
///     let receiver = receiver.lock().unwrap().take().expect("opened once");
///     stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|record| (record, receiver)) })
///         .zip(stream::iter(0..))
///         .map(|(record, number)| Ok::<_, std::io::Error>((number, record)))
/// })
/// .bounded();
/// let env = StreamEnvironment::new("words");
/// # let sink = CollectSink::new();
/// # let words = sink.handle();
/// env.source("words", source).sink("out", sink);
/// let job = env.start()?;
/// sender.send("hello").await?;
/// drop(sender);                                               // the end of the stream
/// job.await?;
/// assert_eq!(words.snapshot(), ["hello"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// An API that answers by pages, `async fn page(from) -> Vec<(position, record)>`:
///
/// ```
/// use std::collections::VecDeque;
/// use std::io;
///
/// use futures_util::stream;
/// use millstream::prelude::*;
///
/// /// The records behind `from`, at most three of them.
/// async fn page(from: Option<u64>) -> io::Result<Vec<(u64, String)>> {
///     let first = from.map_or(0, |from| from + 1);
///     Ok((first..8).take(3).map(|number| (number, format!("record {number}"))).collect())
/// }
///
/// # actix_rt::System::new().block_on(async {
/// let source = StreamSource::new(|from: Option<u64>| {
///     stream::try_unfold((from, VecDeque::new()), |(mut from, mut read)| async move {
///         if read.is_empty() {
///             read = page(from).await?.into();
///         }
///         let Some((number, record)) = read.pop_front() else { return Ok::<_, io::Error>(None) };
///         from = Some(number);
///         Ok(Some(((number, record), (from, read))))
///     })
/// })
/// .bounded();
/// let env = StreamEnvironment::new("pages");
/// # let sink = CollectSink::new();
/// # let records = sink.handle();
/// env.source("records", source).sink("out", sink);
/// env.start()?.await?;
/// assert_eq!(records.snapshot().len(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Errors
/// With a [`StreamSourceError`] as reason if positions do not ascend, a stream ends that is not bounded, or a restored split is not named any more; what a stream says;
/// [`SourceError::position`] for a stored position that is no `P`; a mistake in the [configuration](SourceError::configuration) if two
/// splits have one name, or there is none.
pub struct StreamSource<P, T> {
    splits: Vec<String>,
    open: Box<OpenSplit<P, T>>,
    boundedness: Boundedness,
    on_checkpoint: Option<OnCheckpoint<P>>,
    read_to: ReadTo<P>,
}

/// How far each split has been read by any attempt in this process: so far one is read before it is cut by `finish`.
#[derive(Clone)]
pub(super) struct ReadTo<P>(Arc<Mutex<BTreeMap<String, P>>>);

impl<P: Ord + Clone> ReadTo<P> {
    /// The split was read to this position.
    pub(super) fn note(&self, split: &str, position: &P) {
        let mut read_to = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match read_to.get_mut(split) {
            Some(known) if *known >= *position => {}
            Some(known) => *known = position.clone(),
            None => {
                read_to.insert(split.to_owned(), position.clone());
            }
        }
    }

    /// The position to which the split was read; `None` if nothing was.
    pub(super) fn of(&self, split: &str) -> Option<P> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(split).cloned()
    }
}

/// How far a split was read, as of a completed checkpoint: what [`StreamSource::on_checkpoint`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletedSplit<'a, P> {
    /// The split.
    pub split: &'a str,
    /// The position of the last record in the checkpoint.
    pub position: &'a P,
    /// The position in the oldest checkpoint that the job can still be restored from: records up to it are not read again by this job
    /// from its store, and may be deleted. `None` if that is not known, or is the beginning of the split.
    pub oldest_needed: Option<&'a P>,
}

impl<P, T> StreamSource<P, T>
where
    P: Serialize + DeserializeOwned + Ord + Clone + Debug + Send + 'static,
    T: Send + 'static,
{
    /// One stream, which `open` opens at a position; one subtask reads it.
    pub fn new<St, E>(open: impl Fn(Option<P>) -> St + Send + Sync + 'static) -> Self
    where
        St: Stream<Item = Result<(P, T), E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self::with_splits([ONLY_SPLIT], move |_, from| open(from))
    }

    /// A stream for each of these splits, by name, which `open` opens at a position of the split. A split is read by the subtask that
    /// its name hashes to, at every parallelism; names made by [`spread_split_id`](crate::source::spread_split_id) spread evenly.
    ///
    /// Between two starts on a store splits may be added: they begin at their beginning. One that is left out must be at its end.
    ///
    /// ```
    /// use futures_util::stream;
    /// use millstream::prelude::*;
    ///
    /// let words = [("de", ["eins", "zwei"]), ("fr", ["un", "deux"])];
    /// let source = StreamSource::with_splits(words.map(|(language, _)| language), move |split, from: Option<usize>| {
    ///     let (_, words) = words.into_iter().find(|(language, _)| *language == split).expect("one of these");
    ///     let first = from.map_or(0, |from| from + 1);
    ///     stream::iter((first..words.len()).map(move |number| Ok::<_, std::io::Error>((number, words[number]))))
    /// })
    /// .bounded();
    /// # let sink = CollectSink::new();
    /// # let words = sink.handle();
    /// # let env = StreamEnvironment::new("words").parallelism(2);
    /// # env.source("words", source).sink("out", sink);
    /// # env.start()?.wait()?;
    /// # let mut words = words.snapshot();
    /// # words.sort();
    /// # assert_eq!(words, ["deux", "eins", "un", "zwei"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_splits<St, E>(
        splits: impl IntoIterator<Item = impl Into<String>>,
        open: impl Fn(&str, Option<P>) -> St + Send + Sync + 'static,
    ) -> Self
    where
        St: Stream<Item = Result<(P, T), E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self {
            splits: splits.into_iter().map(Into::into).collect(),
            open: Box::new(move |split, from| Box::pin(open(split, from).map(|item| item.map_err(Into::into)))),
            boundedness: Boundedness::Unbounded,
            on_checkpoint: None,
            read_to: ReadTo(Arc::default()),
        }
    }

    /// Says that the end of a stream is the end of its split, which is then not opened again by any start on the store, and that
    /// all come to their end. By default an end is an error that restarts the job.
    pub fn bounded(mut self) -> Self {
        self.boundedness = Boundedness::Bounded;
        self
    }

    /// Calls `hook` for each split that has been read when a checkpoint is complete: to tell a broker how far its records are worked off,
    /// or what it may delete. It is called on the task's arbiter, and must not block. It may be missed when an attempt ends: the next
    /// one covers what came before.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use futures_util::stream;
    /// use millstream::prelude::*;
    ///
    /// let committed = Arc::new(AtomicU64::new(0));
    /// let offset = committed.clone();
    /// let source = StreamSource::new(|from: Option<u64>| {
    ///     stream::iter((from.unwrap_or(0) + 1..=100).map(|number| Ok::<_, std::io::Error>((number, number))))
    /// })
    /// .bounded()
    /// .on_checkpoint(move |completed| offset.store(*completed.position, Ordering::SeqCst));
    /// let env = StreamEnvironment::new("committed");
    /// env.source("numbers", source).sink("out", CollectSink::new());
    /// env.start()?.wait()?;
    /// assert!(committed.load(Ordering::SeqCst) <= 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_checkpoint(mut self, hook: impl Fn(CompletedSplit<'_, P>) + Send + Sync + 'static) -> Self {
        self.on_checkpoint = Some(Arc::new(hook));
        self
    }
}

impl<P, T> Debug for StreamSource<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSource").field("splits", &self.splits).finish_non_exhaustive()
    }
}

impl<P, T> Source for StreamSource<P, T>
where
    P: Serialize + DeserializeOwned + Ord + Clone + Debug + Send + 'static,
    T: Send + 'static,
{
    type Item = T;

    fn boundedness(&self) -> Boundedness {
        self.boundedness
    }

    fn mistake(&self) -> Option<String> {
        let mut names = HashSet::new();
        match self.splits.iter().find(|split| !names.insert(split.as_str())) {
            Some(twice) => Some(format!("two splits are named '{twice}'")),
            None if self.splits.is_empty() => Some("a StreamSource without splits reads nothing".to_owned()),
            None => None,
        }
    }

    fn open(
        &self,
        cx: &SourceContext,
        restored: Option<Vec<SplitPosition>>,
    ) -> Result<Box<dyn SourceReader<Item = T>>, SourceError> {
        if let Some(mistake) = self.mistake() {
            return Err(SourceError::configuration(mistake));
        }
        let mut stored = BTreeMap::new();
        for position in restored.iter().flatten() {
            stored.insert(position.split.as_str(), decode_position::<Stored<P>>(position)?);
        }
        let left_out =
            stored.iter().find(|(split, (_, at_end))| !at_end && !self.splits.iter().any(|named| named == *split));
        if let Some((split, _)) = left_out {
            return Err(StreamSourceError::NotNamed { split: (*split).to_owned() }.into());
        }
        let mut splits = Vec::new();
        for id in self.splits.iter().filter(|id| cx.owns(id)) {
            let (position, at_end) = stored.remove(id.as_str()).unwrap_or((None, false));
            let input = if at_end { Input::Ended } else { Input::Open((self.open)(id, position.clone())) };
            splits.push(StreamSplit { id: id.clone(), input, position });
        }
        // Those that are at their end and not named any more stay known.
        let others = stored.into_iter().filter(|(id, _)| cx.owns(id) && !self.splits.iter().any(|named| named == id));
        splits.extend(others.map(|(id, (position, _))| StreamSplit {
            id: id.to_owned(),
            input: Input::Ended,
            position,
        }));
        let how = (self.on_checkpoint.clone(), self.boundedness == Boundedness::Bounded);
        Ok(Box::new(StreamReader::new(splits, cx.waker.clone(), self.read_to.clone(), how)))
    }

    fn ends_on_finish(&self) -> bool {
        true
    }

    fn describe_position(&self, position: &[u8]) -> String {
        described(position, |(position, at_end): Stored<P>| match (position, at_end) {
            (_, true) => "its end".to_owned(),
            (Some(position), false) => format!("behind {position:?}"),
            (None, false) => "its beginning".to_owned(),
        })
    }
}
