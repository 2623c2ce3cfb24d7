//! When a silent tunnel is late, when it is dead, and when to say something into the silence.
//!
//! ```text
//!            late_after            dead_after
//!   alive ---------------> late ---------------> dead
//!     ^  <------ any frame ---'
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a tunnel may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A tunnel on which nothing was sent for this long gets a heartbeat; peers are told to send
    /// theirs as often.
    pub interval: Duration,
    /// A tunnel silent for this long gets no new calls.
    pub late_after: Duration,
    /// A tunnel silent for this long is closed.
    pub dead_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(30),
            late_after: Duration::from_mins(1),
            dead_after: Duration::from_mins(2),
        }
    }
}

/// When something last happened. Written for every frame and read by the supervisor, so it is an
/// atomic and not a message; clones share it.
#[derive(Clone, Debug)]
pub struct LastSeen {
    epoch: Instant,
    millis: Arc<AtomicU64>,
}

/// What the supervisor must do about one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Leave,
    /// Choose it no longer for new calls.
    TurnedLate,
    /// Choose it again.
    Recovered,
    /// Close it; its calls are lost.
    Dead,
}

/// What is known of one tunnel's pulse.
#[derive(Debug)]
pub struct Pulse {
    heard: LastSeen,
    late: bool,
}

impl LastSeen {
    /// Something happened at `now`.
    pub fn new(now: Instant) -> Self {
        Self { epoch: now, millis: Arc::default() }
    }

    /// It happened again.
    pub fn touch(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.epoch).as_millis();
        self.millis.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago it happened.
    pub fn silence(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.millis.load(Ordering::Relaxed));
        now.saturating_duration_since(self.epoch).saturating_sub(last)
    }
}

impl Pulse {
    /// A tunnel that has just been heard.
    pub fn new(heard: LastSeen) -> Self {
        Self { heard, late: false }
    }

    /// Judges the silence until `now`.
    pub fn judge(&mut self, now: Instant, patience: &Patience) -> Verdict {
        let silence = self.heard.silence(now);
        if silence >= patience.dead_after {
            return Verdict::Dead;
        }
        let was_late = std::mem::replace(&mut self.late, silence >= patience.late_after);
        match (was_late, self.late) {
            (false, true) => Verdict::TurnedLate,
            (true, false) => Verdict::Recovered,
            (false, false) | (true, true) => Verdict::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_makes_a_tunnel_late_once_and_then_dead() {
        let (start, patience) = (Instant::now(), Patience::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let heard = LastSeen::new(start);
        let mut pulse = Pulse::new(heard.clone());

        assert_eq!(pulse.judge(at(59), &patience), Verdict::Leave);
        assert_eq!(pulse.judge(at(60), &patience), Verdict::TurnedLate);
        assert_eq!(pulse.judge(at(61), &patience), Verdict::Leave);
        heard.touch(at(62));
        assert_eq!(pulse.judge(at(63), &patience), Verdict::Recovered);
        assert_eq!(pulse.judge(at(181), &patience), Verdict::TurnedLate);
        assert_eq!(pulse.judge(at(182), &patience), Verdict::Dead);
    }

    #[test]
    fn a_frame_from_before_the_epoch_does_not_overflow() {
        let start = Instant::now();
        let heard = LastSeen::new(start + Duration::from_secs(5));
        heard.touch(start);
        assert_eq!(heard.silence(start), Duration::ZERO);
    }
}
