//! What all JSON answers have in common.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};

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

/// Long lists that are being made or read at once. Each is held in memory until it has been read.
const LISTS_MAX: usize = 8;

/// A list goes out in pieces of so many bytes.
const PIECE_BYTES: usize = 64 * 1024;

static LISTS: Semaphore = Semaphore::const_new(LISTS_MAX);

static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// An answer.
pub(super) fn captured<T: Serialize>(what: &T) -> Response {
    captured_as(StatusCode::OK, what)
}

/// The same with another HTTP status than 200.
pub(super) fn captured_as<T: Serialize>(status: StatusCode, what: &T) -> Response {
    json(status, &Answer::now(what), Body::from)
}

/// A list, which may be long: made if not too many others are being read, and counted until it has been.
/// `wish` is the question for it, as far as that can be read.
pub(super) fn list<W, T: Serialize>(
    wish: Result<Query<W>, QueryRejection>,
    make: impl FnOnce(W) -> Result<T, String>,
) -> Response {
    let Ok(permit) = LISTS.try_acquire() else {
        let mut busy = refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many lists are being read at this moment; ask again",
        );
        busy.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        return busy;
    };
    match wish.map_err(|error| error.body_text()).and_then(|Query(wish)| make(wish)) {
        Ok(list) => json(StatusCode::OK, &Answer::now(&list), |text| {
            Body::new(Counted { rest: text, _permit: permit })
        }),
        Err(error) => refused(StatusCode::BAD_REQUEST, &error),
    }
}

/// Why there is none.
pub(super) fn refused(status: StatusCode, error: &str) -> Response {
    json(status, &Refused { error }, Body::from)
}

impl<'a, T> Answer<'a, T> {
    fn now(what: &'a T) -> Self {
        let captured_at = moment(SystemTime::now());
        Self { captured_at, sequence: SEQUENCE.fetch_add(1, Ordering::Relaxed), what }
    }
}

/// Indented: it is read by people as often as by programs.
fn json<T: Serialize>(status: StatusCode, what: &T, body: impl FnOnce(Bytes) -> Body) -> Response {
    match serde_json::to_vec_pretty(what) {
        Ok(mut text) => {
            text.push(b'\n');
            let json = HeaderValue::from_static("application/json");
            (status, [(header::CONTENT_TYPE, json)], body(text.into())).into_response()
        }
        Err(error) => {
            log::error!("an answer of the metrics listener failed: cause={error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A body that counts until it has been read, or nobody reads it any more. It is given out in pieces, so
/// that the last of them goes when the reader has taken nearly all.
struct Counted {
    rest: Bytes,
    _permit: SemaphorePermit<'static>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = self.rest.len().min(PIECE_BYTES);
        let piece = (bytes > 0).then(|| Ok(Frame::data(self.rest.split_to(bytes))));
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
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

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::collections::BTreeMap;

    #[tokio::test]
    async fn lists_that_nobody_reads_are_few_and_one_that_is_read_makes_room() {
        let text = "x".repeat(3 * PIECE_BYTES);
        let long = || list(Ok(Query(())), |()| Ok(BTreeMap::from([("text", &text)])));
        let mut unread: Vec<_> = (0..LISTS_MAX).map(|_| long()).collect();
        assert!(unread.iter().all(|answer| answer.status() == StatusCode::OK));
        let refused = long();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()[header::RETRY_AFTER], "1");

        let read = unread.pop().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert!(read.len() > text.len() && read.ends_with(b"}\n"), "all pieces came");
        unread.push(long());
        assert_eq!(unread[LISTS_MAX - 1].status(), StatusCode::OK);
        unread.pop();
        assert_eq!(
            list::<_, ()>(Ok(Query(())), |()| Err("not so".to_owned())).status(),
            StatusCode::BAD_REQUEST
        );
    }
}
