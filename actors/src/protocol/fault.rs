//! Who is to mend what has failed.

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The user's code or configuration.
    User,
    /// Something outside: a file, a disk, a service.
    External,
    /// The engine: a bug.
    Internal,
}
