//! What is known of a panic, and where it is stopped.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Arc, Once};

use crate::protocol::PanicReport;

thread_local! {
    /// How many guarded calls this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// Whether the host's hook is told of panics on this thread.
    static TELLS_HOST: Cell<bool> = const { Cell::new(true) };
    /// The last panic inside one.
    static REPORT: RefCell<Option<PanicReport>> = const { RefCell::new(None) };
}

struct Inside;

impl Inside {
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Sets whether the host's panic hook is told of what panics on this thread from now on.
pub(crate) fn tell_host(tells: bool) {
    TELLS_HOST.set(tells);
}

/// Calls `f` while another panic unwinds. A panic in it leaves no trace.
pub(super) fn unheard(f: impl FnOnce()) {
    let (told, report) = (TELLS_HOST.replace(false), REPORT.take());
    // What it panics with is forgotten by this.
    let _ = catch_panic(f);
    TELLS_HOST.set(told);
    REPORT.set(report);
}

/// Calls `f`; a panic in it becomes a report. The host's panic hook hears of it once, where it panics, unless the job is set
/// otherwise. For calls of user code outside an actor, such as a connector's on its own thread.
///
/// # Errors
/// What is known of the panic.
pub fn catch_panic<R>(f: impl FnOnce() -> R) -> Result<R, PanicReport> {
    let result = {
        let _inside = Inside::enter();
        catch_unwind(AssertUnwindSafe(f))
    };
    result.map_err(|payload| {
        let report = REPORT.take().unwrap_or_else(|| {
            // The host has replaced the hook since: the payload still has the message.
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let message = text.or_else(|| payload.downcast_ref::<String>().cloned());
            report_of(message, None, None)
        });
        // Dropping it could panic again.
        std::mem::forget(payload);
        report
    })
}

/// Goes on with a panic that was caught on another thread: the guard of the calling actor gets the same report.
pub(crate) fn resume_panic(report: PanicReport) -> ! {
    REPORT.set(Some(report));
    std::panic::resume_unwind(Box::new(()))
}

/// Drops a value whose `Drop` may panic.
pub(crate) fn drop_guarded<T>(value: T) {
    if let Err(report) = catch_panic(|| drop(value)) {
        log::warn!(target: "millstream::supervisor", "dropping an actor panicked: {report}");
    }
}

fn report_of(message: Option<String>, location: Option<String>, backtrace: Option<Arc<Backtrace>>) -> PanicReport {
    let message = message.unwrap_or_else(|| "a payload that is no text".to_owned());
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    PanicReport { message, location, thread, backtrace }
}

/// Chains to the host's hook. Inside the engine a panic is stored besides, for the supervisor, and with its backtrace: by the
/// time it is caught that is gone.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let is_inside = DEPTH.try_with(Cell::get).unwrap_or(0) > 0;
            if is_inside {
                let location = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
                let backtrace = Some(Backtrace::capture()).filter(|taken| taken.status() == BacktraceStatus::Captured);
                let report = report_of(info.payload_as_str().map(str::to_owned), location, backtrace.map(Arc::new));
                // Nothing to be done where the thread is going down: the payload keeps the message.
                let _ = REPORT.try_with(|slot| slot.try_borrow_mut().map(|mut slot| *slot = Some(report)));
            }
            if !is_inside || TELLS_HOST.try_with(Cell::get).unwrap_or(true) {
                previous(info);
            }
        }));
    });
}
