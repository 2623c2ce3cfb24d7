//! Which headers pass through, and how they travel in the tunnel's frames.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, header};

use crate::actors::traffic::{MetadataLimit, metadata_size};
use crate::observe::tally::{Count, count};

use super::proto::Header;
use super::status;

/// The gateway's own key header.
pub const KEY: HeaderName = HeaderName::from_static("x-adit-key");
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Marks trailers that were cut to the limit.
const TRIMMED: HeaderName = HeaderName::from_static("x-gateway-trimmed");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Pairs that are read of one frame's metadata. Far more than any limit lets pass, and few enough
/// that two such maps fit into one, which panics at 24,576 names.
const PAIRS_MAX: usize = 4_096;

/// Headers of one connection, never of a call (RFC 9113 section 8.2.2), and those that gRPC or the
/// gateway makes itself. Most calls bring the first and none of the others. Not a constant, which would
/// be made and dropped wherever it is used.
static NEVER_FORWARDED: [HeaderName; 12] = [
    header::TE,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::CONTENT_LENGTH,
    header::HOST,
    status::STATUS,
    status::MESSAGE,
    status::REASON,
    KEY,
];

impl MetadataLimit {
    /// Whether a request's metadata is within the limit; the headers that gRPC itself adds are no
    /// entries.
    pub fn admits_request(&self, headers: &HeaderMap) -> bool {
        let own = |name: &HeaderName| {
            name == header::CONTENT_TYPE
                || name == header::USER_AGENT
                || name.as_str().starts_with("grpc-")
        };
        let custom = headers.keys().filter(|name| !own(name));
        let entries: usize = custom.map(|name| headers.get_all(name).iter().count()).sum();
        entries <= self.entries_max && metadata_size(headers) <= self.bytes_max
    }

    /// Cuts trailers to the limit: first the custom ones go, then the details, then the message.
    /// The status always stays.
    pub fn trim(&self, trailers: &mut HeaderMap) {
        if self.admits(trailers) {
            return;
        }
        count(Count::TrailersTrimmed);
        let own = [status::STATUS, status::MESSAGE, status::REASON, DETAILS];
        let custom: Vec<_> = trailers.keys().filter(|name| !own.contains(name)).cloned().collect();
        for name in custom.into_iter().chain([DETAILS, status::MESSAGE]) {
            if self.admits(trailers) {
                break;
            }
            trailers.remove(name);
        }
        trailers.insert(TRIMMED, HeaderValue::from_static("1"));
    }
}

/// Whether a call's metadata may have this name once it has come in.
pub fn is_forwarded(name: &HeaderName) -> bool {
    !NEVER_FORWARDED.contains(name)
}

/// Drops what is not forwarded.
pub fn strip(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION).cloned() {
        for name in named.to_str().unwrap_or_default().split(',') {
            headers.remove(name.trim());
        }
    }
    // Looking at what is there is cheaper than looking for what is not.
    while let Some(name) = headers.keys().find(|name| NEVER_FORWARDED.contains(name)) {
        headers.remove(name.clone());
    }
}

/// Metadata as a classic map carries it: duplicates are joined with a comma. Values that are not
/// text cannot be carried and are counted.
pub fn joined(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, String)> {
    headers.keys().filter_map(|name| {
        let (mut joined, mut first) = (String::new(), true);
        for value in headers.get_all(name) {
            let Ok(text) = std::str::from_utf8(value.as_bytes()) else {
                count(Count::MetadataDropped);
                continue;
            };
            if !std::mem::take(&mut first) {
                joined.push(',');
            }
            joined.push_str(text);
        }
        // A name without a value that is text is not sent as if it had an empty one.
        (!first).then_some((name, joined))
    })
}

/// Metadata from a classic map. What HTTP/2 could not carry is dropped and counted.
pub fn from_map(map: impl IntoIterator<Item = (String, String)>) -> HeaderMap {
    let pairs = map.into_iter().map(|(name, value)| (name, Bytes::from(value)));
    collect(pairs)
}

/// Metadata from exact headers. What HTTP/2 could not carry is dropped and counted.
pub fn from_exact(list: Vec<Header>) -> HeaderMap {
    collect(list.into_iter().map(|header| (header.name, header.value)))
}

/// Exact headers of metadata.
pub fn to_exact(headers: &HeaderMap) -> Vec<Header> {
    let pairs = headers.iter();
    pairs
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

fn collect(pairs: impl Iterator<Item = (String, Bytes)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        if headers.len() >= PAIRS_MAX {
            count(Count::MetadataDropped);
            continue;
        }
        let pair = (HeaderName::try_from(name), HeaderValue::from_maybe_shared(value));
        let (Ok(name), Ok(value)) = pair else {
            count(Count::MetadataDropped);
            continue;
        };
        if headers.try_append(name, value).is_err() {
            count(Count::MetadataDropped);
        }
    }
    strip(&mut headers);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn headers_of_the_connection_and_our_own_are_not_forwarded() {
        let mut headers = map(&[
            ("te", "trailers"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("x-adit-key", "secret"),
            ("grpc-status", "0"),
            ("authorization", "stays"),
            ("x-gateway-error", "forged"),
        ]);
        strip(&mut headers);
        assert_eq!(headers, map(&[("authorization", "stays")]));
    }

    #[test]
    fn duplicates_are_joined_in_order_and_what_is_not_text_is_left_out() {
        let mut headers = map(&[("a", "1"), ("a", "2"), ("b", "")]);
        headers.append("a", HeaderValue::from_bytes(b"\xff").unwrap());
        let joined: Vec<_> = joined(&headers).map(|(n, v)| (n.to_string(), v)).collect();
        assert_eq!(joined, [("a".into(), "1,2".into()), ("b".into(), String::new())]);
    }

    #[test]
    fn exact_headers_keep_every_byte_and_the_order_of_each_name() {
        let mut headers = map(&[("a", "1"), ("b-bin", "AA=="), ("a", "2")]);
        headers.append("a", HeaderValue::from_bytes(b"\x80\xff").unwrap());
        assert_eq!(from_exact(to_exact(&headers)), headers);
    }

    #[test]
    fn a_peers_broken_names_and_values_are_dropped() {
        let from = HashMap::from([
            ("Upper".to_owned(), "kept in lower case".to_owned()),
            ("bad name".to_owned(), "x".to_owned()),
            ("bad-value".to_owned(), "a\r\nb".to_owned()),
        ]);
        assert_eq!(from_map(from), map(&[("upper", "kept in lower case")]));
    }

    #[test]
    fn trailers_are_trimmed_in_order_and_keep_their_status() {
        let limit = MetadataLimit { bytes_max: 200, entries_max: 100 };
        let long = "x".repeat(100);
        let mut trailers = map(&[
            ("grpc-status", "5"),
            ("grpc-message", &long),
            ("grpc-status-details-bin", &long),
            ("custom", &long),
        ]);
        limit.trim(&mut trailers);
        assert_eq!(
            trailers,
            map(&[("grpc-status", "5"), ("grpc-message", &long), ("x-gateway-trimmed", "1")])
        );
    }

    #[test]
    fn the_limit_counts_bytes_and_pairs() {
        let headers = map(&[("abc", "defg"), ("abc", "")]);
        assert_eq!(metadata_size(&headers), 3 + 4 + 32 + 3 + 32);
        let admits =
            |bytes_max, entries_max| MetadataLimit { bytes_max, entries_max }.admits(&headers);
        assert!(admits(74, 2) && !admits(73, 2) && !admits(74, 1));
    }

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }
}
