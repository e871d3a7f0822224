//! What the tests of crashes and of failing stores share: a job whose output is known, and a look at its files.

pub(crate) mod job;
pub(crate) mod published;
pub(crate) mod watchdog;
