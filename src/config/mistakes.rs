//! Collects what is wrong with a configuration, so that all of it is reported at once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// How many mistakes are kept: nobody reads more, and finding each can cost another reading.
const MISTAKES_MAX: usize = 100;

/// How much of a path and of a text is kept, because names in the file can have any length.
const CHARACTERS_MAX: usize = 1_000;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The JSON path, like `keys[1].sha256`, or the name of an environment variable. Empty when
    /// the file as a whole is meant.
    pub path: String,
    /// What is wrong there, and what to write instead.
    pub text: String,
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes {
    found: Vec<Mistake>,
    /// Values that an environment variable has set: their paths, and its name.
    variables: BTreeMap<String, String>,
}

impl Mistakes {
    pub(super) fn add(&mut self, path: impl Into<String>, text: impl fmt::Display) {
        if self.is_full() {
            return;
        }
        let path = one_line(&path.into());
        self.found.push(Mistake { path, text: one_line(&text.to_string()) });
        if self.is_full() {
            let text = "there may be more mistakes: the rest was not looked at".to_owned();
            self.found.push(Mistake { path: String::new(), text });
        }
    }

    /// Whether as many mistakes were found as are reported.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MISTAKES_MAX
    }

    /// What is wrong with a value that a variable has set is told under the variable's name.
    pub(super) fn come_from(&mut self, variables: BTreeMap<String, String>) {
        self.variables = variables;
    }

    /// Takes the value out, or notes why there is none.
    pub(super) fn note<T, E: fmt::Display>(
        &mut self,
        path: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.add(path, error)).ok()
    }

    /// Reads each text of a list that is one, and notes what is wrong with the others, each under
    /// its own place.
    pub(super) fn note_each<T>(&mut self, path: &str, texts: &[Option<String>]) -> Vec<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let texts = texts.iter().enumerate();
        let texts = texts.filter_map(|(index, text)| Some((index, text.as_ref()?)));
        texts
            .filter_map(|(index, text)| self.note(&format!("{path}[{index}]"), text.parse()))
            .collect()
    }

    /// Whether a mistake lies at this path, above it or below it. A rule that compares values asks
    /// first, because what it would compare may be a default in a mistaken value's place.
    pub(super) fn touch(&self, path: &str) -> bool {
        self.found
            .iter()
            .any(|mistake| is_within(&mistake.path, path) || is_within(path, &mistake.path))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was made of the file, if nothing is wrong with it.
    pub(super) fn none_or<T>(self, made: T) -> Result<T, Vec<Mistake>> {
        if self.is_empty() { Ok(made) } else { Err(self.into_list()) }
    }

    pub(super) fn into_list(self) -> Vec<Mistake> {
        let Self { found, variables } = self;
        found.into_iter().map(|mistake| under_variable(mistake, &variables)).collect()
    }
}

fn under_variable(mistake: Mistake, variables: &BTreeMap<String, String>) -> Mistake {
    let set = variables.iter().find(|(path, _)| is_within(&mistake.path, path));
    match set {
        Some((path, variable)) => {
            let inside = &mistake.path[path.len()..];
            Mistake { path: format!("{variable}{inside}"), ..mistake }
        }
        None => mistake,
    }
}

/// One mistake is one line, whatever the file has in its names and texts.
fn one_line(text: &str) -> String {
    let characters = text.chars().take(CHARACTERS_MAX);
    characters.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_within(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with(['.', '[']))
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.text);
        }
        write!(f, "{}: {}", self.path, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_touches_what_is_above_and_below_it_only() {
        let mut mistakes = Mistakes::default();
        mistakes.add("keys[1].sha256", "is wrong");
        for path in ["", "keys", "keys[1]", "keys[1].sha256", "keys[1].sha256[0]"] {
            assert!(mistakes.touch(path), "{path}");
        }
        for path in ["key", "keys[1].sha", "keys[1].sha256sum", "keys[10]", "limits"] {
            assert!(!mistakes.touch(path), "{path}");
        }
    }

    #[test]
    fn what_a_variable_has_set_is_told_under_its_name() {
        let mut mistakes = Mistakes::default();
        mistakes.come_from(BTreeMap::from([("log.level".to_owned(), "ADIT_LOG_LEVEL".to_owned())]));
        for path in ["log.level", "log.level[1]", "log.levels", "log"] {
            mistakes.add(path, "x");
        }
        assert!(mistakes.touch("log.level"));
        let told: Vec<String> = mistakes.into_list().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["ADIT_LOG_LEVEL: x", "ADIT_LOG_LEVEL[1]: x", "log.levels: x", "log: x"]);
    }

    #[test]
    fn a_mistake_is_one_line() {
        let mut mistakes = Mistakes::default();
        mistakes.add("a\nb", "c\r\nd");
        assert_eq!(mistakes.into_list()[0].to_string(), "a b: c  d");
    }

    #[test]
    fn mistakes_without_end_are_not_kept() {
        let mut mistakes = Mistakes::default();
        for number in 0..1_000 {
            mistakes.add("x".repeat(10), number);
        }
        let list = mistakes.into_list();
        assert_eq!(list.len(), MISTAKES_MAX + 1);
        assert!(list[MISTAKES_MAX].to_string().starts_with("there may be more"));
    }
}
