//! Orders that change which tasks a job has: rescaling, and the resumption of a parked region.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream::OnExhausted;
use millstream::prelude::*;
use serde_json::{Value, json};

use crate::client::{TOKEN, get, post, send};
use crate::jobs::{Counting, open, serve, until};
use crate::schema::Api;

const RESCALE: &str = "/v1/jobs/counting/rescale";
/// What no rescale is asked for by.
const NONSENSE: [&str; 14] = [
    "",
    "{}",
    "[2]",
    "2",
    "null",
    "{\"parallelism\":-1}",
    "{\"parallelism\":1.5}",
    "{\"parallelism\":\"2\"}",
    "{\"parallelism\":null}",
    "{\"parallelism\":4294967296}",
    "{\"parallelism\":1e999}",
    "{\"parallelism\":2,\"more\":1}",
    "{\"parallelism\":2}{}",
    "{\"parallelism\":[[[[[[[[",
];

#[test]
fn job_is_rescaled_and_refusals_say_why() {
    let (api, counting) = (Api::read(), Counting::start("counting"));
    let (_server, address) = serve(open(), &counting);
    let order = |parallelism: u64| {
        let response = post(address, RESCALE, &json!({ "parallelism": parallelism }).to_string());
        api.check("POST", "/v1/jobs/{id}/rescale", &response);
        response
    };
    until(address, "/v1/jobs/counting", |json| json["state"] == "running");
    let rescaled = order(3);
    assert_eq!((rescaled.status, &rescaled.json()["from"], &rescaled.json()["to"]), (200, &2.into(), &3.into()));
    assert!(rescaled.json()["checkpoint"].is_u64(), "{rescaled:?}");
    let job = get(address, "/v1/jobs/counting").json();
    assert_eq!((&job["parallelism"], &job["vertices"][2]["parallelism"]), (&3.into(), &3.into()));
    assert_eq!(order(3).json()["checkpoint"], Value::Null);
    let as_float = post(address, RESCALE, "{\"parallelism\":3.0}");
    assert_eq!((as_float.status, &as_float.json()["to"]), (200, &3.into()), "a whole number in JSON");

    for (parallelism, status, code, says) in [
        (0, 400, "bad_parallelism", "at least 1"),
        (1_000_000, 409, "above_max_parallelism", "max parallelism 128"),
        (u64::from(u32::MAX), 409, "above_max_parallelism", "max parallelism 128"),
    ] {
        let refused = order(parallelism);
        assert_eq!((refused.status, refused.code()), (status, code.to_owned()));
        assert!(refused.body.contains(says), "{refused:?}");
    }
    for body in NONSENSE {
        let refused = post(address, RESCALE, body);
        assert_eq!((refused.status, refused.code()), (400, "bad_body".to_owned()), "{body}");
    }
    let large = format!("{{\"parallelism\":2{}}}", " ".repeat(5_000));
    assert_eq!(post(address, RESCALE, &large).code(), "body_too_large");
    assert_eq!(counting.job.status().parallelism, 3);
    drop(counting.job.cancel());
    counting.job.wait().unwrap();
    assert_eq!((order(2).status, order(2).code()), (409, "job_ended".to_owned()));
}

/// A job whose second region gives up while `is_down`, and is parked.
struct Shop {
    job: JobHandle,
    is_down: Arc<AtomicBool>,
}

impl Shop {
    fn start() -> Self {
        let is_down = Arc::new(AtomicBool::new(true));
        let down = is_down.clone();
        let env = StreamEnvironment::new("shop").restart_strategy(RestartStrategy::none());
        let env = env.on_exhausted(OnExhausted::Park).tell_panic_hook(false);
        let numbers = || SequenceSource::unbounded().rate_per_second(500);
        env.source("orders", numbers()).for_each("booked", |_| {});
        let rates = env.source("rates", numbers()).key_by(|n| n % 4);
        let fails = move |_: &mut u64, n: u64| assert!(!down.load(Ordering::Relaxed), "no rate for {n}");
        rates.fold("latest", 0, fails).for_each("known-rates", |_| {});
        Self { job: env.start().unwrap(), is_down }
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        drop(self.job.cancel());
        let _ = self.job.wait();
    }
}

