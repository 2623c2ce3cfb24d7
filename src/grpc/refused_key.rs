//! What a wrong key costs whoever shows it: a line in the log, and time when there are many.

use std::net::SocketAddr;
use std::sync::PoisonError;

use crate::actors::now;
use crate::auth::guesses::Judgement;
use crate::observe::limits::{self, Limit};
use crate::observe::tally::{Count, count};

use super::wire::Wire;

/// Counts and logs a wrong key from `remote`, refused as a `tunnel` or as a `call`. Waits before
/// it returns if there were too many.
pub async fn shown(what: &str, remote: SocketAddr, wire: &Wire) {
    count(Count::AuthFailed);
    // The table is only counted in: a panic in between leaves it usable.
    let guesses =
        wire.guesses.lock().unwrap_or_else(PoisonError::into_inner).wrong_key(remote.ip(), now());
    match guesses {
        Judgement::Answer => {
            log::warn!("{what} refused: remote={remote} key_id=unknown");
            return;
        }
        Judgement::TurnedLate => {
            log::warn!("wrong keys are answered late: address={}", remote.ip());
        }
        Judgement::Late => {}
    }
    limits::hit(Limit::BadKeysPerMinuteMax);
    let delay = wire.worker.tunnels.limits.now().bad_key_delay;
    tokio::time::sleep(delay).await;
}
