//! What a host says of its dashboard.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::HttpServiceFactory;
use millstream_actors::JobHandle;
use serde::Serialize;

use super::jobs::DashboardJobs;
use super::routes::scope;
use super::server::DashboardServer;
use super::shared::{Places, Settings, Shared};
use super::token::Token;
use crate::state::StateKey;

/// Streams of events that may be open at a time, over all jobs.
const STREAMS_MAX: usize = 64;
/// Orders that may wait for their outcome at a time.
const ORDERS_MAX: usize = 16;

/// The dashboard of some jobs: a page, and the JSON that it shows. Nothing listens before [`serve`](Self::serve) or
/// [`bind`](Self::bind) is called, or the host mounts a [`scope`](Self::scope) in its own server.
///
/// As long as nothing else is said it only shows, and neither records nor keys nor state of users.
///
/// In a program of any kind, on a server of its own on loopback:
///
/// ```
/// use millstream::dashboard::Dashboard;
/// use millstream::prelude::*;
///
/// let env = StreamEnvironment::new("numbers");
/// env.source("numbers", SequenceSource::new(0..10)).sink("out", CollectSink::new());
/// let job = env.start()?;
///
/// let server = Dashboard::new().job(&job).serve(0)?;      // any free port; 8081 say
/// println!("look at http://{}/", server.address());
/// job.wait()?;
/// server.stop();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// In a service on actix-web, under a path of its own:
///
/// ```
/// use actix_web::App;
/// use millstream::dashboard::Dashboard;
///
/// let dashboard = Dashboard::new();
/// let jobs = dashboard.jobs();                            // jobs that start later: jobs.add(&job)
/// let app = move || App::new().service(dashboard.scope("/millstream"));
/// # let _ = (jobs, app());
/// ```
#[derive(Clone, Debug)]
pub struct Dashboard {
    settings: Settings,
    jobs: DashboardJobs,
    streams: Places,
    orders: Places,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            jobs: DashboardJobs::default(),
            streams: Places::new(STREAMS_MAX),
            orders: Places::new(ORDERS_MAX),
        }
    }
}

impl Dashboard {
    /// A dashboard that shows no job yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows a job, as [`DashboardJobs::add`] does.
    #[must_use]
    pub fn job(self, job: &JobHandle) -> Self {
        self.jobs.add(job);
        self
    }

    /// The jobs that it shows: jobs may be added and removed at any time.
    pub fn jobs(&self) -> DashboardJobs {
        self.jobs.clone()
    }

    /// Lets whoever knows the token change the jobs: take checkpoints, pause, resume, rescale, resume parked regions, drain and cancel; and
    /// write savepoints, if there is a [folder](Self::savepoints_in) for them. Without one nobody does.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.settings.token = Some(token);
        self
    }

    /// With `true`, what is known of a record at which a function failed is shown: the record and its key, as the log has them. By default
    /// they are left out. What panics and errors of the program say is shown in either case.
    #[must_use]
    pub fn allow_records(mut self, allow: bool) -> Self {
        self.settings.shows_records = allow;
        self
    }

    /// Lets everybody who sees the dashboard ask for the value that this state of this operator has for a key, in any of the jobs. The names
    /// and types are those of [`query`](crate::query::QueryState::query). No state is shown that is not named here.
    ///
    /// ```
    /// use millstream::dashboard::Dashboard;
    ///
    /// // GET v1/jobs/orders/state/cents/accumulator?key=7
    /// let dashboard = Dashboard::new().state::<u64, u64>("cents", "accumulator");
    /// # let _ = dashboard;
    /// ```
    #[must_use]
    pub fn state<K, V>(mut self, operator: &str, state: &str) -> Self
    where
        K: StateKey + Clone + Sync,
        V: Serialize + Send + 'static,
    {
        self.settings.lookups.add::<K, V>(operator, state);
        self
    }

    /// The folder in which whoever knows the token may have savepoints written, by the names of their files. Without one none is.
    #[must_use]
    pub fn savepoints_in(mut self, dir: impl Into<PathBuf>) -> Self {
        self.settings.savepoint_dir = Some(dir.into());
        self
    }

    /// A name by which the server that [`bind`](Self::bind) starts is called in browsers. `localhost` and addresses in numbers are known without;
    /// requests that name any other host are refused, as pages of others make them that have their own name lead here.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.settings.hosts.push(name.to_ascii_lowercase());
        self
    }

    /// The dashboard as a part of the host's own actix-web server, below `path`: `/millstream` say. To be called once for each worker, of
    /// clones.
    ///
    /// Who may see it is the host's to say; other parts of the host that are of the same origin are trusted.
    pub fn scope(&self, path: &str) -> impl HttpServiceFactory + use<> {
        scope(path, &Arc::new(self.shared(false)))
    }

    /// Serves it on this port of 127.0.0.1, on a thread of its own; 0 is any free one.
    ///
    /// # Errors
    /// That of listening there, or of starting the thread.
    pub fn serve(self, port: u16) -> io::Result<DashboardServer> {
        self.bind((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Serves it on this address, on a thread of its own, without encryption: beyond loopback everybody sees all of it.
    ///
    /// # Errors
    /// That of listening there, or of starting the thread.
    pub fn bind(self, address: SocketAddr) -> io::Result<DashboardServer> {
        DashboardServer::start(address, self.shared(true))
    }

    fn shared(&self, checks_host: bool) -> Shared {
        Shared {
            settings: self.settings.clone(),
            jobs: self.jobs.clone(),
            checks_host,
            streams: self.streams.clone(),
            orders: self.orders.clone(),
        }
    }
}
