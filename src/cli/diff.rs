//! `diff`: what changed between two checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use millstream_actors::contract::StateScope;
use serde::Serialize;

use super::args::DiffArguments;
use super::chains::{Chain, manifest_of};
use super::error::{CliError, Ending};
use super::output::{Output, count};
use super::progress::Progress;
use super::table::Table;
use crate::snapshot::inspection::{Inspection, Section, StateId, sections_of};
use crate::state::codec::{Entries, Untyped, Value, list_items, shown};

/// How one state differs.
#[derive(Debug, Serialize)]
struct StateReport {
    operator: String,
    state: String,
    added: u64,
    changed: u64,
    removed: u64,
    /// Key groups or subtasks whose chunks are the same, which were not read.
    same_parts: u64,
    /// Those that were read.
    read_parts: u64,
    /// Those of them that differ and cannot be taken apart.
    unknown_parts: u64,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    store: &'a str,
    from: u64,
    to: u64,
    states: Vec<StateReport>,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Added,
    Changed,
    Removed,
}

/// One key, with `keys`.
#[derive(Debug, Serialize)]
struct ChangeLine<'a> {
    change: Change,
    operator: &'a str,
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtask: Option<u32>,
    /// Or the item of a list.
    key: Untyped,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Untyped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Untyped>,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`].
pub(super) fn run(
    store: &Inspection,
    arguments: &DiffArguments,
    output: &mut Output<'_>,
    progress: &mut Progress,
) -> Result<Ending, CliError> {
    let from = sections_of(manifest_of(store, Some(arguments.from))?);
    let to = sections_of(manifest_of(store, Some(arguments.to))?);
    let is_asked = |id: &&StateId| {
        arguments.operator.as_ref().is_none_or(|operator| id.operator.as_str() == operator)
            && arguments.state.as_ref().is_none_or(|state| &*id.state == state)
    };
    let ids: BTreeSet<&StateId> = from.keys().chain(to.keys()).filter(is_asked).collect();
    let mut comparison = Comparison { store, shows_keys: arguments.keys, total: 0, done: 0 };
    let nothing = BTreeMap::new();
    let pairs = ids.iter().map(|id| (*id, from.get(id).unwrap_or(&nothing), to.get(id).unwrap_or(&nothing)));
    let pairs: Vec<_> = pairs.collect();
    comparison.total = pairs.iter().map(|(_, from, to)| bytes_to_read(from, to)).sum();
    let mut states = Vec::new();
    for (id, from, to) in pairs {
        states.push(comparison.state(id, from, to, output, progress)?);
    }
    progress.clear(output);
    let differs = states.iter().any(|state| state.added + state.changed + state.removed + state.unknown_parts > 0);
    let report = Report { store: store.name(), from: arguments.from, to: arguments.to, states };
    match (output.is_json, arguments.keys) {
        (true, true) => output.json_line(&report)?,
        (true, false) => output.json_document(&report)?,
        (false, _) => print(&report, output)?,
    }
    Ok(if differs && arguments.exit_code { Ending::Differences } else { Ending::Fine })
}

type Scopes = BTreeMap<StateScope, Vec<Section>>;

const EMPTY: &[Section] = &[];

fn each_pair<'a>(from: &'a Scopes, to: &'a Scopes) -> impl Iterator<Item = (StateScope, &'a [Section], &'a [Section])> {
    let scopes: BTreeSet<StateScope> = from.keys().chain(to.keys()).copied().collect();
    let of = |scopes: &'a Scopes, scope| scopes.get(&scope).map_or(EMPTY, Vec::as_slice);
    scopes.into_iter().map(move |scope| (scope, of(from, scope), of(to, scope)))
}

fn bytes_to_read(from: &Scopes, to: &Scopes) -> u64 {
    let differing = each_pair(from, to).filter(|(_, from, to)| from != to);
    differing.flat_map(|(_, from, to)| from.iter().chain(to)).map(Section::bytes).sum()
}

/// A comparison under way.
struct Comparison<'a> {
    store: &'a Inspection,
    shows_keys: bool,
    total: u64,
    done: u64,
}

impl Comparison<'_> {
    fn state(
        &mut self,
        id: &StateId,
        from: &Scopes,
        to: &Scopes,
        output: &mut Output<'_>,
        progress: &mut Progress,
    ) -> Result<StateReport, CliError> {
        let mut report = StateReport {
            operator: id.operator.as_str().to_owned(),
            state: id.state.as_ref().to_owned(),
            added: 0,
            changed: 0,
            removed: 0,
            same_parts: 0,
            read_parts: 0,
            unknown_parts: 0,
        };
        for (scope, before, after) in each_pair(from, to) {
            // A chunk's address names its bytes for ever.
            if before == after {
                report.same_parts += 1;
                continue;
            }
            report.read_parts += 1;
            let chains = (Chain::read(self.store, before)?, Chain::read(self.store, after)?);
            let is_known = match scope {
                StateScope::KeyGroup(_) => self.keyed(id, scope, chains, &mut report, output)?,
                StateScope::Subtask(_) => self.items(id, scope, &chains, &mut report, output)?,
            };
            report.unknown_parts += u64::from(!is_known);
            self.done += before.iter().chain(after).map(Section::bytes).sum::<u64>();
            progress.show(output, "compared", self.done, self.total);
        }
        Ok(report)
    }

    /// Whether the encoding is known.
    fn keyed(
        &self,
        id: &StateId,
        scope: StateScope,
        (mut before, mut after): (Chain, Chain),
        report: &mut StateReport,
        output: &mut Output<'_>,
    ) -> Result<bool, CliError> {
        before.unpack(id, scope)?;
        after.unpack(id, scope)?;
        let (Ok(before), Ok(after)) = (before.entries(id, scope)?, after.entries(id, scope)?) else {
            return Ok(false);
        };
        let value = |entries: &Entries<'_>, key: &[u8]| entries.values.get(key).map(Value::shown);
        let keys: BTreeSet<&[u8]> = before.values.keys().chain(after.values.keys()).map(|key| &**key).collect();
        for key in keys {
            let change = match (before.values.get(key), after.values.get(key)) {
                (Some(before), Some(after)) if before.is_same(after) => continue,
                (Some(_), Some(_)) => Change::Changed,
                (None, _) => Change::Added,
                (Some(_), None) => Change::Removed,
            };
            match change {
                Change::Added => report.added += 1,
                Change::Changed => report.changed += 1,
                Change::Removed => report.removed += 1,
            }
            if self.shows_keys {
                let encoding = before.keys.or(after.keys).expect("there is an entry");
                let (old, new) = (value(&before, key), value(&after, key));
                show(id, scope, change, (shown(encoding, key), old, new), output)?;
            }
        }
        Ok(true)
    }

    /// Whether they are lists. An item is its own key; one that is there several times counts so often.
    fn items(
        &self,
        id: &StateId,
        scope: StateScope,
        (before, after): &(Chain, Chain),
        report: &mut StateReport,
        output: &mut Output<'_>,
    ) -> Result<bool, CliError> {
        let (Some(before), Some(after)) = (items_of(before), items_of(after)) else { return Ok(false) };
        // How many more there are after than before, by the item's text.
        let mut balance: BTreeMap<String, (i64, Untyped)> = BTreeMap::new();
        for (items, weight) in [(before, -1), (after, 1)] {
            for item in items {
                balance.entry(text(&item)?).or_insert((0, item)).0 += weight;
            }
        }
        for (more, item) in balance.into_values() {
            let change = if more > 0 { Change::Added } else { Change::Removed };
            match change {
                Change::Added => report.added += more.unsigned_abs(),
                _ => report.removed += more.unsigned_abs(),
            }
            for _ in 0..if self.shows_keys { more.unsigned_abs() } else { 0 } {
                show(id, scope, change, (item.clone(), None, None), output)?;
            }
        }
        Ok(true)
    }
}

fn items_of(chain: &Chain) -> Option<Vec<Untyped>> {
    let lists: Option<Vec<_>> = chain.sections().map(|(_, bytes)| list_items(bytes)).collect();
    Some(lists?.into_iter().flatten().collect())
}

fn text(value: &Untyped) -> Result<String, CliError> {
    Ok(serde_json::to_string(value).map_err(io::Error::from)?)
}

fn show(
    id: &StateId,
    scope: StateScope,
    change: Change,
    (key, before, after): (Untyped, Option<Untyped>, Option<Untyped>),
    output: &mut Output<'_>,
) -> Result<(), CliError> {
    let (operator, state) = (id.operator.as_str(), &*id.state);
    if output.is_json {
        let (key_group, subtask) = match scope {
            StateScope::KeyGroup(group) => (Some(group), None),
            StateScope::Subtask(subtask) => (None, Some(subtask)),
        };
        return output.json_line(&ChangeLine { change, operator, state, key_group, subtask, key, before, after });
    }
    let sign = match change {
        Change::Added => '+',
        Change::Changed => '~',
        Change::Removed => '-',
    };
    let values = match (&before, &after) {
        (None, None) => String::new(),
        (Some(before), Some(after)) => format!(": {} -> {}", text(before)?, text(after)?),
        (Some(value), None) | (None, Some(value)) => format!(": {}", text(value)?),
    };
    writeln!(output.results, "{sign} {operator}/{state} {}{values}", text(&key)?)?;
    Ok(())
}

fn print(report: &Report<'_>, output: &mut Output<'_>) -> Result<(), CliError> {
    let mut table =
        Table::new(&["OPERATOR", "STATE", ">ADDED", ">CHANGED", ">REMOVED", ">SAME PARTS", ">READ PARTS", "NOTE"]);
    for state in &report.states {
        let note = match state.unknown_parts {
            0 => String::new(),
            parts => format!("{parts} parts differ and cannot be taken apart"),
        };
        let figures = [state.added, state.changed, state.removed, state.same_parts, state.read_parts].map(count);
        let mut row = vec![state.operator.clone(), state.state.clone()];
        row.extend(figures);
        row.push(note);
        table.row(row);
    }
    table.write(output.results)?;
    Ok(())
}
