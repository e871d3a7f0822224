//! Files that are followed: lines that are appended, files that come, are renamed and go.

mod disk;
mod files;
mod found;
mod options;
mod position;
mod reader;
mod turn;
mod watch;

pub use options::Follow;
pub(super) use position::FollowPosition;
pub(super) use reader::FollowReader;
