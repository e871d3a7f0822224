//! What senders are told, and what waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use actix::Actor;
use futures_util::future::join_all;
use millstream::Clock;
use millstream::prelude::*;
use millstream::source::{
    IngestAll, IngestError, IngestHandle, IngestLogError, IngestOptions, IngestReceipt, IngestRecord,
};
use millstream::testing::assert_resumes_anywhere;
use millstream::time::ManualClock;
use redb::backends::InMemoryBackend;
use serde::{Deserialize, Serialize, Serializer};

use crate::common::{run, sorted};
use crate::gate::{Gate, Gated};
use crate::{close, finish, open, read_all, wait};

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn gated(gate: &Gate, options: IngestOptions) -> (IngestSource<u64>, IngestHandle<u64>) {
    let storage = gate.clone();
    IngestSource::open_on("gated", move || Ok(Gated::new(&storage)), options).unwrap()
}

#[test]
fn log_of_one_split_keeps_the_order_and_says_where_each_record_is() {
    let folder = tempfile::tempdir().unwrap();
    let (source, handle) = open(folder.path(), IngestOptions::new().splits(1));
    for n in 0..5 {
        let IngestReceipt { split, offset, is_repeated, .. } = wait(handle.send(n)).unwrap();
        assert_eq!((split, offset, is_repeated), (0, n, false));
    }
    let receipts = wait(handle.send_all(5..10)).unwrap();
    assert!(receipts.iter().map(|receipt| receipt.offset).eq(5..10));
    assert!(wait(handle.send_all(Vec::<u64>::new())).unwrap().is_empty());
    assert!(read_all(&source).records.into_iter().eq(0..10));
}

#[test]
fn records_of_a_key_are_in_one_split_and_others_spread_over_all() {
    let folder = tempfile::tempdir().unwrap();
    let (source, handle) = open(folder.path(), IngestOptions::new().splits(4));
    let keyed = |n: u64| IngestRecord::new(n).key(&(n % 3));
    let receipts = wait(handle.send_all((0..30).map(keyed))).unwrap();
    for (n, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt.split, receipts[n % 3].split);
    }
    let receipts = wait(handle.send_all(100..140)).unwrap();
    for split in 0..4 {
        assert_eq!(receipts.iter().filter(|receipt| receipt.split == split).count(), 10);
    }
    let read = read_all(&source).records;
    for key in 0..3 {
        let of_key: Vec<u64> = read.iter().copied().filter(|n| *n < 100 && n % 3 == key).collect();
        assert!(of_key.is_sorted() && of_key.len() == 10, "{of_key:?}");
    }
    assert!(sorted(read).into_iter().eq((0..30).chain(100..140)));
}

#[test]
fn source_resumes_anywhere_from_memory_and_from_the_file() {
    for (splits, buffer_bytes) in [(1, 1 << 20), (3, 1 << 20), (3, 600), (8, 600)] {
        let folder = tempfile::tempdir().unwrap();
        let options = IngestOptions::new().splits(splits).buffer(1_000, buffer_bytes).record_bytes_max(100);
        let (source, handle) = open(folder.path(), options);
        let mut sent = 0;
        for portion in [1, 7, 40, 1, 100, 60] {
            wait(handle.send_all(sent..sent + portion)).unwrap();
            sent += portion;
        }
        finish(&source);
        assert_resumes_anywhere(&source, |read| assert!(sorted(read.to_vec()).into_iter().eq(0..sent)));
    }
}

#[test]
fn log_that_is_opened_again_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for life in 0..4 {
        // The number of splits is that of the first life.
        let (source, handle) = open(folder.path(), IngestOptions::new().splits(2 + life));
        assert_eq!(handle.status().splits.len(), 2);
        wait(handle.send_all([u64::from(life)])).unwrap();
        drop(source);
        assert!(matches!(wait(handle.send(9)), Err(IngestError::Ended { .. })), "nobody reads it");
    }
    let (source, _handle) = open(folder.path(), IngestOptions::new());
    assert_eq!(sorted(read_all(&source).records), [0, 1, 2, 3]);
}

#[test]
fn many_threads_and_runtimes_send_and_each_record_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let (source, handle) = open(folder.path(), IngestOptions::new().buffer(64, 4_096).record_bytes_max(100));
    thread::scope(|scope| {
        for sender in 0..8 {
            let handle = handle.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    let of_one: Vec<u64> = (0..3).map(|i| sender * 1_000 + n * 3 + i).collect();
                    wait(join_all(of_one.into_iter().map(|n| handle.send(n)))).into_iter().for_each(|sent| {
                        sent.unwrap();
                    });
                }
            });
        }
    });
    assert_eq!((handle.status().waiting_records, handle.status().waiting_bytes), (0, 0));
    let expected = (0..8).flat_map(|sender| (0..150).map(move |n| sender * 1_000 + n));
    assert!(sorted(read_all(&source).records).into_iter().eq(expected));
}

