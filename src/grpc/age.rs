//! How old a caller's connection may get: then it is told to go, and is closed if it does not.
//!
//! A caller that stays for ever on one connection never sees a gateway that was added beside this
//! one, and what HTTP/2 counts over a connection's life would at last run out (gRFC A9).

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// How old connections of callers get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionAge {
    /// A connection is told to go at this age, a tenth sooner or later, so that connections made
    /// together do not come back together. Zero is never.
    pub max: Duration,
    /// Calls that are still in flight so long after that are ended with the connection.
    pub grace: Duration,
}

impl Default for ConnectionAge {
    fn default() -> Self {
        Self { max: Duration::from_mins(30), grace: Duration::from_mins(1) }
    }
}

/// What a connection's age asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// No new calls: the other side is to open another connection.
    Leave,
    /// No calls at all.
    Close,
}

/// What a connection carries that matters for its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Calls, or nothing.
    Calls,
    /// A subscriber of events: it would miss some if it had to come back, so that the connection is told
    /// to go and not closed.
    Subscriber,
    /// A tunnel: it gets as old as it likes.
    Tunnel,
}

/// The age of one connection, behind one timer.
#[derive(Debug)]
pub(super) struct Aging {
    timer: Option<Pin<Box<Sleep>>>,
    age: ConnectionAge,
    told: bool,
}

impl Aging {
    /// A connection that has just been made.
    pub(super) fn new(age: ConnectionAge) -> Self {
        let timer = (!age.max.is_zero()).then(|| {
            // Without randomness all connections get equally old, which does no harm.
            let random = getrandom::u32().unwrap_or(u32::MAX / 2);
            Box::pin(sleep(varied(age.max, random)))
        });
        Self { timer, age, told: false }
    }

    /// Waits for what comes next, as long as what the connection `carries` then lets it. May be given up
    /// and asked again.
    pub(super) async fn due(&mut self, carries: impl Fn() -> Carries) -> Due {
        let Some(timer) = &mut self.timer else { return std::future::pending().await };
        loop {
            timer.as_mut().await;
            match (carries(), self.told) {
                (Carries::Tunnel, _) | (Carries::Subscriber, true) => {
                    timer.as_mut().reset(Instant::now() + self.age.max);
                }
                (Carries::Calls, true) => {
                    self.timer = None;
                    return Due::Close;
                }
                (Carries::Calls | Carries::Subscriber, false) => {
                    self.told = true;
                    timer.as_mut().reset(Instant::now() + self.age.grace);
                    return Due::Leave;
                }
            }
        }
    }
}

/// A duration, up to a tenth shorter or longer.
fn varied(duration: Duration, random: u32) -> Duration {
    let share = f64::from(random) / f64::from(u32::MAX);
    duration.mul_f64(0.9 + share / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: ConnectionAge =
        ConnectionAge { max: Duration::from_secs(100), grace: Duration::from_secs(9) };

    #[test]
    fn ages_vary_by_a_tenth_and_no_more() {
        let varied = |random| varied(Duration::from_secs(100), random).as_millis();
        assert_eq!([varied(0), varied(u32::MAX)], [90_000, 110_000]);
        assert!((99_999..=100_001).contains(&varied(u32::MAX / 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_told_to_go_and_closed_after_the_grace() {
        let start = Instant::now();
        let mut aging = Aging::new(AGE);
        assert_eq!(aging.due(|| Carries::Calls).await, Due::Leave);
        let left = Instant::now();
        assert!((90..=111).contains(&(left - start).as_secs()), "{:?}", left - start);
        assert_eq!(aging.due(|| Carries::Calls).await, Due::Close);
        assert_eq!((Instant::now() - left).as_secs(), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_exempt_is_left_alone_until_it_is_not() {
        let start = Instant::now();
        let mut aging = Aging::new(AGE);
        let long = Duration::from_secs(1_000);
        assert!(tokio::time::timeout(long, aging.due(|| Carries::Tunnel)).await.is_err());
        assert_eq!(aging.due(|| Carries::Calls).await, Due::Leave);
        assert!((Instant::now() - start).as_secs() < 1_120);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_subscriber_is_told_to_go_and_closed_only_without_it() {
        let mut aging = Aging::new(AGE);
        assert_eq!(aging.due(|| Carries::Subscriber).await, Due::Leave);
        let long = Duration::from_secs(1_000);
        let stays = tokio::time::timeout(long, aging.due(|| Carries::Subscriber));
        assert!(stays.await.is_err());
        assert_eq!(aging.due(|| Carries::Calls).await, Due::Close);
    }

    #[tokio::test(start_paused = true)]
    async fn an_age_of_zero_is_never() {
        let mut aging = Aging::new(ConnectionAge { max: Duration::ZERO, ..AGE });
        let year = Duration::from_hours(24 * 365);
        assert!(tokio::time::timeout(year, aging.due(|| Carries::Calls)).await.is_err());
    }
}
