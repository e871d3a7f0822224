//! Times per record as bars.

use std::fmt::Write as _;

use crate::measure::NS_A_RECORD;
use crate::plan::Engine;
use crate::series::{Series, Spread, groups};
use crate::table::number;

const WIDTH: usize = 760;
/// Where bars begin, and how long the longest of a group is.
const LEFT: usize = 270;
const LONGEST: f64 = 390.0;
const BAR: usize = 14;
const PITCH: usize = 20;
const HEADING: usize = 30;
const MARGIN: usize = 12;
/// Legible on white and on black.
const INK: &str = "#7d8590";

/// One group of bars for each group of runs that measure throughput, each group to a scale of its own.
pub(crate) fn svg(all: &[Series]) -> String {
    let mut groups = groups(all);
    groups.retain(|group| group[0].names().first() == Some(&NS_A_RECORD));
    let bars: usize = groups.iter().map(Vec::len).sum();
    let height = groups.len() * (HEADING + MARGIN) + bars * PITCH + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"{INK}\">\n\
         <title>Nanoseconds a record, median; the thin line is from the least to the greatest</title>\n"
    );
    let mut top = MARGIN;
    for group in &groups {
        let spreads: Vec<Spread> = group.iter().filter_map(|series| Spread::of(series.values(0))).collect();
        let most = spreads.iter().map(|spread| spread.greatest).fold(f64::MIN_POSITIVE, f64::max);
        let heading = top + HEADING - 12;
        line(&mut svg, &format!("<text x=\"8\" y=\"{heading}\" font-weight=\"bold\">{}</text>", group[0].plan));
        top += HEADING;
        for (series, spread) in group.iter().zip(spreads) {
            bar(&mut svg, top, series, spread, LONGEST / most);
            top += PITCH;
        }
        top += MARGIN;
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, top: usize, series: &Series, spread: Spread, scale: f64) {
    let (baseline, middle) = (top + BAR - 3, top + BAR / 2);
    let end = |value: f64| LEFT as f64 + value * scale;
    let (contender, color) = (series.contender, color(series.contender.engine));
    line(svg, &format!("<text x=\"{}\" y=\"{baseline}\" text-anchor=\"end\">{contender}</text>", LEFT - 8));
    let width = spread.median * scale;
    line(svg, &format!("<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{color}\"/>"));
    let (from, to) = (end(spread.least), end(spread.greatest));
    line(svg, &format!("<path d=\"M{from:.1} {middle}H{to:.1}\" stroke=\"{INK}\" stroke-width=\"2\"/>"));
    line(svg, &format!("<text x=\"{:.1}\" y=\"{baseline}\">{} ns</text>", to + 6.0, number(spread.median)));
}

fn line(svg: &mut String, element: &str) {
    writeln!(svg, "{element}").expect("a string takes all");
}

fn color(engine: Engine) -> &'static str {
    match engine {
        Engine::Millstream => "#d9822b",
        Engine::MillstreamMap | Engine::MillstreamBlocking => "#e8b47c",
        Engine::Plain => "#8a94a0",
        Engine::Timely => "#3d8fd1",
        Engine::Renoir => "#4ba36b",
    }
}
