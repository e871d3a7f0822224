//! What is known of a panic, and where it is stopped.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

use crate::protocol::PanicReport;

thread_local! {
    /// How many guarded calls this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
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

/// Calls `f`; a panic in it becomes a report, and is not printed by the panic hook. For calls of user code outside an
/// actor, such as a connector's on its own thread.
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
            report_of(message, None)
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

fn report_of(message: Option<String>, location: Option<String>) -> PanicReport {
    let message = message.unwrap_or_else(|| "a payload that is no text".to_owned());
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    PanicReport { message, location, thread }
}

/// Chains to the host's hook. Inside the engine a panic is only stored: the logger may be what panicked, and the
/// supervisor logs it once.
pub(super) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                return previous(info);
            }
            let location = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            let report = report_of(info.payload_as_str().map(str::to_owned), location);
            // Nothing to be done where the thread is going down: the payload keeps the message.
            let _ = REPORT.try_with(|slot| slot.try_borrow_mut().map(|mut slot| *slot = Some(report)));
        }));
    });
}
