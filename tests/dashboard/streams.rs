//! Events as they come: guarantee B4.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream::prelude::*;

use crate::client::{Events, get, send};
use crate::jobs::{Counting, open, serve, until};

const EVENTS: &str = "/v1/jobs/counting/events";

#[test]
fn events_come_in_order_through_a_restart_and_the_jobs_end() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    let mut events = Events::open(address, EVENTS, &[]);
    counting.panic_once();
    let failed = events.find("subtask_failed");
    assert_eq!(
        (&*failed.event, &failed.data["level"], failed.id),
        ("supervision", &"error".into(), failed.data["seq"].as_u64())
    );
    assert!(failed.data["text"].as_str().unwrap().contains("the panic button was pressed"));
    let running = events.find("region_running");
    assert!(running.id > failed.id);
    drop(counting.job.cancel());
    let ended = events.find("ended");
    assert_eq!(ended.data["outcome"]["kind"], "cancelled");
    // The log has the same ones.
    let log = get(address, "/v1/jobs/counting/log").json();
    let of_log = log["events"].as_array().unwrap().iter().find(|event| event["seq"].as_u64() == ended.id).unwrap();
    assert_eq!(*of_log, ended.data);
}

#[test]
fn stream_goes_on_behind_the_last_event_that_was_seen() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    counting.panic_once();
    drop(counting.job.cancel());
    counting.job.wait().unwrap();
    let newest = counting.job.history().last().unwrap().seq;
    let from = newest - 3;
    for (path, headers) in
        [(EVENTS.to_owned(), vec![("Last-Event-ID", from.to_string())]), (format!("{EVENTS}?after={from}"), Vec::new())]
    {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut events = Events::open(address, &path, &headers);
        let ids: Vec<_> = (0..3).map(|_| events.next().unwrap().id.unwrap()).collect();
        assert_eq!(ids, [from + 1, from + 2, newest]);
    }
    // A number of another life of the process.
    let mut events = Events::open(address, &format!("{EVENTS}?after={}", newest + 1_000), &[]);
    let oldest = counting.job.history().first().unwrap().seq;
    let first = events.next().unwrap();
    let first = if first.event == "dropped" { events.next().unwrap() } else { first };
    assert_eq!(first.id, Some(oldest));
    assert_eq!(get(address, &format!("{EVENTS}?after=x")).code(), "bad_event");
    assert_eq!(send(address, "HEAD", EVENTS, &[], "").header("Content-Type"), Some("text/event-stream"));
}

#[test]
fn stream_of_a_job_that_is_shown_no_more_ends() {
    let counting = Counting::start("counting");
    let dashboard = open();
    let jobs = dashboard.jobs();
    let (_server, address) = serve(dashboard, &counting);
    let mut events = Events::open(address, EVENTS, &[]);
    jobs.remove("counting");
    while events.next().is_some() {}
    assert_eq!(get(address, EVENTS).code(), "no_such_job");
}

/// What a browser was told that began to read late: the events it was given, and how many it was told to have missed.
fn read_late(mut events: Events) -> (u64, u64) {
    let (mut last, mut given, mut missed, mut dropped) = (0, 0, 0, 0);
    loop {
        let message = events.next().expect("the stream goes on");
        if message.event == "dropped" {
            assert_eq!(missed, 0, "once for a gap");
            missed = message.data["dropped"].as_u64().unwrap();
            continue;
        }
        let id = message.id.unwrap();
        assert_eq!(id, last + missed + 1, "what is missed before an event is told");
        (last, given, dropped, missed) = (id, given + 1, dropped + missed, 0);
        if message.data["event"] == "ended" {
            return (given, dropped);
        }
    }
}

const STUMBLES: u64 = 150;
const RECORDS_BETWEEN: u64 = 20;
/// An event of a failure has its message twice: what all of them come to fits no buffer of a socket.
const MESSAGE_BYTES: usize = 32 << 10;

/// A job that waits to be resumed, and then panics often, with much to say of it.
fn stumbling(sink: CollectSink<(u64, u64)>) -> JobHandle {
    let env = StreamEnvironment::new("stumbles")
        .parallelism(2)
        .checkpointing(Checkpointing::every(Duration::from_millis(1)))
        .restart_strategy(RestartStrategy::fixed_delay(STUMBLES as u32, Duration::ZERO))
        .start_paused(true)
        .tell_panic_hook(false);
    let stumbled = Arc::new(AtomicU64::new(0));
    env.source("numbers", SequenceSource::new(0..STUMBLES * RECORDS_BETWEEN))
        .parallelism(1)
        .inspect(move |n| {
            let nth = n / RECORDS_BETWEEN;
            if stumbled.compare_exchange(nth, nth + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                panic!("{}", "stumbles ".repeat(MESSAGE_BYTES / 9));
            }
        })
        .parallelism(1)
        .key_by(|n| n % 10)
        .fold("sums", 0u64, |sum, n| *sum += n)
        .sink("out", sink);
    env.start().unwrap()
}

/// What a plain loop gives, sorted.
fn sums() -> Vec<(u64, u64)> {
    let mut sums = [0; 10];
    let mut all: Vec<(u64, u64)> = Vec::new();
    for n in 0..STUMBLES * RECORDS_BETWEEN {
        sums[(n % 10) as usize] += n;
        all.push((n % 10, sums[(n % 10) as usize]));
    }
    all.sort_unstable();
    all
}

// Guarantee B4.
// Cause: while a socket had room, its connection asked for one frame after the other without a break, and requests of others timed
// out. Repair: the stream lets others run before each frame.
#[test]
fn browsers_that_read_nothing_cost_neither_the_job_nor_others_and_are_told_what_they_missed() {
    let sink = CollectSink::new();
    let output = sink.handle();
    let job = stumbling(sink);
    let server = open().job(&job).serve(0).unwrap();
    let address = server.address();
    let stuck: Vec<Events> = (0..4).map(|_| Events::open(address, "/v1/jobs/stumbles/events?after=0", &[])).collect();
    drop(job.resume());
    // Others are answered meanwhile.
    until(address, "/v1/jobs/stumbles", |json| json["restarts"].as_u64().unwrap() >= STUMBLES / 2);
    assert_eq!(job.wait().unwrap().restarts, STUMBLES);
    let mut all = output.snapshot();
    all.sort_unstable();
    assert_eq!(all, sums());

    let newest = job.history().last().unwrap().seq;
    for events in stuck {
        let (given, dropped) = read_late(events);
        assert_eq!(given + dropped, newest);
        assert!(dropped > 0, "{given} events have found room: the browser was not stuck");
    }
    assert_eq!(get(address, "/v1/jobs/stumbles").status, 200);
}

#[test]
fn streams_are_bounded_and_a_place_is_free_again_when_one_ends() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    let mut open: Vec<_> = (0..64).map(|_| Events::open(address, EVENTS, &[])).collect();
    let refused = get(address, EVENTS);
    assert_eq!((refused.status, refused.code()), (503, "too_many_streams".to_owned()));
    assert_eq!(refused.header("Retry-After"), Some("5"));
    assert_eq!(get(address, "/v1/overview").status, 200);
    open.clear();
    // The server finds out when it has something to send.
    loop {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {EVENTS} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut status = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut status).unwrap();
        if &status == b"HTTP/1.1 200" {
            return;
        }
    }
}
