//! Every address answers as it is described.

use std::net::SocketAddr;

use millstream::dashboard::Dashboard;
use millstream::prelude::*;
use serde_json::{Value, json};

use crate::client::{get, post, send};
use crate::jobs::{Counting, open, serve, until};
use crate::schema::Api;

/// An address with its parts filled in.
fn filled(path: &str, checkpoint: u64) -> String {
    let path = path.replace("{id}", "counting").replace("{checkpoint}", &checkpoint.to_string());
    let path = path.replace("{operator}", "counts").replace("{state}", "count");
    if path.ends_with("/state/counts/count") { path + "?key=7" } else { path }
}

/// The id of a completed checkpoint that is listed.
fn completed(address: SocketAddr) -> u64 {
    let path = "/v1/jobs/counting/checkpoints";
    let json = until(address, path, |json| json["latest"]["completed"]["slowest"].is_object());
    json["latest"]["completed"]["id"].as_u64().unwrap()
}

#[test]
fn answers_are_those_of_the_description() {
    let (api, counting) = (Api::read(), Counting::start("counting"));
    let (_server, address) = serve(open(), &counting);
    // So that rates, a restore and failures are there, too.
    counting.panic_once();
    until(address, "/v1/jobs/counting", |json| json["vertices"][0]["records_in_per_second"].is_number());
    let looks = api.operations().into_iter().filter(|(method, path)| method == "GET" && !path.ends_with("/events"));
    for (_, path) in looks.collect::<Vec<_>>() {
        // What was the newest may have made room for newer ones meanwhile.
        let found = || Some(get(address, &filled(&path, completed(address)))).filter(|response| response.status != 404);
        let response = (0..20).find_map(|_| found()).unwrap_or_else(|| panic!("{path} is never there"));
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert_eq!(response.header("Cache-Control"), Some("no-store"), "{path}");
        api.check("GET", &path, &response);
        let found = || {
            Some(send(address, "HEAD", &filled(&path, completed(address)), &[], "")).filter(|head| head.status != 404)
        };
        let head = (0..20).find_map(|_| found()).unwrap_or_else(|| panic!("{path} has no head"));
        assert_eq!((head.status, &*head.body), (200, ""), "{path}");
    }
}

#[test]
fn orders_answer_as_they_are_described_and_are_carried_out() {
    let (api, counting) = (Api::read(), Counting::start("counting"));
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = serve(open().savepoints_in(folder.path()), &counting);
    let order = |path: &str, body: &str| {
        let response = post(address, &filled(path, 1), body);
        api.check("POST", path, &response);
        (response.status, response.json())
    };
    let (status, taken) = order("/v1/jobs/{id}/checkpoints", "{}");
    assert!(
        status == 200 && counting.job.status().newest_checkpoint.unwrap().0 >= taken["checkpoint"].as_u64().unwrap()
    );
    assert_eq!(order("/v1/jobs/{id}/pause", "{}"), (200, json!({"paused": true})));
    assert_eq!(get(address, "/v1/jobs/counting").json()["state"], "paused");
    assert_eq!(order("/v1/jobs/{id}/resume", "{}"), (200, json!({"paused": false})));
    let (status, savepoint) = order("/v1/jobs/{id}/savepoints", r#"{"path":"monday"}"#);
    assert_eq!(status, 200);
    assert_eq!(savepoint["bytes"].as_u64().unwrap(), folder.path().join("monday").metadata().unwrap().len());
    assert_eq!(order("/v1/jobs/{id}/savepoints", r#"{"path":"monday"}"#).0, 409);
    let latest = get(address, "/v1/jobs/counting/checkpoints").json()["latest"]["savepoint"].clone();
    assert_eq!(latest["checkpoint"], savepoint["checkpoint"]);
    assert_eq!(order("/v1/jobs/{id}/drain", "{}").0, 202);
    counting.job.wait().unwrap();
    until(address, "/v1/jobs/counting", |json| json["state"] == "drained");
    for path in ["checkpoints", "pause", "resume", "drain", "cancel"] {
        assert_eq!(order(&format!("/v1/jobs/{{id}}/{path}"), "{}").0, 409);
    }
}

#[test]
fn graph_has_tasks_edges_and_what_they_do() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    let is_seen = |json: &Value| {
        let vertices = json["vertices"].as_array().unwrap();
        vertices.iter().all(|vertex| vertex["records_in_per_second"].as_f64() > Some(0.0))
            && vertices.iter().any(|vertex| vertex["state_entries"].as_u64() > Some(0))
    };
    let json = until(address, "/v1/jobs/counting", is_seen);
    let names = |of: &str, name: &str| -> Vec<Value> {
        json[of].as_array().unwrap().iter().map(|each| each[name].clone()).collect()
    };
    assert_eq!(names("vertices", "name"), ["numbers->split", "nines", "counts", "out"]);
    assert_eq!(names("vertices", "kind"), ["source", "sink", "operator", "sink"]);
    assert_eq!(json["vertices"][0]["operators"], json!(["numbers", "flat_map#1"]));
    assert_eq!(names("edges", "partitioning"), ["forward", "hash", "forward"]);
    assert_eq!(json["edges"][0]["side_output"], "nines");
    // Nine of ten numbers take the second edge.
    let of_edges: Vec<f64> = names("edges", "records").iter().map(|records| records.as_f64().unwrap()).collect();
    assert!(of_edges[1] > 4.0 * of_edges[0] && of_edges[0] > 0.0, "{of_edges:?}");
    let counts = &json["vertices"][2];
    let sum: u64 = counts["subtasks"].as_array().unwrap().iter().map(|of| of["records_in"].as_u64().unwrap()).sum();
    assert_eq!(counts["records_in"].as_u64().unwrap(), sum);
    assert!(counts["state_entries"].as_u64().unwrap() <= 9);
}

#[test]
fn failures_tell_what_was_restored_and_how_long_it_took() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    completed(address);
    counting.panic_once();
    let failures = get(address, "/v1/jobs/counting/exceptions").json()["failures"].clone();
    let newest = &failures[0];
    assert_eq!((&newest["task"], &newest["region"]), (&"counts".into(), &0.into()));
    assert!(newest["cause"].as_str().unwrap().contains("the panic button was pressed"), "{newest}");
    assert!(newest["restored_checkpoint"].as_u64() > Some(0) && newest["downtime_ms"].as_f64() > Some(0.0), "{newest}");
    let job = get(address, "/v1/jobs/counting").json();
    assert_eq!((&job["restarts"], &job["regions"][0]["restarts"]), (&1.into(), &1.into()));
    assert_eq!(job["regions"][0]["state"], "running");
}

#[test]
fn log_has_as_many_of_the_newest_events_as_were_asked_for() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    completed(address);
    drop(counting.job.cancel());
    counting.job.wait().unwrap();
    let events = |limit: &str| get(address, &format!("/v1/jobs/counting/log{limit}")).json()["events"].clone();
    let all = events("");
    let all = all.as_array().unwrap();
    assert_eq!(all.last().unwrap()["event"], "ended");
    let seqs: Vec<u64> = all.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|two| two[1] == two[0] + 1), "{seqs:?}");
    assert_eq!(events("?limit=2").as_array().unwrap(), &all[all.len() - 2..]);
    assert_eq!(events("?limit=0"), json!([]));
    for wrong in ["-1", "x", "10001", ""] {
        assert_eq!(get(address, &format!("/v1/jobs/counting/log?limit={wrong}")).code(), "bad_query", "{wrong}");
    }
}

