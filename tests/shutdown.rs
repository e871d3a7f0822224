//! The shutdown of a service: what actix-web does on a signal, and the drain of the job after it.
//!
//! A defect is behind this: actix-web answers SIGTERM by stopping the actix `System`, and the job's arbiters belonged to that,
//! so the obvious `server.await?; job.drain().await?` found no job to drain. Jobs run on a `System` of the engine's own now.

#![cfg(unix)]

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{App, HttpServer, web};
use millstream::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

const DIR: &str = "MILLSTREAM_SHUTDOWN_DIR";
/// More than any life reads.
const RECORDS: u64 = 1 << 40;

/// The service, written as its author would: no word about signals.
async fn serve(dir: &Path) -> Result<JobOutcome, Box<dyn Error>> {
    let read = Arc::new(AtomicU64::new(0));
    let env = StreamEnvironment::new("service")
        .snapshot_store(RedbStore::open(dir.join("store.redb"))?)
        .checkpointing(Checkpointing::every(Duration::from_millis(20)));
    let counted = read.clone();
    env.source("numbers", SequenceSource::new(0..RECORDS).rate_per_second(5_000))
        .inspect(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .sink("numbers out", FileSink::json_lines(dir.join("out")));
    let job = env.start()?;

    let shared = web::Data::from(read);
    let app = move || App::new().app_data(shared.clone()).route("/read", web::get().to(read_so_far));
    let server = HttpServer::new(app).workers(1).bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("\nlistening {}", server.addrs()[0]);

    server.run().await?;
    Ok(job.drain().await?)
}

async fn read_so_far(read: web::Data<AtomicU64>) -> String {
    read.load(Ordering::Relaxed).to_string()
}

#[test]
#[ignore = "run by the other test, in a process of its own"]
fn life() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let outcome = actix_rt::System::new().block_on(serve(&dir)).expect("served, and drained");
    assert_eq!(outcome.kind, OutcomeKind::Drained);
}

/// A child that serves.
struct Life {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Life {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--exact", "life", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("text") > 0, "it ended before it listened");
            if let Some(address) = line.strip_prefix("listening ") {
                break address.trim().parse().expect("an address");
            }
        };
        Self { child, stdout, address }
    }

    /// Asks the service until the job has read so many records.
    fn until_read(&self, records: u64) {
        while self.records_read() < records {}
    }

    fn records_read(&self) -> u64 {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        write!(stream, "GET /read HTTP/1.0\r\nHost: test\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        body.parse().expect("a number")
    }

    fn end_by(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).expect("sent");
        // It must not wait for a reader of what it prints.
        self.stdout.read_to_end(&mut Vec::new()).expect("read to its end");
        self.child.wait().expect("it ends")
    }
}

/// The numbers in all finished files, sorted.
fn published(dir: &Path) -> Vec<u64> {
    let entries = fs::read_dir(dir).expect("the sink's directory").map(|entry| entry.expect("an entry").path());
    let finished = entries.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).expect("text"));
    let lines: Vec<String> = finished.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut numbers: Vec<u64> = lines.iter().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

// Guarantee G2, and how a service ends.
#[test]
fn service_told_to_terminate_drains_its_job_and_the_next_life_goes_on_from_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut before = 0;
    for signal in [Signal::TERM, Signal::INT, Signal::TERM] {
        let life = Life::start(dir.path());
        life.until_read(500);
        let status = life.end_by(signal);
        assert_eq!(status.code(), Some(0), "{signal:?} ends it in order");
        let numbers = published(&dir.path().join("out"));
        assert!(numbers.len() >= before + 500, "{} of {before} and 500 more are published", numbers.len());
        before = numbers.len();
        let mut once = numbers.clone();
        once.dedup();
        assert_eq!(once.len(), numbers.len(), "each once");
    }
}
