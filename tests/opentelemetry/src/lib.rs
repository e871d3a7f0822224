//! The program of `docs/metrics.md` that sends the spans of jobs by OpenTelemetry, compiled: nothing of it is run.

use millstream as _;

include!(concat!(env!("OUT_DIR"), "/snippet.rs"));

const _: fn() -> Result<(), Box<dyn std::error::Error>> = install;
