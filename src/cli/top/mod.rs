//! `millstream top`: the figures of a running dashboard, live in a terminal.
//!
//! A thread asks the server ([`looks`]); what it hears goes into the [`model`], which keys change ([`keys`]) and [`draw`] shows.

mod address;
mod answers;
mod client;
mod draw;
mod error;
mod figures;
mod format;
mod keys;
mod link;
mod looks;
mod model;
mod once;
mod run;
mod screen;
mod series;
mod signals;
mod text;
mod view;

#[cfg(test)]
mod tests;

pub(super) use error::TopError;
pub(super) use run::run;
