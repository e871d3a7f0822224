//! Results as Markdown tables, one for each group of runs of equal work.

use std::fmt::Write as _;

use crate::plan::Engine;
use crate::series::{Series, Spread, groups};

/// All tables. Cells are medians, with the least and the greatest value; ratios are taken in each round.
pub(crate) fn tables(all: &[Series]) -> String {
    groups(all).iter().map(|group| table(group)).collect::<Vec<_>>().join("\n")
}

fn table(group: &[&Series]) -> String {
    let names = group[0].names();
    let base = group.iter().find(|series| series.contender.engine == Engine::Millstream).unwrap_or(&group[0]);
    let rounds = group.iter().map(|series| series.runs.len()).max().unwrap_or(0);
    let results = group[0].runs.first().and_then(|run| run.results);
    let results = results.map_or(String::new(), |results| format!(", {results} results"));
    let mut text = format!("**{}**{results}, {rounds} round{}\n\n|", group[0].plan, if rounds == 1 { "" } else { "s" });
    let is_compared = group.len() > 1;
    let last = is_compared.then(|| format!("{}, ratio to {}", names[0], base.contender));
    for heading in [""].into_iter().chain(names.iter().copied()).chain(last.as_deref()) {
        write!(text, " {heading} |").expect("a string takes all");
    }
    let columns = 1 + names.len() + usize::from(is_compared);
    writeln!(text, "\n|{}", "---|".repeat(columns)).expect("a string takes all");
    for series in group {
        write!(text, "| {} |", series.contender).expect("a string takes all");
        for index in 0..names.len() {
            write!(text, " {} |", cell(series.values(index))).expect("a string takes all");
        }
        if is_compared {
            let ratios = series.values(0).iter().zip(base.values(0)).map(|(value, base)| value / base).collect();
            let is_base = series.contender == base.contender;
            write!(text, " {} |", if is_base { "1".to_owned() } else { cell(ratios) }).expect("a string takes all");
        }
        text.push('\n');
    }
    text
}

fn cell(values: Vec<f64>) -> String {
    match Spread::of(values) {
        None => String::new(),
        Some(Spread { least, median, greatest }) if least == greatest => number(median),
        Some(Spread { least, median, greatest }) => {
            format!("{} ({} to {})", number(median), number(least), number(greatest))
        }
    }
}

/// Three digits, or all that stand before the point.
pub(crate) fn number(value: f64) -> String {
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.5, 1.234, 12.34, 123.4, 1234.5].map(number), ["0.50", "1.23", "12.3", "123", "1234"]);
    }
}
