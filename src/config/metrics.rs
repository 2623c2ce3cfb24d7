//! Where the gateway can be watched, and by whom.

use std::net::SocketAddr;

use super::Config;
use super::Environment;
use super::file::MetricsFile;
use super::keys::{Secret, digest_of};
use super::listeners::overlap;
use super::mistakes::Mistakes;
use super::shapes::Count;
use crate::admin::Settings;

/// Fewer than this is too little for the methods of one small service, each with its buckets.
const SERIES_MIN: usize = 100;
/// More than this is more than a scrape should bring, and more than is put together in passing.
const SERIES_MAX: usize = 100_000;

/// Joins the section as written to the settings as used.
pub(super) fn used(
    written: &MetricsFile,
    environment: &Environment,
    mistakes: &mut Mistakes,
) -> Settings {
    let default = Settings::default();
    let secret = Secret {
        path: "metrics",
        digest: ("token_sha256", written.token_sha256.as_deref()),
        variable: ("token_env", written.token_env.as_deref()),
    };
    let is_asked = written.token_sha256.is_some() || written.token_env.is_some();
    let token = is_asked.then(|| digest_of(&secret, environment, mistakes)).flatten();
    let address = match &written.address {
        None => default.address,
        Some(text) => {
            let address = text.parse::<SocketAddr>();
            let address =
                address.map_err(|_| "must be an IP address and a port, like \"127.0.0.1:9464\"");
            mistakes.note("metrics.address", address)
        }
    };
    let address = address.filter(|_| written.enabled.unwrap_or(true));
    let is_open = address.is_some_and(|address| !address.ip().to_canonical().is_loopback());
    if is_open && !is_asked {
        let text = "is not loopback, so there must be token_sha256 or token_env";
        mistakes.add("metrics.address", text);
    }
    Settings {
        address,
        token: token.map(|(_, digest)| digest),
        series_max: series(written.series_max, default.series_max, mistakes),
    }
}

/// Callers and watchers never share a port.
pub(super) fn check_address_is_free(config: &Config, mistakes: &mut Mistakes) {
    let Some(address) = config.metrics.address else { return };
    let taken = config.listeners.iter().position(|listener| overlap(listener.address, address));
    if let Some(index) = taken {
        let text = format_args!("{address} is taken by listeners[{index}]");
        mistakes.add("metrics.address", text);
    }
}

fn series(written: Option<Count>, default: usize, mistakes: &mut Mistakes) -> usize {
    let series = written.map_or(default, |Count(written)| written);
    if !(SERIES_MIN..=SERIES_MAX).contains(&series) {
        mistakes.add("metrics.series_max", format_args!("must be {SERIES_MIN} to {SERIES_MAX}"));
    }
    series
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError, Environment, parse};

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn there_is_one_on_loopback_unless_the_file_says_otherwise() {
        let used = |text: &str| read(text).unwrap().metrics;
        assert_eq!(used("{}").address.unwrap().to_string(), "127.0.0.1:9464");
        assert_eq!(used(r#"{"metrics": {"enabled": false}}"#).address, None);
        let used = used(r#"{"metrics": {"address": "[::1]:1", "series_max": 100}}"#);
        assert_eq!((used.address.unwrap().port(), used.series_max, used.token), (1, 100, None));
    }

    #[test]
    fn anywhere_else_it_needs_a_token() {
        let open =
            |more: &str| read(&format!(r#"{{"metrics": {{"address": "0.0.0.0:1"{more}}}}}"#));
        assert_eq!(
            told(open("")),
            ["metrics.address: is not loopback, so there must be token_sha256 or token_env"]
        );
        let with_digest = open(&format!(r#", "token_sha256": "{DIGEST}""#)).unwrap();
        assert!(with_digest.metrics.token.is_some());
        assert!(open(r#", "token_env": "TOKEN""#).unwrap().metrics.token.is_some());
        assert!(open(r#", "enabled": false"#).is_ok());
    }

    #[test]
    fn each_mistake_names_its_field() {
        let told = |text: &str| told(read(text));
        assert_eq!(
            told(r#"{"metrics": {"address": "localhost:1", "series_max": 99, "token_env": "NO"}}"#),
            [
                "metrics.token_env: names an environment variable that is not set",
                "metrics.address: must be an IP address and a port, like \"127.0.0.1:9464\"",
                "metrics.series_max: must be 100 to 100000",
            ]
        );
        assert_eq!(
            told(r#"{"metrics": {"address": "127.0.0.1:50051"}}"#),
            ["metrics.address: 127.0.0.1:50051 is taken by listeners[0]"]
        );
        let both =
            format!(r#"{{"metrics": {{"token_sha256": "{DIGEST}", "token_env": "TOKEN"}}}}"#);
        assert_eq!(told(&both), ["metrics: has token_sha256 and token_env; one of them is enough"]);
    }

    #[test]
    fn the_token_is_shown_as_stars() {
        let config = read(&format!(r#"{{"metrics": {{"token_sha256": "{DIGEST}"}}}}"#)).unwrap();
        assert_eq!(config.shown["metrics"]["token_sha256"], "***");
        assert!(!config.shown.to_string().contains(DIGEST));
    }

    fn read(text: &str) -> Result<Config, ConfigError> {
        let token = "a-token-for-tests-only-0123456789-012345";
        parse(text, &Environment::from_iter([("TOKEN", token)]))
    }

    fn told(config: Result<Config, ConfigError>) -> Vec<String> {
        match config {
            Err(ConfigError::Mistakes(mistakes)) => {
                mistakes.iter().map(ToString::to_string).collect()
            }
            Err(ConfigError::Read { .. }) | Ok(_) => Vec::new(),
        }
    }
}
