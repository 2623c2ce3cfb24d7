//! The names in a client's certificate, and which of them a key asks for.

use std::fmt;
use std::str::FromStr;

use super::KeyGrant;

/// What stands between the scheme of a URI and the rest. A pattern with it means URIs.
const AFTER_SCHEME: &str = "://";

/// The names of the other end, from the certificate that it showed and that was verified. Empty
/// where none was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    dns: Vec<String>,
    uris: Vec<String>,
}

/// Which names of a certificate are meant. DNS names compare without case, URIs with it, and one
/// is never taken for the other: who may sign for the one may not be trusted with the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificatePattern {
    /// `agent-1.example.com`: this DNS name.
    Dns(String),
    /// `*.example.com`: every DNS name that ends with these characters, the first of which is the
    /// dot.
    DnsBelow(String),
    /// `spiffe://example.com/billing`: this URI.
    Uri(String),
    /// `spiffe://example.com/billing/*`: every URI that begins with these characters, the last of
    /// which is the slash.
    UriBelow(String),
}

/// Why a text is no pattern of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePatternError {
    /// It names nothing.
    Empty,
    /// It has a `*` somewhere else than before a DNS name or after a URI.
    Star,
    /// It has a character that no such name has.
    Character,
}

impl CertificateNames {
    /// The names as the certificate has them.
    pub fn new(
        dns: impl IntoIterator<Item = impl AsRef<str>>,
        uris: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            dns: dns.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect(),
            uris: uris.into_iter().map(Into::into).collect(),
        }
    }
}

impl KeyGrant {
    /// Whether the key may be used on a connection whose other end has these names. One that asks
    /// for no certificate may be used on any.
    pub fn admits_certificate(&self, names: &CertificateNames) -> bool {
        let mut patterns = self.certificate_names.iter();
        self.certificate_names.is_empty() || patterns.any(|pattern| pattern.matches(names))
    }
}

impl CertificatePattern {
    /// Whether the pattern means one of the names.
    pub fn matches(&self, names: &CertificateNames) -> bool {
        let CertificateNames { dns, uris } = names;
        match self {
            Self::Dns(exact) => dns.contains(exact),
            Self::DnsBelow(end) => {
                dns.iter().any(|name| is_longer(name, end) && name.ends_with(end))
            }
            Self::Uri(exact) => uris.contains(exact),
            Self::UriBelow(begin) => {
                uris.iter().any(|name| is_longer(name, begin) && name.starts_with(begin))
            }
        }
    }
}

/// What a star stands for is at least one character.
fn is_longer(name: &str, part: &str) -> bool {
    name.len() > part.len()
}

impl FromStr for CertificatePattern {
    type Err = CertificatePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_uri = text.contains(AFTER_SCHEME);
        let rest = if is_uri {
            text.strip_suffix('*').filter(|rest| rest.ends_with('/') && !rest.ends_with("://"))
        } else {
            text.strip_prefix('*').filter(|rest| rest.starts_with('.'))
        };
        let name = rest.unwrap_or(text);
        if name.is_empty() || name == "." {
            return Err(CertificatePatternError::Empty);
        }
        if name.contains('*') {
            return Err(CertificatePatternError::Star);
        }
        let foreign = |c: char| !c.is_ascii_graphic() || !is_uri && matches!(c, '/' | ':' | '@');
        if name.contains(foreign) {
            return Err(CertificatePatternError::Character);
        }
        Ok(match (is_uri, rest.is_some()) {
            (true, true) => Self::UriBelow(name.to_owned()),
            (true, false) => Self::Uri(name.to_owned()),
            (false, true) => Self::DnsBelow(name.to_ascii_lowercase()),
            (false, false) => Self::Dns(name.to_ascii_lowercase()),
        })
    }
}

impl fmt::Display for CertificateNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.dns.iter().chain(&self.uris).map(String::as_str).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Display for CertificatePatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "names nothing",
            Self::Star => {
                "a `*` stands before a DNS name or after a URI, \
                 like `*.example.com` or `spiffe://example.com/billing/*`"
            }
            Self::Character => {
                "must be a DNS name or a URI, like `agent.example.com` or \
                 `spiffe://example.com/billing`"
            }
        })
    }
}

impl std::error::Error for CertificatePatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_dns_names_or_uris_and_never_both() {
        let names = CertificateNames::new(
            ["Agent-1.Example.com", "*.wild.example.com"],
            ["spiffe://example.com/billing/api"],
        );
        for meant in [
            "agent-1.example.COM",
            "*.example.com",
            "*.wild.example.com",
            "spiffe://example.com/billing/api",
            "spiffe://example.com/billing/*",
            "spiffe://example.com/*",
        ] {
            assert!(pattern(meant).matches(&names), "{meant}");
        }
        for other in [
            "agent-2.example.com",
            "example.com",
            "*.agent-1.example.com",
            "*.ample.com",
            "spiffe://example.com/billing",
            "spiffe://example.com/Billing/api",
            "spiffe://example.com/billing/api/*",
        ] {
            assert!(!pattern(other).matches(&names), "{other}");
        }
        let disguised = CertificateNames::new(["a.example.com"], ["b.example.com"]);
        assert!(!pattern("b.example.com").matches(&disguised), "a URI is no DNS name");
    }

    #[test]
    fn a_key_without_patterns_asks_for_no_certificate() {
        let mut grant = KeyGrant::unlimited("bots");
        let none = CertificateNames::default();
        assert!(grant.admits_certificate(&none));
        grant.certificate_names = vec![pattern("a.example.com"), pattern("b.example.com")];
        assert!(!grant.admits_certificate(&none));
        assert!(grant.admits_certificate(&CertificateNames::new(["b.example.com"], [""; 0])));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        use CertificatePatternError::{Character, Empty, Star};
        let cases = [
            ("", Empty),
            ("*", Star),
            ("*.", Empty),
            ("*example.com", Star),
            ("a.*", Star),
            ("a.*.com", Star),
            ("spiffe://*", Star),
            ("spiffe://a/b*", Star),
            ("a b", Character),
            ("a.com/b", Character),
            ("a.com:443", Character),
            ("me@a.com", Character),
            ("bücher.example", Character),
        ];
        for (text, refusal) in cases {
            assert_eq!(text.parse::<CertificatePattern>(), Err(refusal), "{text:?}");
        }
    }

    fn pattern(text: &str) -> CertificatePattern {
        text.parse().unwrap()
    }
}
