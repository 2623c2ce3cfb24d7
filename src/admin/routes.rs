//! Which page is where, and who may see it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, http};

use crate::auth::key::KeyDigest;
use crate::observe::tally::{Count, count};

use super::answer::refused;
use super::{Facts, Settings, actors, connections, exposition, page, services, status, topics};

/// Who may see the pages.
struct Guard {
    token: Option<KeyDigest>,
}

/// All pages.
pub(super) fn router(settings: &Settings, facts: Facts) -> Router {
    let guard = Arc::new(Guard { token: settings.token });
    Router::new()
        .route("/", get(page::show))
        .route("/metrics", get(exposition::show))
        .route("/status", get(status::show))
        .route("/healthz", get(status::health))
        .route("/readyz", get(status::readiness))
        .route("/version", get(status::version))
        .route("/config", get(status::configuration))
        .route("/actors", get(actors::list))
        .route("/actors/{id}", get(actors::one))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", get(connections::one))
        .route("/services", get(services::list))
        .route("/topics", get(topics::list))
        .fallback(|| async { refused(StatusCode::NOT_FOUND, "there is no such page; see /") })
        .with_state(facts)
        .layer(middleware::from_fn_with_state(guard, admit))
}

/// Lets those in who may see the pages.
async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let (path, headers) = (request.uri().path(), request.headers());
    let mut response = match guard.refusal(headers) {
        None if is_read(request.method()) => next.run(request).await,
        None => not_allowed(),
        // The page itself tells nothing, and asks for the token.
        Some(Refusal::NoToken) if path == "/" && is_read(request.method()) => {
            unauthorized(page::show().await.into_response())
        }
        Some(Refusal::NoToken | Refusal::WrongToken) => {
            count(Count::WatcherUnknown);
            let text = "this listener asks for `authorization: Bearer` with its token";
            unauthorized(refused(StatusCode::UNAUTHORIZED, text))
        }
        Some(Refusal::OtherName) => {
            let text = "ask for this listener by its address or as localhost";
            refused(StatusCode::MISDIRECTED_REQUEST, text)
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn not_allowed() -> Response {
    let mut response = refused(StatusCode::METHOD_NOT_ALLOWED, "these pages can only be read");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

fn unauthorized(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let challenge = HeaderValue::from_static("Bearer realm=\"adit\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    // Who may not look keeps no place from those who may.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Why somebody sees nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    NoToken,
    WrongToken,
    OtherName,
}

impl Guard {
    fn refusal(&self, headers: &HeaderMap) -> Option<Refusal> {
        let Some(token) = self.token else {
            return (!is_asked_for_by_address(headers)).then_some(Refusal::OtherName);
        };
        let Some(shown) = headers.get(header::AUTHORIZATION) else {
            return Some(Refusal::NoToken);
        };
        let shown = bearer(shown.as_bytes());
        let is_right = shown.is_some_and(|shown| KeyDigest::of(shown) == token);
        (!is_right).then_some(Refusal::WrongToken)
    }
}

/// The token in an `authorization` header (RFC 6750 section 2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Without a token only who can reach loopback sees the pages. A page of the web can, in a browser on
/// this machine, if its name is made to mean 127.0.0.1: then the browser asks by that name.
fn is_asked_for_by_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(authority) = http::uri::Authority::try_from(host.as_bytes()) else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_and_only_the_right_one_lets_in() {
        let guard = Guard { token: Some(KeyDigest::of(b"right")) };
        let refusal = |value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            guard.refusal(&headers)
        };
        assert_eq!(refusal(Some("Bearer right")), None);
        assert_eq!(refusal(Some("bearer right")), None);
        assert_eq!(refusal(None), Some(Refusal::NoToken));
        for wrong in ["Bearer wrong", "Bearer ", "Basic right", "right", ""] {
            assert_eq!(refusal(Some(wrong)), Some(Refusal::WrongToken), "{wrong}");
        }
    }

    #[test]
    fn without_a_token_it_answers_to_addresses_and_localhost_alone() {
        let guard = Guard { token: None };
        let refusal = |host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            guard.refusal(&headers)
        };
        for good in ["127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "10.0.0.1"] {
            assert_eq!(refusal(good), None, "{good}");
        }
        for bad in ["evil.example:9464", "127.0.0.1.nip.io", "localhost.evil.example", "a b"] {
            assert_eq!(refusal(bad), Some(Refusal::OtherName), "{bad}");
        }
        assert_eq!(guard.refusal(&HeaderMap::new()), None);
    }
}
