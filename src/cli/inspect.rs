//! `inspect`: the checkpoints of a store, and the states of one.

use std::collections::BTreeMap;

use millstream_actors::contract::{Manifest, SnapshotError, StateScope};
use serde::Serialize;

use super::args::InspectArguments;
use super::chains::{Chain, manifest_of};
use super::error::{CliError, Ending};
use super::output::{Output, bytes, count, unless_unread, utc};
use super::progress::Progress;
use super::table::Table;
use crate::snapshot::inspection::{Inspection, RetainedCheckpoint, Section, StateId, sections_of};
use crate::state::codec::{encoding_name, list_items};

#[derive(Debug, Serialize)]
struct Report {
    store: String,
    /// `store` or `savepoint`.
    kind: &'static str,
    file_bytes: u64,
    job: Option<String>,
    incarnation: u64,
    reserved_up_to: u64,
    abandoned: Vec<u64>,
    checkpoints: Vec<CheckpointReport>,
    /// The checkpoint that `states` are of.
    shown: Option<u64>,
    states: Vec<StateReport>,
}

#[derive(Debug, Serialize)]
struct CheckpointReport {
    id: u64,
    /// How the manifest is damaged; all else is unknown then.
    damage: Option<String>,
    #[serde(flatten)]
    figures: Option<CheckpointFigures>,
}

#[derive(Debug, Serialize)]
struct CheckpointFigures {
    triggered: String,
    triggered_unix_ms: u64,
    incarnation: u64,
    max_parallelism: u32,
    is_final: bool,
    operators: u64,
    states: u64,
    chunks: u64,
    bytes: u64,
    written_bytes: u64,
    took_ms: u32,
    alignment_ms: u32,
    capture_ms: u32,
}

#[derive(Debug, Serialize)]
struct StateReport {
    operator: String,
    state: String,
    /// `key_group` or `subtask`.
    scope: &'static str,
    /// Key groups or subtasks that have a part of it.
    parts: u64,
    chunks: u64,
    bytes: u64,
    /// Sections of the part that has most: 1 if there is nothing but the whole state.
    longest_chain: u64,
    entries: Option<u64>,
    keys: Option<String>,
    values: Option<String>,
    /// Why entries could not be counted, if that was tried: written in a way that is not known here.
    unknown: Option<String>,
    damage: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]. Damage is reported where it is.
