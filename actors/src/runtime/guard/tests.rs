use std::sync::mpsc;

use actix::{AsyncContext, Handler, Message};
use actix_rt::{Arbiter, System};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::protocol::{Attempt, Incarnation, RegionId, TaskId};
use crate::runtime::guard::ChildExit;

struct ExitProbe(UnboundedSender<ChildExit>);

impl Actor for ExitProbe {
    type Context = Context<Self>;
}

impl Handler<ChildExit> for ExitProbe {
    type Result = ();

    fn handle(&mut self, exit: ChildExit, _: &mut Self::Context) {
        self.0.send(exit).expect("the test waits");
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Do {
    Panic,
    Fail,
    Stop,
}

struct Victim {
    slot: ExitSlot,
    panics_in_drop: bool,
}

impl Actor for Victim {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(!std::thread::panicking(), "dropped while unwinding");
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        assert!(!self.panics_in_drop, "in drop");
    }
}

impl Handler<Do> for Victim {
    type Result = ();

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) {
        use actix::ActorContext;
        self.slot.records_in(7, 3);
        match what {
            Do::Panic => panic!("injected"),
            Do::Fail => {
                self.slot.fail(TaskError::ChannelOutOfRange { channel: 1, channels: 1 });
                self.slot.fail(TaskError::ChannelOutOfRange { channel: 2, channels: 1 });
                ctx.stop();
            }
            Do::Stop => ctx.stop(),
        }
    }
}

fn guard(exit: Recipient<ChildExit>) -> TaskGuard {
    let execution = Execution { incarnation: Incarnation(1), region: RegionId(0), attempt: Attempt(1) };
    let subtask = SubtaskId { task: TaskId(0), index: 0 };
    TaskGuard { execution, subtask, name: ActorName::Coordinator, exit, tells_host: true }
}

fn exit_of(what: Do, panics_in_drop: bool) -> ChildExit {
    System::new().block_on(async {
        let (sender, mut exits) = unbounded_channel();
        let exit = ExitProbe(sender).start().recipient();
        let arbiter = Arbiter::new();
        let address =
            start_guarded(&arbiter.handle().into(), guard(exit), move |_, slot| Victim { slot, panics_in_drop });
        address.do_send(what);
        let first = exits.recv().await.expect("an exit");
        arbiter.stop();
        arbiter.join().expect("the arbiter survives");
        assert!(exits.try_recv().is_err(), "exactly one");
        first
    })
}

#[test]
fn panic_becomes_a_message_with_text_and_place() {
    let exit = exit_of(Do::Panic, false);
    let Cause::Panicked(report) = exit.cause else { panic!("{:?}", exit.cause) };
    assert_eq!(report.message, "injected");
    assert!(report.location.is_some_and(|at| at.contains("tests.rs:")));
    assert_eq!(exit.records_in, 7);
}

#[test]
fn panic_in_drop_after_a_panic_does_not_abort() {
    assert!(matches!(exit_of(Do::Panic, true).cause, Cause::Panicked(report) if report.message == "injected"));
}

#[test]
fn stop_reports_the_first_failure_or_a_plain_stop() {
    let cause = exit_of(Do::Fail, false).cause;
    assert!(matches!(cause, Cause::Failed(TaskError::ChannelOutOfRange { channel: 1, .. })), "{cause:?}");
    assert!(matches!(exit_of(Do::Stop, false).cause, Cause::Stopped));
}

#[test]
fn panic_while_the_actor_is_made_is_reported() {
    System::new().block_on(async {
        let (sender, mut exits) = unbounded_channel();
        let exit = ExitProbe(sender).start().recipient();
        start_guarded::<Victim>(&Arbiter::current().into(), guard(exit), |_, _| panic!("at start-up"));
        let exit = exits.recv().await.expect("an exit");
        assert!(matches!(exit.cause, Cause::Panicked(report) if report.message == "at start-up"));
    });
}

#[test]
fn arbiter_that_goes_away_is_reported_as_abandoned() {
    System::new().block_on(async {
        let (sender, mut exits) = unbounded_channel();
        let exit = ExitProbe(sender).start().recipient();
        let arbiter = Arbiter::new();
        let make = |_: &mut Context<Victim>, slot| Victim { slot, panics_in_drop: false };
        let _before = start_guarded(&arbiter.handle().into(), guard(exit.clone()), make);
        let handle = arbiter.handle().into();
        arbiter.stop();
        arbiter.join().expect("joined");
        let _after = start_guarded(&handle, guard(exit), make);
        for _ in 0..2 {
            assert!(matches!(exits.recv().await.expect("an exit").cause, Cause::Abandoned));
        }
    });
}

struct Reborn {
    life: Arc<AtomicU64>,
    answers: mpsc::Sender<u64>,
}

impl Actor for Reborn {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.life.fetch_add(1, Ordering::Relaxed);
    }
}

impl Supervised for Reborn {
    fn restarting(&mut self, _: &mut Self::Context) {
        let next = Self { life: self.life.clone(), answers: self.answers.clone() };
        replace(self, next);
    }
}

impl Handler<Do> for Reborn {
    type Result = ();

    fn handle(&mut self, what: Do, ctx: &mut Self::Context) {
        match what {
            Do::Panic => panic!("again"),
            Do::Fail => self.answers.send(self.life.load(Ordering::Relaxed)).expect("the test waits"),
            Do::Stop => drop(ctx.address()),
        }
    }
}

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn unix_ms(&self) -> u64 {
        0
    }

    fn sleep(&self, _: Duration) -> crate::contract::Sleep {
        Box::pin(std::future::pending())
    }
}

#[test]
fn restarting_actor_keeps_address_and_waiting_messages_until_it_panics_too_often() {
    System::new().block_on(async {
        let (answers, lives) = mpsc::channel();
        let (sender, mut ended) = unbounded_channel();
        let place = Place::new();
        let address = place.address.clone();
        let life = Arc::new(AtomicU64::new(0));
        start_restarting(
            (&Arbiter::current().into(), true),
            place,
            Arc::new(StillClock),
            move || Reborn { life, answers },
            |report| assert_eq!(report.message, "again"),
            move |end| sender.send(end).expect("the test waits"),
        );
        address.do_send(Do::Panic);
        address.do_send(Do::Fail);
        address.do_send(Do::Panic);
        address.do_send(Do::Fail);
        for _ in 0..INTENSITY_MAX {
            address.do_send(Do::Panic);
        }
        assert!(matches!(ended.recv().await, Some(End::Panicked(_))));
        assert_eq!(lives.try_iter().collect::<Vec<_>>(), [2, 3]);
    });
}
