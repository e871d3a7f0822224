//! A service in a process of its own, as a check of it starts, kills and terminates it.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A process that serves.
pub(crate) struct Life {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Life {
    /// Starts the process, and waits until it says where it listens.
    pub(crate) fn start(mut serve: Command) -> Result<Self> {
        let mut child = serve.stdout(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut line = String::new();
        // Whatever else it says comes before.
        let address = loop {
            line.clear();
            if stdout.read_line(&mut line)? == 0 {
                return Err("the service ends before it listens".into());
            }
            if let Some((_, address)) = line.trim().split_once("listening on http://") {
                break address.parse()?;
            }
        };
        Ok(Self { child, stdout, address })
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// As a container is stopped: it must end by itself, and in order.
    pub(crate) fn terminate(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let mut said = String::new();
        self.stdout.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        if status.success() && said.lines().any(|line| line.starts_with("Drained")) {
            return Ok(());
        }
        Err(format!("terminated, it ends with {status} and says '{said}'").into())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Has it ended, there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
