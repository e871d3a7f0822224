//! A function with timers of processing time.

use millstream::prelude::*;

/// Fires a second after each record.
#[derive(Clone)]
pub(crate) struct Later;

impl KeyedProcessFunction<u64, u64> for Later {
    type Out = u64;
    type State = Timers;

    fn state(&self) -> Timers {
        Timers::new("later")
    }

    fn process(
        &mut self,
        _: u64,
        mut timers: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        _: &mut Emitter<'_, u64>,
    ) {
        timers.register(Timer::ProcessingTime(ctx.clock().unix_ms() as i64 + 1_000));
    }

    fn on_timer(
        &mut self,
        _: Timer,
        _: Row<'_, Self, u64, u64>,
        ctx: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        out.emit(*ctx.key());
    }
}
