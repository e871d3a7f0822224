//! Actors that other threads do not wait for.

use std::sync::mpsc;
use std::thread;

use actix::dev::ToEnvelope;
use actix::prelude::*;

/// Starts an actor on an arbiter of its own.
pub(crate) fn apart<A, M>(actor: A) -> Recipient<M>
where
    A: Actor<Context = Context<A>> + Handler<M> + Send,
    Context<A>: ToEnvelope<A, M>,
    M: Message<Result: Send> + Send + 'static,
{
    let (address, started) = mpsc::channel();
    thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            address.send(actor.start().recipient()).unwrap();
            std::future::pending::<()>().await;
        });
    });
    started.recv().unwrap()
}
