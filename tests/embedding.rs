//! Jobs inside a host: a web service, other runtimes, other jobs, and a host that ends before its jobs.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::thread::{self, ThreadId};
use std::time::Duration;

use actix_rt::System;
use actix_web::{App, HttpServer, web};
use millstream::prelude::*;
use millstream::sink::Collected;
use millstream::time::ManualClock;
use millstream::{JobEventKind, JobState};

use listener::listen;

#[path = "common/listener.rs"]
#[allow(dead_code, reason = "this crate uses its part")]
mod listener;

/// What the host's panic hook was told, message and file, of all tests of the process.
static HOST_PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Runs a test as a host with a panic hook of its own, installed before any job, and an actix `System`.
fn in_host<T>(test: impl Future<Output = T>) -> T {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| at.file().to_owned()).unwrap_or_default();
            let text = info.payload_as_str().map(|text| (text.to_owned(), place));
            HOST_PANICS.lock().expect("nothing panics under it").extend(text);
            previous(info);
        }));
    });
    System::new().block_on(test)
}

/// A job that numbers pass through; `visit` is called with each.
fn job_of(
    name: &str,
    numbers: SequenceSource,
    visit: impl Fn(u64) + Clone + Send + 'static,
) -> (StreamEnvironment, Collected<u64>) {
    let sink = CollectSink::new();
    let collected = sink.handle();
    let env = StreamEnvironment::new(name).snapshot_store(MemoryStore::new());
    env.source("numbers", numbers).inspect(move |x| visit(*x)).sink("all", sink);
    (env, collected)
}

/// The body of a real request's answer, made from a thread of its own.
async fn get(address: SocketAddr) -> String {
    let (sender, answer) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        write!(stream, "GET /state HTTP/1.0\r\nHost: test\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{answer}");
        sender.send(answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned()).expect("the test waits");
    });
    answer.await.expect("an answer")
}

async fn state(job: web::Data<JobHandle>) -> String {
    format!("{:?}", job.status().state)
}

#[test]
fn web_server_keeps_serving_while_its_job_fails_restarts_and_ends() {
    in_host(async {
        let clock = ManualClock::new();
        let armed = Arc::new(AtomicBool::new(true));
        let panics = move |x| {
            if x == 2_000 && armed.swap(false, Ordering::SeqCst) {
                panic!("injected into the service's job");
            }
        };
        let (env, collected) = job_of("web", SequenceSource::new(0..5_000), panics);
        let delay = Duration::from_secs(10);
        let env = env.restart_strategy(RestartStrategy::fixed_delay(1, delay)).checkpointing(Checkpointing::disabled());
        let job = env.clock(clock.clone()).start().expect("the job starts");
        let mut events = listen(&job);

        let shared = web::Data::new(job.clone());
        let app = move || App::new().app_data(shared.clone()).route("/state", web::get().to(state));
        let server = HttpServer::new(app).workers(1).disable_signals();
        let server = server.bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = server.addrs()[0];
        let server = server.run();
        let stop = server.handle();
        actix_rt::spawn(server);

        // By this clock the restart does not come before it is let.
        while job.status().state != JobState::Restarting {
            events.recv().await.expect("the job runs");
        }
        for _ in 0..20 {
            assert_eq!(get(address).await, "Restarting");
        }
        let is_back = |event: JobEvent| matches!(event.kind, JobEventKind::RegionRunning { downtime: Some(_), .. });
        // The watchdog, the time-out of the stop that is over, and the restart's delay.
        clock.wait_for_sleepers(3).await;
        clock.advance(delay);
        while !events.recv().await.is_some_and(is_back) {}
        get(address).await;
        let outcome = job.await.expect("the job survives");
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 1));
        assert_eq!(get(address).await, "Ended");
        assert!(collected.snapshot().into_iter().eq(0..5_000));
        stop.stop(true).await;
    });
}

#[test]
fn job_without_handles_runs_on_to_its_end() {
    in_host(async {
        let (env, collected) = job_of("detached", SequenceSource::new(0..5_000), |_| {});
        let mut events = env.events(10_000);
        drop(env.start().expect("the job starts"));
        while !matches!(events.next().await.expect("the job runs").kind, JobEventKind::Ended { result: Ok(_), .. }) {}
        assert!(collected.snapshot().into_iter().eq(0..5_000));
    });
}

