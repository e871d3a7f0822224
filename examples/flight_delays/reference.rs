//! A plain loop over the same input, and the comparison with the job's output.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::flight::{CancelledFlight, DelayLine, Figures, Flight};

type Key = (String, String);

/// What the output must be.
pub(crate) struct Reference {
    pub(crate) flights: u64,
    files: usize,
    lines: BTreeMap<Key, Vec<DelayLine>>,
    cancelled: Vec<CancelledFlight>,
}

impl Reference {
    pub(crate) fn compute(input: &str) -> Result<Self, Box<dyn Error>> {
        let mut reference = Self { flights: 0, files: 0, lines: BTreeMap::new(), cancelled: Vec::new() };
        let mut figures: BTreeMap<Key, Figures> = BTreeMap::new();
        for path in glob::glob(input)? {
            reference.files += 1;
            for flight in csv::Reader::from_path(path?)?.deserialize() {
                let flight: Flight = flight?;
                if flight.is_cancelled() {
                    reference.cancelled.push(flight.into());
                    continue;
                }
                reference.flights += 1;
                let key = (flight.carrier.clone(), flight.origin.clone());
                let so_far = figures.entry(key.clone()).or_default();
                so_far.add(&flight);
                let line = so_far.line(&key.0, &key.1);
                reference.lines.entry(key).or_default().push(line);
            }
        }
        Ok(reference)
    }

    /// The first difference between the output and the reference. With one input file each key's lines must be the
    /// same, in the same order; with several, in whose order nothing is promised, as many lines and the same last
    /// figures.
    pub(crate) fn compare(&self, out: &Path) -> Result<(), Box<dyn Error>> {
        let mut lines: BTreeMap<Key, Vec<DelayLine>> = BTreeMap::new();
        for line in read::<DelayLine>(out)? {
            lines.entry((line.carrier.clone(), line.origin.clone())).or_default().push(line);
        }
        for key in self.lines.keys().chain(lines.keys()) {
            let (expected, found) = (self.lines.get(key), lines.get(key));
            let (expected, found) = (expected.map_or(&[][..], Vec::as_slice), found.map_or(&[][..], Vec::as_slice));
            if expected.len() != found.len() {
                return Err(format!("{key:?}: {} lines instead of {}", found.len(), expected.len()).into());
            }
            let differing = if self.files > 1 {
                let last = |lines: &[DelayLine]| lines.iter().max_by_key(|line| line.flights).cloned();
                (last(expected) != last(found)).then(|| expected.len() - 1)
            } else {
                expected.iter().zip(found).position(|(expected, found)| expected != found)
            };
            if let Some(at) = differing {
                return Err(format!("{key:?} line {}: {:?} instead of {:?}", at + 1, found[at], expected[at]).into());
            }
        }
        let mut cancelled = read::<CancelledFlight>(&out.join("cancelled"))?;
        cancelled.sort();
        let mut expected = self.cancelled.clone();
        expected.sort();
        if cancelled != expected {
            return Err(
                format!("{} cancelled flights instead of {}, or others", cancelled.len(), expected.len()).into()
            );
        }
        Ok(())
    }
}

/// The lines of all finished files, in the order of their checkpoints.
fn read<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>, Box<dyn Error>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in glob::glob(&format!("{}/part-*.jsonl", glob::Pattern::escape(&dir.to_string_lossy())))? {
        files.push(path?);
    }
    // part-<incarnation>-<checkpoint>-<subtask>-<sequence>.jsonl
    files.sort_by_key(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        name.split('-').skip(2).map(|number| number.parse().unwrap_or(u64::MAX)).collect::<Vec<u64>>()
    });
    let mut records = Vec::new();
    for path in files {
        for line in std::fs::read_to_string(path)?.lines() {
            records.push(serde_json::from_str(line)?);
        }
    }
    Ok(records)
}
