//! Verifying all that a store holds.

use std::collections::BTreeMap;

use millstream_actors::contract::{SnapshotError, StateScope};
use millstream_actors::protocol::CheckpointId;

use super::{Inspection, Section, Sections, StateId, sections_of};
use crate::state::codec::{Unreadable, check_link, each_change, plain};

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What: a chunk, a manifest, the file.
    pub(crate) what: String,
    /// How it was noticed.
    pub(crate) reason: String,
    /// The retained checkpoints that need it, ascending.
    pub(crate) checkpoints: Vec<CheckpointId>,
}

/// What was looked at, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    /// Manifests that are whole.
    pub(crate) manifests: u64,
    /// Chunks that are whole, each counted once.
    pub(crate) chunks: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Chunks that no retained manifest names: of a checkpoint in flight or given up. They are no damage.
    pub(crate) unreferenced: u64,
    /// Sections that are whole and that this version cannot decode.
    pub(crate) unknown: u64,
    /// All damage.
    pub(crate) findings: Vec<Finding>,
}

/// A section, and who needs it.
struct Needed {
    section: Section,
    by: Vec<CheckpointId>,
    link: Link,
}

/// What a section builds on.
#[derive(Clone, Copy)]
enum Link {
    /// Not known: damaged, not to be decoded, or not of keyed state.
    Unknown,
    /// The changes over this checkpoint; `None` for the whole state.
    Over(Option<CheckpointId>),
}

type Place = (StateId, StateScope, CheckpointId);

/// Verifies every manifest, every chunk of every retained checkpoint once, how they build on each other, and the pages
/// of the file. `progress` is told how many bytes of how many are verified.
pub(crate) fn verify(store: &mut Inspection, progress: &mut dyn FnMut(u64, u64)) -> Verification {
    let mut result = Verification::default();
    let mut sections: Vec<(CheckpointId, Sections)> = Vec::new();
    for checkpoint in store.checkpoints() {
        match &checkpoint.manifest {
            Ok(manifest) => sections.push((checkpoint.id, sections_of(manifest))),
            Err(reason) => {
                result.find(format!("the manifest of checkpoint {}", checkpoint.id), reason, &[checkpoint.id])
            }
        }
    }
    result.manifests = sections.len() as u64;
    let mut needed = result.gather(&sections);
    let rows_read = result.read_all(store, &mut needed, progress);
    for (checkpoint, sections) in &sections {
        result.check_chains(*checkpoint, sections, &needed);
    }
    result.count_rows(store, rows_read);
    result.check_pages(store);
    result
}

impl Verification {
    fn find(&mut self, what: impl Into<String>, reason: impl Into<String>, checkpoints: &[CheckpointId]) {
        self.findings.push(Finding { what: what.into(), reason: reason.into(), checkpoints: checkpoints.to_vec() });
    }

    fn find_error(&mut self, error: SnapshotError, checkpoints: &[CheckpointId]) {
        match error {
            SnapshotError::Damaged { what, reason, .. } => self.find(what, reason, checkpoints),
            SnapshotError::ChunkMissing { address, .. } => {
                self.find(format!("chunk {address:?}"), "it is missing", checkpoints)
            }
            error => self.find("the file", error.to_string(), checkpoints),
        }
    }

    /// The sections of all checkpoints, each once.
    fn gather(&mut self, sections: &[(CheckpointId, Sections)]) -> BTreeMap<Place, Needed> {
        let mut needed: BTreeMap<Place, Needed> = BTreeMap::new();
        for (checkpoint, sections) in sections {
            for (id, scope, section) in each_section(sections) {
                let place = (id.clone(), scope, section.checkpoint);
                let known = needed.entry(place).or_insert_with(|| Needed {
                    section: section.clone(),
                    by: Vec::new(),
                    link: Link::Unknown,
                });
                known.by.push(*checkpoint);
                if known.section != *section {
                    let by = known.by.clone();
                    self.find(name_of(id, scope, section.checkpoint), "checkpoints name different chunks of it", &by);
                }
            }
        }
        needed
    }