pub(super) fn run(
    store: &Inspection,
    arguments: &InspectArguments,
    output: &mut Output<'_>,
    progress: &mut Progress,
) -> Result<Ending, CliError> {
    let shown = match manifest_of(store, arguments.checkpoint) {
        Ok(manifest) => Some(manifest.clone()),
        // The checkpoints are shown nevertheless.
        Err(CliError::Empty { .. } | CliError::DamagedManifest { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut report = Report {
        store: store.name().to_owned(),
        kind: if store.is_savepoint() { "savepoint" } else { "store" },
        file_bytes: store.file_bytes(),
        job: store.job().map(str::to_owned),
        incarnation: store.incarnation().0,
        reserved_up_to: store.reserved_up_to().0,
        abandoned: store.abandoned().iter().map(|id| id.0).collect(),
        checkpoints: store.checkpoints().iter().map(checkpoint_report).collect(),
        shown: shown.as_ref().map(|manifest| manifest.checkpoint.0),
        states: Vec::new(),
    };
    if let Some(manifest) = shown {
        let (of, mut done) = (manifest.state_bytes(), 0);
        for (id, scopes) in sections_of(&manifest) {
            let mut state = state_report(&id, &scopes);
            if !arguments.no_entries {
                let mut after = |bytes| {
                    done += bytes;
                    progress.show(output, "read", done, of);
                };
                count_entries(store, &id, &scopes, &mut state, &mut after)?;
            }
            report.states.push(state);
        }
    }
    progress.clear(output);
    let damage = report.checkpoints.iter().any(|checkpoint| checkpoint.damage.is_some())
        || report.states.iter().any(|state| state.damage.is_some());
    unless_unread(if output.is_json { output.json_document(&report) } else { print(&report, output) })?;
    Ok(if damage { Ending::Damage } else { Ending::Fine })
}

fn checkpoint_report(checkpoint: &RetainedCheckpoint) -> CheckpointReport {
    let (damage, figures) = match &checkpoint.manifest {
        Ok(manifest) => (None, Some(checkpoint_figures(manifest))),
        Err(reason) => (Some(reason.clone()), None),
    };
    CheckpointReport { id: checkpoint.id.0, damage, figures }
}

fn checkpoint_figures(manifest: &Manifest) -> CheckpointFigures {
    let sections = sections_of(manifest);
    let mut operators: Vec<_> = sections.keys().map(|id| &id.operator).collect();
    operators.dedup();
    CheckpointFigures {
        triggered: utc(manifest.triggered_unix_ms),
        triggered_unix_ms: manifest.triggered_unix_ms,
        incarnation: manifest.incarnation.0,
        max_parallelism: manifest.max_parallelism,
        is_final: manifest.is_final,
        operators: operators.len() as u64,
        states: sections.len() as u64,
        chunks: manifest.chunks.len() as u64,
        bytes: manifest.state_bytes(),
        written_bytes: manifest.written_bytes(),
        took_ms: manifest.durations.took_ms,
        alignment_ms: manifest.durations.alignment_ms,
        capture_ms: manifest.durations.capture_ms,
    }
}

fn state_report(id: &StateId, scopes: &BTreeMap<StateScope, Vec<Section>>) -> StateReport {
    let sections = || scopes.values().flatten();
    let is_keyed = scopes.keys().any(|scope| matches!(scope, StateScope::KeyGroup(_)));
    StateReport {
        operator: id.operator.as_str().to_owned(),
        state: id.state.as_ref().to_owned(),
        scope: if is_keyed { "key_group" } else { "subtask" },
        parts: scopes.len() as u64,
        chunks: sections().map(|section| section.chunks.len() as u64).sum(),
        bytes: sections().map(Section::bytes).sum(),
        longest_chain: scopes.values().map(|chain| chain.len() as u64).max().unwrap_or(0),
        entries: None,
        keys: None,
        values: None,
        unknown: None,
        damage: None,
    }
}

/// Reads the state, and notes how many entries it has and how they are stored. `after` is told the bytes of each part.
///
/// # Errors
/// [`CliError`] that is no damage.
fn count_entries(
    store: &Inspection,
    id: &StateId,
    scopes: &BTreeMap<StateScope, Vec<Section>>,
    report: &mut StateReport,
    after: &mut dyn FnMut(u64),
) -> Result<(), CliError> {
    let mut entries = 0;
    for (scope, sections) in scopes {
        match count_part(store, id, *scope, sections, report) {
            Ok(Some(part)) => entries += part,
            Ok(None) => {}
            Err(error) if error.ending() == Ending::Damage => report.damage = Some(damage_of(error)),
            Err(error) => return Err(error),
        }
        after(sections.iter().map(Section::bytes).sum());
    }
    if report.damage.is_none() && report.unknown.is_none() {
        report.entries = Some(entries);
    }
    Ok(())
}

/// Entries of one key group or subtask; `None` if they cannot be told.
fn count_part(
    store: &Inspection,
    id: &StateId,
    scope: StateScope,
    sections: &[Section],
    report: &mut StateReport,
) -> Result<Option<u64>, CliError> {
    let mut chain = Chain::read(store, sections)?;
    if let StateScope::Subtask(_) = scope {
        let lists: Option<Vec<_>> = chain.sections().map(|(_, bytes)| list_items(bytes)).collect();
        if lists.is_none() {
            report.unknown = Some("not a list".to_owned());
        }
        return Ok(lists.map(|lists| lists.iter().map(|items| items.len() as u64).sum()));
    }
    chain.unpack(id, scope)?;
    let entries = match chain.entries(id, scope)? {
        Ok(entries) => entries,
        Err(unknown) => {
            report.unknown = Some(unknown);
            return Ok(None);
        }
    };
    if let Some(keys) = entries.keys {
        report.keys = Some(encoding_name(keys));
    }
    if let Some(value) = entries.values.values().next() {
        report.values = Some(value.encoding_name());
    }
    Ok(Some(entries.values.len() as u64))
}

/// What is damaged, without the store's name.
fn damage_of(error: CliError) -> String {
    match error {
        CliError::Store(SnapshotError::Damaged { what, reason, .. }) => format!("{what}: {reason}"),
        error => error.to_string(),
    }
}

fn print(report: &Report, output: &mut Output<'_>) -> Result<(), CliError> {
    let to = &mut *output.results;
    let job = report.job.as_deref().map_or("no job".to_owned(), |job| format!("job '{job}'"));
    let (kind, size, started) = (report.kind, bytes(report.file_bytes), utc(report.incarnation));
    writeln!(to, "{}: {kind} of {job}, {size}, last started {started}", report.store)?;
    if !report.abandoned.is_empty() {
        let ids: Vec<String> = report.abandoned.iter().map(u64::to_string).collect();
        writeln!(to, "abandoned checkpoints: {}", ids.join(", "))?;
    }
    if report.checkpoints.is_empty() {
        writeln!(to, "no checkpoint is retained")?;
        return Ok(());
    }
    writeln!(to)?;
    print_checkpoints(&report.checkpoints).write(to)?;
    let Some(shown) = report.shown else { return Ok(()) };
    writeln!(to, "\nstates of checkpoint {shown}")?;
    print_states(&report.states).write(to)?;
    Ok(())
}

fn print_checkpoints(checkpoints: &[CheckpointReport]) -> Table {
    let mut table = Table::new(&[
        ">CHECKPOINT",
        "TRIGGERED",
        ">TOOK",
        ">ALIGNED",
        ">CAPTURED",
        ">STATE",
        ">WRITTEN",
        ">CHUNKS",
        ">OPERATORS",
        ">STATES",
        "NOTE",
    ]);
    let ms = |ms: u32| format!("{ms} ms");
    for checkpoint in checkpoints {
        let mut row = vec![checkpoint.id.to_string()];
        match &checkpoint.figures {
            Some(figures) => row.extend([
                figures.triggered.clone(),
                ms(figures.took_ms),
                ms(figures.alignment_ms),
                ms(figures.capture_ms),
                bytes(figures.bytes),
                bytes(figures.written_bytes),
                count(figures.chunks),
                figures.operators.to_string(),
                figures.states.to_string(),
                if figures.is_final { "final".to_owned() } else { String::new() },
            ]),
            None => {
                row.extend(["-"; 9].map(str::to_owned));
                row.push(format!("DAMAGED: {}", checkpoint.damage.as_deref().unwrap_or_default()));
            }
        }
        table.row(row);
    }
    table
}

fn print_states(states: &[StateReport]) -> Table {
    let header =
        ["OPERATOR", "STATE", ">ENTRIES", ">BYTES", ">CHUNKS", ">PARTS", "OF", ">CHAIN", "KEYS", "VALUES", "NOTE"];
    let mut table = Table::new(&header);
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for state in states {
        let note = match (&state.damage, &state.unknown) {
            (Some(damage), _) => format!("DAMAGED: {damage}"),
            (None, Some(unknown)) => format!("not known: {unknown}"),
            (None, None) => String::new(),
        };
        table.row(vec![
            state.operator.clone(),
            state.state.clone(),
            state.entries.map_or_else(|| "-".to_owned(), count),
            bytes(state.bytes),
            count(state.chunks),
            count(state.parts),
            state.scope.replace('_', " "),
            state.longest_chain.to_string(),
            known(&state.keys),
            known(&state.values),
            note,
        ]);
    }
    table
}
