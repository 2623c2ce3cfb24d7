//! Where the gateway can be watched, and by whom.

use std::net::SocketAddr;

use super::Environment;
use super::file::MetricsFile;
use super::keys::{Secret, digest_of};
use super::mistakes::Mistakes;
use super::shapes::Count;
use crate::admin::Settings;

/// Fewer than this is too little for the methods of one small service, each with its buckets.
const SERIES_MIN: usize = 100;
/// More than this no Prometheus takes in one scrape.
const SERIES_MAX: usize = 1_000_000;

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

fn series(written: Option<Count>, default: usize, mistakes: &mut Mistakes) -> usize {
    let series = written.map_or(default, |Count(written)| written);
    if !(SERIES_MIN..=SERIES_MAX).contains(&series) {
        mistakes.add("metrics.series_max", format_args!("must be {SERIES_MIN} to {SERIES_MAX}"));
    }
    series
}
