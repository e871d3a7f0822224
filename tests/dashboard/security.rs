//! Who may see and do what: guarantees B2 and B3.

use std::net::SocketAddr;

use millstream::JobState;
use millstream::dashboard::Dashboard;
use millstream::prelude::*;

use crate::client::{Response, TOKEN, get, post, send};
use crate::jobs::{Counting, open, serve};

const PAUSE: &str = "/v1/jobs/counting/pause";

fn pause(address: SocketAddr, headers: &[(&str, &str)]) -> Response {
    let headers: Vec<_> = headers.iter().copied().chain([("Content-Type", "application/json")]).collect();
    send(address, "POST", PAUSE, &headers, "{}")
}

#[test]
fn nothing_changes_without_the_token() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    assert_eq!((pause(address, &[]).status, pause(address, &[]).code()), (401, "no_token".to_owned()));
    assert_eq!(pause(address, &[]).header("WWW-Authenticate"), Some("Bearer"));
    let longer = format!("Bearer {TOKEN}x");
    for wrong in ["Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", &longer, TOKEN] {
        let response = pause(address, &[("Authorization", wrong)]);
        assert_eq!(response.status, 401, "{wrong}");
    }
    assert_eq!(counting.job.status().paused_since_unix_ms, None);
    let right = format!("bearer {TOKEN}");
    assert_eq!(pause(address, &[("Authorization", &right)]).status, 200);
    assert!(counting.job.status().paused_since_unix_ms.is_some());
}

#[test]
fn host_that_sets_no_token_lets_nothing_be_changed() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(Dashboard::new(), &counting);
    let may = get(address, "/v1/overview").json()["may"].clone();
    assert_eq!(may, serde_json::json!({"control": false, "savepoint": false, "state": false, "records": false}));
    for path in ["checkpoints", "savepoints", "pause", "resume", "rescale", "regions/0/resume", "drain", "cancel"] {
        let response = post(address, &format!("/v1/jobs/counting/{path}"), "{}");
        assert_eq!((response.status, response.code()), (403, "control_is_off".to_owned()), "{path}");
    }
    assert_eq!(get(address, "/v1/jobs/counting/state/counts/count?key=7").code(), "no_such_state");
    assert_ne!(counting.job.status().state, JobState::Ended);
}

#[test]
fn pages_of_others_change_and_read_nothing() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    let (bearer, own) = (format!("Bearer {TOKEN}"), format!("http://{address}"));
    let other_port = format!("http://127.0.0.1:{}", address.port().wrapping_add(1));
    for foreign in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", ""),
        ("Origin", "http://evil.example"),
        ("Origin", &other_port),
        ("Origin", "null"),
        ("Origin", ""),
    ] {
        let response = pause(address, &[("Authorization", &bearer), foreign]);
        assert_eq!((response.status, response.code()), (403, "cross_site".to_owned()), "{foreign:?}");
        assert_eq!(send(address, "GET", "/v1/jobs", &[foreign], "").code(), "cross_site", "{foreign:?}");
    }
    assert_eq!(counting.job.status().paused_since_unix_ms, None);
    // A link to the page may be followed, and an order is none of that.
    let link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")];
    assert_eq!(send(address, "GET", "/v1/jobs", &link, "").status, 200);
    assert_eq!(pause(address, &[("Authorization", &bearer), link[0], link[1]]).status, 403);
    assert_eq!(pause(address, &[("Authorization", &bearer), ("Origin", &own)]).status, 200);
}

#[test]
fn requests_under_another_name_are_refused_unless_the_host_has_it() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open().host("ops.example"), &counting);
    let asked = |host: &str| send(address, "GET", "/v1/overview", &[("Host", host)], "");
    assert_eq!((asked("evil.example").status, asked("evil.example:80").code()), (403, "unknown_host".to_owned()));
    for host in ["localhost", "127.0.0.1:9", "[::1]:9", "ops.example", "Ops.Example:8081"] {
        assert_eq!(asked(host).status, 200, "{host}");
    }
}

#[test]
fn answers_forbid_what_a_page_has_no_need_of() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    for path in ["/v1/overview", "/v1/nothing", "/v1/jobs/counting/drain"] {
        let response = get(address, path);
        let policy = response.header("Content-Security-Policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(response.header("X-Frame-Options"), Some("DENY"));
        assert_eq!(response.header("Access-Control-Allow-Origin"), None);
    }
}

#[test]
fn bodies_are_json_of_a_bounded_length() {
    let counting = Counting::start("counting");
    let (_server, address) = serve(open(), &counting);
    let bearer = format!("Bearer {TOKEN}");
    let typed = |kind: &str| send(address, "POST", PAUSE, &[("Authorization", &*bearer), ("Content-Type", kind)], "{}");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        assert_eq!(typed(kind).status, 415, "{kind}");
    }
    let large = format!("{{\"more\":\"{}\"}}", "x".repeat(5_000));
    assert_eq!(
        (post(address, PAUSE, &large).status, post(address, PAUSE, &large).code()),
        (413, "body_too_large".to_owned())
    );
    for body in ["", "{", "[]", "null", "7", "{\"more\":1}", "\u{0}", "{}{}"] {
        assert_eq!(
            (post(address, PAUSE, body).status, post(address, PAUSE, body).code()),
            (400, "bad_body".to_owned()),
            "{body}"
        );
    }
    assert_eq!(counting.job.status().paused_since_unix_ms, None);
    assert_eq!(typed("application/json; charset=utf-8").status, 200);
}

#[test]
fn savepoints_are_written_where_the_host_says_and_nowhere_else() {
    let counting = Counting::start("counting");
    let path = "/v1/jobs/counting/savepoints";
    let (_server, address) = serve(open(), &counting);
    assert_eq!(post(address, path, r#"{"path":"a"}"#).code(), "savepoints_are_off");
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = serve(open().savepoints_in(folder.path()), &counting);
    for wrong in ["../a", "/tmp/a", "", "a/../../b"] {
        let body = serde_json::json!({ "path": wrong }).to_string();
        assert_eq!(
            (post(address, path, &body).status, post(address, path, &body).code()),
            (400, "bad_path".to_owned())
        );
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn records_are_shown_only_if_the_host_allows_it() {
    let env = StreamEnvironment::new("failing").restart_strategy(RestartStrategy::none()).tell_panic_hook(false);
    env.source("words", VecSource::new(vec!["a secret".to_owned()]))
        .key_by_ref(String::as_str)
        .fold("count", 0u64, |_, _| panic!("always"))
        .sink("out", CollectSink::new());
    let job = env.start().unwrap();
    job.wait().unwrap_err();
    let of = |allow: bool| {
        let server = Dashboard::new().allow_records(allow).job(&job).serve(0).unwrap();
        let paths = ["", "/log", "/exceptions", "/metrics", "/checkpoints", "/state"];
        let all = paths.map(|path| get(server.address(), &format!("/v1/jobs/failing{path}")).body).concat();
        (all, get(server.address(), "/v1/jobs/failing/exceptions").json()["failures"][1]["record"].clone())
    };
    let (shown, record) = of(true);
    assert!(shown.contains("a secret") && record.as_str().unwrap().contains("a secret"), "{record}");
    let (shown, record) = of(false);
    assert!(!shown.contains("a secret") && shown.contains("always") && record.is_null(), "{shown}");
}
