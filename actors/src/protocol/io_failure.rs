//! Which failures of files and streams may go away by themselves: one answer for sources, sinks and stores.

use std::io::{self, ErrorKind};

/// Whether the same call may succeed later although nobody mends anything: a full disk that is cleared by others, a device
/// or a server that comes back, an interrupted call. `false` where somebody has to act first: what is not there, may not be
/// touched, is of another kind, or holds the wrong bytes; and a pipe whose reader has gone. What is not known counts as
/// passing.
///
/// ```
/// use std::io;
///
/// use millstream::source::may_pass;
///
/// assert!(may_pass(&io::ErrorKind::StorageFull.into()));
/// assert!(!may_pass(&io::ErrorKind::NotFound.into()));
/// ```
pub fn may_pass(error: &io::Error) -> bool {
    let stays = matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::UnexpectedEof
            | ErrorKind::FileTooLarge
            | ErrorKind::TooManyLinks
            | ErrorKind::CrossesDevices
            | ErrorKind::NotSeekable
            | ErrorKind::Unsupported
            | ErrorKind::BrokenPipe
    );
    !stays && error.raw_os_error() != LINK_LOOP
}

/// A loop of symbolic links, for which stable Rust has no kind.
const LINK_LOOP: Option<i32> = if cfg!(any(target_os = "linux", target_os = "android")) {
    Some(40)
} else if cfg!(any(target_vendor = "apple", target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")) {
    Some(62)
} else {
    None
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_has_to_mend_does_not_pass_and_what_is_unknown_may() {
        for kind in [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::BrokenPipe, ErrorKind::InvalidData] {
            assert!(!may_pass(&kind.into()), "{kind}");
        }
        for kind in [ErrorKind::StorageFull, ErrorKind::Interrupted, ErrorKind::TimedOut, ErrorKind::Other] {
            assert!(may_pass(&kind.into()), "{kind}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn loop_of_links_does_not_pass() {
        let name = format!("millstream-loop-{}", std::process::id());
        let link = std::env::temp_dir().join(name);
        // Of a run that was killed: the next process may have its number.
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&link, &link).unwrap();
        let error = std::fs::metadata(&link).unwrap_err();
        std::fs::remove_file(&link).unwrap();
        assert!(!may_pass(&error), "{error}");
    }
}
