//! What comes before a call's first message: may it come in, and what is known of it.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::actors::now;
use crate::actors::traffic::{Marks, RequestHead};
use crate::auth::{Admission, Credential, KeyGrant};
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};
use crate::tunnel::admission;
use crate::tunnel::allowance::{Allowance, Hold};
use crate::tunnel::failure::Failure;
use crate::tunnel::id::MethodPath;

use super::call_record::CallRecord;
use super::metadata;
use super::revocation;
use super::timeout;
use super::wire::{Shared, Wire};

/// Checks that a request is gRPC; returns its content-type.
///
/// # Errors
///
/// The HTTP status that says why it is not.
pub fn content_type(method: &Method, headers: &HeaderMap) -> Result<HeaderValue, StatusCode> {
    if method != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = headers.get(header::CONTENT_TYPE);
    let grpc = content_type.filter(|value| is_grpc(value.as_bytes()));
    grpc.cloned().ok_or(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// Reads the head of a call; with it comes the key, where callers need one.
///
/// # Errors
///
/// Why the call is not admitted.
pub(super) fn read(
    parts: Parts,
    shared: &Shared,
    wire: &Wire,
    record: &mut CallRecord,
) -> Result<(Arc<RequestHead>, Option<Credential>), Failure> {
    let mut headers = parts.headers;
    let admission = check_key(&headers, shared, wire)?;
    if let Some(admission) = &admission {
        record.shows_key(&admission.grant);
    }
    // `path` is without the query, which is no part of a method.
    let path = MethodPath::parse(parts.uri.path())
        .filter(|path| shared.roles.callers && !admission::is_reserved(path.service()))
        .ok_or(Failure::UnknownService)?;
    let grant = admission.as_ref().map(|admission| &admission.grant);
    let slot_of_key = grant.map(|grant| place_of_call(grant, &path)).transpose()?;
    let deadline = deadline(&headers)?;
    metadata::strip(&mut headers);
    if !wire.metadata_limit().admits_request(&headers) {
        wire.metadata_limit().is_passed_by(&headers);
        return Err(Failure::MetadataTooLarge);
    }
    record.put_id(&mut headers);
    let session = wire.affinities.borrow().session(&path, &headers);
    let head = Arc::new(RequestHead {
        path,
        headers,
        deadline,
        session,
        only: None,
        unread: shared.unread.clone(),
        call_buffer: Allowance::new(wire.worker.tunnels.limits.now().call_buffer_bytes_max),
        wait_end: OnceLock::new(),
        slot_of_key,
        request: record.request(),
        marks: Marks::default(),
    });
    Ok((head, admission.map(|admission| admission.credential)))
}

/// `application/grpc`, or that with a suffix or parameters; not just anything that begins so.
fn is_grpc(content_type: &[u8]) -> bool {
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// What the caller's key allows; nothing where callers need none.
///
/// # Errors
///
/// That there is no key, or that it is not valid.
pub fn check_key(
    headers: &HeaderMap,
    shared: &Shared,
    wire: &Wire,
) -> Result<Option<Admission>, Failure> {
    if !wire.require_caller_key {
        return Ok(None);
    }
    let key = headers.get(metadata::KEY).ok_or(Failure::NoCredentials)?;
    let admission = wire.keys.borrow().check(key.as_bytes(), SystemTime::now());
    let admission = admission.map_err(revocation::failure_of)?;
    if !admission.grant.admits_certificate(&shared.certificate) {
        count(Count::AuthFailed);
        return Err(Failure::CertificateMismatch);
    }
    Ok(Some(admission))
}

/// A place among the calls of a key, if it may call this at all.
///
/// # Errors
///
/// If it may not, or has as many calls in flight as it may.
pub fn place_of_call(grant: &KeyGrant, path: &MethodPath) -> Result<Hold, Failure> {
    if !grant.call.allows(path.service()) {
        return Err(Failure::Scope);
    }
    place_of_key(grant)
}

/// A place among the calls of a key.
///
/// # Errors
///
/// If it has as many in flight as it may.
pub fn place_of_key(grant: &KeyGrant) -> Result<Hold, Failure> {
    grant.calls.take(1).ok_or_else(|| {
        limits::hit(Limit::CallsOfKey);
        Failure::InflightLimit
    })
}

/// Whether the caller's time may have run out before the call was on its way: clients write
/// grpc-timeout when they queue a call for a stream, and send it when there is one.
pub fn may_have_waited_in_vain(headers: &HeaderMap) -> bool {
    const SOON: Duration = Duration::from_secs(1);
    let timeout = headers.get(metadata::TIMEOUT);
    timeout.and_then(|value| timeout::parse(value.as_bytes())).is_some_and(|time| time <= SOON)
}

/// When the time of a caller is up, as it says.
///
/// # Errors
///
/// When it is up already, or is no time.
pub fn deadline(headers: &HeaderMap) -> Result<Option<std::time::Instant>, Failure> {
    let Some(value) = headers.get(metadata::TIMEOUT) else { return Ok(None) };
    let timeout = timeout::parse(value.as_bytes()).ok_or(Failure::BadTimeout)?;
    if timeout.is_zero() {
        return Err(Failure::Deadline);
    }
    // A deadline too far away for the clock is none.
    Ok(now().checked_add(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_not_enough_of_a_content_type() {
        for good in ["application/grpc", "application/grpc+foo", "application/grpc;charset=x"] {
            assert!(is_grpc(good.as_bytes()), "{good}");
        }
        for bad in ["application/grpcweb", "application/grpc-web", "text/plain", ""] {
            assert!(!is_grpc(bad.as_bytes()), "{bad}");
        }
    }
}
