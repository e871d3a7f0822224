//! What every request goes through: who may ask, and what a browser is told of the answers.

use actix_web::Error;
use actix_web::HttpRequest;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::web::Data;

use super::api::Refusal;
use super::shared::Shared;

/// Scripts, styles, images and requests of the same origin and nothing else; shown in no frame.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                                connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; \
                                form-action 'none'; frame-ancestors 'none'";

/// Headers that every answer has.
const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const SEC_FETCH_MODE: &str = "sec-fetch-mode";

/// Refuses what comes from pages of others, and adds the headers.
pub(super) async fn guard(
    shared: Data<Shared>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let mut response = match check(&shared, request.request()) {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => request.into_response(refusal.respond()),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

fn check(shared: &Shared, request: &HttpRequest) -> Result<(), Refusal> {
    let host = host_of(request);
    if shared.checks_host && !host.is_some_and(|host| is_known(host, &shared.settings.hosts)) {
        let message = "this server is not called so; the host program names others by Dashboard::host";
        return Err(Refusal::forbidden("unknown_host", message));
    }
    if is_cross_site(request, host) {
        return Err(Refusal::forbidden("cross_site", "requests from pages of another origin are refused"));
    }
    Ok(())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Host and port that the client believes to talk to.
fn host_of(request: &HttpRequest) -> Option<&str> {
    text(request.headers(), "host").or_else(|| request.uri().authority().map(|authority| authority.as_str()))
}

/// Whether no page of others can have that name lead here: `localhost`, an address in numbers, or what the host program has named.
fn is_known(host: &str, known: &[String]) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let in_numbers = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || in_numbers.parse::<std::net::IpAddr>().is_ok() || known.contains(&name)
}

/// Whether a page of another origin has had the browser make this request. Following a link to the page is none of that. Where the
/// browser says so itself that holds, as a proxy may change how the host is called.
fn is_cross_site(request: &HttpRequest, host: Option<&str>) -> bool {
    let headers = request.headers();
    let is_navigation = request.method() == Method::GET && text(headers, SEC_FETCH_MODE) == Some("navigate");
    match (text(headers, SEC_FETCH_SITE), text(headers, ORIGIN.as_str())) {
        (Some("same-origin" | "none"), _) => false,
        (Some(_), _) => !is_navigation,
        (None, None) => false,
        (None, Some(origin)) => {
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            !matches!((authority, host), (Some(origin), Some(host)) if origin.eq_ignore_ascii_case(host))
        }
    }
}

/// Whether the request may change something.
pub(super) fn authorize(shared: &Shared, request: &HttpRequest) -> Result<(), Refusal> {
    let Some(token) = &shared.settings.token else {
        return Err(Refusal::forbidden("control_is_off", "the host has set no token, so nothing can be changed here"));
    };
    let said = text(request.headers(), AUTHORIZATION.as_str()).and_then(|said| said.split_once(' '));
    match said {
        Some((scheme, said)) if scheme.eq_ignore_ascii_case("bearer") && token.is(said.trim()) => Ok(()),
        Some(_) => Err(Refusal::new(StatusCode::UNAUTHORIZED, "wrong_token", "that is not the token")),
        None => Err(Refusal::new(StatusCode::UNAUTHORIZED, "no_token", "needs `Authorization: Bearer <token>`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_known_by_name_or_in_numbers() {
        let known = ["ops.example".to_owned()];
        for host in ["localhost", "LOCALHOST:8081", "127.0.0.1:1", "[::1]:8081", "[::1]", "10.0.0.7", "ops.example:80"]
        {
            assert!(is_known(host, &known), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:8081", "127.0.0.1.evil.example", "ops.example.evil", "[x]"]
        {
            assert!(!is_known(host, &known), "{host}");
        }
    }
}