    /// Reads every chunk. Answers how many rows were there.
    fn read_all(
        &mut self,
        store: &Inspection,
        needed: &mut BTreeMap<Place, Needed>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> u64 {
        let total: u64 = needed.values().map(|needed| needed.section.bytes()).sum();
        let (mut rows, mut done) = (0, 0);
        for ((id, scope, checkpoint), Needed { section, by, link }) in needed {
            if !section.is_gapless() {
                self.find(name_of(id, *scope, *checkpoint), "chunks of it are not named", by);
            }
            let mut bytes = Some(Vec::with_capacity(section.bytes() as usize));
            for chunk in &section.chunks {
                match store.read_chunk(chunk) {
                    Ok(read) => {
                        (self.chunks, self.bytes) = (self.chunks + 1, self.bytes + read.len() as u64);
                        rows += 1;
                        if let Some(bytes) = &mut bytes {
                            bytes.extend_from_slice(&read);
                        }
                    }
                    Err(error) => {
                        rows += u64::from(!matches!(error, SnapshotError::ChunkMissing { .. }));
                        bytes = None;
                        self.find_error(error, by);
                    }
                }
            }
            done += section.bytes();
            progress(done, total);
            let Some(bytes) = bytes.filter(|_| matches!(scope, StateScope::KeyGroup(_))) else { continue };
            match link_of(&bytes) {
                Ok(base) => *link = Link::Over(base),
                Err(Unreadable::Unknown(_)) => self.unknown += 1,
                Err(Unreadable::Malformed(reason)) => {
                    self.find(name_of(id, *scope, *checkpoint), format!("it does not decode: {reason}"), by);
                }
            }
        }
        rows
    }

    /// Whether each section follows what it builds on.
    fn check_chains(&mut self, checkpoint: CheckpointId, sections: &Sections, needed: &BTreeMap<Place, Needed>) {
        let mut newest: Option<(&StateId, StateScope, CheckpointId)> = None;
        for (id, scope, section) in each_section(sections) {
            let before =
                newest.filter(|(of, in_scope, _)| (*of, *in_scope) == (id, scope)).map(|(_, _, before)| before);
            newest = Some((id, scope, section.checkpoint));
            let Some(Link::Over(base)) = needed.get(&(id.clone(), scope, section.checkpoint)).map(|known| known.link)
            else {
                continue;
            };
            if let Err(reason) = check_link(before, section.checkpoint, base) {
                self.find(name_of(id, scope, section.checkpoint), reason, &[checkpoint]);
            }
        }
    }

    fn count_rows(&mut self, store: &Inspection, rows_read: u64) {
        let retained = store.checkpoints().len() as u64;
        let all: Vec<CheckpointId> = store.checkpoints().iter().map(|checkpoint| checkpoint.id).collect();
        match store.rows() {
            Ok((manifests, chunks)) => {
                self.unreferenced = chunks.saturating_sub(rows_read);
                if manifests > retained {
                    let reason = format!("{manifests} rows for {retained} retained checkpoints");
                    self.find("the table of manifests", reason, &all);
                }
            }
            Err(error) => self.find_error(error, &all),
        }
    }

    fn check_pages(&mut self, store: &mut Inspection) {
        let all: Vec<CheckpointId> = store.checkpoints().iter().map(|checkpoint| checkpoint.id).collect();
        match store.check_pages() {
            Ok(true) => {}
            Ok(false) => {
                let reason = "redb's notes of free pages are not right; what is stored is not touched by that, and a job mends it when it reopens its store after a failed write";
                self.find("the file", reason, &[]);
            }
            Err(error) => self.find_error(error, &all),
        }
    }
}

fn each_section(sections: &Sections) -> impl Iterator<Item = (&StateId, StateScope, &Section)> {
    sections.iter().flat_map(|(id, scopes)| {
        scopes.iter().flat_map(move |(scope, chain)| chain.iter().map(move |section| (id, *scope, section)))
    })
}

fn name_of(id: &StateId, scope: StateScope, checkpoint: CheckpointId) -> String {
    format!("state '{}' of operator '{}', {scope}, as checkpoint {checkpoint} wrote it", id.state, id.operator)
}

fn link_of(section: &[u8]) -> Result<Option<CheckpointId>, Unreadable> {
    let section = plain(section).map_err(Unreadable::Malformed)?;
    each_change(&section, &mut |_, _| {})
}
