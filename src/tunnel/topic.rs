//! Names of topics, and patterns of them: words between dots.
//!
//! In a pattern `*` stands for exactly one word and `#` for any number of words, none included: what
//! the topic exchanges of `RabbitMQ` mean by them.

pub mod directory;
pub mod duplicates;
pub mod history;
pub mod queue;
pub mod reader;
pub mod refusal;
pub mod tree;

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

/// The first word of names that only the gateway uses.
const RESERVED: &str = "adit";

/// The name of a topic that something is published under. Has no wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(String);

/// Which topics somebody would like to hear of. A name is the pattern of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPattern(String);

/// Why a text is no name or no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTopic {
    /// It is empty.
    Empty,
    /// It is longer than this many bytes.
    TooLong {
        /// The limit.
        max: usize,
    },
    /// Two dots follow each other, or it begins or ends with one.
    EmptyWord,
    /// It has a space or a character that cannot be seen.
    NotVisible,
    /// A name has a wildcard.
    Wildcard,
    /// A name begins with the word that names of the gateway's own begin with.
    Reserved,
    /// A pattern has a wildcard that is only a part of a word.
    PartOfWord,
}

impl TopicName {
    /// A name of at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str, bytes_max: usize) -> Result<Self, BadTopic> {
        check(text, bytes_max)?;
        if text.contains(['*', '#']) {
            return Err(BadTopic::Wildcard);
        }
        if text.split('.').next() == Some(RESERVED) {
            return Err(BadTopic::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

impl TopicPattern {
    /// The pattern that means every topic.
    pub fn all() -> Self {
        Self("#".to_owned())
    }

    /// A pattern of at most `bytes_max` bytes.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn parse(text: &str, bytes_max: usize) -> Result<Self, BadTopic> {
        check(text, bytes_max)?;
        let is_part = |word: &str| word.len() > 1 && word.contains(['*', '#']);
        if text.split('.').any(is_part) {
            return Err(BadTopic::PartOfWord);
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words, wildcards among them.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether every name that the other means is meant by this one too, word by word. For the scopes of
    /// keys: a subscription must not mean more than its key allows.
    ///
    /// What is not seen to be covered is not: then the key has to say it more plainly.
    pub fn covers(&self, other: &Self) -> bool {
        // Most scopes are this one.
        self.0 == "#" || covers(&in_order(self.words()), &in_order(other.words()))
    }

    /// Whether the name is meant.
    pub fn matches(&self, name: &TopicName) -> bool {
        self.0 == "#" || covers(&in_order(self.words()), &in_order(name.words()))
    }
}

/// The words, of those wildcards that follow each other first the stars, then one `#` if there is any: so
/// many words at least, or just as many.
fn in_order<'w>(words: impl Iterator<Item = &'w str>) -> Vec<&'w str> {
    let (mut ordered, mut many) = (Vec::new(), false);
    for word in words {
        match word {
            "#" => many = true,
            "*" => ordered.push(word),
            _ => {
                ordered.extend(std::mem::take(&mut many).then_some("#"));
                ordered.push(word);
            }
        }
    }
    ordered.extend(many.then_some("#"));
    ordered
}

/// Whether all names of `other` are names of `own`. `reached[n]` says whether the first `n` words of
/// `own` can have taken what was read of `other`.
fn covers(own: &[&str], other: &[&str]) -> bool {
    let mut reached = vec![false; own.len() + 1];
    reached[0] = true;
    skip(own, &mut reached);
    for word in other {
        let mut next = vec![false; own.len() + 1];
        for (place, expected) in own.iter().enumerate() {
            if !reached[place] {
                continue;
            }
            match *expected {
                "#" => next[place] = true,
                // A `#` may be two words, or none.
                "*" if *word != "#" => next[place + 1] = true,
                same if same == *word && *word != "#" => next[place + 1] = true,
                _ => {}
            }
        }
        skip(own, &mut next);
        reached = next;
    }
    reached[own.len()]
}

/// A `#` takes no word as well.
fn skip(own: &[&str], reached: &mut [bool]) {
    for (place, word) in own.iter().enumerate() {
        if reached[place] && *word == "#" {
            reached[place + 1] = true;
        }
    }
}

fn check(text: &str, bytes_max: usize) -> Result<(), BadTopic> {
    if text.is_empty() {
        return Err(BadTopic::Empty);
    }
    if text.len() > bytes_max {
        return Err(BadTopic::TooLong { max: bytes_max });
    }
    if text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err(BadTopic::NotVisible);
    }
    if text.split('.').any(str::is_empty) {
        return Err(BadTopic::EmptyWord);
    }
    Ok(())
}

impl FromStr for TopicPattern {
    type Err = BadTopic;

