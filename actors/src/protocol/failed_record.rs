//! Which record a call of user code failed at, as exactly as is known.

use std::fmt;

use serde::Serialize;

use super::OperatorId;

/// What is known of the record in whose call a task failed. What is not known is `None`, or empty; nothing is a guess.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailedRecord {
    /// The operator that was called. `None` at the end of a chain, where records are dealt out.
    pub operator: Option<OperatorId>,
    /// The key of a keyed operator's call, as JSON, at most some 200 bytes of it. Of a key that is none, its stable hash.
    pub key: Option<String>,
    /// The record itself, as JSON, at most some 200 bytes of it: known of an asynchronous function's call.
    pub record: Option<String>,
    /// The record's place in the batch that was before the operator, from 0: known of keyed operators.
    pub index: Option<usize>,
    /// The first and the last record of the batch that the task was working off, counted from 1 in its input of this attempt.
    /// The record is one of them, or was made of one.
    pub input: Option<(u64, u64)>,
    /// Where a task with a source had read that batch: exactly, of a source whose calls are made on a thread of its own. Others
    /// are asked for their positions at barriers and when something has failed, so what is told of them begins at the last
    /// barrier. It is the split of the batch alone where the reader says which that is, else all that were read since.
    pub read: Vec<ReadRange>,
}

/// A part of a split of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReadRange {
    /// The source.
    pub source: OperatorId,
    /// The split.
    pub split: String,
    /// The position before the first record, in the words of the source's `describe_position`; `None` at the split's
    /// beginning.
    pub from: Option<String>,
    /// The position after the last record.
    pub to: String,
}

impl FailedRecord {
    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for FailedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        let mut part = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            f.write_str(std::mem::replace(&mut before, ", "))?;
            f.write_fmt(text)
        };
        if let Some(operator) = &self.operator {
            part(f, format_args!("in operator '{operator}'"))?;
        }
        if let Some(key) = &self.key {
            part(f, format_args!("at key {key}"))?;
        }
        if let Some(record) = &self.record {
            part(f, format_args!("at record {record}"))?;
        }
        if let Some(index) = self.index {
            part(f, format_args!("record {index} from 0 of its batch"))?;
        }
        if let Some((first, last)) = self.input {
            part(f, format_args!("among its input records {first} to {last}"))?;
        }
        for ReadRange { source, split, from, to } in &self.read {
            let from = from.as_deref().unwrap_or("its beginning");
            part(f, format_args!("source '{source}' split '{split}' from {from} to {to}"))?;
        }
        Ok(())
    }
}
