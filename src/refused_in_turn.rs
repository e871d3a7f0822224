//! Refusals that let others run.

use std::future::{Future, poll_fn};
use std::mem::replace;
use std::task::Poll;

/// What `asked` gives; an error after everything else on the thread that can run has had a turn. A program that asks in a loop until it is
/// answered would else keep its thread, on which may run what it waits for: the job, or the future that tells of its end.
pub(crate) async fn refused_in_turn<T, E>(asked: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let answer = asked.await;
    if answer.is_err() {
        // It wakes itself. Those of tokio are woken by its runtime, which never goes on where a thread of it blocks on this.
        let mut has_yielded = false;
        poll_fn(|cx| {
            if replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
    answer
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn only_an_error_waits_for_its_turn() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut refused = pin!(refused_in_turn(ready(Err::<(), _>("not yet"))));
        assert_eq!(refused.as_mut().poll(&mut cx), Poll::Pending);
        assert_eq!(refused.as_mut().poll(&mut cx), Poll::Ready(Err("not yet")));
        let answered = pin!(refused_in_turn(ready(Ok::<_, ()>(1))));
        assert_eq!(answered.poll(&mut cx), Poll::Ready(Ok(1)));
    }
}
