//! The dashboard of running jobs: a page, and the JSON that it shows, for a browser or a program (feature `dashboard`).
//!
//! `docs/dashboard-api.md` has all addresses, what they answer, and what protects them.

pub mod api;
mod assets;
mod builder;
mod changes;
mod control;
mod events;
mod guard;
mod jobs;
mod lookups;
mod reading;
mod redaction;
mod routes;
mod server;
mod shared;
mod token;

pub use builder::Dashboard;
pub use jobs::DashboardJobs;
pub use server::DashboardServer;
pub use token::{Token, TokenTooShort};
