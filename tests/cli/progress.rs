//! How far long work is, in all the places that show it: the log, the API that the page draws, and `millstream top`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use millstream::Limits;
use millstream::dashboard::Dashboard;
use millstream::prelude::*;
use millstream::testing::{FaultyStore, Gate as StoreGate, StoreCall, StoreFault};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::captured_log::{capture, lines};
use crate::common::HeldSink;
use crate::tool::{Called, command};

const KEYS: u64 = 100;
/// Values that a restore reads before it is held up.
const READ_BEFORE: u64 = 40;

/// Lets some values be read, and holds up who reads the next until it is opened.
struct Gate {
    at: Mutex<At>,
    changed: Condvar,
}

struct At {
    /// So many pass before it is closed.
    closes_after: Option<u64>,
    is_waited_at: bool,
}

impl Gate {
    const fn new() -> Self {
        Self { at: Mutex::new(At { closes_after: None, is_waited_at: false }), changed: Condvar::new() }
    }

    fn close_after(&self, passes: u64) {
        self.at.lock().unwrap().closes_after = Some(passes);
    }

    fn open(&self) {
        self.at.lock().unwrap().closes_after = None;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut at = self.at.lock().unwrap();
        match &mut at.closes_after {
            Some(0) => {}
            Some(passes) => return *passes -= 1,
            None => return,
        }
        at.is_waited_at = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(at, |at| at.closes_after.is_some()).unwrap());
    }

    /// Waits until somebody is held up.
    fn wait_until_waited_at(&self) {
        drop(self.changed.wait_while(self.at.lock().unwrap(), |at| !at.is_waited_at).unwrap());
    }
}

/// Lets go of what holds the job up and cancels it, also when the test fails.
struct Held<F: Fn()>(JobHandle, F);

impl<F: Fn()> Drop for Held<F> {
    fn drop(&mut self) {
        self.1();
        drop(self.0.cancel());
        let _ = self.0.wait();
    }
}

fn api(address: SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap()
}

/// Asks until the answer is as it is wanted.
fn until(address: SocketAddr, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let answer = api(address, path);
        if is_it(&answer) {
            return answer;
        }
    }
}

/// The newest event of this kind that the log has.
fn newest(log: &Value, event: &str) -> Option<Value> {
    log["events"].as_array().unwrap().iter().rfind(|one| one["event"] == event).cloned()
}

fn top(address: SocketAddr) -> String {
    let output = command(["top", &address.to_string(), "--once"]).env_remove("COLUMNS").output().unwrap();
    Called::from(output).fine().out
}

/// The line of `millstream top` that has this text, which begins with a bar that is not full.
#[track_caller]
fn line_with_bar<'a>(printed: &'a str, text: &str) -> &'a str {
    let line = printed.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text} in {printed}"));
    assert!(line.trim_start().starts_with('[') && line.contains("%") && !line.contains("100%"), "{line}");
    line
}

