//! Requests that are none: the server answers, and lives.

use crate::client::{TOKEN, get, raw, send};
use crate::jobs::{Counting, open, serve};
use crate::random::Random;

const CASES: usize = 600;
const SEED: u64 = 20_261_130;

const PARTS: [&str; 27] = [
    "v1",
    "jobs",
    "counting",
    "checkpoints",
    "details",
    "state",
    "counts",
    "count",
    "log",
    "events",
    "rescale",
    "regions",
    "resume",
    "..",
    ".",
    "",
    "%00",
    "%2F",
    "%ff",
    "%",
    "ü",
    "18446744073709551616",
    "-1",
    "{id}",
    "?key=7",
    "?after=1&after=2",
    "a&b=%zz",
];
const BODIES: [&str; 10] = [
    "{\"parallelism\":3}",
    "{\"parallelism\":-1}",
    "",
    "{}",
    "{\"path\":\"\\u0000\"}",
    "[[[[[[[[",
    "{\"path\":{}}",
    "\u{1f4a9}",
    "{\"\":\"\"}",
    "1e999",
];

fn address(random: &mut Random) -> String {
    let parts = (0..random.below(7)).map(|_| PARTS[random.below(PARTS.len() as u64) as usize]);
    // Text that cannot be in the first line of a request is no request.
    format!("/{}", parts.collect::<Vec<_>>().join("/")).replace(['ü', ' '], "x")
}

#[test]
fn requests_of_all_kinds_are_answered_and_none_is_an_error_of_the_server() {
    let counting = Counting::start("counting");
    let (_server, server) = serve(open(), &counting);
    let (mut random, bearer) = (Random(SEED), format!("Bearer {TOKEN}"));
    for case in 0..CASES {
        let path = address(&mut random);
        let body = BODIES[random.below(BODIES.len() as u64) as usize];
        let method = ["GET", "POST", "PUT", "HEAD", "DELETE"][random.below(5) as usize];
        if method == "GET" && path.contains("/events") {
            continue;
        }
        let headers = [("Authorization", &*bearer), ("Content-Type", "application/json")];
        let response = send(server, method, &path, &headers, if method == "POST" { body } else { "" });
        let what = format!("seed {SEED} case {case}: {method} {path} {body}: {response:?}");
        assert!(response.status < 500 || response.status == 503, "{what}");
        if response.status >= 400 && method != "HEAD" && !response.body.is_empty() {
            assert!(response.json()["error"]["message"].is_string(), "{what}");
        }
    }
    assert_eq!(get(server, "/v1/overview").status, 200);
}

#[test]
fn bytes_that_are_no_request_end_their_connection_only() {
    let counting = Counting::start("counting");
    let (_server, server) = serve(open(), &counting);
    let mut random = Random(SEED);
    for _ in 0..100 {
        let mut bytes: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
        bytes.extend(b"\r\n\r\n");
        raw(server, &bytes);
    }
    for head in [
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "x".repeat(200_000)),
        "POST /v1/jobs/counting/pause HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"
            .to_owned(),
    ] {
        let answer = String::from_utf8_lossy(&raw(server, head.as_bytes())).into_owned();
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer}");
    }
    assert_eq!(get(server, "/v1/overview").status, 200);
}
