use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use futures_util::StreamExt;

use super::*;
use crate::sink::driver::context;
use crate::testing::SinkHarness;

/// A sink, and a host that has read so many records.
struct Host {
    sink: Arc<StreamSink<u32>>,
    stream: Mutex<(CommittedStream<u32>, Vec<u32>)>,
}

impl Host {
    fn new(capacity: usize) -> Self {
        let (sink, stream) = StreamSink::new(capacity);
        Self { sink: Arc::new(sink), stream: Mutex::new((stream, Vec::new())) }
    }

    fn open(&self, attempt: u32, subtask: u32, parallelism: u32) -> Box<dyn SinkWriter<Item = u32>> {
        self.sink.open(&context(1, attempt, subtask, parallelism), SinkRestore::default()).unwrap()
    }

    /// All that it has read in the end.
    fn read(&self) -> Vec<u32> {
        let (stream, read) = &mut *self.stream.lock().unwrap();
        while let Poll::Ready(Some(record)) = poll(stream) {
            read.push(record);
        }
        read.clone()
    }

    fn read_one(&self) -> Option<u32> {
        match poll(&mut self.stream.lock().unwrap().0) {
            Poll::Ready(record) => record,
            Poll::Pending => None,
        }
    }
}

fn poll(stream: &mut CommittedStream<u32>) -> Poll<Option<u32>> {
    stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
}

