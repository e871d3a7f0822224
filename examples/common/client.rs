//! The smallest possible HTTP client.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::de::DeserializeOwned;

/// Sends a request with this body, empty or JSON, and reads the answer's JSON. Blocks for 10 s at most.
pub(crate) fn request<T: DeserializeOwned>(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<T, Box<dyn Error + Send + Sync>> {
    answer(send(address, method, path, body)?).map_err(|error| format!("{method} {path}: {error}").into())
}

/// Reads the answer's JSON to a request that was sent, as [`request`] does.
pub(crate) fn answer<T: DeserializeOwned>(mut stream: TcpStream) -> Result<T, Box<dyn Error + Send + Sync>> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without an end of its head")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("{status}: {body}").into());
    }
    Ok(serde_json::from_str(body)?)
}

/// Sends a request, and does not wait for the answer.
pub(crate) fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // HTTP/1.0 has no chunks, and the answer ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}
