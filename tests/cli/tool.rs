//! Calling the binary.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What the binary printed, and its exit status.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Called {
    /// The JSON document it printed.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON lines it printed.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub(crate) fn fine(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl From<Output> for Called {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("it was killed: {:?}", output.status));
        let called = Self { code, out: text(output.stdout), err: text(output.stderr) };
        assert!(!called.err.contains("panicked"), "{called:?}");
        called
    }
}

pub(crate) fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Calls the binary: the command, the store, and what else there is.
pub(crate) fn call(verb: &str, store: &Path, rest: &[&str]) -> Called {
    let arguments = [OsStr::new(verb), store.as_os_str()].into_iter().chain(rest.iter().map(OsStr::new));
    command(arguments).output().unwrap().into()
}

/// `export` of a state, one value for each line.
pub(crate) fn export(store: &Path, checkpoint: u64, operator: &str, state: &str) -> Vec<Value> {
    let checkpoint = checkpoint.to_string();
    let rest = ["--operator", operator, "--state", state, "--checkpoint", &checkpoint];
    call("export", store, &rest).fine().json_lines()
}
