//! Where actors are started, and what else an actor may have done there.

use std::future::poll_fn;
use std::task::Poll;

use tokio::sync::oneshot;

use crate::runtime::stage::{Stage, is_on_stage, spawn_on_stage};

/// An arbiter, on which actors are started: a thread of actix, or a [stage](crate::runtime::stage), which is moved by hand.
#[derive(Clone, Debug)]
pub enum ArbiterHandle {
    /// A thread.
    Thread(actix_rt::ArbiterHandle),
    /// A stage.
    Stage(Stage),
}

impl From<actix_rt::ArbiterHandle> for ArbiterHandle {
    fn from(arbiter: actix_rt::ArbiterHandle) -> Self {
        Self::Thread(arbiter)
    }
}

impl ArbiterHandle {
    /// Has the arbiter call `call`, if it has not ended.
    pub(crate) fn spawn_fn(&self, call: impl FnOnce() + Send + 'static) {
        match self {
            Self::Thread(arbiter) => {
                arbiter.spawn_fn(call);
            }
            Self::Stage(stage) => stage.spawn_fn(call),
        }
    }
}

/// Has `future` run on the arbiter of the calling thread.
pub(crate) fn spawn_here(future: impl Future<Output = ()> + 'static) {
    if let Err(future) = spawn_on_stage(future) {
        actix_rt::spawn(future);
    }
}

/// Has a thread for blocking calls do `work`, which must not panic; on a stage it takes a turn. It is begun whether or not the
/// answer is awaited.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> + 'static {
    let (sender, answer) = oneshot::channel();
    // Nobody waits any more for what an actor that has gone had asked for.
    let work = move || drop(sender.send(work()));
    if is_on_stage() {
        spawn_here(async move { work() });
    } else {
        drop(actix_rt::task::spawn_blocking(work));
    }
    async move { answer.await.expect("the work answers, since it does not panic") }
}

/// Lets others of the arbiter run.
pub(crate) async fn yield_now() {
    if !is_on_stage() {
        return tokio::task::yield_now().await;
    }
    let mut has_yielded = false;
    let once = poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    once.await;
}