    /// A pattern of any length.
    fn from_str(text: &str) -> Result<Self, BadTopic> {
        Self::parse(text, usize::MAX)
    }
}

impl Borrow<str> for TopicPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BadTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a topic has at least one word"),
            Self::TooLong { max } => write!(f, "a topic has {max} bytes at most"),
            Self::EmptyWord => f.write_str("between two dots of a topic there is a word"),
            Self::NotVisible => f.write_str("a topic has no spaces and no control characters"),
            Self::Wildcard => f.write_str("what is published has a name without * and #"),
            Self::Reserved => f.write_str("names that begin with `adit` are the gateway's own"),
            Self::PartOfWord => f.write_str("* and # stand for whole words"),
        }
    }
}

impl std::error::Error for BadTopic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_between_dots() {
        let name = |text: &str| TopicName::parse(text, 10).map(|_| ());
        assert_eq!(name("a.b-c.Ü"), Ok(()));
        assert_eq!(name(""), Err(BadTopic::Empty));
        assert_eq!(name("a.b.c.d.e.f"), Err(BadTopic::TooLong { max: 10 }));
        for bad in ["a..b", ".a", "a.", "."] {
            assert_eq!(name(bad), Err(BadTopic::EmptyWord), "{bad}");
        }
        for bad in ["a b", "a\n", "\u{7f}", "a.\u{a0}"] {
            assert_eq!(name(bad), Err(BadTopic::NotVisible), "{bad:?}");
        }
        for bad in ["*", "a.#", "a*"] {
            assert_eq!(name(bad), Err(BadTopic::Wildcard), "{bad}");
        }
        assert_eq!((name("adit.gap"), name("adits.a")), (Err(BadTopic::Reserved), Ok(())));
    }

    #[test]
    fn wildcards_of_patterns_are_whole_words() {
        let pattern = |text: &str| TopicPattern::parse(text, 10).map(|_| ());
        for good in ["*", "#", "a.*.#", "a.b"] {
            assert_eq!(pattern(good), Ok(()), "{good}");
        }
        for bad in ["a*", "*a.b", "##", "a.#b", "**"] {
            assert_eq!(pattern(bad), Err(BadTopic::PartOfWord), "{bad}");
        }
        assert_eq!(pattern("a..#"), Err(BadTopic::EmptyWord));
    }

    #[test]
    fn a_star_is_one_word_and_a_hash_any_number() {
        let matches = |pattern: &str, name: &str| {
            let name = TopicName::parse(name, 255).unwrap();
            TopicPattern::parse(pattern, 255).unwrap().matches(&name)
        };
        for (pattern, name) in [
            ("a.b", "a.b"),
            ("*", "a"),
            ("a.*", "a.b"),
            ("*.b", "a.b"),
            ("#", "a"),
            ("#", "a.b.c"),
            ("a.#", "a"),
            ("a.#", "a.b.c"),
            ("#.c", "c"),
            ("#.c", "a.b.c"),
            ("a.#.c", "a.c"),
            ("a.#.c", "a.c.b.c"),
            ("#.#", "a"),
            ("*.#", "a"),
            ("#.*", "a.b"),
            ("#.b.#", "a.b.c"),
        ] {
            assert!(matches(pattern, name), "{pattern} means {name}");
        }
        for (pattern, name) in [
            ("a.b", "a.c"),
            ("*", "a.b"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("#.c", "a.b"),
            ("a.#", "b.a"),
            ("*.#.*", "a"),
            ("a.b", "a"),
            ("a", "a.b"),
            ("A", "a"),
        ] {
            assert!(!matches(pattern, name), "{pattern} does not mean {name}");
        }
    }

    #[test]
    fn a_pattern_that_means_more_is_not_covered() {
        let covers = |own: &str, other: &str| {
            let other = TopicPattern::parse(other, 255).unwrap();
            TopicPattern::parse(own, 255).unwrap().covers(&other)
        };
        for (own, other) in [
            ("#", "#"),
            ("#", "a.*.#"),
            ("a.#", "a"),
            ("a.#", "a.*"),
            ("a.#", "a.#.b"),
            ("*.*", "a.*"),
            ("a.*", "a.b"),
            ("*.#", "a.#"),
            ("#.*", "*.#"),
            ("#.a", "#.b.a"),
        ] {
            assert!(covers(own, other), "{own} covers {other}");
        }
        for (own, other) in
            [("a.*", "a.#"), ("*", "#"), ("a.#", "#"), ("a.b", "a.*"), ("a.*", "*.b"), ("*.#", "#")]
        {
            assert!(!covers(own, other), "{own} does not cover {other}");
        }
    }
}
