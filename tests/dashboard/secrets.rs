//! What records hold is in no error: guarantee B3.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use actix_rt::System;
use millstream::async_io::{AsyncError, AsyncWait};
use millstream::dashboard::Dashboard;
use millstream::prelude::*;
use millstream::request::RequestOptions;
use millstream::source::IngestOptions;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{Events, get};
use crate::schema::Api;

const SECRET: &str = "s3cret, expected `4711`";

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Row<T> {
    name: String,
    cents: T,
}

fn row(cents: impl Into<String>) -> Row<String> {
    Row { name: "ada".to_owned(), cents: cents.into() }
}

fn environment(name: &str) -> StreamEnvironment {
    StreamEnvironment::new(name).restart_strategy(RestartStrategy::none()).tell_panic_hook(false)
}

/// The job's failure, which does not tell the secret itself.
fn failed(env: StreamEnvironment) -> JobHandle {
    let job = env.start().unwrap();
    let error = job.wait().unwrap_err();
    assert!(!format!("{error} {error:#}").contains("s3cret"), "{error}");
    job
}

fn reads_file<T>(name: &str, source: FileSource<T>) -> JobHandle
where
    T: Clone + Debug + Send + 'static,
{
    let env = environment(name);
    env.source("file", source).sink("out", CollectSink::new());
    failed(env)
}

fn csv(folder: &Path) -> JobHandle {
    let path = folder.join("rows.csv").display().to_string();
    std::fs::write(&path, format!("name,cents\nada,\"{SECRET}\"\n")).unwrap();
    reads_file("csv", FileSource::csv::<Row<u64>>(path))
}

fn json(folder: &Path) -> JobHandle {
    let path = folder.join("rows.jsonl").display().to_string();
    std::fs::write(&path, format!("{}\n", serde_json::to_string(&row(SECRET)).unwrap())).unwrap();
    reads_file("json", FileSource::json_lines::<Row<u64>>(path))
}

/// A log with the secret, which another version of the program reads.
fn ingest(folder: &Path) -> JobHandle {
    let path = folder.join("ingest");
    System::new().block_on(async {
        let (source, rows) = IngestSource::<Row<String>>::open(&path, IngestOptions::new()).unwrap();
        rows.send(row(SECRET)).await.unwrap();
        drop(source);
        rows.closed().await;
    });
    let env = environment("ingest");
    let (source, _rows) = IngestSource::<Row<u64>>::open(&path, IngestOptions::new()).unwrap();
    env.source("rows", source).sink("out", CollectSink::new());
    failed(env)
}

/// As [`ingest`], of requests.
fn requests(folder: &Path) -> JobHandle {
    let path = folder.join("requests");
    System::new().block_on(async {
        let (source, rows) = RequestSource::<Row<String>, u64>::open(&path, RequestOptions::new()).unwrap();
        let ask = actix_rt::spawn(rows.ask(row(SECRET)));
        while rows.status().waiting == 0 {
            actix_rt::task::yield_now().await;
        }
        drop(source);
        assert!(matches!(ask.await.unwrap(), Err(AskError::Ended { .. })));
        rows.closed().await;
    });
    let env = environment("requests");
    let (source, rows) = RequestSource::<Row<u64>, u64>::open(&path, RequestOptions::new()).unwrap();
    env.source("rows", source).map(|row: Request<Row<u64>>| row.answer(0)).sink("answers", rows.answers());
    failed(env)
}

fn holds<T>(folder: &Path, cents: impl Fn() -> T + Clone + Send + 'static) -> StreamEnvironment
where
    T: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let env = environment("state").snapshot_store(RedbStore::open(folder.join("state")).unwrap());
    let env = env.checkpointing(Checkpointing::every(Duration::from_secs(3_600)));
    env.source("numbers", SequenceSource::unbounded().rate_per_second(1_000))
        .key_by(|_| 0_u8)
        .fold("row", Row::default(), move |row: &mut Row<T>, _| row.cents = cents())
        .sink("out", CollectSink::new());
    env
}

/// State with the secret, which another version of the program restores.
fn state(folder: &Path) -> JobHandle {
    let (sender, taken) = std::sync::mpsc::channel();
    let tells = move || {
        // Nobody listens for more than one.
        let _ = sender.send(());
        SECRET.to_owned()
    };
    let job = holds(folder, tells).start().unwrap();
    taken.recv().unwrap();
    drop(job.drain());
    job.wait().unwrap();
    drop(job);
    failed(holds(folder, || 0_u64))
}

/// An asynchronous function has no answer for the secret.
fn asked() -> JobHandle {
    let env = environment("asked");
    let wait = AsyncWait::ordered(Duration::from_secs(100));
    env.source("rows", VecSource::new(vec![row("s3cret")]))
        .async_map("ask", wait, |_: Row<String>| async { Err::<u64, _>(AsyncError::permanent("nobody knows")) })
        .sink("out", CollectSink::new());
    failed(env)
}

/// All that the API says of a job.
fn said(dashboard: Dashboard, job: &JobHandle, name: &str) -> String {
    let server = dashboard.job(job).serve(0).unwrap();
    let (address, mut said) = (server.address(), String::new());
    for (_, path) in Api::read().operations().into_iter().filter(|(method, _)| method == "GET") {
        let path = path.replace("{id}", name).replace("{checkpoint}", "1");
        if !path.ends_with("/events") {
            said += &get(address, &path).body;
            continue;
        }
        let mut events = Events::open(address, &format!("{path}?after=0"), &[]);
        loop {
            let message = events.next().expect("the last event comes");
            said += &message.data.to_string();
            if message.data["event"] == "ended" {
                break;
            }
        }
    }
    said
}

#[test]
fn no_error_tells_what_a_record_holds() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // What the error says in its place, so that somebody finds the record.
    let jobs = [
        (
            "csv",
            csv(folder),
            "rows.csv:2:5: malformed record: field 'cents': invalid digit found in string; it begins at byte 11",
        ),
        ("json", json(folder), "malformed record: invalid type: string, expected u64; it begins at byte 0"),
        ("ingest", ingest(folder), "offset 0: the record does not decode: invalid type: string, expected u64"),
        ("requests", requests(folder), "offset 0: the record does not decode: invalid type: string, expected u64"),
        ("state", state(folder), "cannot be read: invalid type: string, expected u64"),
    ];
    for (name, job, told) in &jobs {
        for allows in [false, true] {
            let said = said(Dashboard::new().allow_records(allows), job, name);
            assert!(!said.contains("s3cret") && said.contains(told), "{name}: {said}");
        }
    }
}

#[test]
fn record_that_an_asynchronous_function_has_no_answer_for_is_shown_only_if_the_host_allows_it() {
    let job = asked();
    let shown = said(Dashboard::new().allow_records(true), &job, "asked");
    assert!(shown.contains("s3cret"), "{shown}");
    let hidden = said(Dashboard::new(), &job, "asked");
    assert!(!hidden.contains("s3cret") && hidden.contains("no answer for a record after 1 attempts"), "{hidden}");
}
