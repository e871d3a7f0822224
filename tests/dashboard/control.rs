//! Several jobs, and jobs that come and go.

use millstream::dashboard::Dashboard;
use millstream::metrics::PROMETHEUS_CONTENT_TYPE;
use millstream::prelude::*;

use crate::client::{get, post};
use crate::jobs::{Counting, open, serve, until};
use crate::prometheus_text::parse;

fn ids(address: std::net::SocketAddr) -> Vec<String> {
    let jobs = get(address, "/v1/jobs").json();
    jobs["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_job_is_told_apart_and_stays_until_it_is_removed() {
    let (first, second) = (Counting::start("first"), Counting::start("second"));
    let dashboard = open();
    let jobs = dashboard.jobs();
    let (_server, address) = serve(dashboard, &first);
    assert_eq!(jobs.add(&second.job), "second");
    assert_eq!(ids(address), ["first", "second"]);
    assert_eq!(post(address, "/v1/jobs/second/cancel", "{}").status, 202);
    second.job.wait().unwrap();
    let ended = until(address, "/v1/jobs/second", |json| json["state"] == "cancelled");
    assert!(ended["ended_unix_ms"].as_u64() >= ended["started_unix_ms"].as_u64(), "{ended}");
    assert_ne!(get(address, "/v1/jobs/first").json()["state"], "cancelled");
    assert_eq!(ids(address), ["first", "second"]);
    assert!(jobs.remove("second") && !jobs.remove("second"));
    assert_eq!(
        (ids(address), get(address, "/v1/jobs/second").code()),
        (vec!["first".to_owned()], "no_such_job".to_owned())
    );
}

#[test]
fn job_takes_the_place_of_one_of_its_name_that_has_ended_and_no_other() {
    let (first, again) = (Counting::start("counting"), Counting::start("counting"));
    let jobs = Dashboard::new().jobs();
    assert_eq!((jobs.add(&first.job), jobs.add(&again.job)), ("counting".to_owned(), "counting~2".to_owned()));
    drop(first.job.cancel());
    first.job.wait().unwrap();
    let third = Counting::start("counting");
    assert_eq!(jobs.add(&third.job), "counting");
    assert_eq!(jobs.ids(), ["counting", "counting~2"]);
}

#[test]
fn jobs_of_one_name_are_told_apart_by_id_in_the_text_for_prometheus() {
    let (first, second) = (Counting::start("counting"), Counting::start("counting"));
    let (_server, address) = serve(open().job(&first.job), &second);
    assert_eq!(ids(address), ["counting", "counting~2"]);
    drop(first.job.cancel());
    first.job.wait().unwrap();
    let response = get(address, "/v1/metrics");
    assert_eq!(response.header("Content-Type"), Some(PROMETHEUS_CONTENT_TYPE));
    let metrics = parse(&response.body);
    let running = &metrics["millstream_job_running"];
    assert_eq!(running[..], ["counting", "counting~2"].map(|id| format!("millstream_job_running{{job=\"{id}\"}}")));
    for (id, runs) in [("counting", 0), ("counting~2", 1)] {
        let line = format!("millstream_job_running{{job=\"{id}\"}} {runs}");
        assert!(response.body.lines().any(|found| found == line), "{line} in {}", response.body);
        let of_job = |series: &String| series.contains(&format!("job=\"{id}\","));
        assert!(metrics["millstream_operator_records_in_total"].iter().any(of_job), "{metrics:#?}");
    }
    assert_eq!(get(address, "/v1/jobs/counting~2/metrics").json()["job"], "counting", "as it is serialised");
}

#[test]
fn names_of_all_kinds_are_found_under_their_encoded_form() {
    let env = StreamEnvironment::new("a b-ü");
    env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
    let job = env.start().unwrap();
    job.wait().unwrap();
    let server = Dashboard::new().job(&job).serve(0).unwrap();
    assert_eq!(get(server.address(), "/v1/jobs/a%20b-%C3%BC").json()["state"], "finished");
}

#[test]
fn failed_job_says_why() {
    let env = StreamEnvironment::new("failing").restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
    env.source("numbers", SequenceSource::new(0..10)).for_each("out", |n| assert!(n < 5, "{n} is too much"));
    let job = env.start().unwrap();
    job.wait().unwrap_err();
    let server = Dashboard::new().job(&job).serve(0).unwrap();
    let shown = get(server.address(), "/v1/jobs/failing").json();
    assert_eq!((&shown["state"], &shown["regions"][0]["state"]), (&"failed".into(), &"ended".into()));
    assert!(shown["last_error"].as_str().unwrap().contains("5 is too much"), "{shown}");
}
