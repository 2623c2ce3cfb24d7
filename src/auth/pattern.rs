//! Patterns of service names.

use std::fmt;
use std::str::FromStr;

use crate::tunnel::admission::is_well_formed;

/// Which service names are meant: one, all that start alike, or all. Case matters, as it does in
/// gRPC paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// `chat.Room`: this name.
    Exact(String),
    /// `demo.*`: every name that starts with these characters, the last of which is the dot. So
    /// `demo.*` does not mean `demo` or `demonstration.Echo`.
    Prefix(String),
    /// `*`: every name.
    Any,
}

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It names nothing.
    Empty,
    /// It has a `*` somewhere else than alone or after the last dot.
    Star,
    /// No service could have such a name.
    NotAName,
}

impl NamePattern {
    /// Whether the pattern means this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()),
            Self::Any => true,
        }
    }

    /// Whether the pattern means every name that the other one means.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Prefix(prefix), Self::Prefix(narrower)) => narrower.starts_with(prefix.as_str()),
            (Self::Exact(_), Self::Prefix(_)) | (_, Self::Any) => false,
        }
    }

    /// The name, if the pattern means only one.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(name) => Some(name),
            Self::Prefix(_) | Self::Any => None,
        }
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let prefix = text.strip_suffix('*').filter(|prefix| prefix.ends_with('.'));
        let name = prefix.unwrap_or(text);
        if name.is_empty() || name == "." {
            return Err(PatternError::Empty);
        }
        if name.contains('*') {
            return Err(PatternError::Star);
        }
        if !is_well_formed(name.strip_suffix('.').filter(|_| prefix.is_some()).unwrap_or(name)) {
            return Err(PatternError::NotAName);
        }
        let name = name.to_owned();
        Ok(if prefix.is_some() { Self::Prefix(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "names no service",
            Self::Star => "a `*` stands alone or ends a prefix, like `*` or `demo.*`",
            Self::NotAName => {
                "a service name is letters, digits, `_` and `-`, in parts joined by dots"
            }
        })
    }
}

impl std::error::Error for PatternError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_its_dot() {
        let pattern: NamePattern = "demo.*".parse().unwrap();
        assert!(pattern.matches("demo.Echo"));
        assert!(pattern.matches("demo.v1.Echo"));
        for other in ["demo", "demonstration.Echo", "a.demo.Echo", "Demo.Echo", ""] {
            assert!(!pattern.matches(other), "{other}");
        }
    }

    #[test]
    fn an_exact_name_means_itself_and_a_star_means_all() {
        let room: NamePattern = "chat.Room".parse().unwrap();
        assert!(room.matches("chat.Room"));
        assert!(!room.matches("chat.RoomService"));
        assert!(!room.matches("Room"));
        assert!("*".parse::<NamePattern>().unwrap().matches("Room"));
    }

    #[test]
    fn a_star_anywhere_else_is_refused() {
        for text in ["demo*", "*.Echo", "de*mo", "**", "demo.*.Echo", "demo.**", "a*.*"] {
            assert_eq!(text.parse::<NamePattern>(), Err(PatternError::Star), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_names_nothing_is_refused() {
        for text in ["", ".", ".*"] {
            assert_eq!(text.parse::<NamePattern>(), Err(PatternError::Empty), "{text}");
        }
        for text in
            ["/demo.Echo", "demo Echo", "demo.Echo\n", " .*", "a.", "a..b", "a..*", "\u{e9}"]
        {
            assert_eq!(text.parse::<NamePattern>(), Err(PatternError::NotAName), "{text}");
        }
    }

    #[test]
    fn a_pattern_prints_as_it_is_written() {
        for text in ["*", "demo.*", "chat.Room", "Echo"] {
            assert_eq!(text.parse::<NamePattern>().unwrap().to_string(), text);
        }
    }
}
