//! Running a job to its end, or failing the test if it hangs.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use millstream::{JobError, JobHandle, JobOutcome, StreamEnvironment};

/// No job of these tests takes nearly as long, on a machine with other work neither.
const HANG: Duration = Duration::from_secs(120);

/// Events of a job that hangs which are printed, the newest.
const TOLD_MAX: usize = 256;

/// Where a test leaves the handle of the job it waits for.
pub(crate) type Watched = Arc<Mutex<Vec<JobHandle>>>;

/// Leaves the handle for the watchdog.
pub(crate) fn watched(handles: &Watched, job: &JobHandle) {
    handles.lock().expect("nobody panics with it").push(job.clone());
}

/// Runs `test` in an actix `System` of its own on a thread of its own.
///
/// # Panics
/// With the history of its jobs if it hangs; and if `test` panics.
pub(crate) fn run<R, F>(what: &str, test: impl FnOnce(Watched) -> F + Send + 'static) -> R
where
    R: Send + 'static,
    F: Future<Output = R>,
{
    let (sender, receiver) = mpsc::channel();
    let handles = Watched::default();
    let watched = handles.clone();
    let runner = thread::spawn(move || {
        let result = actix_rt::System::new().block_on(async move { test(watched).await });
        // The test may have given up.
        let _ = sender.send(result);
    });
    match receiver.recv_timeout(HANG) {
        Ok(result) => {
            runner.join().expect("it has sent its result");
            result
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => match runner.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let mut story = format!("{what} hangs\n");
            for job in handles.lock().expect("nobody panics with it").iter() {
                let _ = writeln!(story, "{:?}", job.status());
                let history = job.history();
                for event in &history[history.len().saturating_sub(TOLD_MAX)..] {
                    let _ = writeln!(story, "{} {}", event.unix_ms, event.kind);
                }
            }
            panic!("{story}");
        }
    }
}

/// Starts the job that `build` describes and waits for its end.
pub(crate) fn run_to_end(
    what: &str,
    build: impl FnOnce() -> StreamEnvironment + Send + 'static,
) -> (Result<JobOutcome, JobError>, JobHandle) {
    run(what, move |handles| async move {
        let job = build().start().expect("starts");
        watched(&handles, &job);
        (job.clone().await, job)
    })
}
