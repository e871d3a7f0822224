//! What a task gives its connector's thread to do.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::contract::Fence;
use crate::runtime::guard::drop_guarded;

/// The task's end. When it is dropped the thread gets what waits, and then no more.
pub(crate) struct OrderSender<T>(Arc<OrderQueue<T>>);

/// The thread's end.
pub(crate) struct OrderReceiver<T>(Arc<OrderQueue<T>>);

struct OrderQueue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Nothing more comes, or is taken in.
    closed: bool,
    /// What waits is not to be done.
    fenced: bool,
}

/// A queue that ends, without what waits in it, when `fence` is raised: the task may sit on an arbiter that does not run any
/// more, and its thread must not wait for it.
pub(crate) fn order_queue<T: Send + 'static>(fence: &Fence) -> (OrderSender<T>, OrderReceiver<T>) {
    let state = Mutex::new(State { waiting: VecDeque::new(), closed: false, fenced: false });
    let queue = Arc::new(OrderQueue { state, changed: Condvar::new() });
    let fenced = Arc::downgrade(&queue);
    fence.on_raise(move || {
        if let Some(queue) = fenced.upgrade() {
            queue.close(true);
        }
    });
    (OrderSender(queue.clone()), OrderReceiver(queue))
}

impl<T> OrderQueue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, fenced: bool) {
        let mut state = self.lock();
        state.closed = true;
        state.fenced |= fenced;
        drop(state);
        self.changed.notify_all();
    }
}

impl<T> OrderSender<T> {
    /// Gives the thread one more thing to do. A thread that has ended says why by itself.
    pub(crate) fn send(&self, order: T) {
        let mut state = self.0.lock();
        if !state.closed {
            state.waiting.push_back(order);
            drop(state);
            self.0.changed.notify_one();
        }
    }
}

impl<T> Drop for OrderSender<T> {
    fn drop(&mut self) {
        self.0.close(false);
    }
}

impl<T> OrderReceiver<T> {
    /// What is to be done next; `None` when the task has gone, or was fenced off. Blocks.
    pub(crate) fn recv(&self) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if state.fenced {
                return None;
            }
            if let Some(order) = state.waiting.pop_front() {
                return Some(order);
            }
            if state.closed {
                return None;
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for OrderReceiver<T> {
    fn drop(&mut self) {
        self.0.close(true);
        let waiting = std::mem::take(&mut self.0.lock().waiting);
        // Records of the user's, which may panic when they are dropped, where the thread may be unwinding.
        drop_guarded(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_waits_is_done_when_the_task_has_gone_but_not_when_it_is_fenced() {
        let (sender, receiver) = order_queue(&Fence::default());
        sender.send(1);
        drop(sender);
        assert_eq!((receiver.recv(), receiver.recv()), (Some(1), None));

        let fence = Fence::default();
        let (sender, receiver) = order_queue(&fence);
        sender.send(1);
        fence.raise();
        sender.send(2);
        assert_eq!(receiver.recv(), None);
    }

    #[test]
    fn thread_that_waits_ends_when_its_task_is_fenced() {
        let fence = Fence::default();
        let (_sender, receiver) = order_queue::<u64>(&fence);
        let waits = thread::spawn(move || receiver.recv());
        fence.raise();
        assert_eq!(waits.join().expect("no panic"), None);
    }
}
