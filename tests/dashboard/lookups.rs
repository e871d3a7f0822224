//! Values by key.

use std::collections::BTreeMap;

use millstream::dashboard::Dashboard;

use crate::client::get;
use crate::jobs::{Counting, serve, until};

#[test]
fn value_of_a_key_is_found_where_the_host_lets_it_be() {
    let counting = Counting::start("counting");
    let dashboard = Dashboard::new().state::<u64, u64>("counts", "count").state::<String, u64>("split", "count");
    let (_server, address) = serve(dashboard, &counting);
    assert_eq!(get(address, "/v1/overview").json()["may"]["state"], true);
    let path = "/v1/jobs/counting/state/counts/count?key=";
    let found = until(address, &format!("{path}7"), |json| json["found"] == true);
    assert!(found["value"].as_u64() > Some(0) && found["checkpoint"].is_null(), "{found}");
    let none = get(address, &format!("{path}9")).json();
    assert_eq!((&none["found"], &none["value"]), (&false.into(), &serde_json::Value::Null));
    for key in ["", "x", "-1", "%22a%22", "[1]", "1.5", "7%20x"] {
        assert_eq!(get(address, &format!("{path}{key}")).code(), "bad_key", "{key}");
    }
    assert_eq!(get(address, "/v1/jobs/counting/state/counts/count").code(), "bad_query");
    assert_eq!(get(address, "/v1/jobs/counting/state/counts/other?key=7").code(), "no_such_state");
    assert_eq!(get(address, "/v1/jobs/counting/state/split/count?key=%22a%22").status, 404, "it keeps no state");
    let states = get(address, "/v1/jobs/counting/state").json();
    let counts = states["operators"].as_array().unwrap().iter().find(|of| of["operator"] == "counts").unwrap();
    assert_eq!(counts["states"], serde_json::json!(["count"]));
}

#[test]
fn other_types_than_those_of_the_state_are_an_error_that_names_both() {
    let counting = Counting::start("counting");
    let dashboard = Dashboard::new().state::<u64, BTreeMap<u64, u64>>("counts", "count");
    let (_server, address) = serve(dashboard, &counting);
    let path = "/v1/jobs/counting/state/counts/count?key=7";
    let refused = until(address, path, |json| json["error"]["code"] == "wrong_type");
    assert!(refused["error"]["message"].as_str().unwrap().contains("BTreeMap"), "{refused}");
}

#[test]
fn job_that_has_ended_has_no_state_to_look_into() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(crate::jobs::open(), &counting);
    drop(counting.job.cancel());
    counting.job.wait().unwrap();
    let response = get(address, "/v1/jobs/counting/state/counts/count?key=7");
    assert_eq!((response.status, response.code()), (409, "job_ended".to_owned()));
}
