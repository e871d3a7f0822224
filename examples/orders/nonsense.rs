//! Requests that are none, and bodies that are wrong. Whatever is sent, the answer says that the sender is mistaken, unless the
//! request happens to be right.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::Result;
use crate::life::Life;
use crate::records::{Order, Reservation};

/// So often a request is sent again that is HTTP and has no answer.
const AGAIN: usize = 5;
const CASES: u64 = 500;
const SEED: u64 = 20_261_130;
/// No answer takes so long.
const WITHIN: Duration = Duration::from_secs(10);

/// What stands in the place of a value.
const VALUES: [&str; 24] = [
    "null",
    "true",
    "0",
    "-1",
    "1",
    "0.5",
    "1e3",
    "1e999",
    "-0",
    "18446744073709551615",
    "18446744073709551616",
    "NaN",
    "\"\"",
    "\"7\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{1f4a9}\"",
    "\"\\x\"",
    "\"",
    "[]",
    "{}",
    "[1]",
    "{\"id\":1}",
    "",
];
const TYPES: [&str; 8] = [
    "",
    "text/plain",
    "application/jsonp",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json; charset=utf-16",
    "application/json, text/plain",
    "\u{fc}",
];
/// What a request says of the length of its body, instead of the truth.
const LENGTHS: [&str; 9] = [
    "Content-Length: 0",
    "Content-Length: 7",
    "Content-Length: 4000",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: ten",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked",
];
/// `/panic` is right whatever its body is, so it is only asked for in other ways.
const PATHS: [&str; 24] = [
    "/",
    "",
    "//orders",
    "/orders",
    "/orders/",
    "/orders/../status",
    "/reservations",
    "/poison",
    "/panic",
    "/invoices",
    "/invoices?limit=-1",
    "/dead-letters",
    "/status",
    "/status/%2e%2e",
    "/customers",
    "/customers/",
    "/customers/%00",
    "/customers/%ff",
    "/customers/%",
    "/customers/a/b",
    "/customers/customer-1",
    "/customers/a%2Fb?x=%zz",
    "*",
    "http://elsewhere.example/status",
];
const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "BREW"];

/// splitmix64: the same numbers in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.below(max)).map(|_| self.below(256) as u8).collect()
    }
}

/// Sends so many of them, and gives `taken` the orders that were right.
///
/// # Errors
/// The request that was answered otherwise, as it was sent.
pub(super) fn send(life: &Life, mut taken: impl FnMut(Order)) -> Result<()> {
    let mut random = Random(SEED);
    for case in 0..CASES {
        let (path, body) = body(&mut random, case);
        let (request, is_http) = match random.below(5) {
            0 => (odd(&mut random, &body), false),
            1 => (post(path, &body, random.of(&TYPES), &length(&body)), true),
            2 => (post(path, &body, "application/json", random.of(&LENGTHS)), false),
            _ => (post(path, &body, "application/json", &length(&body)), true),
        };
        let mut answer = answer(life, &request)?;
        // A handler that panics gives none, each time; that of a service that closes early may be lost once.
        for _ in 0..AGAIN {
            if !is_http || !answer.is_empty() {
                break;
            }
            answer = self::answer(life, &request)?;
        }
        let said = || {
            let (request, answer) = (String::from_utf8_lossy(&request), String::from_utf8_lossy(&answer));
            format!("seed {SEED} case {case}: {request:?} is answered with {answer:?}")
        };
        match status(&answer) {
            // What is no HTTP has no answer.
            None if answer.is_empty() && !is_http => {}
            Some(400..=499) => {}
            Some(200) if request.starts_with(b"POST /orders") => {
                taken(serde_json::from_slice(&body).map_err(|error| format!("{error}: {}", said()))?);
            }
            Some(200) if request.starts_with(b"POST /reservations") => {
                serde_json::from_slice::<Reservation>(&body).map_err(|error| format!("{error}: {}", said()))?;
            }
            Some(200) if !request.starts_with(b"POST ") => {}
            _ => return Err(said().into()),
        }
    }
    Ok(())
}

