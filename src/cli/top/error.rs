//! Why nothing can be shown.

use std::io;
use std::time::Duration;

use super::text::Text;

/// Why `top` cannot show anything, or has heard nothing new.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum TopError {
    #[error("'{address}' is no address of a dashboard: {reason}")]
    Address { address: Text, reason: &'static str },
    #[error("--{option} means nothing to `top`")]
    Option { option: &'static str },
    #[error("cannot connect to {url}: {reason}")]
    Connection { url: Text, reason: Text },
    #[error("the connection to {url} was cut before its answer was whole: {reason}")]
    Cut { url: Text, reason: Text },
    #[error("{url} has not answered within {} s", within.as_secs())]
    TimedOut { url: Text, within: Duration },
    #[error("{url} refuses with status {status}: {message} ({code})")]
    Refused { url: Text, status: u16, code: Text, message: Text },
    #[error("{url} answers with status {status}, and not as a dashboard does")]
    Status { url: Text, status: u16 },
    #[error("{url} leads elsewhere with status {status}: {to}")]
    Redirected { url: Text, status: u16, to: Text },
    #[error("{url} is no answer of a dashboard: {reason}")]
    NotADashboard { url: Text, reason: Text },
    #[error("{url} sends more than {} MiB", max >> 20)]
    TooLarge { url: Text, max: u64 },
    #[error("{url} speaks version {api} of the interface, and this program version 1")]
    Version { url: Text, api: u64 },
    #[error("the dashboard shows no job '{job}'; it shows {known}")]
    NoSuchJob { job: Text, known: Text },
    #[error("the standard output is no terminal that can be drawn on")]
    NoTerminal,
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] io::Error),
}

impl TopError {
    /// What may help.
    pub(in crate::cli) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Address { .. } => "pass the address of the page in a browser, such as http://127.0.0.1:8081/",
            Self::Option { option: "json" } => {
                "the addresses below v1/ of the dashboard are JSON: docs/dashboard-api.md"
            }
            Self::Option { .. } => "it is for the commands that look into stores",
            Self::Connection { .. } => "is the service running, and is its dashboard on that port?",
            Self::Cut { .. } => "the service, or a proxy before it, may have ended meanwhile; ask again",
            Self::TimedOut { .. } => {
                "the service may be stuck or overloaded, or something in between drops the connection"
            }
            Self::Refused { code, .. } if code.as_str() == "unknown_host" => {
                "call the server by its address in numbers, or let its program allow the name: Dashboard::host"
            }
            Self::Refused { status: 401 | 403, .. } | Self::Status { status: 401 | 403, .. } => {
                "`top` sends no credentials; ask the service from where it needs none, such as its own machine"
            }
            Self::Refused { .. } => return None,
            Self::Status { status: 500.., .. } => "see the log of the service, or of the proxy before it",
            Self::Status { .. } | Self::NotADashboard { .. } => {
                "pass the address up to where the page is, with the path under which the service has mounted it"
            }
            Self::Redirected { .. } => "pass the address that it leads to; https needs a tunnel: docs/cli.md",
            Self::TooLarge { .. } => "no dashboard of a job sends that much; is the address right?",
            Self::Version { .. } => "use the `millstream` of the version of the service",
            Self::NoSuchJob { .. } => "pass one of these by --job",
            Self::NoTerminal => "pass --once to print the figures one time",
            Self::Terminal(_) => "pass --once to print the figures one time",
        })
    }
}
