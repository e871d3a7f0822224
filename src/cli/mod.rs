//! The command line tool `millstream`: what its binary runs. `docs/cli.md` describes it for its users.

mod args;
mod chains;
mod command;
mod diff;
mod error;
mod export;
mod fork;
mod inspect;
mod output;
mod progress;
mod table;
mod top;
mod verify;

pub use command::main;
