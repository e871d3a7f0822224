//! What the examples share.

mod logging;

use actix_rt::signal;
use millstream::JobHandle;

pub(crate) use logging::log_to_stderr;

/// Drains the job on ctrl-c or SIGTERM: reading stops, a last checkpoint is taken and committed, and the next run on
/// the same store goes on from there.
pub(crate) fn drain_on_signal(job: &JobHandle) {
    let job = job.clone();
    actix_rt::spawn(async move {
        terminated().await;
        log::info!(target: "example", "signal: draining");
        // The job's end, with what may have gone wrong, is reported to whoever awaits the job.
        let _ = job.drain().await;
    });
}

/// Resolves on ctrl-c or SIGTERM.
#[cfg(unix)]
pub(crate) async fn terminated() {
    use signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return wait_for_ctrl_c().await };
    let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return wait_for_ctrl_c().await };
    std::future::poll_fn(|cx| {
        if terminate.poll_recv(cx).is_ready() { std::task::Poll::Ready(Some(())) } else { interrupt.poll_recv(cx) }
    })
    .await;
}

/// Resolves on ctrl-c.
#[cfg(not(unix))]
pub(crate) async fn terminated() {
    wait_for_ctrl_c().await;
}

async fn wait_for_ctrl_c() {
    if signal::ctrl_c().await.is_err() {
        // Without signals there is nothing to wait for.
        std::future::pending::<()>().await;
    }
}
