//! What the command line may say.

/// The folder, if none is named.
pub(crate) const DIR: &str = "fraud-data";

pub(crate) const HELP: &str = "\
Tells of cards that are tried out with a small payment and then used for a large one, exactly once.

usage: fraud [--dir DIR] [--port N] [--dashboard [PORT]]
       fraud --check

  --dir DIR    where journal, store and alerts are (default: fraud-data); the same one goes on
  --port N     port on 127.0.0.1 (default: 8080; 0: any free one)
  --dashboard [PORT]
               shows the job on this port of 127.0.0.1 (8081 if none is said); needs the feature dashboard
  --check      start the service in a process of its own, kill it again and again while it is sent
               transactions, terminate it, and compare the alerts with a plain loop. Exit code 0: the same
  --help       this text";
