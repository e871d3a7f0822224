//! Names of files, temporary and finished.

use std::fmt;

use millstream_actors::contract::{SinkContext, checksum};
use millstream_actors::protocol::CheckpointId;
use serde::{Deserialize, Serialize};

/// One opening of one subtask: the only one who ever writes what carries its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct WriterId {
    pub(super) incarnation: u64,
    pub(super) region: u32,
    pub(super) attempt: u32,
    pub(super) subtask: u32,
}

impl WriterId {
    pub(super) fn of(cx: &SinkContext) -> Self {
        let execution = cx.execution;
        Self {
            incarnation: execution.incarnation.0,
            region: execution.region.0,
            attempt: execution.attempt.0,
            subtask: cx.subtask_index,
        }
    }

    /// Whether both belong to one attempt of one region.
    pub(super) fn is_of_execution_of(self, other: Self) -> bool {
        Self { subtask: 0, ..self } == Self { subtask: 0, ..other }
    }

    /// Its temporary file number `seq`.
    pub(super) fn temporary(self, seq: u64) -> String {
        format!("{TEMPORARY}{self}-{seq}")
    }

    /// What it writes before it gives it the name [`OWNER`].
    pub(super) fn claim(self) -> String {
        format!("{CLAIM}{self}{NEW}")
    }

    /// Its record.
    pub(super) fn record(self) -> String {
        format!("{RECORD}{self}")
    }

    fn parse<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        Some(Self {
            incarnation: parts.next()?.parse().ok()?,
            region: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
            subtask: parts.next()?.parse().ok()?,
        })
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.incarnation, self.region, self.attempt, self.subtask)
    }
}

const TEMPORARY: &str = "open-";
const RECORD: &str = "committed-";
const CLAIM: &str = "owner-";
/// Ends the name of a record that is being written.
pub(super) const NEW: &str = ".new";
/// Says whose folder it is.
pub(super) const OWNER: &str = "owner";

/// What a name in the sink's folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Temporary {
        writer: WriterId,
        seq: u64,
    },
    Record(WriterId),
    /// A record or owner note that was never finished.
    Unfinished(WriterId),
    /// The owner note, or nothing of ours.
    Other,
}

pub(super) fn entry(name: &str) -> Entry {
    parse_entry(name).unwrap_or(Entry::Other)
}

fn parse_entry(name: &str) -> Option<Entry> {
    if let Some(rest) = name.strip_prefix(TEMPORARY) {
        let mut parts = rest.split('-');
        let writer = WriterId::parse(&mut parts)?;
        let seq = parts.next()?.parse().ok()?;
        return parts.next().is_none().then_some(Entry::Temporary { writer, seq });
    }
    let (stem, unfinished) = name.strip_suffix(NEW).map_or((name, false), |stem| (stem, true));
    let rest = stem.strip_prefix(RECORD).or_else(|| stem.strip_prefix(CLAIM).filter(|_| unfinished))?;
    let mut parts = rest.split('-');
    let writer = WriterId::parse(&mut parts)?;
    if parts.next().is_some() {
        return None;
    }
    Some(if unfinished { Entry::Unfinished(writer) } else { Entry::Record(writer) })
}

/// How finished files are named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Naming {
    pub(super) prefix: String,
    pub(super) suffix: String,
}

/// Longest name that file systems take, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The most that a finished file's name has between prefix and suffix: three numbers of up to 20 digits, one of 10, and a
/// dash before each.
const NUMBERS_BYTES_MAX: usize = 3 * 20 + 10 + 4;

impl Naming {
    /// What is wrong with names like that. Told before there is a file, since finished names are made at commits.
    pub(super) fn mistake(&self) -> Option<String> {
        let Self { prefix, suffix } = self;
        let either = |is_bad: fn(char) -> bool| prefix.contains(is_bad) || suffix.contains(is_bad);
        let reason = if prefix.starts_with('.') {
            "would be hidden"
        } else if either(|c| c == '/' || c == '\\') {
            "would lead into another directory"
        } else if either(char::is_control) {
            "would hold control characters"
        } else if prefix.len() + suffix.len() > NAME_BYTES_MAX - NUMBERS_BYTES_MAX {
            "would be longer than the 255 bytes that file systems take: at most 181 for prefix and suffix together"
        } else {
            return None;
        };
        Some(format!("file names from {prefix:?} to {suffix:?} {reason}"))
    }

    pub(super) fn finished(&self, writer: WriterId, checkpoint: CheckpointId, seq: u64) -> String {
        let Self { prefix, suffix } = self;
        format!("{prefix}-{}-{checkpoint}-{}-{seq}{suffix}", writer.incarnation, writer.subtask)
    }

