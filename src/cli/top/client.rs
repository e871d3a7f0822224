//! Asking the server.

use std::io;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::header::LOCATION;

use super::answers::ErrorBody;
use super::error::TopError;
use super::text::Text;

/// How long an answer may take, from the connection to its last byte.
pub(super) const WITHIN: Duration = Duration::from_secs(5);
/// Bytes that an answer may have: a job of some 20,000 subtasks.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Characters of an answer that is none which are told.
const TOLD_MAX: usize = 60;

/// Asks one server. Follows no redirection, and goes through no proxy.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
}

impl Client {
    pub(super) fn new() -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(WITHIN))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("millstream-top/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent() }
    }

    /// The answer at this address.
    ///
    /// # Errors
    /// All of [`TopError`] that are about answers.
    pub(super) fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, TopError> {
        let failed = |error| unanswered(url, error);
        let mut response = self.agent.get(url).header("accept", "application/json").call().map_err(failed)?;
        let (url, status) = (Text::of(url), response.status());
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned());
            return Err(TopError::Redirected { url, status: status.as_u16(), to: to.unwrap_or_default().into() });
        }
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(failed)?;
        if !status.is_success() {
            return Err(refusal(url, status.as_u16(), &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let reason = if error.is_data() { error.to_string() } else { no_json(&error, &bytes) };
            TopError::NotADashboard { url, reason: reason.into() }
        })
    }
}

fn no_json(error: &serde_json::Error, bytes: &[u8]) -> String {
    let beginning: String = String::from_utf8_lossy(bytes).chars().take(TOLD_MAX).collect();
    format!("no JSON ({error}): '{beginning}'")
}

/// What the server says instead of an answer.
fn refusal(url: Text, status: u16, bytes: &[u8]) -> TopError {
    match serde_json::from_slice::<ErrorBody>(bytes) {
        Ok(ErrorBody { error }) => TopError::Refused { url, status, code: error.code, message: error.message },
        Err(_) => TopError::Status { url, status },
    }
}

/// What went wrong on the way.
fn unanswered(url: &str, error: ureq::Error) -> TopError {
    let url = Text::of(url);
    let error = match error {
        ureq::Error::Timeout(_) => return TopError::TimedOut { url, within: WITHIN },
        ureq::Error::BodyExceedsLimit(max) => return TopError::TooLarge { url, max },
        ureq::Error::Io(error) => error,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
            return TopError::Connection { url, reason: Text::of(&error.to_string()) };
        }
        // What came is no HTTP.
        other => return TopError::NotADashboard { url, reason: Text::of(&other.to_string()) },
    };
    let reason = Text::of(&error.to_string());
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => TopError::TimedOut { url, within: WITHIN },
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => TopError::Cut { url, reason },
        _ => TopError::Connection { url, reason },
    }
}