#[test]
fn senders_that_wait_meanwhile_share_one_sync() {
    let gate = Gate::default();
    let (source, handle) = gated(&gate, IngestOptions::new());
    gate.hold();
    let first = handle.try_send(0).unwrap();
    gate.wait_for_one();
    let others: Vec<_> = (1..=256).map(|n| handle.try_send(n).unwrap()).collect();
    let before = gate.syncs();
    gate.release();
    wait(first).unwrap();
    wait(join_all(others)).into_iter().for_each(|sent| {
        sent.unwrap();
    });
    // And perhaps as many as the file has grown.
    assert!(gate.syncs() - before <= 6, "{} syncs for 256 records", gate.syncs() - before);
    assert_eq!(read_all(&source).records.len(), 257);
}

#[test]
fn senders_wait_where_records_or_bytes_are_too_many_and_are_let_in_in_their_order() {
    let limits = [IngestOptions::new().buffer(4, 1 << 20), IngestOptions::new().buffer(1_000, 20).record_bytes_max(20)];
    for options in limits {
        let gate = Gate::default();
        let (source, handle) = gated(&gate, options.splits(1));
        gate.hold();
        let mut sent = Vec::new();
        // Five bytes each.
        while let Ok(one) = handle.try_send(1 << 20 | sent.len() as u64) {
            sent.push(one);
        }
        assert_eq!(sent.len(), 4);
        let refused = handle.try_send(77).unwrap_err();
        assert!(matches!(refused.error, IngestError::Full { records: 4, .. }) && refused.error.is_retryable());
        assert_eq!(refused.record.into_record(), 77);
        let mut waiting: Vec<_> = (0..6).map(|n| Box::pin(handle.send(2 << 20 | n))).collect();
        for one in &mut waiting {
            assert!(poll(one).is_pending());
        }
        assert_eq!(handle.status().waiting_records, 4, "what waits for room takes none");
        drop(waiting.remove(2));
        gate.release();
        wait(join_all(sent)).into_iter().for_each(|sent| {
            sent.unwrap();
        });
        wait(join_all(waiting)).into_iter().for_each(|sent| {
            sent.unwrap();
        });
        let expected = (0..4).map(|n| 1 << 20 | n).chain([0, 1, 3, 4, 5].map(|n| 2 << 20 | n));
        assert!(read_all(&source).records.into_iter().eq(expected));
    }
}

#[test]
fn senders_that_give_up_leave_nothing_behind() {
    let gate = Gate::default();
    let (source, handle) = gated(&gate, IngestOptions::new().buffer(1, 1 << 20));
    gate.hold();
    let first = handle.try_send(0).unwrap();
    for n in 0..10_000 {
        assert!(poll(&mut Box::pin(handle.send(n))).is_pending());
    }
    gate.release();
    wait(first).unwrap();
    wait(handle.send(1)).unwrap();
    assert_eq!(read_all(&source).records.len(), 2);
    assert_eq!(handle.status().waiting_records, 0);
}

#[test]
fn sender_at_the_front_that_gives_up_lets_those_behind_it_in() {
    let gate = Gate::default();
    let (source, handle) = gated(&gate, IngestOptions::new().buffer(2, 1 << 20));
    gate.hold();
    let first = handle.try_send(0).unwrap();
    gate.wait_for_one();
    let mut front = Box::pin(handle.send_all([1, 2]));
    let mut behind = Box::pin(handle.send(3));
    assert!(poll(&mut front).is_pending() && poll(&mut behind).is_pending());
    assert_eq!(handle.status().waiting_records, 1);
    drop(front);
    assert_eq!(handle.status().waiting_records, 2, "there was room for it all the time");
    gate.release();
    wait(async { (first.await.unwrap(), behind.await.unwrap()) });
    assert_eq!(sorted(read_all(&source).records), [0, 3]);
}

