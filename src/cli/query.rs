//! The part of an address after the `?`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// `path` with those of the fields that were asked for.
pub(super) fn with_query(path: &str, fields: &[(&str, Option<String>)]) -> String {
    let asked = fields.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let asked: Vec<_> = asked
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    if asked.is_empty() { path.to_owned() } else { format!("{path}?{}", asked.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_there_however_it_is_spelled() {
        let fields = [("sort", None), ("service", Some("a&b=c d".to_owned()))];
        assert_eq!(with_query("/services", &fields), "/services?service=a%26b%3Dc%20d");
        assert_eq!(with_query("/services", &fields[..1]), "/services");
    }
}
