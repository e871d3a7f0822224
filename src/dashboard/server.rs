//! A small server of the dashboard's own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};

use super::routes::scope;
use super::shared::Shared;

/// Connections at a time; more wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take for the head of its request.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection without requests is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A server that shows a [`Dashboard`](super::Dashboard), on a thread of its own, without the host's runtime. It ends when this is stopped or dropped;
/// the jobs do not.
///
/// ```
/// use millstream::dashboard::Dashboard;
///
/// let server = Dashboard::new().serve(0)?;
/// assert!(server.address().ip().is_loopback());
/// server.stop();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the server ends when this is dropped"]
pub struct DashboardServer {
    address: SocketAddr,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl DashboardServer {
    pub(super) fn start(address: SocketAddr, shared: Shared) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(shared);
        let (started, is_started) = mpsc::channel();
        let serve = move || {
            let served = actix_rt::System::new().block_on(async move {
                let server = HttpServer::new(move || App::new().service(scope("", &shared)))
                    .workers(1)
                    .max_connections(CONNECTIONS_MAX)
                    .client_request_timeout(REQUEST_WITHIN)
                    .keep_alive(KEEP_ALIVE)
                    .disable_signals()
                    .listen(listener);
                match server {
                    Ok(server) => {
                        let server = server.run();
                        // Whoever started it waits for this.
                        let _ = started.send(Ok(server.handle()));
                        server.await
                    }
                    Err(error) => {
                        let _ = started.send(Err(error));
                        Ok(())
                    }
                }
            });
            if let Err(error) = served {
                log::error!(target: "millstream::dashboard", "the dashboard on {address} is served no more: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("millstream-dashboard".to_owned()).spawn(serve)?;
        let server = is_started.recv().unwrap_or_else(|_| Err(io::Error::other("the server ended before it began")))?;
        log::info!(target: "millstream::dashboard", "dashboard on http://{address}/");
        Ok(Self { address, server, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: open connections are cut. Blocks until its thread has ended, which is soon.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The order is given by the call; its future would wait for the end, which the thread's is.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take() {
            // It has said in the log what went wrong.
            let _ = thread.join();
        }
    }
}

impl Drop for DashboardServer {
    fn drop(&mut self) {
        self.end();
    }
}