#[test]
fn what_never_fits_is_refused_at_once() {
    let gate = Gate::default();
    let (_source, handle) =
        gated(&gate, IngestOptions::new().buffer(4, 100).record_bytes_max(50).idempotency_keys_max(2));
    let refused = wait(handle.send_all(0..5)).unwrap_err();
    assert!(matches!(refused, IngestError::TooLarge { records: 5, records_max: 4, .. }), "{refused}");
    let refused = wait(handle.send_all(0..)).unwrap_err();
    assert!(matches!(refused, IngestError::TooLarge { records: 5, .. }), "no more are looked at: {refused}");
    let long = IngestRecord::new(1).idempotency_key("x".repeat(256));
    assert!(matches!(wait(handle.send(long)), Err(IngestError::KeyTooLong { bytes: 256, .. })));
    let large = IngestRecord::new(1).idempotency_key("x".repeat(50));
    assert!(matches!(wait(handle.send(large)), Err(IngestError::TooLarge { records: 1, bytes: 51, .. })));
    let keyed = |key: &str| IngestRecord::new(1).idempotency_key(key);
    wait(handle.send_all(["a", "b"].map(keyed))).unwrap();
    assert!(matches!(wait(handle.send(keyed("c"))), Err(IngestError::KeysFull { keys_max: 2, .. })));
    assert!(wait(handle.send(keyed("a"))).unwrap().is_repeated, "known ones are no more");
    for options in [
        IngestOptions::new().splits(0),
        IngestOptions::new().buffer(0, 10),
        IngestOptions::new().record_bytes_max(9 << 20),
        IngestOptions::new().log_bytes_max(9 << 20),
        IngestOptions::new().buffer(200_000, 1 << 20).log_bytes_max(2 << 20),
        IngestOptions::new().buffer(10, 8 << 30).log_bytes_max(20 << 30).record_bytes_max((1 << 30) + 1),
    ] {
        let opened = IngestSource::<u64>::open("never", options);
        assert!(matches!(opened.unwrap_err(), IngestLogError::Options { .. }));
    }
}

/// Does not serialize if it is odd, and does not read back if it is 4.
#[derive(Debug, Deserialize)]
struct Stubborn(#[allow(dead_code, reason = "only read")] u64);

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            4 => serializer.serialize_str("four"),
            n if n % 2 == 1 => Err(serde::ser::Error::custom("odd")),
            n => serializer.serialize_newtype_struct("Stubborn", &n),
        }
    }
}

#[test]
fn record_that_does_not_serialize_or_read_back_is_refused_and_takes_its_call_with_it() {
    let gate = Gate::default();
    let storage = gate.clone();
    let opened = IngestSource::<Stubborn>::open_on("odd", move || Ok(Gated::new(&storage)), IngestOptions::new());
    let (_source, handle) = opened.unwrap();
    for bad in [1, 4] {
        let refused = wait(handle.send_all([Stubborn(2), Stubborn(bad)])).unwrap_err();
        assert!(matches!(refused, IngestError::Encode { .. }), "{refused}");
    }
    wait(handle.send(Stubborn(2))).unwrap();
    assert_eq!(handle.status().splits.iter().map(|split| split.end).sum::<u64>(), 1);
}

#[test]
fn repeated_idempotency_key_counts_once_for_its_time_and_over_lives() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let options = || IngestOptions::new().idempotency_retention(Duration::from_secs(60)).clock(clock.clone());
    let keyed = |n: u64| IngestRecord::new(n).idempotency_key(format!("key {n}"));
    let (source, handle) = open(folder.path(), options());
    let first = wait(handle.send(keyed(1))).unwrap();
    let again = wait(handle.send_all([keyed(1), keyed(2), keyed(2), keyed(1)])).unwrap();
    assert_eq!(again.iter().map(|receipt| receipt.is_repeated).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!((again[0].split, again[0].offset), (first.split, first.offset));
    drop(source);
    let (source, handle) = open(folder.path(), options());
    clock.advance(Duration::from_secs(59));
    assert!(wait(handle.send(keyed(1))).unwrap().is_repeated);
    clock.advance(Duration::from_secs(1));
    assert!(!wait(handle.send(keyed(1))).unwrap().is_repeated, "its time is over");
    assert!(wait(handle.send(keyed(1))).unwrap().is_repeated);
    assert_eq!(sorted(read_all(&source).records), [1, 1, 2]);
}

