//! Jobs to look at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::dashboard::{Dashboard, DashboardServer, Token};
use millstream::prelude::*;

use crate::client::{TOKEN, get};

/// A job that counts numbers by their last digit until it is stopped.
pub(crate) struct Counting {
    pub(crate) job: JobHandle,
    panic_button: Arc<AtomicBool>,
}

impl Counting {
    pub(crate) fn start(name: &str) -> Self {
        let panic_button = Arc::new(AtomicBool::new(false));
        let pressed = panic_button.clone();
        let env = StreamEnvironment::new(name)
            .parallelism(2)
            .checkpointing(Checkpointing::every(Duration::from_millis(20)))
            .tell_panic_hook(false);
        let late = OutputTag::<u64>::new("nines");
        let tag = late.clone();
        let counted = env
            .source("numbers", SequenceSource::unbounded().rate_per_second(2_000))
            .flat_map(move |n, out| if n % 10 == 9 { out.emit_to(&tag, n) } else { out.emit(n) })
            .name("split");
        counted.side_output(&late).for_each("nines", |_| {});
        counted.key_by(|n| n % 10).process("counts", Count { pressed }).for_each("out", |_| {});
        Self { job: env.start().unwrap(), panic_button }
    }

    /// Has it panic once, and waits until it runs again.
    pub(crate) fn panic_once(&self) {
        let mut events = self.job.events(1_000);
        self.panic_button.store(true, Ordering::Relaxed);
        let mut has_failed = false;
        loop {
            let event = futures_util::FutureExt::now_or_never(events.next());
            match event.map(|event| event.expect("the job goes on").kind) {
                Some(millstream::JobEventKind::SubtaskFailed { .. }) => has_failed = true,
                Some(millstream::JobEventKind::RegionRunning { .. }) if has_failed => return,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        drop(self.job.cancel());
        let _ = self.job.wait();
    }
}

#[derive(Clone)]
struct Count {
    pressed: Arc<AtomicBool>,
}

impl KeyedProcessFunction<u64, u64> for Count {
    type Out = u64;
    type State = ValueState<u64>;

    fn state(&self) -> Self::State {
        ValueState::new("count")
    }

    fn process(
        &mut self,
        n: u64,
        mut count: Row<'_, Self, u64, u64>,
        _: &mut KeyedContext<'_, u64>,
        out: &mut Emitter<'_, u64>,
    ) {
        assert!(!self.pressed.swap(false, Ordering::Relaxed), "the panic button was pressed");
        *count.get_or_insert_with(|| 0) += 1;
        out.emit(n);
    }
}

/// A dashboard that lets everything be done.
pub(crate) fn open() -> Dashboard {
    Dashboard::new().token(Token::new(TOKEN).unwrap()).state::<u64, u64>("counts", "count")
}

pub(crate) fn serve(dashboard: Dashboard, counting: &Counting) -> (DashboardServer, SocketAddr) {
    let server = dashboard.job(&counting.job).serve(0).unwrap();
    let address = server.address();
    (server, address)
}

/// Asks until the answer is as it is wanted.
pub(crate) fn until(address: SocketAddr, path: &str, is_it: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    loop {
        let json = get(address, path).json();
        if is_it(&json) {
            return json;
        }
    }
}
