//! `verify`: every checksum, and how checkpoints build on each other.

use serde::Serialize;

use super::error::{CliError, Ending};
use super::output::{Output, bytes, count, unless_unread};
use super::progress::Progress;
use crate::snapshot::inspection::{Inspection, Verification, verify};

#[derive(Debug, Serialize)]
struct Report<'a> {
    store: &'a str,
    is_whole: bool,
    manifests: u64,
    chunks: u64,
    bytes: u64,
    unreferenced_chunks: u64,
    unknown_sections: u64,
    findings: Vec<FindingReport<'a>>,
}

#[derive(Debug, Serialize)]
struct FindingReport<'a> {
    what: &'a str,
    reason: &'a str,
    checkpoints: Vec<u64>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError::Output`]. Damage is a result.
pub(super) fn run(
    store: &mut Inspection,
    output: &mut Output<'_>,
    progress: &mut Progress,
) -> Result<Ending, CliError> {
    let found = verify(store, &mut |done, of| progress.show(output, "verified", done, of));
    progress.clear(output);
    unless_unread(if output.is_json { print_json(store, &found, output) } else { print(store, &found, output) })?;
    Ok(if found.findings.is_empty() { Ending::Fine } else { Ending::Damage })
}

fn print_json(store: &Inspection, found: &Verification, output: &mut Output<'_>) -> Result<(), CliError> {
    output.json_document(&Report {
        store: store.name(),
        is_whole: found.findings.is_empty(),
        manifests: found.manifests,
        chunks: found.chunks,
        bytes: found.bytes,
        unreferenced_chunks: found.unreferenced,
        unknown_sections: found.unknown,
        findings: found
            .findings
            .iter()
            .map(|finding| FindingReport {
                what: &finding.what,
                reason: &finding.reason,
                checkpoints: finding.checkpoints.iter().map(|id| id.0).collect(),
            })
            .collect(),
    })
}

fn print(store: &Inspection, found: &Verification, output: &mut Output<'_>) -> Result<(), CliError> {
    let to = &mut *output.results;
    for finding in &found.findings {
        let ids: Vec<String> = finding.checkpoints.iter().map(|id| id.to_string()).collect();
        let needed = if ids.is_empty() { String::new() } else { format!("; needed by checkpoints {}", ids.join(", ")) };
        writeln!(to, "DAMAGED {}: {}{needed}", finding.what, finding.reason)?;
    }
    writeln!(
        to,
        "{}: {}; verified {} manifests and {} chunks, {}; {} chunks belong to no retained checkpoint",
        store.name(),
        if found.findings.is_empty() {
            "whole".to_owned()
        } else {
            format!("DAMAGED in {} places", found.findings.len())
        },
        found.manifests,
        count(found.chunks),
        bytes(found.bytes),
        count(found.unreferenced),
    )?;
    if found.unknown > 0 {
        writeln!(
            to,
            "{} sections are whole, and of a form that this version does not know (encoding or section version)",
            found.unknown
        )?;
    }
    Ok(())
}
