//! Records that are sent to actors.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use millstream::CheckpointId;
use millstream::prelude::*;
use millstream::sink::{Batch, RecipientSinkError, Sink, SinkContext, SinkError, SinkRestore, SinkWriter};
use millstream::testing::sink_context;
use millstream::time::ManualClock;
use tokio::sync::oneshot;

use crate::apart::apart;
use crate::common::{CountedPanics, run, sorted, watched};
use crate::figures::environment;

const RECORDS: u64 = 1_500;

#[derive(Debug, PartialEq, Eq, Message)]
#[rtype(result = "Result<(), String>")]
struct Number(u64);

/// Notes what it gets, and how many of these it has not answered when another comes.
#[derive(Default)]
struct Noting {
    got: Vec<u64>,
    unanswered: usize,
    most_unanswered: usize,
}

impl Actor for Noting {
    type Context = Context<Self>;
}

impl Handler<Number> for Noting {
    type Result = ResponseActFuture<Self, Result<(), String>>;

    fn handle(&mut self, Number(n): Number, _: &mut Context<Self>) -> Self::Result {
        self.got.push(n);
        self.unanswered += 1;
        self.most_unanswered = self.most_unanswered.max(self.unanswered);
        let later = async { tokio::task::yield_now().await }.into_actor(self);
        Box::pin(later.map(|(), noting, _| {
            noting.unanswered -= 1;
            Ok(())
        }))
    }
}

#[derive(Message)]
#[rtype(result = "(Vec<u64>, usize)")]
struct Got;

impl Handler<Got> for Noting {
    type Result = MessageResult<Got>;

    fn handle(&mut self, _: Got, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.got.clone(), self.most_unanswered))
    }
}

fn numbers() -> SequenceSource {
    SequenceSource::new(0..RECORDS).rate_per_second(20_000)
}

// Guarantees G2 (at least once), G3 and O6.
#[test]
fn actor_gets_every_record_in_order_and_again_from_a_checkpoint_on_after_a_panic() {
    for in_flight in [1, 5, 1_000] {
        let (got, most) = run(&format!("{in_flight} in flight"), move |handles| async move {
            // In the system of the test, beside the job's host.
            let noting = Noting::default().start();
            let panics = CountedPanics::at(&[300, 900]);
            let env = environment(1).snapshot_store(MemoryStore::new());
            env.source("numbers", numbers()).inspect(move |_| panics.count_and_panic()).map(Number).sink(
                "actor",
                RecipientSink::new(noting.clone().recipient()).in_flight(in_flight).accepting(|reply| reply),
            );
            let job = env.start().unwrap();
            watched(&handles, &job);
            assert_eq!(job.await.unwrap().restarts, 2);
            noting.send(Got).await.unwrap()
        });
        assert!(most <= in_flight, "{most} of {in_flight}");
        // From one goes back only to one that had come, and nothing is left out.
        let mut next = 0;
        for n in &got {
            assert!(*n <= next, "{n} after {next}");
            next = n + 1;
        }
        assert!(sorted(got).into_iter().max() == Some(RECORDS - 1) && next == RECORDS);
    }
}

/// Answers when it is told to, or never.
struct Holding(mpsc::Sender<(u64, oneshot::Sender<Result<(), String>>)>);

impl Actor for Holding {
    type Context = Context<Self>;
}

impl Handler<Number> for Holding {
    type Result = ResponseFuture<Result<(), String>>;

    fn handle(&mut self, Number(n): Number, ctx: &mut Context<Self>) -> Self::Result {
        let (sender, answer) = oneshot::channel();
        self.0.send((n, sender)).unwrap();
        if n == 99 {
            ctx.stop();
        }
        Box::pin(async { answer.await.unwrap_or_else(|_| Err("no answer".to_owned())) })
    }
}

type Held = mpsc::Receiver<(u64, oneshot::Sender<Result<(), String>>)>;

/// An actor that answers on demand, on an arbiter of its own.
fn holding() -> (Recipient<Number>, Held) {
    let (sender, held) = mpsc::channel();
    (apart(Holding(sender)), held)
}

fn open(sink: RecipientSink<Number>, clock: &ManualClock) -> Box<dyn SinkWriter<Item = Number>> {
    let cx = SinkContext { clock: Arc::new(clock.clone()), ..sink_context(0, 1) };
    sink.open(&cx, SinkRestore::default()).unwrap()
}

fn write(writer: &mut dyn SinkWriter<Item = Number>, numbers: std::ops::Range<u64>) -> Result<(), SinkError> {
    writer.write(&mut Batch::from_iter(numbers.map(Number)))
}

fn reason(error: &SinkError) -> &RecipientSinkError {
    error.reason().downcast_ref().unwrap_or_else(|| panic!("{error}"))
}

// Guarantee O6.
#[test]
fn barrier_waits_for_replies_and_declines_by_time_out_and_the_record_is_still_waited_for() {
    let ((recipient, held), clock) = (holding(), ManualClock::new());
    let sink = RecipientSink::new(recipient).reply_timeout(Duration::from_secs(5)).accepting(|reply| reply);
    let mut writer = open(sink, &clock);
    write(&mut *writer, 0..3).unwrap();
    let waiting: Vec<_> = (0..3).map(|_| held.recv().unwrap()).collect();
    assert!(waiting.iter().map(|(n, _)| *n).eq(0..3));
    clock.advance(Duration::from_secs(5));
    let declined = writer.prepare(CheckpointId(1)).unwrap_err();
    let RecipientSinkError::NoReply { within, in_flight: 3, .. } = reason(&declined) else { panic!("{declined}") };
    assert!(*within == Duration::from_secs(5) && declined.declines_checkpoint());

    let mut waiting = waiting.into_iter();
    waiting.next().unwrap().1.send(Ok(())).unwrap();
    let late = thread::spawn(move || (writer.prepare(CheckpointId(2)).map_err(|error| error.to_string()), writer));
    for (_, answer) in waiting {
        // Whether it has declined meanwhile depends on who is faster.
        answer.send(Ok(())).unwrap();
    }
    let (_, mut writer) = late.join().unwrap();
    while writer.prepare(CheckpointId(3)).is_err() {}
    // All is answered: the next checkpoint has nothing to wait for.
    assert!(writer.prepare(CheckpointId(4)).unwrap().is_empty());
}

