//! Expressions of PromQL: whether what they name exists.

use millstream::metrics::{METRICS, Metric, MetricKind};

fn metric(name: &str) -> &'static Metric {
    METRICS.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} does not exist"))
}

/// The metrics that this part of an expression names.
fn metrics_in(part: &str) -> Vec<&'static Metric> {
    let names = part.split(|of: char| !of.is_ascii_alphanumeric() && of != '_');
    names.filter(|name| name.starts_with("millstream_")).map(metric).collect()
}

/// Labels that the expression asks of metrics that do not have them: in braces, of the metric before them; behind `by`, of those that are
/// summed up; behind `on`, of all.
fn foreign_labels(expression: &str) -> Vec<String> {
    let mut foreign = Vec::new();
    let mut check = |labels: &str, metrics: &[&Metric]| {
        for label in labels.split(',').map(|label| label.split(['=', '!']).next().unwrap_or_default().trim()) {
            let lack = metrics.iter().filter(|metric| !metric.labels().contains(&label));
            foreign.extend(lack.map(|metric| format!("'{label}' of {}", metric.name)));
        }
    };
    for (at, _) in expression.match_indices('{') {
        let before = metrics_in(&expression[..at]);
        check(between(&expression[at..], '{', '}').0, &before[before.len() - 1..]);
    }
    for (at, by) in expression.match_indices("by (") {
        let (labels, rest) = between(&expression[at + by.len() - 1..], '(', ')');
        check(labels, &metrics_in(between(rest.trim_start(), '(', ')').0));
    }
    for (at, on) in expression.match_indices("on (") {
        check(between(&expression[at + on.len() - 1..], '(', ')').0, &metrics_in(expression));
    }
    foreign
}

/// What stands in the brackets with which the text begins, and what is behind them.
fn between(text: &str, open: char, close: char) -> (&str, &str) {
    assert!(text.starts_with(open), "{open} before '{text}'");
    let mut depth = 0;
    let is_end = |of: char| {
        depth += i32::from(of == open) - i32::from(of == close);
        depth == 0
    };
    let end = text.find(is_end).unwrap_or_else(|| panic!("no {close} in '{text}'"));
    (&text[1..end], &text[end + 1..])
}

#[test]
fn labels_that_a_metric_lacks_are_found() {
    let rate =
        |labels: &str, of: &str| format!("sum by ({labels}) (rate(millstream_operator_records_in_total{of}[5m]))");
    assert_eq!(foreign_labels(&rate("job, operator", "{job=~\"$job\",task!=\"a\"}")), Vec::<String>::new());
    let of_counter = |label: &str| vec![format!("'{label}' of millstream_operator_records_in_total")];
    assert_eq!(foreign_labels(&rate("job,region", "")), of_counter("region"));
    assert_eq!(foreign_labels(&rate("job", "{job=\"a\", split=\"b\"}")), of_counter("split"));
    let joined = "millstream_job_running == 0 and on (job, region) millstream_region_parked == 1";
    assert_eq!(foreign_labels(joined), ["'region' of millstream_job_running"]);
}

/// Checks an expression of PromQL as far as that goes without Prometheus: it names metrics that exist and labels of theirs, counters are
/// looked at over a time, gauges are not, and brackets close.
pub(crate) fn check_expression(expression: &str) {
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        assert_eq!(expression.matches(open).count(), expression.matches(close).count(), "{expression}");
    }
    let mut rest = expression;
    while let Some(at) = rest.find("millstream_") {
        let name: String = rest[at..].chars().take_while(|of| of.is_ascii_alphanumeric() || *of == '_').collect();
        let metric = metric(&name);
        let is_over_time = ["rate(", "increase("].iter().any(|call| rest[..at].ends_with(call));
        let is_compared = rest[at + name.len()..].starts_with(" == 0");
        assert!(is_compared || is_over_time == (metric.kind == MetricKind::Counter), "{name} in '{expression}'");
        rest = &rest[at + name.len()..];
    }
    assert_eq!(foreign_labels(expression), Vec::<String>::new(), "{expression}");
    assert!(!["without", "ignoring", "group_left"].iter().any(|word| expression.contains(word)), "{expression}");
}
