//! What the command line may say.

/// The folder, if none is named.
pub(crate) const DIR: &str = "orders-data";

pub(crate) const HELP: &str = "\
A shop's service around one job: orders count once, reservations are answered once, whatever becomes of the process.

usage: orders [--dir DIR] [--port N] [--dashboard [PORT]]
       orders --check

  --dir DIR    where logs, store and database are (default: orders-data); the same one goes on
  --port N     port on 127.0.0.1 (default: 8080; 0: any free one)
  --dashboard [PORT]
               shows the job on this port of 127.0.0.1 (8081 if none is said); needs the feature dashboard
  --check      start the service in a process of its own, press its buttons, kill it again and again,
               and compare what it says with plain loops. Exit code 0: the same
  --help       this text";
