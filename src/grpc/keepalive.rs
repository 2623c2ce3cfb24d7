//! Finds connections whose other side is gone without a word: HTTP/2 pings into the silence.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::round_trip::RoundTrips;
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
    /// Ends when the other side is gone: it has answered no ping, and sent nothing else, in time. Who
    /// wants to know how long a ping takes is told; they ask for pings while nobody is silent too.
    pub(super) async fn until_dead(
        self,
        ping_pong: Option<PingPong>,
        reads: Reads,
        round_trips: &RoundTrips,
    ) {
        let Some(mut ping_pong) = ping_pong else { return std::future::pending().await };
        let mut pinged = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(self.due(&reads, pinged, round_trips)) => {}
                () = round_trips.wanted() => {}
            }
            // Without need, if something was read in the meantime and nobody wants to know.
            if !round_trips.are_wanted() && Instant::now() < reads.last() + self.interval {
                continue;
            }
            // There is no earlier one: nobody else sends any, and this waits for each.
            drop(ping_pong.send_ping(Ping::opaque()));
            pinged = Instant::now();
            if !self.answered(&mut ping_pong, &reads, pinged).await {
                return;
            }
            round_trips.measured(pinged.elapsed());
        }
    }

    /// When the next ping is due.
    fn due(&self, reads: &Reads, pinged: Instant, round_trips: &RoundTrips) -> Instant {
        let silent = reads.last() + self.interval;
        if round_trips.are_wanted() { silent.min(pinged + self.interval) } else { silent }
    }

    /// Waits for the answer to a ping of the moment `pinged`. There is none if nothing at all comes for
    /// as long as a connection may be silent: what is slow to answer, and says other things, is there.
    async fn answered(&self, ping_pong: &mut PingPong, reads: &Reads, pinged: Instant) -> bool {
        let mut pong = pin!(poll_fn(|cx| ping_pong.poll_pong(cx)));
        loop {
            let dead = pinged.max(reads.last() + self.interval) + self.timeout;
            match timeout_at(dead, &mut pong).await {
                Ok(Ok(_)) => return true,
                // The connection ends, of which its driver hears.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) if dead < reads.last() + self.interval + self.timeout => {}
                Err(_) => return false,
            }
        }
    }
}