#[test]
fn jobs_of_one_process_share_their_arbiters() {
    in_host(async {
        let threads: Arc<Mutex<HashSet<ThreadId>>> = Arc::default();
        let start = |number: u32| {
            let (threads, visited) = (threads.clone(), tokio::sync::watch::Sender::new(0_u64));
            let visits = visited.subscribe();
            let visit = move |_| {
                threads.lock().expect("nothing panics under it").insert(thread::current().id());
                visited.send_modify(|visits| *visits += 1);
            };
            let (env, _) = job_of(&format!("job {number}"), SequenceSource::unbounded().rate_per_second(1_000), visit);
            (env.parallelism(2).start().expect("the job starts"), visits)
        };
        let jobs: Vec<_> = (0..6).map(start).collect();
        for (_, visits) in &jobs {
            visits.clone().wait_for(|visits| *visits > 4).await.expect("the job runs");
        }
        let cores = thread::available_parallelism().expect("a machine").get();
        let used = threads.lock().expect("nothing panics under it").clone();
        assert!(!used.contains(&thread::current().id()), "the host's thread is the host's");
        assert!(used.len() <= cores, "{} threads for {cores} cores", used.len());
        for (job, _) in jobs {
            assert_eq!(job.cancel().await.expect("cancelled").kind, OutcomeKind::Cancelled);
        }
    });
}

/// How often the host's hook has heard of a panic of this file.
fn heard(message: &str) -> usize {
    let heard = HOST_PANICS.lock().expect("nothing panics under it").clone();
    heard.iter().filter(|(text, file)| text == message && file == file!()).count()
}

// Reporters of panics install a hook: they were told of none in a job.
#[test]
fn host_s_panic_hook_hears_once_of_each_panic_unless_it_is_not_to_be_told() {
    in_host(async {
        let panicking = |message: &'static str| {
            let left = Arc::new(AtomicU64::new(2));
            let visit = move |_| {
                if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                    panic!("{message}");
                }
            };
            job_of("hook", SequenceSource::new(0..10), visit).0
        };
        let job = panicking("a panic of the job").start().expect("the job starts");
        assert_eq!(job.await.expect("it survives").restarts, 2);
        let quiet = panicking("not to be told").tell_panic_hook(false).start().expect("the job starts");
        assert_eq!(quiet.clone().await.expect("it survives").restarts, 2);
        thread::spawn(|| panic!("a panic of the host")).join().expect_err("it panicked");
        let counts = ["a panic of the job", "not to be told", "a panic of the host"].map(heard);
        assert_eq!(counts, [2, 0, 1]);
        assert!(quiet.status().last_error.is_some_and(|error| error.contains("not to be told")));
    });
}

#[test]
fn job_runs_on_when_the_system_of_its_host_has_stopped() {
    let system = System::new();
    let (job, collected, stop) = system.block_on(async {
        let (env, collected) = job_of("orphan", SequenceSource::unbounded().rate_per_second(1_000), |_| {});
        let mut events = env.events(10_000);
        let job = env.start().expect("the job starts");
        while !matches!(events.next().await.expect("the job runs").kind, JobEventKind::RegionRunning { .. }) {}
        (job, collected, System::current())
    });
    #[expect(clippy::disallowed_methods, reason = "here the test is the host")]
    stop.stop();
    system.run().expect("stopped in order");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let newest = job.checkpoint().await.expect("the job has not noticed");
        let outcome = job.drain().await.expect("nor does it now");
        assert!(outcome.last_checkpoint > Some(newest));
        outcome
    });
    assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Drained, 0));
    let mut numbers = collected.snapshot();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), collected.snapshot().len(), "each once");
}

#[test]
fn job_starts_on_threads_of_which_none_has_an_actix_system() {
    let start = |name: &str| job_of(name, SequenceSource::new(0..5_000), |_| {}).0.start().expect("the job starts");
    let multi = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let outcome = multi.block_on(async move { tokio::spawn(async move { start("multi").await }).await });
    assert_eq!(outcome.expect("no panic").expect("it runs to its end").kind, OutcomeKind::Finished);
    let single = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert_eq!(single.block_on(start("single").into_future()).expect("it ends").kind, OutcomeKind::Finished);
    assert!(System::try_current().is_none(), "starting a job leaves nothing on the thread");
}

#[test]
fn handle_works_from_other_threads_and_runtimes() {
    fn assert_is_shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    in_host(async {
        let (env, _) = job_of("elsewhere", SequenceSource::unbounded().rate_per_second(1_000), |_| {});
        let job = env.start().expect("the job starts");
        assert_is_shared(&job);
        let remote = job.clone();
        let elsewhere = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async move {
                let checkpoint = remote.checkpoint().await.expect("a checkpoint");
                assert_eq!(remote.status().newest_checkpoint, Some(checkpoint));
                remote.cancel().await
            })
        });
        let outcome = job.await.expect("cancelled");
        assert_eq!(outcome.kind, OutcomeKind::Cancelled);
        assert_eq!(elsewhere.join().expect("no panic").expect("cancelled"), outcome);
    });
}
