//! A test of this test binary in a process of its own.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

/// Starts the ignored test of this name, which finds its orders in an environment variable, and what it prints in a pipe.
pub(crate) fn child(test: &str, variable: &str, orders: impl AsRef<OsStr>) -> Child {
    Command::new(std::env::current_exe().expect("this is a program"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(variable, orders)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process can be started")
}
