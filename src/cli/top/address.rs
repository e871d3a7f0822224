//! Where the dashboard is.

use ureq::http::Uri;

use super::answers::JobId;
use super::error::TopError;
use super::text::Text;

/// The address below which a dashboard answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Without a slash at its end.
    base: String,
}

impl Address {
    /// From what a browser shows for the page, or from `host:port`. What stands behind `#` is of the page, and is left out.
    ///
    /// # Errors
    /// [`TopError::Address`].
    pub(super) fn parse(said: &str) -> Result<Self, TopError> {
        let refuse = |reason| TopError::Address { address: Text::of(said), reason };
        let page = said.split('#').next().unwrap_or_default();
        let whole = match page.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => page.to_owned(),
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(refuse("`top` does not encrypt; go through a tunnel (docs/cli.md)"));
            }
            Some(_) => return Err(refuse("it must begin with http://")),
            None => format!("http://{page}"),
        };
        let uri: Uri = whole.parse().map_err(|_| refuse("it cannot be read as one"))?;
        let authority = uri.authority().ok_or_else(|| refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it holds a name or a password, which others see in the list of processes"));
        }
        if authority.host().is_empty() {
            return Err(refuse("it names no host"));
        }
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(refuse("its port is none"));
        }
        if uri.query().is_some() {
            return Err(refuse("it holds a question mark"));
        }
        Ok(Self { base: format!("http://{authority}{}", uri.path().trim_end_matches('/')) })
    }

    pub(super) fn overview(&self) -> String {
        format!("{}/v1/overview", self.base)
    }

    /// An address of a job, `rest` being what follows its id.
    pub(super) fn job(&self, id: &JobId, rest: &str) -> String {
        format!("{}/v1/jobs/{}{rest}", self.base, id.encoded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_page_are_taken_and_others_refused_with_a_reason() {
        let base = |said| Address::parse(said).unwrap().base;
        assert_eq!(base("127.0.0.1:8081"), "http://127.0.0.1:8081");
        assert_eq!(base("localhost"), "http://localhost");
        assert_eq!(base("http://[::1]:8081/"), "http://[::1]:8081");
        assert_eq!(base("HTTP://ops.example/a/b/#/jobs/x/overview"), "http://ops.example/a/b");
        let refused = |said: &str| Address::parse(said).expect_err(said).to_string();
        for said in
            ["", "http://", "http:///x", "a b", "http://host:x/", "http://host:99999/", "http://h/?a", "\x1b[2J"]
        {
            assert!(!refused(said).contains('\x1b'));
        }
        assert!(refused("https://host/").contains("tunnel"));
        assert!(refused("ftp://host/").contains("must begin with http://"));
        assert!(refused("http://me:secret@host/").contains("password"));
    }

    #[test]
    fn ids_cannot_leave_their_place_in_the_address() {
        let address = Address::parse("localhost:1/mill").unwrap();
        let id = JobId::from("a/../b?c#d é".to_owned());
        assert_eq!(address.job(&id, "/log"), "http://localhost:1/mill/v1/jobs/a%2F..%2Fb%3Fc%23d%20%C3%A9/log");
        assert_eq!(address.overview(), "http://localhost:1/mill/v1/overview");
    }
}