#[test]
fn checkpoint_that_is_held_up_is_shown_in_log_api_and_top() {
    let (sink, release) = HeldSink::new();
    let env = StreamEnvironment::new("slow")
        .checkpointing(Checkpointing::every(Duration::from_millis(50)))
        .limits(Limits::default().checkpoint_progress_every(Duration::from_millis(1)));
    env.source("numbers", SequenceSource::unbounded().rate_per_second(500)).sink("out", sink);
    let release = Mutex::new(Some(release));
    let held = Held(env.start().unwrap(), || drop(release.lock().unwrap().take()));
    let server = Dashboard::new().job(&held.0).serve(0).unwrap();
    let address = server.address();

    // One that is triggered before the first record is at the sink is completed; the next is held up behind that record.
    let in_progress = |job: &Value| job["checkpoint_in_progress"].is_object();
    let of_job = || until(address, "/v1/jobs/slow", in_progress)["checkpoint_in_progress"].clone();
    let acknowledged = |progress: &Value| progress["acknowledged"].as_u64().unwrap();
    let (progress, printed, event) = loop {
        let (before, printed) = (of_job(), top(address));
        let told = newest(&api(address, "/v1/jobs/slow/log"), "checkpoint_in_progress");
        let told = told.filter(|event| event["checkpoint"] == before["checkpoint"]);
        // One that was slow for another reason may be done meanwhile.
        let after = of_job();
        let is_the_same =
            after["checkpoint"] == before["checkpoint"] && acknowledged(&after) < after["of"].as_u64().unwrap();
        if let Some(event) = told.filter(|_| is_the_same) {
            break (before, printed, event);
        }
    };
    let (checkpoint, of) = (progress["checkpoint"].as_u64().unwrap(), progress["of"].as_u64().unwrap());
    assert!(acknowledged(&progress) < of, "{progress}");
    let line = line_with_bar(&printed, &format!("checkpoint {checkpoint} (periodic): "));
    assert!(line.contains(&format!(" of {of} subtasks, for ")), "{line}");

    let text = event["text"].as_str().unwrap();
    assert!(text.contains(" in progress (Periodic) for ") && text.contains(" subtasks acknowledged"), "{text}");

    (held.1)();
    until(address, "/v1/jobs/slow", |job| job["newest_checkpoint"].as_u64() >= Some(checkpoint));
}

/// A count that is read through [`RESTORE`].
#[derive(Clone, Default, Serialize)]
struct SlowCount(u64);

static RESTORE: Gate = Gate::new();

impl<'de> Deserialize<'de> for SlowCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RESTORE.pass();
        u64::deserialize(deserializer).map(Self)
    }
}

#[test]
fn restore_that_is_held_up_is_shown_in_log_api_and_top() {
    let limits = Limits::default().restore_progress_every(Duration::ZERO).restore_threads(1);
    let env = StreamEnvironment::new("slow")
        .checkpointing(Checkpointing::every(Duration::from_millis(50)))
        .limits(limits)
        .tell_panic_hook(false);
    let panic_button = Arc::new(AtomicBool::new(false));
    let pressed = panic_button.clone();
    env.source("numbers", SequenceSource::unbounded().rate_per_second(2_000))
        .key_by(|n| n % KEYS)
        .fold("counts", SlowCount::default(), move |count, _| {
            if pressed.swap(false, Ordering::Relaxed) {
                // Values are read when snapshots are written, too, to see that they can be: so not before now.
                RESTORE.close_after(READ_BEFORE);
                panic!("the panic button was pressed");
            }
            count.0 += 1;
        })
        .for_each("out", |_| {});
    let held = Held(env.start().unwrap(), || RESTORE.open());
    let server = Dashboard::new().job(&held.0).serve(0).unwrap();
    let address = server.address();
    // Keys are counted at the barrier of a checkpoint: the next but one to be completed has them all.
    let has_all = |job: &Value| job["vertices"].as_array().unwrap().iter().any(|of| of["state_entries"] == KEYS);
    let newest_checkpoint = |job: &Value| job["newest_checkpoint"].as_u64().unwrap_or(0);
    let counted_at = newest_checkpoint(&until(address, "/v1/jobs/slow", has_all));
    until(address, "/v1/jobs/slow", |job| newest_checkpoint(job) >= counted_at + 2);
    panic_button.store(true, Ordering::Relaxed);
    RESTORE.wait_until_waited_at();

    let log = until(address, "/v1/jobs/slow/log", |log| newest(log, "restoring").is_some());
    let event = newest(&log, "restoring").unwrap();
    let (bytes, of) = (event["bytes"].as_u64().unwrap(), event["bytes_total"].as_u64().unwrap());
    assert!(0 < bytes && bytes < of, "{event}");
    // The page finds by these which of its bars this is, and when it is done.
    let (actor, region) = (event["actor"].as_str().unwrap(), event["region"].as_u64());
    assert!(actor.contains("numbers->counts") && region == Some(0), "{event}");
    let restored = event["checkpoint"].as_u64().unwrap();
    let text = event["text"].as_str().unwrap();
    assert!(text.contains(&format!(" restores checkpoint {restored}: ")), "{text}");
    let job = api(address, "/v1/jobs/slow");
    assert_eq!((&job["state"], &job["regions"][0]["state"]), (&"restarting".into(), &"restarting".into()));

    let printed = top(address);
    let line = line_with_bar(&printed, &format!(" restores checkpoint {restored}: "));
    assert!(line.contains("numbers->counts"), "{line}");

    (held.1)();
    until(address, "/v1/jobs/slow", |job| job["state"] == "running" && job["regions"][0]["state"] == "running");
    let log = api(address, "/v1/jobs/slow/log");
    let end = newest(&log, "restored").unwrap();
    assert_eq!((&end["checkpoint"], end["region"].as_u64()), (&restored.into(), region));
    let is_bar = |line: &str| line.trim_start().starts_with('[') && line.contains(" restores checkpoint ");
    let printed = top(address);
    assert!(!printed.lines().any(is_bar), "it is done: {printed}");
}

