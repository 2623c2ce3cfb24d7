//! `x-request-id`: what a call is called by its caller, the gateway and the service alike.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::observe::tally::{Count, count};
use crate::tunnel::id::RequestId;

/// The header of it, both ways.
pub(super) const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ones are not passed on: it stands in every line that is written of the call.
const BYTES_MAX: usize = 128;

/// Takes the caller's own out of its metadata, if it is one: visible ASCII, not too long, and only one.
/// Otherwise it is the gateway's id of the call.
pub(super) fn taken(headers: &mut HeaderMap, request: RequestId) -> HeaderValue {
    let mut id = match headers.entry(NAME) {
        http::header::Entry::Vacant(_) => None,
        http::header::Entry::Occupied(entry) => {
            let (_, mut values) = entry.remove_entry_mult();
            let only = values.next().filter(is_sane);
            let only = only.filter(|_| values.next().is_none());
            if only.is_none() {
                count(Count::RequestIdReplaced);
            }
            only
        }
    }
    .unwrap_or_else(|| own(request));
    // No other call has it: it must not push others' headers out of what HPACK remembers.
    id.set_sensitive(true);
    id
}

/// Puts it into what goes to the service or back to the caller, in the place of any other.
pub(super) fn put(headers: &mut HeaderMap, id: &HeaderValue) {
    headers.insert(NAME, id.clone());
}

fn is_sane(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn own(request: RequestId) -> HeaderValue {
    // Hex digits and dashes are always a value.
    HeaderValue::from_bytes(&request.text()).unwrap_or(HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_is_replaced() {
        let longest = "x".repeat(BYTES_MAX);
        let too_long = "x".repeat(BYTES_MAX + 1);
        for good in ["a", "!\"~", &longest] {
            assert_eq!(taken_of(&[good.as_bytes()]).1, good);
        }
        for bad in [&b""[..], b"a b", b"\xff", "\u{e4}".as_bytes(), too_long.as_bytes()] {
            let (request, id) = taken_of(&[bad]);
            assert_eq!(id, request.to_string(), "{bad:?}");
        }
        for ids in [&[][..], &[&b"a"[..], b"b"]] {
            let (request, id) = taken_of(ids);
            assert_eq!(id, request.to_string());
        }
    }

    fn taken_of(ids: &[&[u8]]) -> (RequestId, HeaderValue) {
        let mut headers = HeaderMap::new();
        headers.insert("other", HeaderValue::from_static("stays"));
        for id in ids {
            headers.append(NAME, HeaderValue::from_bytes(id).unwrap());
        }
        let request = RequestId::random();
        let id = taken(&mut headers, request);
        assert_eq!(headers.len(), 1);
        (request, id)
    }
}
