//! Wrong keys, counted by the address that they come from.
//!
//! A key is far too long to be guessed; what this spares is the log and the work. An address with
//! too many wrong keys in a minute is answered late. A right key is never held up: many services
//! may share one address behind NAT.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::network::network;

/// Wrong keys are counted for this long.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses remembered; when there are more, the one that would be forgotten first is.
const ADDRESSES_MAX: usize = 10_000;

/// The wrong keys of the last minute.
#[derive(Debug)]
pub struct Guesses {
    per_minute_max: usize,
    addresses: HashMap<IpAddr, Guessed>,
}

#[derive(Clone, Copy, Debug)]
struct Guessed {
    since: Instant,
    count: usize,
}

/// What is to be done about a wrong key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Answer at once.
    Answer,
    /// The first over the limit: say so in the log, and answer late.
    TurnedLate,
    /// Answer late, and say nothing.
    Late,
}

impl Guesses {
    /// Lets `per_minute_max` wrong keys a minute pass from each address.
    pub fn new(per_minute_max: usize) -> Self {
        Self { per_minute_max, addresses: HashMap::new() }
    }

    /// Lets so many pass from now on.
    pub fn resize(&mut self, per_minute_max: usize) {
        self.per_minute_max = per_minute_max;
    }

    /// A wrong key has come from `address`.
    pub fn wrong_key(&mut self, address: IpAddr, now: Instant) -> Judgement {
        let address = network(address);
        if !self.addresses.contains_key(&address) && self.addresses.len() >= ADDRESSES_MAX {
            self.forget(now);
        }
        let guessed = self.addresses.entry(address).or_insert(Guessed { since: now, count: 0 });
        if now.saturating_duration_since(guessed.since) >= WINDOW {
            *guessed = Guessed { since: now, count: 0 };
        }
        guessed.count += 1;
        match guessed.count.checked_sub(self.per_minute_max) {
            None | Some(0) => Judgement::Answer,
            Some(1) => Judgement::TurnedLate,
            Some(_) => Judgement::Late,
        }
    }

    fn forget(&mut self, now: Instant) {
        self.addresses.retain(|_, guessed| now.saturating_duration_since(guessed.since) < WINDOW);
        if self.addresses.len() >= ADDRESSES_MAX {
            let oldest = self.addresses.iter().min_by_key(|(_, guessed)| guessed.since);
            if let Some(address) = oldest.map(|(address, _)| *address) {
                self.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_wrong_keys_in_a_minute_are_answered_late_and_logged_once() {
        let (mut guesses, start) = (Guesses::new(2), Instant::now());
        let mut guess = |address, at| guesses.wrong_key(address, start + Duration::from_secs(at));
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let judged = [guess(one, 0), guess(one, 1), guess(one, 2), guess(one, 59)];
        let expected =
            [Judgement::Answer, Judgement::Answer, Judgement::TurnedLate, Judgement::Late];
        assert_eq!(judged, expected);
        assert_eq!(guess(other, 59), Judgement::Answer, "each address for itself");
        assert_eq!(guess(one, 60), Judgement::Answer, "the minute is over");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (mut guesses, now) = (Guesses::new(1), Instant::now());
        let address = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        assert_eq!(guesses.wrong_key(address(1), now), Judgement::Answer);
        assert_eq!(guesses.wrong_key(address(2), now), Judgement::TurnedLate);
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_goes_first() {
        let (mut guesses, start) = (Guesses::new(1), Instant::now());
        let address = |number: usize| {
            let [.., a, b, c] = number.to_be_bytes();
            IpAddr::from([10, a, b, c])
        };
        for number in 0..=ADDRESSES_MAX {
            let now = start + Duration::from_millis(number as u64);
            guesses.wrong_key(address(number), now);
        }
        assert_eq!(guesses.addresses.len(), ADDRESSES_MAX);
        let now = start + Duration::from_secs(20);
        assert_eq!(guesses.wrong_key(address(ADDRESSES_MAX), now), Judgement::TurnedLate);
        assert_eq!(guesses.wrong_key(address(0), now), Judgement::Answer, "it was forgotten");
    }
}
