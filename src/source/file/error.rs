//! What a file source knows of its failures.

use std::io;
use std::path::PathBuf;

use millstream_actors::contract::SourceError;
use millstream_actors::protocol::may_pass;

/// The [reason](SourceError::reason) for which a [`FileSource`](super::FileSource) failed at a file.
///
/// ```
/// use millstream::TaskError;
/// use millstream::prelude::*;
/// use millstream::source::FileSourceError;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("rows.csv.gz");
/// std::fs::write(&path, "a,b")?;
/// let env = StreamEnvironment::new("rows");
/// env.source("rows", FileSource::lines(path.to_str().unwrap())).sink("out", CollectSink::new());
/// let failure = env.start()?.wait().unwrap_err();
///
/// let Some(TaskError::Source(error)) = failure.task_error() else { panic!("{failure}") };
/// match error.reason().downcast_ref() {
///     Some(FileSourceError::Gzip { path, .. }) => println!("{} is not compressed", path.display()),
///     _ => panic!("{failure}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSourceError {
    /// Reading failed, or a file or directory that the pattern leads to cannot be looked at. Retried by restarts where the
    /// cause may pass by itself: not if it is missing, or may not be read.
    #[error("cannot {action} it: {source}")]
    #[non_exhaustive]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file whose name ends in `.gz` is none, is cut or damaged, or holds something else behind its compressed data.
    #[error("cannot decompress it: {reason}; mend the file, or name it without .gz if it is not compressed")]
    #[non_exhaustive]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file begins with the byte order mark of an encoding that is not read.
    #[error("it is encoded in {encoding}, as its first bytes say, and only UTF-8 is read; convert it")]
    #[non_exhaustive]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The encoding.
        encoding: &'static str,
    },
    /// The pattern was changed between two starts on a store, and files that are not read to their end do not match the new
    /// one.
    #[error(
        "the pattern was changed to '{pattern}', which does not match {}, and that is not read to its end; let the job \
         finish it under a pattern that matches it, too, or give the source another id to start anew",
        names(unfinished)
    )]
    #[non_exhaustive]
    PatternChanged {
        /// The new pattern.
        pattern: String,
        /// The files, by the path under which they were listed.
        unfinished: Vec<PathBuf>,
    },
    /// A file that is followed has fewer bytes than were read, or begins otherwise than it did: it was cut short, as by a rotation that
    /// copies and truncates, or written anew.
    #[error(
        "it was read to byte {offset}, and was cut short or written anew since: it has {len} bytes now; rotate files by \
         renaming them, or let Follow::accept_loss() read such a file from its beginning"
    )]
    #[non_exhaustive]
    Rewritten {
        /// The file.
        path: PathBuf,
        /// How far it was read, in bytes.
        offset: u64,
        /// How many bytes it has.
        len: u64,
    },
    /// A file that is followed is not found any more, and was not known to be read to its end.
    #[error(
        "it was read to byte {offset}, had {known_bytes} bytes when it was seen last, and is found neither there nor beside \
         it; put it back, say Follow::look_in(folder) if it was moved, or accept with Follow::accept_loss() that what is \
         behind that position is not read"
    )]
    #[non_exhaustive]
    Lost {
        /// Where it was last.
        path: PathBuf,
        /// How far it was read, in bytes.
        offset: u64,
        /// How long it was when it was seen last, in bytes; as far as the checkpoint knows, if it was not seen since the restore.
        known_bytes: u64,
    },
    /// A record does not parse. What it holds is not told, since errors are shown to people whom records are not for: look into the
    /// file, at the line or from the byte that is named.
    #[error(
        "malformed record: {reason}; it begins at byte {offset}: mend the input, or set on_malformed(Skip | SideOutput)"
    )]
    #[non_exhaustive]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line of the mistake, from 1.
        line: u64,
        /// Column in bytes, from 1.
        column: u64,
        /// Where the record begins, in bytes from 0, of the decompressed file if it is compressed.
        offset: u64,
        /// What is wrong, as [`MalformedRecord::reason`](super::MalformedRecord::reason).
        reason: String,
    },
}

/// The first of them, and how many others there are.
fn names(files: &[PathBuf]) -> String {
    match files {
        [] => String::new(),
        [only] => format!("'{}'", only.display()),
        [first, others @ ..] => format!("'{}' and {} other files", first.display(), others.len()),
    }
}

impl From<FileSourceError> for SourceError {
    fn from(error: FileSourceError) -> Self {
        let at = |path: &PathBuf| path.display().to_string();
        match &error {
            FileSourceError::Io { path, source, .. } if may_pass(source) => Self::unavailable(at(path), error),
            FileSourceError::Io { path, .. }
            | FileSourceError::Gzip { path, .. }
            | FileSourceError::Encoding { path, .. }
            | FileSourceError::Rewritten { path, .. }
            | FileSourceError::Lost { path, .. } => Self::malformed(at(path), error),
            FileSourceError::PatternChanged { .. } => Self::configuration(error),
            FileSourceError::Malformed { path, line, column, .. } => {
                Self::malformed(format!("{}:{line}:{column}", path.display()), error)
            }
        }
    }
}