#[test]
fn log_is_locked_and_other_files_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(folder.path(), IngestOptions::new());
    let path = folder.path().join("log");
    let again = || IngestSource::<u64>::open(&path, IngestOptions::new()).map(close);
    assert!(matches!(again(), Err(IngestLogError::Locked { .. })));
    drop(opened.0);
    again().unwrap();
    for content in [&b"no log"[..], b""] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(again(), Err(IngestLogError::Foreign { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    std::fs::remove_file(&path).unwrap();
    drop(RedbStore::open(&path).unwrap());
    assert!(matches!(again(), Err(IngestLogError::Foreign { .. })), "a store of snapshots");
}

#[test]
fn removed_or_replaced_log_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let (_source, handle) = open(folder.path(), IngestOptions::new());
    wait(handle.send(1)).unwrap();
    std::fs::remove_file(folder.path().join("log")).unwrap();
    for _ in 0..2 {
        let refused = wait(handle.send(2)).unwrap_err();
        let IngestError::Log(error) = &refused else { panic!("{refused}") };
        assert!(matches!(**error, IngestLogError::Gone { .. }) && !refused.is_retryable());
    }
}

#[test]
fn actor_takes_records_as_messages_and_holds_senders_up_where_there_is_no_room() {
    run("an actor", |_| async {
        let gate = Gate::default();
        let (source, handle) = gated(&gate, IngestOptions::new().buffer(2, 1 << 20));
        gate.hold();
        let addr = handle.clone().start();
        let sends: Vec<_> = (0..10).map(|n| addr.send(IngestRecord::new(n))).collect();
        let all = addr.send(IngestAll(vec![IngestRecord::new(10), IngestRecord::new(11)]));
        // As soon as the actor has been given its turn, two are in the queue and the third holds it up.
        while handle.status().waiting_records < 2 {
            actix_rt::task::yield_now().await;
        }
        gate.release();
        for sent in join_all(sends).await {
            sent.unwrap().unwrap();
        }
        assert_eq!(all.await.unwrap().unwrap().len(), 2);
        let too_many = IngestAll((0..3).map(IngestRecord::new).collect());
        assert!(matches!(addr.send(too_many).await.unwrap(), Err(IngestError::TooLarge { .. })));
        assert!(sorted(read_all(&source).records).into_iter().eq(0..12));
        drop(source);
        assert!(matches!(addr.send(IngestRecord::new(1)).await.unwrap(), Err(IngestError::Ended { .. })));
    });
}

#[test]
fn handle_is_shared_and_its_futures_stand_alone() {
    fn is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    fn stands_alone<T: Send + 'static>(future: T) -> T {
        future
    }
    let gate = Gate::default();
    let (_source, handle) = gated(&gate, IngestOptions::new());
    is_shared(&handle);
    let sends = (stands_alone(handle.send(1)), stands_alone(handle.send_all(vec![2])), handle.try_send(3).unwrap());
    drop(handle);
    let sent = Arc::new(wait(async { (sends.0.await, sends.1.await, stands_alone(sends.2).await) }));
    assert!(sent.0.is_ok() && sent.1.is_ok() && sent.2.is_ok());
}

/// Cause: the bounds that a log must have left out what each record takes beside its bytes, so a call within the bounds could wait
/// for ever. Repair: they count it.
#[test]
fn largest_call_within_the_bounds_fits_into_the_smallest_log() {
    let gate = Gate::default();
    let options = IngestOptions::new().splits(1).buffer(2_000, 4_000).record_bytes_max(100);
    let smallest = 2 * (4_000 + 2_000 * 17);
    let opened = IngestSource::<u64>::open_on(
        "tight",
        || Ok(InMemoryBackend::new()),
        options.clone().log_bytes_max(smallest - 1),
    );
    assert!(matches!(opened.unwrap_err(), IngestLogError::Options { .. }));
    let (_source, handle) = gated(&gate, options.log_bytes_max(smallest));
    assert_eq!(wait(handle.send_all((0..2_000).map(|n| 200 + n % 2))).unwrap().len(), 2_000);
}

/// Panics when it is asked, once it is told to.
#[derive(Default)]
struct BadClock(AtomicBool);

impl Clock for &'static BadClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn unix_ms(&self) -> u64 {
        assert!(!self.0.load(Ordering::SeqCst), "told to");
        0
    }

    fn sleep(&self, _: Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}

/// Cause: the calls that were being written when the writer panicked were left to a wrong reason, their room stayed taken, and the
/// log never came to its end. Repair: they are told, and readers read what is there to its end.
#[test]
fn panic_of_the_writer_is_told_to_senders_and_keeps_no_reader_from_its_end() {
    static CLOCK: BadClock = BadClock(AtomicBool::new(false));
    let (records, waiting) = run("a panic", |_| async {
        let folder = tempfile::tempdir().unwrap();
        let (source, handle) = open(folder.path(), IngestOptions::new().clock(&CLOCK));
        handle.send_all(0..10).await.unwrap();
        CLOCK.0.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let refused = handle.send(10).await.unwrap_err();
            let IngestError::Log(error) = &refused else { panic!("{refused}") };
            assert!(error.to_string().contains("told to") && !refused.is_retryable(), "{error}");
        }
        let read = read_all(&source).records;
        drop(source);
        handle.closed().await;
        (read, handle.status().waiting_records)
    });
    assert_eq!((sorted(records), waiting), ((0..10).collect(), 0));
}