// Cause: the time-out ran from when a record was sent, so of an actor that takes its time for each of many records the last were late
// although it replied all the time. Repair: it runs anew from each reply.
#[test]
fn actor_that_goes_on_replying_is_waited_for_however_many_records_it_has() {
    const IN_FLIGHT: u64 = 20;
    let ((recipient, held), clock) = (holding(), ManualClock::new());
    let sink = RecipientSink::new(recipient).in_flight(IN_FLIGHT as usize).reply_timeout(Duration::from_secs(5));
    let mut writer = open(sink, &clock);
    write(&mut *writer, 0..IN_FLIGHT).unwrap();
    for next in IN_FLIGHT..3 * IN_FLIGHT {
        clock.advance(Duration::from_secs(4));
        held.recv().unwrap().1.send(Ok(())).unwrap();
        // There is room for it once the reply has come.
        write(&mut *writer, next..next + 1).unwrap();
    }
    let left: Vec<_> = (0..IN_FLIGHT).map(|_| held.recv().unwrap()).collect();
    clock.advance(Duration::from_secs(4));
    for (_, answer) in left {
        answer.send(Ok(())).unwrap();
    }
    assert!(writer.prepare(CheckpointId(1)).unwrap().is_empty());
}

#[test]
fn record_for_which_there_is_no_room_in_time_fails_the_attempt() {
    let ((recipient, held), clock) = (holding(), ManualClock::new());
    let sink = RecipientSink::new(recipient).in_flight(2).reply_timeout(Duration::from_secs(5));
    let mut writer = open(sink, &clock);
    write(&mut *writer, 0..2).unwrap();
    let _held: Vec<_> = (0..2).map(|_| held.recv().unwrap()).collect();
    clock.advance(Duration::from_secs(5));
    let error = write(&mut *writer, 2..3).unwrap_err();
    assert!(matches!(reason(&error), RecipientSinkError::NoReply { in_flight: 2, .. }), "{error}");
    assert!(error.is_retryable() && !error.declines_checkpoint());
    assert!(held.try_recv().is_err(), "it was not sent");
}

#[test]
fn refused_record_and_actor_that_stops_fail_the_attempt_with_their_reason() {
    let ((recipient, held), clock) = (holding(), ManualClock::new());
    let mut writer = open(RecipientSink::new(recipient.clone()).accepting(|reply| reply), &clock);
    write(&mut *writer, 7..8).unwrap();
    held.recv().unwrap().1.send(Err("seven is taken".to_owned())).unwrap();
    let refused = writer.prepare(CheckpointId(1)).unwrap_err();
    assert!(
        matches!(reason(&refused), RecipientSinkError::Refused { .. })
            && refused.to_string().contains("seven is taken")
    );
    assert!(refused.is_retryable() && !refused.declines_checkpoint(), "the record is sent again");

    write(&mut *writer, 99..100).unwrap();
    drop(held.recv().unwrap());
    let stopped = writer.prepare(CheckpointId(2)).unwrap_err();
    assert!(matches!(reason(&stopped), RecipientSinkError::Closed | RecipientSinkError::Refused { .. }), "{stopped}");
    while recipient.connected() {
        thread::yield_now();
    }
    let closed = write(&mut *writer, 1..2).unwrap_err();
    assert!(matches!(reason(&closed), RecipientSinkError::Closed) && closed.is_retryable(), "{closed}");
}

/// Stops at its third message, once in all of its lives.
struct Mortal {
    got: mpsc::Sender<u64>,
    left: Option<u32>,
}

impl Actor for Mortal {
    type Context = Context<Self>;
}

impl Handler<Number> for Mortal {
    type Result = Result<(), String>;

    fn handle(&mut self, Number(n): Number, ctx: &mut Context<Self>) -> Result<(), String> {
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                ctx.stop();
            }
        }
        self.got.send(n).unwrap();
        Ok(())
    }
}

#[test]
fn actor_that_another_takes_the_place_of_is_looked_up_at_the_restart() {
    let (sender, got) = mpsc::channel();
    run("an actor with a successor", move |handles| async move {
        let first = Mortal { got: sender.clone(), left: Some(3) }.start().recipient();
        let second = Mortal { got: sender, left: None }.start().recipient();
        let find = move || if first.connected() { first.clone() } else { second.clone() };
        let env = environment(1).snapshot_store(MemoryStore::new());
        env.source("numbers", numbers()).map(Number).sink("actor", RecipientSink::looked_up(find));
        let job = env.start().unwrap();
        watched(&handles, &job);
        assert!(job.await.unwrap().restarts >= 1);
    });
    let mut all: Vec<u64> = got.try_iter().collect();
    all.sort_unstable();
    all.dedup();
    assert!(all.into_iter().eq(0..RECORDS));
}

#[test]
fn settings_that_cannot_work_are_mistakes() {
    let (recipient, _held) = holding();
    let sink = || RecipientSink::new(recipient.clone());
    assert!(sink().in_flight(0).mistake().unwrap().contains("at least 1"));
    assert!(sink().reply_timeout(Duration::ZERO).mistake().is_some());
    assert_eq!(sink().mistake(), None);
}
