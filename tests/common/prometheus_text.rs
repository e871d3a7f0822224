//! Reading the text format of Prometheus.

use std::collections::BTreeMap;

/// Samples of a text in the format of Prometheus, by metric; fails where it is none.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Vec<String>> {
    let (mut metrics, mut typed) = (BTreeMap::<String, Vec<String>>::new(), None);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            typed = None;
            assert!(rest.contains(' '), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(["counter", "gauge"].contains(&kind) && !metrics.contains_key(name), "{line}");
            typed = Some(name.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').expect("labels");
            assert_eq!(typed.as_deref(), Some(name), "{line}");
            assert!(labels.ends_with('}') && value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            let samples = metrics.entry(name.to_owned()).or_default();
            assert!(!samples.contains(&series.to_owned()), "{series} twice");
            samples.push(series.to_owned());
        }
    }
    assert!(text.ends_with('\n'));
    metrics
}