#[test]
fn savepoint_that_is_held_up_is_shown_in_log_api_and_top() {
    capture();
    let (store, gate) = (FaultyStore::new(Arc::new(MemoryStore::new())), StoreGate::new());
    // Nothing is restored: the first chunk that is read is written, and the next is waited for.
    store.inject(StoreCall::ReadChunk, 2, StoreFault::Hold(gate.clone()));
    let env = StreamEnvironment::new("saved")
        .snapshot_store(store)
        .checkpointing(Checkpointing::disabled())
        .limits(Limits::default().savepoint_progress_every(Duration::ZERO));
    env.source("numbers", SequenceSource::unbounded().rate_per_second(2_000))
        .key_by(|n| n % KEYS)
        .fold("counts", 0u64, |count, _| *count += 1)
        .for_each("out", |_| {});
    let held = Held(env.start().unwrap(), || gate.open());
    let server = Dashboard::new().job(&held.0).serve(0).unwrap();
    let address = server.address();
    until(address, "/v1/jobs/saved", |job| job["vertices"].as_array().unwrap().iter().all(|of| of["records_in"] != 0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monday");
    let asked = held.0.savepoint(path.clone());
    gate.wait_for_arrival();

    let job = api(address, "/v1/jobs/saved");
    let [progress] = &job["savepoints_in_progress"].as_array().unwrap()[..] else { panic!("{job}") };
    let (bytes, of) = (progress["bytes"].as_u64().unwrap(), progress["of_bytes"].as_u64().unwrap());
    assert!(0 < bytes && bytes < of && progress["path"] == path.to_str().unwrap(), "{progress}");

    let printed = top(address);
    let line = line_with_bar(&printed, &format!(" savepoint {}: ", path.display()));
    assert!(line.contains(" of "), "{line}");

    let checkpoint = progress["checkpoint"].as_u64().unwrap();
    let told = |(level, target, line): &(log::Level, String, String)| {
        let is_it = line.starts_with(&format!("savepoint of checkpoint={checkpoint}: ")) && line.ends_with(" written");
        is_it && (*level, &**target) == (log::Level::Info, "millstream::checkpoint")
    };
    let lines = lines("saved");
    assert_eq!(lines.iter().filter(|line| told(line)).count(), 1, "of the one chunk that is written: {lines:#?}");

    (held.1)();
    actix_rt::System::new().block_on(asked).unwrap();
    assert_eq!(api(address, "/v1/jobs/saved")["savepoints_in_progress"], Value::Array(Vec::new()));
    let printed = top(address);
    let is_bar = |line: &str| line.trim_start().starts_with('[') && line.contains(" savepoint ");
    assert!(!printed.lines().any(is_bar), "it is done: {printed}");
    let end = newest(&api(address, "/v1/jobs/saved/log"), "savepoint_written").unwrap();
    assert_eq!(end["checkpoint"], checkpoint);
}
