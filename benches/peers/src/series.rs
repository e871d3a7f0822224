//! The runs of one contender, as they are printed and read again.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::measure::Run;
use crate::plan::{Contender, Plan};

/// The runs of one contender, in the order of rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) plan: Plan,
    pub(crate) contender: Contender,
    pub(crate) runs: Vec<Run>,
}

impl Series {
    /// Figure `index` of each run.
    pub(crate) fn values(&self, index: usize) -> Vec<f64> {
        self.runs.iter().filter_map(|run| run.figures.get(index)).map(|figure| figure.value).collect()
    }

    /// Names of the figures.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.runs.first().map_or(Vec::new(), |run| run.figures.iter().map(|figure| figure.name.as_str()).collect())
    }
}

/// Series of equal work belong together.
pub(crate) fn groups(all: &[Series]) -> Vec<Vec<&Series>> {
    let mut groups: Vec<Vec<&Series>> = Vec::new();
    for series in all {
        match groups.iter_mut().find(|group| group[0].plan == series.plan) {
            Some(group) => group.push(series),
            None => groups.push(vec![series]),
        }
    }
    groups
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// Reads files with a line for each series.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Series>, String> {
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for (number, line) in (1..).zip(text.lines()) {
            let series = serde_json::from_str(line);
            all.push(series.map_err(|error| format!("{}:{number}: {error}", path.display()))?);
        }
    }
    Ok(all)
}

/// Least, median and greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { least, median, greatest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]), Some(Spread { least: 1.0, median: 2.5, greatest: 4.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0, 3.0]), Some(Spread { least: 1.0, median: 3.0, greatest: 4.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }
}
