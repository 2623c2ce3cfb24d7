//! Environment variables, taken once, so that tests need not touch the process's own.

use std::collections::BTreeMap;
use std::fmt;

/// The variables by name. One that is not in it is not set.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. A value that is not Unicode comes with replacement characters: as a key it
    /// is then refused, where it must not be taken for absent.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os();
        variables
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect()
    }

    /// What a variable is set to.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names of all that are set, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Names alone: any value may be a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Environment").field(&self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_names_and_no_values() {
        let environment = Environment::from_iter([("ADIT_API_KEY", "secret")]);
        assert_eq!(environment.value("ADIT_API_KEY"), Some("secret"));
        assert_eq!(format!("{environment:?}"), r#"Environment(["ADIT_API_KEY"])"#);
    }
}