    /// Incarnation and checkpoint in the name of a finished file; `None` if it is named otherwise.
    pub(super) fn life_and_checkpoint(&self, name: &str) -> Option<(u64, CheckpointId)> {
        let numbers = name.strip_prefix(&self.prefix)?.strip_prefix('-')?.strip_suffix(&self.suffix)?;
        let numbers: Vec<u64> = numbers.split('-').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let [incarnation, checkpoint, _subtask, _seq] = numbers[..] else { return None };
        Some((incarnation, CheckpointId(checkpoint)))
    }

    /// How a file of `writer` with this finished name was named.
    pub(super) fn of(finished: &str, writer: WriterId, checkpoint: CheckpointId, seq: u64) -> Option<Self> {
        let numbers = format!("-{}-{checkpoint}-{}-{seq}", writer.incarnation, writer.subtask);
        let (prefix, suffix) = finished.split_once(&numbers)?;
        Some(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }
}

/// The name of a sink's own folder. Ids that are too long for a name are cut and told apart by their hash.
pub(super) fn own_folder(job: &str, sink: &str) -> String {
    let mut name = format!(".{}-{}", sanitised(job), sanitised(sink));
    if name.len() > NAME_BYTES_MAX {
        let hash = format!("-{:016x}", checksum(format!("{job}\0{sink}").as_bytes()));
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX - hash.len()));
        name += &hash;
    }
    name
}

/// An id as part of a file name: what could lead elsewhere is replaced.
fn sanitised(id: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    id.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let writer = WriterId { incarnation: 7, region: 1, attempt: 2, subtask: 3 };
        assert_eq!(entry(&writer.temporary(4)), Entry::Temporary { writer, seq: 4 });
        assert_eq!(entry(&writer.record()), Entry::Record(writer));
        assert_eq!(entry(&(writer.record() + NEW)), Entry::Unfinished(writer));
        for other in ["owner", "open-1-2-3-4", "open-1-2-3-4-5-6", "committed-1-2", "notes.txt"] {
            assert_eq!(entry(other), Entry::Other, "{other}");
        }
        let naming = Naming { prefix: "a-1".into(), suffix: "-0-4.csv".into() };
        let name = naming.finished(writer, CheckpointId(9), 4);
        assert_eq!(name, "a-1-7-9-3-4-0-4.csv");
        assert_eq!(naming.life_and_checkpoint(&name), Some((7, CheckpointId(9))));
        for other in ["a-1-7-9-3-4.csv", "a-1-7-9-3-0-4.csv", "a-1-7-9-3-4-5-0-4.csv", "a-7-9-3-4-0-4.csv", "a-1-x"] {
            assert_eq!(naming.life_and_checkpoint(other), None, "{other}");
        }
        assert_eq!(Naming::of(&name, writer, CheckpointId(9), 4), Some(naming));
        assert_eq!(Naming::of("x", writer, CheckpointId(9), 4), None);
        assert_eq!(own_folder("a/../b c", "x\0y"), ".a_.._b_c-x_y");
    }

    // Cause: the length of finished names was found out at the first commit. Repair: it is known from prefix and suffix.
    #[test]
    fn names_that_no_file_can_have_are_refused_and_the_longest_allowed_one_is_a_name() {
        let naming = |prefix: &str, suffix: &str| Naming { prefix: prefix.to_owned(), suffix: suffix.to_owned() };
        let long = "ü".repeat(91);
        for (prefix, suffix) in
            [(".a", ""), ("a/b", ""), ("", "/../x"), ("a\\b", ""), ("a\0", ""), ("", "\n"), (&long, "")]
        {
            let mistake = naming(prefix, suffix).mistake().unwrap();
            assert!(mistake.contains(&format!("{prefix:?} to {suffix:?}")), "{mistake}");
        }
        let longest = naming(&"p".repeat(100), &"s".repeat(81));
        assert_eq!(longest.mistake(), None);
        let writer = WriterId { incarnation: u64::MAX, region: 0, attempt: 0, subtask: u32::MAX };
        assert_eq!(longest.finished(writer, CheckpointId(u64::MAX), u64::MAX).len(), NAME_BYTES_MAX);
        assert_eq!(naming("", "").mistake(), None);
    }

    #[test]
    fn folders_of_long_ids_are_names_and_differ() {
        let (job, sink) = ("j".repeat(300), "é".repeat(200));
        let name = own_folder(&job, &sink);
        assert!(name.len() <= NAME_BYTES_MAX && name.starts_with(".jjj"), "{name}");
        assert_ne!(name, own_folder(&job, "é"));
        assert_ne!(own_folder(&format!("{job}a"), "b"), own_folder(&job, "ab"));
    }
}
