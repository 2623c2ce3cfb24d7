//! Names that must not be mixed up.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Identifies one call from its admission to its end. The same id travels down the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

/// Identifies one tunnel connection. A service that reconnects gets a new one, so a late farewell
/// from the old connection can never unseat its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(Uuid);

/// Identifies who publishes or listens to topics: a tunnel, by its own id, or who needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(Uuid);

/// The place of an arbiter among the workers, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub usize);

/// The name under which a tunnel offers to serve calls: `package.Service` or `Service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

/// The path of a method, `/package.Service/Method`, checked once and kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodPath {
    path: Arc<str>,
    /// Where the slash before the method stands.
    slash: usize,
}

impl RequestId {
    /// How long its text is.
    const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

    /// A new id, never used before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id as text, as frames have it.
    pub fn text(self) -> [u8; Self::TEXT_BYTES] {
        let mut text = [0; Self::TEXT_BYTES];
        self.0.hyphenated().encode_lower(&mut text);
        text
    }

    /// The id as it is, for who only logs it.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// Reads an id as a peer sent it back; `None` when it can be none of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(Self)
    }
}

impl TunnelId {
    /// A new id, never used before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id itself, for who counts.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// The id in two numbers, for hashing.
    pub fn halves(self) -> (u64, u64) {
        self.0.as_u64_pair()
    }
}

impl MemberId {
    /// A new id, never used before.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id itself, for who counts.
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<TunnelId> for MemberId {
    fn from(tunnel: TunnelId) -> Self {
        Self(tunnel.0)
    }
}

impl ServiceName {
    /// Wraps a name; [`super::admission`] decides which names may be registered.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MethodPath {
    /// Reads `/service/method`: exactly two segments, neither empty (gRPC over HTTP/2, "Path").
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix('/')?;
        let (service, method) = rest.split_once('/')?;
        let plain = !service.is_empty() && !method.is_empty() && !method.contains('/');
        plain.then(|| Self { path: path.into(), slash: service.len() + 1 })
    }

    /// The whole path, unchanged.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// The service's full name: `package.Service`.
    pub fn service(&self) -> &str {
        &self.path[1..self.slash]
    }

    /// The service's name without its package.
    pub fn unqualified_service(&self) -> &str {
        unqualified(self.service())
    }
}

/// A service's name without its package.
pub fn unqualified(service: &str) -> &str {
    service.rsplit('.').next().unwrap_or_default()
}

impl Borrow<str> for ServiceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TunnelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for MethodPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million and more go down one tunnel, and none may be taken for another.
    #[test]
    fn ids_do_not_repeat() {
        let ids: std::collections::HashSet<_> = (0..100_000).map(|_| RequestId::random()).collect();
        assert_eq!(ids.len(), 100_000);
    }

    #[test]
    fn a_path_has_exactly_a_service_and_a_method() {
        let path = MethodPath::parse("/demo.Echo/Say").unwrap();
        assert_eq!(
            (path.service(), path.unqualified_service(), path.as_str()),
            ("demo.Echo", "Echo", "/demo.Echo/Say")
        );
        for bad in ["", "/", "//M", "/S/", "/S/M/x", "/S", "S/M", "/S/M/"] {
            assert_eq!(MethodPath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_an_id_of_ours_is_read_back() {
        let id = RequestId::random();
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        assert_eq!(RequestId::parse("call-1"), None);
    }
}
