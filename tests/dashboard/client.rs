//! A small HTTP client, which says exactly what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer takes so long.
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) const TOKEN: &str = "a token of the tests";

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The code of the error that it has.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error in {self:?}")).to_owned()
    }
}

/// Sends these bytes, and reads all that comes until the server closes.
pub(crate) fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    // A server that has heard enough closes before all is sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

pub(crate) fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n").unwrap();
    if headers.iter().all(|(name, _)| *name != "Host") {
        write!(stream, "Host: {address}\r\n").unwrap();
    }
    headers.iter().for_each(|(name, value)| write!(stream, "{name}: {value}\r\n").unwrap());
    let length =
        if body.is_empty() && method != "POST" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    write!(stream, "{length}\r\n{body}").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "answers have a length: {head}");
    Response { status, head: head.to_owned(), body: body.to_owned() }
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    send(address, "GET", path, &[], "")
}

/// As the page does it.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Response {
    let bearer = format!("Bearer {TOKEN}");
    let headers =
        [("Authorization", &*bearer), ("Content-Type", "application/json"), ("Sec-Fetch-Site", "same-origin")];
    send(address, "POST", path, &headers, body)
}

/// A stream of server-sent events.
pub(crate) struct Events(BufReader<TcpStream>);

#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n").unwrap();
        headers.iter().for_each(|(name, value)| write!(stream, "{name}: {value}\r\n").unwrap());
        write!(stream, "\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        Self(reader)
    }

    /// The next message; `None` once the stream has ended. Lines of chunks have no colon, and are passed over.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let (mut message, mut has_some, mut line) = (Message::default(), false, String::new());
        loop {
            line.clear();
            if self.0.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => message.id = Some(id.parse().unwrap()),
                Some(("event", event)) => message.event = event.to_owned(),
                Some(("data", data)) => {
                    message.data = serde_json::from_str(data).unwrap();
                    has_some = true;
                }
                _ if has_some => return Some(message),
                _ => {}
            }
        }
    }

    /// The first message of this kind of event that comes.
    pub(crate) fn find(&mut self, event: &str) -> Message {
        loop {
            let message = self.next().expect("the stream goes on");
            if message.data["event"] == event {
                return message;
            }
        }
    }
}