#[test]
fn addresses_that_are_none_and_methods_that_do_not_fit_say_so() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    for path in ["/v1", "/v1/", "/v2/jobs", "/v1/jobs/counting/nothing", "/nothing.js", "/../Cargo.toml", "/assets.rs"]
    {
        assert_eq!(
            (get(address, path).status, get(address, path).code()),
            (404, "no_such_address".to_owned()),
            "{path}"
        );
    }
    assert_eq!(get(address, "/v1/jobs/another").code(), "no_such_job");
    assert_eq!(get(address, "/v1/jobs/counting/checkpoints/details/999999").code(), "no_such_checkpoint");
    assert_eq!(get(address, "/v1/jobs/counting/checkpoints/details/x").code(), "no_such_checkpoint");
    for (method, path, allow) in [
        ("POST", "/v1/jobs", "GET, HEAD"),
        ("GET", "/v1/jobs/counting/drain", "POST"),
        ("DELETE", "/v1/jobs/counting/checkpoints", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/jobs/counting/pause", "POST"),
        ("POST", "/", "GET, HEAD"),
    ] {
        let response = send(address, method, path, &[], "");
        assert_eq!((response.status, response.header("Allow")), (405, Some(allow)), "{method} {path}");
        assert_eq!(response.code(), "method_not_allowed");
    }
}

#[test]
fn what_holds_event_time_back_is_named_in_each_region() {
    let env = StreamEnvironment::new("held");
    let numbers = || SequenceSource::unbounded().rate_per_second(2_000);
    let stands_still_if_odd = |n: &u64| if n % 2 == 1 { 5 } else { 10_000 + *n as i64 };
    env.source("numbers", numbers())
        .parallelism(1)
        .partition_by(|n, _| u32::from(n % 2 == 1))
        .assign_timestamps_and_watermarks("times", WatermarkStrategy::monotonous(stands_still_if_odd))
        .parallelism(2)
        .for_each("out", |_| {});
    let [fast, slow] = [("fast", 1), ("slow", 0)].map(|(name, factor)| {
        let time = move |n: &u64| 7 + factor * (10_000 + *n as i64);
        env.source_with_watermarks(name, numbers(), WatermarkStrategy::monotonous(time))
    });
    fast.union(slow).for_each("both", |_| {});
    let job = env.start().unwrap();
    let server = Dashboard::new().job(&job).serve(0).unwrap();
    let address = server.address();
    let is_known = |held: &Value| held["watermark"].is_i64() && held["ahead"].as_i64() >= Some(9_999);
    let are_two = |held: &Vec<Value>| held.len() == 2 && held.iter().all(is_known);
    until(address, "/v1/jobs/held", |json| are_two(json["held_back"].as_array().unwrap()));
    let response = get(address, "/v1/jobs/held");
    Api::read().check("GET", "/v1/jobs/{id}", &response);
    let found = response.json()["held_back"].as_array().unwrap().clone();
    let named = |names: &[&str]| -> Vec<Vec<Value>> {
        found.iter().map(|held| names.iter().map(|name| held[name].clone()).collect()).collect()
    };
    let expected = [json!([0, "times", 1, 4]), json!([1, "slow", 0, 6])];
    assert_eq!(json!(named(&["region", "source", "subtask", "watermark"])), json!(expected));
    assert_eq!(found[0]["split"], Value::Null, "a strategy in mid-stream has no splits");
    drop(job.cancel());
    job.wait().unwrap();
}
