//! `export`: one state as JSON lines.

use millstream_actors::contract::StateScope;
use serde::Serialize;

use super::args::ExportArguments;
use super::chains::{Chain, manifest_of};
use super::error::{CliError, Ending};
use super::output::Output;
use super::progress::Progress;
use crate::snapshot::inspection::{Inspection, Section, Sections, StateId, sections_of};
use crate::state::codec::{Untyped, list_items, shown};

/// An entry of keyed state.
#[derive(Debug, Serialize)]
struct EntryLine {
    key: Untyped,
    value: Untyped,
    key_group: u32,
}

/// An item of a list that each subtask has for itself.
#[derive(Debug, Serialize)]
struct ItemLine<'a> {
    item: &'a Untyped,
    /// Counted from 0.
    subtask: u32,
}

/// A section that cannot be taken apart.
#[derive(Debug, Serialize)]
struct UnknownLine {
    unknown: String,
    section: Untyped,
    checkpoint: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtask: Option<u32>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]. What was printed before is right.
pub(super) fn run(
    store: &Inspection,
    arguments: &ExportArguments,
    output: &mut Output<'_>,
    progress: &mut Progress,
) -> Result<Ending, CliError> {
    let manifest = manifest_of(store, arguments.checkpoint)?;
    let mut states = sections_of(manifest);
    let id = StateId { operator: arguments.operator.as_str().into(), state: arguments.state.as_str().into() };
    let Some(scopes) = states.remove(&id) else {
        return Err(CliError::NoState {
            checkpoint: manifest.checkpoint,
            operator: arguments.operator.clone(),
            state: arguments.state.clone(),
            known: known(&states),
        });
    };
    let total: u64 = scopes.values().flatten().map(Section::bytes).sum();
    let (mut done, mut unknown) = (0, 0);
    for (scope, sections) in &scopes {
        let chain = Chain::read(store, sections)?;
        let is_known = match scope {
            StateScope::KeyGroup(group) => export_group(&id, *group, chain, output)?,
            StateScope::Subtask(subtask) => export_subtask(*subtask, &chain, output)?,
        };
        unknown += u64::from(!is_known);
        done += sections.iter().map(Section::bytes).sum::<u64>();
        progress.show(output, "exported", done, total);
    }
    progress.clear(output);
    if unknown > 0 {
        output.note(&format!("{unknown} of {} parts could not be taken apart; see their `unknown`", scopes.len()));
    }
    Ok(Ending::Fine)
}

/// Whether its encoding is known.
fn export_group(id: &StateId, group: u32, mut chain: Chain, output: &mut Output<'_>) -> Result<bool, CliError> {
    let scope = StateScope::KeyGroup(group);
    chain.unpack(id, scope)?;
    let entries = match chain.entries(id, scope)? {
        Ok(entries) => entries,
        Err(reason) => {
            export_unknown(&chain, &reason, scope, output)?;
            return Ok(false);
        }
    };
    let Some(keys) = entries.keys else { return Ok(true) };
    for (key, value) in &entries.values {
        output.json_line(&EntryLine { key: shown(keys, key), value: value.shown(), key_group: group })?;
    }
    Ok(true)
}

/// Whether it is a list.
fn export_subtask(subtask: u32, chain: &Chain, output: &mut Output<'_>) -> Result<bool, CliError> {
    let lists: Option<Vec<_>> = chain.sections().map(|(_, bytes)| list_items(bytes)).collect();
    let Some(lists) = lists else {
        export_unknown(chain, "not a list", StateScope::Subtask(subtask), output)?;
        return Ok(false);
    };
    for item in lists.iter().flatten() {
        output.json_line(&ItemLine { item, subtask })?;
    }
    Ok(true)
}

fn export_unknown(chain: &Chain, reason: &str, scope: StateScope, output: &mut Output<'_>) -> Result<(), CliError> {
    let (key_group, subtask) = match scope {
        StateScope::KeyGroup(group) => (Some(group), None),
        StateScope::Subtask(subtask) => (None, Some(subtask)),
    };
    for (checkpoint, bytes) in chain.sections() {
        let (unknown, section) = (reason.to_owned(), Untyped::Bytes(bytes.to_vec()));
        output.json_line(&UnknownLine { unknown, section, checkpoint: checkpoint.0, key_group, subtask })?;
    }
    Ok(())
}

fn known(states: &Sections) -> String {
    let names: Vec<String> = states.keys().map(|id| format!("'{}' of '{}'", id.state, id.operator)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
