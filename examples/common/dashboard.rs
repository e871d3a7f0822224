//! `--dashboard [PORT]`: the jobs in a browser, if the example was built with the feature `dashboard`.

use std::io;

use millstream::JobHandle;
use millstream::state::StateKey;
use serde::Serialize;

#[cfg(feature = "dashboard")]
use millstream::dashboard::{Dashboard, DashboardJobs, DashboardServer, Token};

/// The port, if none is said.
const PORT: u16 = 8081;
/// Names a token with which the page may change the jobs.
#[cfg(feature = "dashboard")]
const TOKEN: &str = "MILLSTREAM_DASHBOARD_TOKEN";
/// Names the folder in which whoever knows the token may have savepoints written.
#[cfg(feature = "dashboard")]
const SAVEPOINTS: &str = "MILLSTREAM_DASHBOARD_SAVEPOINTS";

/// What is said behind `--dashboard`.
pub(crate) fn port(args: &mut lexopt::Parser) -> Result<u16, lexopt::Error> {
    if cfg!(not(feature = "dashboard")) {
        return Err("--dashboard needs the feature of that name: cargo run --features dashboard ...".into());
    }
    if let Some(port) = args.optional_value() {
        return lexopt::ValueExt::parse(&port);
    }
    let mut raw = args.raw_args()?;
    let port = raw.peek().and_then(|next| next.to_str()).and_then(|next| next.parse().ok());
    if port.is_some() {
        raw.next();
    }
    Ok(port.unwrap_or(PORT))
}

/// Shows jobs, if that was asked for.
pub(crate) struct Shown {
    #[cfg(feature = "dashboard")]
    on: Option<(DashboardServer, DashboardJobs)>,
}

impl Shown {
    /// On this port of 127.0.0.1; shows nothing for `None`.
    #[cfg(feature = "dashboard")]
    pub(crate) fn on(port: Option<u16>) -> io::Result<Self> {
        Self::serving(port, Dashboard::new())
    }

    /// The same, and everybody may look up this state of this operator by key.
    #[cfg(feature = "dashboard")]
    pub(crate) fn with_state<K, V>(port: Option<u16>, operator: &str, state: &str) -> io::Result<Self>
    where
        K: StateKey + Clone + Sync,
        V: Serialize + Send + 'static,
    {
        Self::serving(port, Dashboard::new().state::<K, V>(operator, state))
    }

    #[cfg(feature = "dashboard")]
    fn serving(port: Option<u16>, dashboard: Dashboard) -> io::Result<Self> {
        let Some(port) = port else { return Ok(Self { on: None }) };
        let mut dashboard = dashboard.allow_records(true);
        if let Ok(token) = std::env::var(TOKEN) {
            dashboard = dashboard.token(Token::new(token).map_err(io::Error::other)?);
        }
        if let Some(dir) = std::env::var_os(SAVEPOINTS) {
            dashboard = dashboard.savepoints_in(dir);
        }
        let jobs = dashboard.jobs();
        let server = dashboard.serve(port)?;
        println!("dashboard on http://{}/", server.address());
        Ok(Self { on: Some((server, jobs)) })
    }

    /// Shows nothing: [`port`] lets nothing else be asked for.
    #[cfg(not(feature = "dashboard"))]
    pub(crate) fn on(_: Option<u16>) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Shows nothing, either.
    #[cfg(not(feature = "dashboard"))]
    #[expect(clippy::extra_unused_type_parameters, reason = "they are those of the same call with the feature")]
    pub(crate) fn with_state<K: StateKey, V: Serialize>(_: Option<u16>, _: &str, _: &str) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Shows a job, too.
    #[cfg(feature = "dashboard")]
    pub(crate) fn add(&self, job: &JobHandle) {
        if let Some((_, jobs)) = &self.on {
            jobs.add(job);
        }
    }

    /// Shows a job, too.
    #[cfg(not(feature = "dashboard"))]
    pub(crate) fn add(&self, _: &JobHandle) {}

    /// Goes on showing what there was until ctrl-c, if something is shown.
    #[cfg(feature = "dashboard")]
    pub(crate) fn stay(self) -> io::Result<()> {
        let Some((server, _)) = self.on else { return Ok(()) };
        println!("the dashboard stays on http://{}/ until ctrl-c", server.address());
        actix_rt::System::new().block_on(actix_rt::signal::ctrl_c())?;
        server.stop();
        Ok(())
    }

    /// Shows nothing any longer.
    #[cfg(not(feature = "dashboard"))]
    pub(crate) fn stay(self) -> io::Result<()> {
        Ok(())
    }
}