fn write(writer: &mut dyn SinkWriter<Item = u32>, records: impl IntoIterator<Item = u32>) {
    let mut batch = Batch::from_iter(records);
    writer.write(&mut batch).unwrap();
    assert!(batch.is_empty());
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

// Guarantees G2 and O4.
#[test]
fn every_life_of_a_job_gives_each_record_to_the_host_once() {
    SinkHarness::new(|| Host::new(1), |host| host.sink.clone(), Host::read).check((0..7).chain(0..7));
}

// Guarantee O5.
#[test]
fn sink_that_is_full_takes_what_is_before_barriers_up_to_twice_its_capacity_until_the_host_reads() {
    let host = Host::new(4);
    let wakes = Arc::new(Wakes::default());
    let mut writers = [host.open(1, 0, 2), host.open(1, 1, 2)];
    writers.iter_mut().for_each(|writer| writer.attach(wakes.clone().into()));
    write(&mut *writers[0], 0..3);
    assert_eq!(writers[1].demand(), Demand::Any);
    write(&mut *writers[1], 3..9);
    assert_eq!(writers[0].demand(), Demand::BeforeBarrier, "the host has nothing to read: only a checkpoint helps");
    for writer in &mut writers {
        writer.prepare(CheckpointId(1)).unwrap();
        assert_eq!(writer.demand(), Demand::BeforeBarrier);
    }
    writers[0].commit(CheckpointId(1)).unwrap();
    assert_eq!(writers[0].demand(), Demand::Nothing, "nine are held, and the host may read three");
    assert_eq!(wakes.take(), 0);
    assert_eq!((host.read_one(), wakes.take()), (Some(0), 0));
    assert_eq!((host.read_one(), wakes.take()), (Some(1), 2));
    assert_eq!(writers[1].demand(), Demand::BeforeBarrier);
    writers[1].commit(CheckpointId(1)).unwrap();
    host.read_one();
    wakes.take();
    assert_eq!((host.read_one(), host.read_one(), wakes.take()), (Some(3), Some(4), 0));
    assert_eq!(writers[1].demand(), Demand::BeforeBarrier, "four are held");
    assert_eq!((host.read_one(), wakes.take()), (Some(5), 2));
    assert_eq!(writers[1].demand(), Demand::Any);
}

#[test]
fn records_of_an_attempt_that_is_over_take_no_room() {
    let host = Host::new(4);
    let mut writer = host.open(1, 0, 1);
    write(&mut *writer, 0..3);
    writer.prepare(CheckpointId(1)).unwrap();
    write(&mut *writer, 3..6);
    drop(writer);
    let mut writer = host.open(2, 0, 1);
    assert_eq!(writer.demand(), Demand::Any);
    write(&mut *writer, 0..3);
    assert_eq!(writer.demand(), Demand::Any);
    assert!(host.read().is_empty());
}

#[test]
fn host_is_woken_by_records_and_by_the_end_and_the_stream_ends_behind_them() {
    let (sink, mut stream) = StreamSink::new(4);
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    let poll = |stream: &mut CommittedStream<u32>| stream.poll_next_unpin(&mut Context::from_waker(&waker));
    assert_eq!(poll(&mut stream), Poll::Pending);
    let mut writer = sink.open(&context(1, 1, 0, 1), SinkRestore::default()).unwrap();
    wakes.take();
    assert_eq!(poll(&mut stream), Poll::Pending);
    write(&mut *writer, [1]);
    writer.prepare(CheckpointId(1)).unwrap();
    assert_eq!((wakes.take(), poll(&mut stream)), (0, Poll::Pending));
    writer.commit(CheckpointId(1)).unwrap();
    assert_eq!((wakes.take(), stream.size_hint()), (1, (1, None)));
    assert_eq!((poll(&mut stream), poll(&mut stream)), (Poll::Ready(Some(1)), Poll::Pending));
    write(&mut *writer, [2]);
    writer.prepare(CheckpointId(2)).unwrap();
    writer.commit(CheckpointId(2)).unwrap();
    drop(sink);
    drop(writer);
    assert!(wakes.take() > 0 && !stream.is_terminated());
    assert_eq!((poll(&mut stream), poll(&mut stream)), (Poll::Ready(Some(2)), Poll::Ready(None)));
    assert!(stream.is_terminated());
}

#[test]
fn records_for_a_host_that_has_gone_are_an_error_and_nothing_else_is() {
    let (sink, stream) = StreamSink::new(1);
    let open = |attempt| sink.open(&context(1, attempt, 0, 1), SinkRestore::default()).unwrap();
    let (mut idle, mut late) = (open(1), open(1));
    write(&mut *late, [1, 2]);
    late.prepare(CheckpointId(1)).unwrap();
    drop(stream);
    idle.prepare(CheckpointId(1)).unwrap();
    idle.commit(CheckpointId(1)).unwrap();
    assert_eq!(idle.demand(), Demand::Any);
    let nobody = |result: Result<(), SinkError>| {
        let error = result.unwrap_err();
        let is_known = matches!(error.reason().downcast_ref(), Some(StreamSinkError::NobodyReads));
        assert!(is_known && !error.is_retryable() && error.location() == "stream of sink 'sink'", "{error}");
    };
    nobody(idle.write(&mut Batch::from_iter([1])));
    nobody(late.commit(CheckpointId(1)));
}

// Cause: the first subtask that saw that the stream was dropped ended the job; what others had prepared was never shown, so each
// later start in the process failed. Repair: dropping the stream says that nobody wants it.
#[test]
fn later_start_goes_on_behind_a_stream_that_was_dropped_and_not_behind_one_that_was_read_to_its_end() {
    let start = |pending: &[PendingCommit]| {
        let (checkpoint, pending) = (Some(CheckpointId(1)), pending.to_vec());
        let restored = SinkRestore { checkpoint, pending, ..SinkRestore::default() };
        StreamSink::<u32>::new(1).0.open(&context(2, 1, 0, 1), restored).map(drop)
    };
    for is_dropped in [true, false] {
        let (sink, mut stream) = StreamSink::new(4);
        let mut writers = [0, 1].map(|subtask| sink.open(&context(1, 1, subtask, 2), SinkRestore::default()).unwrap());
        let mut pending = Vec::new();
        for writer in &mut writers {
            write(&mut **writer, [1]);
            pending.extend(writer.prepare(CheckpointId(1)).unwrap());
        }
        let [mut first, second] = writers;
        if is_dropped {
            drop(stream);
            first.commit(CheckpointId(1)).unwrap_err();
            drop((sink, first, second));
            start(&pending).unwrap();
        } else {
            first.commit(CheckpointId(1)).unwrap();
            drop((sink, first, second));
            assert_eq!((poll(&mut stream), poll(&mut stream)), (Poll::Ready(Some(1)), Poll::Ready(None)));
            drop(stream);
            let error = start(&pending).unwrap_err();
            assert!(error.to_string().contains("checkpoint 1 is gone"), "{error}");
        }
    }
}

#[test]
fn stream_without_room_is_a_mistake() {
    let (sink, _stream) = StreamSink::<u32>::new(0);
    assert!(sink.mistake().unwrap().contains("at least 1"));
    assert_eq!(StreamSink::<u32>::new(1).0.mistake(), None);
}
