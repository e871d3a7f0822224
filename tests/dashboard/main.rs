//! The dashboard over HTTP: every address against `docs/openapi.json`, who may do what, streams of events, and requests that are none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod changes;
mod client;
mod control;
mod jobs;
mod lookups;
mod mounting;
mod nonsense;
#[path = "../common/prometheus_text.rs"]
mod prometheus_text;
#[path = "../common/random.rs"]
mod random;
mod schema;
mod secrets;
mod security;
mod streams;
