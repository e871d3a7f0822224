//! A job whose actor holds its replies back.

use std::sync::mpsc;
use std::time::Duration;

use actix::dev::{MessageResponse, OneshotSender};
use actix::prelude::*;
use millstream::prelude::*;
use millstream::sink::RecipientSinkError;
use millstream::time::ManualClock;
use millstream::{ActorName, CheckpointError, JobEventKind, TaskError};

use crate::apart::apart;
use crate::common::{QueueSource, events_of, run, watched};
use crate::figures::environment;

const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Message)]
#[rtype(result = "()")]
struct Number(u64);

/// Hands each number to the test, with what replies to it: a reply is there as soon as the test has sent it.
struct Holding(mpsc::Sender<(u64, OneshotSender<()>)>);

impl Actor for Holding {
    type Context = Context<Self>;
}

struct Held(mpsc::Sender<(u64, OneshotSender<()>)>, u64);

impl MessageResponse<Holding, Number> for Held {
    fn handle(self, _: &mut Context<Holding>, reply: Option<OneshotSender<()>>) {
        self.0.send((self.1, reply.expect("the sink waits for replies"))).expect("the test looks");
    }
}

impl Handler<Number> for Holding {
    type Result = Held;

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) -> Held {
        Held(self.0.clone(), n)
    }
}

/// The actor, on an arbiter of its own, and what it holds.
fn holding() -> (Recipient<Number>, mpsc::Receiver<(u64, OneshotSender<()>)>) {
    let (sender, held) = mpsc::channel();
    (apart(Holding(sender)), held)
}

// Guarantee O6, and what "What happens on bad input" says of an actor that does not reply.
#[test]
fn checkpoint_without_replies_is_declined_and_the_job_goes_on_and_completes_the_next_one_with_them() {
    let (recipient, held) = holding();
    run("an actor that holds its replies", move |handles| async move {
        let (clock, numbers) = (ManualClock::new(), QueueSource::default());
        let env = environment(1)
            .snapshot_store(MemoryStore::new())
            .clock(clock.clone())
            .checkpointing(Checkpointing::every(Duration::from_secs(3_600)))
            // An attempt that fails would be the end.
            .restart_strategy(RestartStrategy::none());
        env.source("numbers", numbers.clone())
            .map(Number)
            .sink("actor", RecipientSink::new(recipient).reply_timeout(REPLY_TIMEOUT));
        let job = env.start().unwrap();
        watched(&handles, &job);
        let mut events = events_of(&job);

        numbers.push(0..3);
        let mut taken: Vec<_> = held.iter().take(3).collect();
        let declined = job.checkpoint();
        events.until(|kind| matches!(kind, JobEventKind::CheckpointTriggered { .. })).await;
        clock.advance(REPLY_TIMEOUT);
        let event = events.until(|kind| matches!(kind, JobEventKind::CheckpointDeclined { .. })).await;
        let JobEventKind::CheckpointDeclined { actor, reason, .. } = event else { unreachable!("waited for") };
        assert!(matches!(&actor, ActorName::Subtask { task, .. } if task.contains("actor")), "{actor}");
        let TaskError::Sink(reason) = reason else { panic!("{reason}") };
        let why = reason.reason().downcast_ref::<RecipientSinkError>();
        assert!(
            matches!(why, Some(RecipientSinkError::NoReply { within: REPLY_TIMEOUT, in_flight: 3, .. })),
            "{reason}"
        );
        let error = declined.await.unwrap_err();
        assert!(matches!(error, CheckpointError::Aborted(_)), "{error:?}");

        // It goes on: the actor gets more, with nothing answered yet.
        numbers.push(3..5);
        taken.extend(held.iter().take(2));
        let got: Vec<u64> = taken.iter().map(|(n, _)| *n).collect();
        assert_eq!(got, [0, 1, 2, 3, 4], "each once");
        assert_eq!(job.status().checkpoints, 0);
        taken.into_iter().for_each(|(_, reply)| reply.send(()).unwrap());
        let completed = job.checkpoint().await.unwrap();
        assert_eq!(job.status().newest_checkpoint, Some(completed));
        let outcome = job.finish().await.unwrap();
        assert_eq!((outcome.kind, outcome.restarts), (OutcomeKind::Finished, 0));
        assert!(held.try_recv().is_err(), "nothing is sent again");
    });
}
