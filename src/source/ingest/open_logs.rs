//! The logs that are open in this process. One whose job has ended is closed by its writer soon after: whoever opens it again
//! waits for that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// By path; whether it is being closed.
static OPEN: Mutex<BTreeMap<PathBuf, bool>> = Mutex::new(BTreeMap::new());
static CLOSED: Condvar = Condvar::new();

/// A log is open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenLog(PathBuf);

fn lock() -> MutexGuard<'static, BTreeMap<PathBuf, bool>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One name for all paths that lead to a file, as far as can be told.
fn name_of(path: &Path) -> PathBuf {
    let of_folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(of_folder).unwrap_or_else(|| path.to_owned())
}

impl OpenLog {
    /// Waits until a log that is being closed is closed; none if it is in use.
    pub(super) fn claim(path: &Path) -> Option<Self> {
        let name = name_of(path);
        let mut open = lock();
        loop {
            match open.get(&name) {
                None => break,
                Some(false) => return None,
                Some(true) => open = CLOSED.wait(open).unwrap_or_else(PoisonError::into_inner),
            }
        }
        open.insert(name.clone(), false);
        Some(Self(name))
    }

    pub(super) fn name(&self) -> &Path {
        &self.0
    }
}

/// The log of this name will be closed as soon as may be.
pub(super) fn is_closing(name: &Path) {
    if let Some(closing) = lock().get_mut(name) {
        *closing = true;
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        lock().remove(&self.0);
        CLOSED.notify_all();
    }
}