/// The number in the first line, behind the leave to go on that a request may have asked for.
fn status(answer: &[u8]) -> Option<u16> {
    let answer = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    let line = answer.split(|byte| *byte == b'\r').next()?;
    str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

/// Sends these bytes and no more, and reads all that comes until the service closes.
fn answer(life: &Life, request: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(life.address)?;
    stream.set_read_timeout(Some(WITHIN))?;
    let mut answer = Vec::new();
    // A service that has heard enough closes before it has heard all.
    let is_heard = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write)).is_ok();
    match stream.read_to_end(&mut answer) {
        Ok(_) => Ok(answer),
        Err(error) if !is_heard || error.kind() == ErrorKind::ConnectionReset => Ok(answer),
        Err(error) => Err(format!("{:?}: {error}", String::from_utf8_lossy(request)).into()),
    }
}

fn length(body: &[u8]) -> String {
    format!("Content-Length: {}", body.len())
}

fn post(path: &str, body: &[u8], kind: &str, length: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n{length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A request by another method, to another address, or none at all.
fn odd(random: &mut Random, body: &[u8]) -> Vec<u8> {
    if random.below(5) == 0 {
        return [&*random.bytes(200), b"\r\n\r\n"].concat();
    }
    let long = format!("/customers/{}", "x".repeat(random.below(100_000)));
    let (method, path) = (random.of(&METHODS), random.of(&PATHS));
    let path = if random.below(8) == 0 { &long } else { path };
    let body = if random.below(2) == 0 { b"" } else { body };
    let headers = match random.below(4) {
        0 => ["X", ": y", "X: \u{0}", "Connection: upgrade"],
        _ => ["X: y", "Range: bytes=9-1", "Expect: 100-continue", "Accept-Encoding: br;q=nan"],
    };
    let (header, length) = (random.of(&headers), length(body));
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n{length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A body that was right before something was done to it, and where it is sent. Customers and items are those of this file alone.
fn body(random: &mut Random, case: u64) -> (&'static str, Vec<u8>) {
    let name = |of: &str| format!("\"odd-{of}-{case}\"");
    let of_order =
        vec![("id", name("id")), ("customer", "\"odd\"".into()), ("quantity", "2".into()), ("cents", "5".into())];
    let of_reservation = vec![("id", name("id")), ("item", name("item")), ("quantity", "3".into())];
    let (path, mut fields) = match random.below(3) {
        0 => ("/orders", of_order),
        1 => ("/reservations", of_reservation),
        // One that is right would have the job panic.
        _ => ("/poison", of_reservation),
    };
    let at = random.below(fields.len());
    let kind = random.below(10);
    match kind {
        0 => drop(fields.remove(at)),
        1 => fields.push(fields[at].clone()),
        2 => fields.push(("more", "1".into())),
        3 | 4 => fields[at].1 = random.of(&VALUES).to_owned(),
        5 => fields[at].1 = format!("\"{}\"", "x".repeat(60 + random.below(5_000))),
        6 => fields[at].1 = nested(random),
        _ => {}
    }
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let mut body = format!("{{{}}}", fields.join(",")).into_bytes();
    match kind {
        7 => {
            let at = random.below(body.len());
            body[at] = random.below(256) as u8;
        }
        8 => body.truncate(random.below(body.len())),
        9 => match random.below(4) {
            0 => body = nested(random).into_bytes(),
            1 => body = random.bytes(300),
            2 => body.extend(random.bytes(5)),
            _ => body.splice(..0, *b"\xef\xbb\xbf").for_each(drop),
        },
        _ => {}
    }
    (path, body)
}

/// Deeper than anybody needs.
fn nested(random: &mut Random) -> String {
    let depth = random.below(1_500);
    match random.below(3) {
        0 => "[".repeat(depth),
        1 => format!("{}1{}", "[".repeat(depth), "]".repeat(depth)),
        _ => format!("{}1{}", "{\"id\":".repeat(depth / 3), "}".repeat(depth / 3)),
    }
}
