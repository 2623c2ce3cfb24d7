//! A clock that is cheap enough to be read several times a call.
//!
//! It counts what the processor counts where that is steady (about ten instructions a reading, against
//! some sixty for the system's monotonic clock), otherwise it is the system's. It measures how long
//! something took; no rule and no timer goes by it.

use std::sync::OnceLock;
use std::time::Duration;

use quanta::Clock;

/// Set by the first reading, or by [`start`].
static CLOCK: OnceLock<Clock> = OnceLock::new();

/// A moment of this process. The number is for keeping it in an atomic; it means nothing elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u64);

/// Finds out how fast the processor counts, which takes up to 200 ms, so that the first reading need
/// not.
pub fn start() {
    CLOCK.get_or_init(Clock::new);
}

/// This moment.
pub fn now() -> Tick {
    Tick(clock().raw())
}

impl Tick {
    /// How long it is from this moment until `later`; nothing if that was before.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(self.nanoseconds_until(later))
    }

    /// The same in nanoseconds.
    pub fn nanoseconds_until(self, later: Self) -> u64 {
        clock().delta_as_nanos(self.0, later.0)
    }

    /// How long ago this moment was.
    pub fn elapsed(self) -> Duration {
        self.until(now())
    }
}

fn clock() -> &'static Clock {
    CLOCK.get_or_init(Clock::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn it_measures_what_the_systems_clock_measures() {
        let (system, tick) = (Instant::now(), now());
        while system.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let measured = tick.elapsed();
        let told = system.elapsed();
        // The two are calibrated against each other, to far better than a thousandth.
        let most = told + told / 1_000;
        assert!(measured <= most && told < measured * 2, "{measured:?} of {told:?}");
    }

    #[test]
    fn a_moment_that_was_before_is_no_time_away() {
        let before = now();
        let after = now();
        assert_eq!(after.until(before), Duration::ZERO);
    }
}
