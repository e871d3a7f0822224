//! How files are followed.

use std::path::PathBuf;
use std::time::Duration;

/// How a [`FileSource`](crate::source::FileSource) follows its files: [`FileSource::follow`](crate::source::FileSource::follow).
///
/// ```
/// use std::time::Duration;
///
/// use millstream::prelude::*;
///
/// # actix_rt::System::new().block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let dir = folder.path().display();
/// # std::fs::write(folder.path().join("app.log"), "started\nwait")?;
/// # let sink = CollectSink::new();
/// # let collected = sink.handle();
/// // `app.log`, and `app.log.1` and so on, which it is renamed to.
/// let lines = FileSource::lines(format!("{dir}/app.log*")).follow(Follow::every(Duration::from_millis(200)));
/// let env = StreamEnvironment::new("logs").checkpointing(Checkpointing::every(Duration::from_millis(50)));
/// env.source("lines", lines).sink("out", sink);
/// let job = env.start()?;
/// job.finish().await?;                                        // what is there now; the service goes on without
/// assert_eq!(collected.snapshot(), ["started"], "a line without its line end waits");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    pub(super) every: Duration,
    pub(super) settled_after: Duration,
    pub(super) open_files_max: usize,
    pub(super) folders: Vec<PathBuf>,
    pub(super) accepts_loss: bool,
}

impl Follow {
    /// Looks for appended lines and for new files at this interval by the job's clock, above zero: so late is a line noticed at most,
    /// if the job has nothing else to do. A look lists the folders of the pattern and asks for the size of each file; what has grown is then
    /// read. The next one begins when the interval has passed since the end of a look, or as much time as that look took if that is
    /// longer, and never before something of what it found was read.
    pub fn every(interval: Duration) -> Self {
        Self {
            every: interval,
            settled_after: Duration::from_secs(3600),
            open_files_max: 128,
            folders: Vec::new(),
            accepts_loss: false,
        }
    }

    /// A file that is read to its end and has not grown for so long, by the wall clock of the job, also while the job did not run, is
    /// *settled*: an hour by default, not less than the interval. It may be removed while the job does not run, and it no longer
    /// holds event time back. A last line that has waited for its line end for so long counts for nothing there. Once the file has
    /// then been out of sight for as long again it is forgotten. One that grows after it was settled is read on.
    pub fn settled_after(mut self, time: Duration) -> Self {
        self.settled_after = time;
        self
    }

    /// How many files a subtask holds open at most, above zero; 128 by default: those that have grown last. What is in a file that is
    /// held open is read also when the file has been removed, or moved to where it is not found.
    pub fn open_files_max(mut self, files: usize) -> Self {
        self.open_files_max = files;
        self
    }

    /// Looks for files that are not found any more in this folder, too, beside those in which they were: where a rotation moves
    /// files to another folder.
    pub fn look_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folders.push(folder.into());
        self
    }

    /// Accepts that records are lost, with a warning in the log (`millstream::source`): a file that has gone before it was known
    /// to be read to its end is forgotten, and one that was cut short or written anew is read from its beginning. Without this both are
    /// errors.
    pub fn accept_loss(mut self) -> Self {
        self.accepts_loss = true;
        self
    }

    /// Why no file can be followed so.
    pub(in super::super) fn mistake(&self, pattern: &str) -> Option<String> {
        if cfg!(not(unix)) {
            return Some("files are followed only where the system numbers them, on Unix".to_owned());
        }
        if pattern.ends_with(".gz") {
            return Some(format!("'{pattern}' names compressed files, which cannot be followed"));
        }
        if self.every.is_zero() {
            return Some("Follow::every(0) would look all the time".to_owned());
        }
        if self.settled_after < self.every {
            let Self { every, settled_after, .. } = self;
            return Some(format!(
                "settled_after({settled_after:?}) is over before the next look, which is after {every:?}"
            ));
        }
        (self.open_files_max == 0).then(|| "open_files_max(0) lets no file be read".to_owned())
    }
}
