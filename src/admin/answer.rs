//! What all JSON answers have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::Serialize;

/// An answer with the moment that it is about.
#[derive(Debug, Serialize)]
struct Answer<'a, T> {
    /// When the numbers were read.
    captured_at: String,
    /// Grows by one with each answer, so that a reader can tell two of the same millisecond apart.
    sequence: u64,
    #[serde(flatten)]
    what: &'a T,
}

#[derive(Debug, Serialize)]
struct Refused<'a> {
    error: &'a str,
}

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// An answer.
pub(super) fn captured<T: Serialize>(what: &T) -> Response {
    captured_as(StatusCode::OK, what)
}

/// The same with another HTTP status than 200.
pub(super) fn captured_as<T: Serialize>(status: StatusCode, what: &T) -> Response {
    let captured_at = moment(SystemTime::now());
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    json(status, &Answer { captured_at, sequence, what })
}

/// Why there is none.
pub(super) fn refused(status: StatusCode, error: &str) -> Response {
    json(status, &Refused { error })
}

/// Indented: it is read by people as often as by programs.
fn json<T: Serialize>(status: StatusCode, what: &T) -> Response {
    match serde_json::to_vec_pretty(what) {
        Ok(mut text) => {
            text.push(b'\n');
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], text).into_response()
        }
        Err(error) => {
            log::error!("an answer of the metrics listener failed: cause={error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A moment as RFC 3339 writes it, to the millisecond.
pub(super) fn moment(at: SystemTime) -> String {
    // A clock that no date has is shown as the first of all.
    Timestamp::try_from(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

/// A duration in seconds, to the nanosecond.
pub(super) fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