#[test]
fn parked_region_is_shown_and_resumed_and_refusals_say_why() {
    let (api, shop) = (Api::read(), Shop::start());
    let server = open().job(&shop.job).serve(0).unwrap();
    let address = server.address();
    let is_parked = |json: &Value| json["regions"][1]["parked"].is_object();
    let job = until(address, "/v1/jobs/shop", is_parked);
    assert_eq!((&job["regions"][0]["parked"], &job["regions"][1]["state"]), (&Value::Null, &"parked".into()));
    assert!(job["regions"][1]["parked"]["cause"].as_str().unwrap().contains("no rate for"), "{job}");
    api.check("GET", "/v1/jobs/{id}", &get(address, "/v1/jobs/shop"));

    let resume = |region: &str| {
        let response = post(address, &format!("/v1/jobs/shop/regions/{region}/resume"), "{}");
        api.check("POST", "/v1/jobs/{id}/regions/{region}/resume", &response);
        (response.status, response)
    };
    let (status, refused) = resume("0");
    assert_eq!((status, refused.code()), (409, "not_parked".to_owned()));
    for none in ["2", "x", "-1", "1.0", "4294967296", "%00"] {
        let (status, refused) = resume(none);
        assert_eq!((status, refused.code()), (404, "no_such_region".to_owned()), "{none}");
    }
    for body in ["", "[]", "{\"more\":1}", "{"] {
        assert_eq!(post(address, "/v1/jobs/shop/regions/1/resume", body).code(), "bad_body", "{body}");
    }
    // Without the token, and from a page of others.
    let typed = ("Content-Type", "application/json");
    let bearer = format!("Bearer {TOKEN}");
    for path in ["regions/1/resume", "rescale"] {
        let path = format!("/v1/jobs/shop/{path}");
        assert_eq!(send(address, "POST", &path, &[typed], "{}").code(), "no_token");
        let foreign = [typed, ("Authorization", &*bearer), ("Origin", "http://evil.example")];
        assert_eq!(send(address, "POST", &path, &foreign, "{}").code(), "cross_site");
    }
    assert!(is_parked(&get(address, "/v1/jobs/shop").json()));

    shop.is_down.store(false, Ordering::Relaxed);
    let (status, resumed) = resume("1");
    assert_eq!((status, resumed.json()), (200, json!({"region": 1})));
    let job = get(address, "/v1/jobs/shop").json();
    assert_eq!((&job["regions"][1]["parked"], &job["regions"][1]["state"]), (&Value::Null, &"running".into()));
}

#[test]
fn job_whose_regions_are_all_parked_refuses_and_says_that() {
    let env = StreamEnvironment::new("down").restart_strategy(RestartStrategy::none());
    let env = env.on_exhausted(OnExhausted::Park).tell_panic_hook(false);
    env.source("rates", SequenceSource::unbounded().rate_per_second(500))
        .for_each("out", |n| panic!("no rate for {n}"));
    let (api, shop) = (Api::read(), Shop { job: env.start().unwrap(), is_down: Arc::default() });
    let folder = tempfile::tempdir().unwrap();
    let server = open().savepoints_in(folder.path()).job(&shop.job).serve(0).unwrap();
    let address = server.address();
    until(address, "/v1/jobs/down", |json| json["state"] == "parked");
    for (order, body, code, says) in [
        ("rescale", "{\"parallelism\":2}", "all_parked", "all regions are parked"),
        ("checkpoints", "{}", "all_parked", "all regions are parked"),
        ("savepoints", "{\"path\":\"monday\"}", "parked", "regions 0 are parked"),
    ] {
        let refused = post(address, &format!("/v1/jobs/down/{order}"), body);
        api.check("POST", &format!("/v1/jobs/{{id}}/{order}"), &refused);
        assert_eq!((refused.status, refused.code()), (409, code.to_owned()), "{order}");
        assert!(refused.body.contains(says), "{refused:?}");
    }
    assert!(folder.path().read_dir().unwrap().next().is_none(), "nothing was written");
}

#[test]
fn savepoint_of_a_job_with_a_parked_region_names_it_and_a_checkpoint_is_taken() {
    let shop = Shop::start();
    let folder = tempfile::tempdir().unwrap();
    let server = open().savepoints_in(folder.path()).job(&shop.job).serve(0).unwrap();
    let address = server.address();
    until(address, "/v1/jobs/shop", |json| json["regions"][1]["parked"].is_object());
    let refused = post(address, "/v1/jobs/shop/savepoints", "{\"path\":\"monday\"}");
    assert_eq!((refused.status, refused.code()), (409, "parked".to_owned()));
    assert!(refused.body.contains("regions 1 are parked; resume them"), "{refused:?}");
    assert_eq!(post(address, "/v1/jobs/shop/checkpoints", "{}").status, 200);
}
