//! Finds connections whose other side is gone without a word: HTTP/2 pings into the silence.

use std::time::Duration;

use h2::{Ping, PingPong};

use super::socket::Reads;

/// When connections are pinged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// A connection silent for this long gets a ping.
    pub interval: Duration,
    /// It is closed when nothing comes back for this long.
    pub timeout: Duration,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_secs(20), timeout: Duration::from_secs(10) }
    }
}

impl Keepalive {
    /// Ends when the other side is gone: it has answered no ping, and sent nothing else, in time.
    pub(super) async fn until_dead(self, ping_pong: Option<PingPong>, reads: Reads) {
        let Some(mut ping_pong) = ping_pong else { return std::future::pending().await };
        loop {
            let silent = reads.last() + self.interval;
            tokio::time::sleep_until(silent).await;
            if reads.last() + self.interval > silent {
                continue;
            }
            // Refused while an earlier ping is still out: then it is that one's answer that counts.
            drop(ping_pong.send_ping(Ping::opaque()));
            let asked = tokio::time::Instant::now();
            let pong = std::future::poll_fn(|cx| ping_pong.poll_pong(cx));
            let answered = tokio::time::timeout(self.timeout, pong).await.is_ok();
            if !answered && reads.last() < asked {
                return;
            }
        }
    }
}
