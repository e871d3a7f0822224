//! Servers that are no dashboards.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

/// A server on a thread, which goes on until the tests end.
pub(crate) struct Server(SocketAddr);

impl Server {
    fn serving(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(serve));
        Self(address)
    }

    /// Sends these bytes for every request, and closes.
    pub(crate) fn answering(answer: Vec<u8>) -> Self {
        Self::serving(move |mut stream| {
            read_head(&mut stream);
            // Whoever has heard enough has closed.
            let _ = stream.write_all(&answer);
        })
    }

    /// Sends a head, and a body that does not end.
    pub(crate) fn endless() -> Self {
        Self::serving(|mut stream| {
            read_head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[");
            let spaces = vec![b' '; 1 << 16];
            while stream.write_all(&spaces).is_ok() {}
        })
    }

    /// Takes connections, and says nothing.
    pub(crate) fn silent() -> Self {
        Self::serving(|mut stream| {
            let mut asked = Vec::new();
            let _ = stream.read_to_end(&mut asked);
        })
    }

    pub(crate) fn address(&self) -> String {
        format!("http://{}/", self.0)
    }
}

fn read_head(stream: &mut TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
}

/// A port on which nobody listens.
pub(crate) fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
