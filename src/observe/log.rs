//! Log lines on stderr.

use log::LevelFilter;

/// Wins over the configured level when it is set.
const VARIABLE: &str = "RUST_LOG";

/// Starts logging. `RUST_LOG` wins over the configured level. Traces of the HTTP/2 stack would
/// show keys and metadata, so they stay off unless `RUST_LOG` names them.
pub fn start(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    // What gets past the level of the process, which can change.
    builder.filter_level(LevelFilter::Trace);
    for noisy in ["h2", "tonic", "hyper", "mio", "actix"] {
        builder.filter_module(noisy, LevelFilter::Warn);
    }
    builder.parse_env(VARIABLE);
    // A second start, as in tests, keeps the first.
    let _ = builder.try_init();
    set_level(level);
}

/// Changes how much is logged, unless `RUST_LOG` says it.
pub fn set_level(level: LevelFilter) {
    if std::env::var_os(VARIABLE).is_none() {
        log::set_max_level(level);
    }
}

/// Makes text from outside fit for one log line: escaped, and cut to 256 characters.
pub fn outside(text: &str) -> String {
    const CHARACTERS_MAX: usize = 256;
    let mut line: String = text.escape_debug().take(CHARACTERS_MAX).collect();
    if line.len() < text.len() && line.chars().count() == CHARACTERS_MAX {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_one_short_line() {
        assert_eq!(outside("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u{1b}[31m");
        let long = outside(&"x".repeat(1000));
        assert_eq!(long.chars().count(), 257);
        assert!(long.ends_with('…'));
    }
}
