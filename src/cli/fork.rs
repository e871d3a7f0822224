//! `fork`: a new store that begins with a retained checkpoint.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::ForkArguments;
use super::chains::manifest_of;
use super::error::{CliError, Ending};
use super::output::{Output, bytes, count};
use super::progress::Progress;
use crate::snapshot::inspection::{ForkPlan, Inspection, fork, pending_commits};

#[derive(Debug, Serialize)]
struct Report<'a> {
    store: &'a str,
    checkpoint: u64,
    to: String,
    job: &'a str,
    chunks: u64,
    bytes: u64,
    /// Commits that sinks had prepared, by operator.
    pending_commits: BTreeMap<String, u64>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`].
pub(super) fn run(
    store: &Inspection,
    arguments: &ForkArguments,
    output: &mut Output<'_>,
    progress: &mut Progress,
) -> Result<Ending, CliError> {
    let manifest = manifest_of(store, Some(arguments.checkpoint))?;
    let pending_commits = pending_commits(store, manifest)?;
    let plan = ForkPlan { manifest, to: &arguments.to, job: arguments.job.as_deref().unwrap_or(&manifest.job) };
    fork(store, &plan, &mut |done, of| progress.show(output, "written", done, of))?;
    progress.clear(output);
    for (operator, commits) in &pending_commits {
        output.note(&format!(
            "warning: the checkpoint holds {commits} commits of sink '{operator}' that were prepared and may not have \
             been published. A job that starts on the new store settles them where that sink writes to: give it a copy of \
             the output as it was then, or be sure that the original job does not run on with the same output"
        ));
    }
    let report = Report {
        store: store.name(),
        checkpoint: arguments.checkpoint,
        to: arguments.to.display().to_string(),
        job: plan.job,
        chunks: manifest.chunks.len() as u64,
        bytes: manifest.state_bytes(),
        pending_commits,
    };
    if output.is_json {
        output.json_document(&report)?;
    } else {
        writeln!(
            output.results,
            "{}: starts job '{}' at checkpoint {} of {}; {} chunks, {}",
            report.to,
            report.job,
            report.checkpoint,
            report.store,
            count(report.chunks),
            bytes(report.bytes)
        )?;
    }
    Ok(Ending::Fine)
}
