//! Which calls belong to a session: those of a service with the same value under a metadata key.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName};

use crate::auth::pattern::NamePattern;
use crate::tunnel::affinity::Session;
use crate::tunnel::id::MethodPath;

use super::metadata;

/// For which services sessions are kept together. The first rule that means a service counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinities {
    rules: Vec<(NamePattern, Option<SessionKey>)>,
}

/// The metadata key whose value names a call's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKey(HeaderName);

/// Why a text is no [`SessionKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKeyError {
    /// It is no name of metadata.
    Name,
    /// No call has it once it is in: it belongs to the connection or to the gateway.
    NeverThere,
}

impl Affinities {
    /// Adds a rule after the others. Without a key, calls of these services are in no session.
    ///
    /// # Errors
    ///
    /// The earlier rule that means all these services, so that this one could never count.
    pub fn add(&mut self, services: NamePattern, key: Option<SessionKey>) -> Result<(), usize> {
        let earlier = self.rules.iter().position(|(earlier, _)| earlier.covers(&services));
        earlier.map_or(Ok(()), Err)?;
        self.rules.push((services, key));
        Ok(())
    }

    /// The session of a call. An empty value names none; of several values the first counts.
    pub fn session(&self, path: &MethodPath, headers: &HeaderMap) -> Option<Session> {
        let service = path.service();
        let (_, key) = self.rules.iter().find(|(services, _)| services.matches(service))?;
        let value = headers.get(&key.as_ref()?.0).filter(|value| !value.is_empty())?;
        Some(Session::named(value.as_bytes()))
    }

    /// The services that a rule names exactly.
    pub fn exact_names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|(services, _)| services.exact())
    }
}

impl FromStr for SessionKey {
    type Err = SessionKeyError;

    fn from_str(text: &str) -> Result<Self, SessionKeyError> {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| SessionKeyError::Name)?;
        if metadata::is_forwarded(&name) {
            Ok(Self(name))
        } else {
            Err(SessionKeyError::NeverThere)
        }
    }
}

impl fmt::Display for SessionKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "is no metadata key, like `x-session-id`",
            Self::NeverThere => "belongs to the connection or to the gateway, and to no call",
        })
    }
}

impl std::error::Error for SessionKeyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_first_rule_that_means_a_service_counts() {
        let mut affinities = Affinities::default();
        let key = |text: &str| Some(text.parse::<SessionKey>().unwrap());
        affinities.add("chat.Admin".parse().unwrap(), None).unwrap();
        affinities.add("chat.*".parse().unwrap(), key("X-Room")).unwrap();
        affinities.add("*".parse().unwrap(), key("x-user")).unwrap();

        let headers = [("x-room", "blue"), ("x-user", "ann")];
        let named = |name: &str| Some(Session::named(name.as_bytes()));
        assert_eq!(session(&affinities, &path("/chat.Admin/M"), &headers), None);
        assert_eq!(session(&affinities, &path("/chat.Room/M"), &headers), named("blue"));
        assert_eq!(session(&affinities, &path("/demo.Echo/M"), &headers), named("ann"));
        assert_eq!(affinities.exact_names().collect::<Vec<_>>(), ["chat.Admin"]);
    }

    #[test]
    fn a_rule_that_an_earlier_one_covers_is_refused() {
        let mut affinities = Affinities::default();
        for (pattern, earlier) in [
            ("a.B", None),
            ("a.*", None),
            ("a.B", Some(0)),
            ("a.C", Some(1)),
            ("a.b.*", Some(1)),
            ("ab.C", None),
            ("*", None),
            ("x.*", Some(4)),
            ("*", Some(4)),
        ] {
            let added = affinities.add(pattern.parse().unwrap(), None).err();
            let place = added.map(|place| affinities.rules[place].0.clone());
            let expected = earlier.map(|place: usize| ["a.B", "a.*", "", "", "*"][place]);
            assert_eq!(place.map(|pattern| pattern.to_string()).as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn an_empty_value_names_no_session_and_the_first_of_several_counts() {
        let mut affinities = Affinities::default();
        affinities.add(NamePattern::Any, Some("x-id-bin".parse().unwrap())).unwrap();
        let session = |headers: &[_]| session(&affinities, &path("/a.B/M"), headers);
        assert_eq!(session(&[]), None);
        assert_eq!(session(&[("x-id-bin", "")]), None);
        let first = session(&[("x-id-bin", "AAE")]);
        assert_eq!(first, Some(Session::named(b"AAE")), "as it is on the wire");
        assert_eq!(session(&[("x-id-bin", "AAE"), ("x-id-bin", "AAI")]), first);
    }

    #[test]
    fn what_no_call_has_is_no_key() {
        for text in ["", "a b", ":path", "ä"] {
            assert_eq!(text.parse::<SessionKey>(), Err(SessionKeyError::Name), "{text}");
        }
        for text in ["te", "x-adit-key", "Host"] {
            assert_eq!(text.parse::<SessionKey>(), Err(SessionKeyError::NeverThere), "{text}");
        }
    }

    fn path(text: &str) -> MethodPath {
        MethodPath::parse(text).unwrap()
    }

    fn session(
        affinities: &Affinities,
        path: &MethodPath,
        headers: &[(&'static str, &'static str)],
    ) -> Option<Session> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        affinities.session(path, &map)
    }
}
