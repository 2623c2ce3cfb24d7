//! Which log lines are left out because the same place has just said as much.

use std::time::{Duration, Instant};

use log::Level;
use rustc_hash::FxHashMap;

/// How many lines one place may log in a [`WINDOW`]: enough to see what is going on, and few enough
/// that ten thousand failures a second neither fill a disk nor hide everything else.
pub(super) const LINES_PER_WINDOW_MAX: u32 = 10;

/// The time in which the lines of a place are counted.
pub(super) const WINDOW: Duration = Duration::from_secs(1);

/// A place in the sources, by file and line. A place says one fact, and there are only so many places.
pub(super) type Place = (&'static str, u32);

/// What was left out of one fact.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// How serious the lines were.
    pub(super) level: Level,
    /// What they said, without ids.
    pub(super) fact: String,
    /// How many they were.
    pub(super) lines: u64,
}

/// Counts the lines of every place.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    places: FxHashMap<Place, Said>,
}

#[derive(Debug)]
struct Said {
    since: Instant,
    lines: u32,
    left_out: LeftOut,
}

impl Sampler {
    /// Whether one more line may be logged; otherwise it is counted as left out.
    pub(super) fn admits(
        &mut self,
        place: Place,
        level: Level,
        message: &str,
        now: Instant,
    ) -> bool {
        let said = self.places.entry(place).or_insert_with(|| Said {
            since: now,
            lines: 0,
            left_out: LeftOut { level, fact: fact(message).to_owned(), lines: 0 },
        });
        if now.duration_since(said.since) >= WINDOW {
            (said.since, said.lines) = (now, 0);
        }
        if said.lines < LINES_PER_WINDOW_MAX {
            said.lines += 1;
            return true;
        }
        said.left_out.lines += 1;
        false
    }

    /// What was left out since the last time it was asked. Forgets places that were quiet.
    pub(super) fn left_out(&mut self, now: Instant) -> Vec<LeftOut> {
        let mut told = Vec::new();
        self.places.retain(|_, said| {
            let lines = std::mem::take(&mut said.left_out.lines);
            if lines > 0 {
                told.push(LeftOut { lines, fact: said.left_out.fact.clone(), ..said.left_out });
            }
            now.duration_since(said.since) < WINDOW
        });
        told
    }
}

/// A line is a fact and its ids, with a colon between them.
fn fact(message: &str) -> &str {
    message.split(':').next().unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Place = ("here.rs", 1);
    const THERE: Place = ("there.rs", 1);

    /// How many of these lines are logged.
    fn logged(sampler: &mut Sampler, place: Place, lines: u32, now: Instant) -> u32 {
        let line = |_: &u32| sampler.admits(place, Level::Warn, "tunnel refused: remote=x", now);
        u32::try_from((0..lines).filter(line).count()).unwrap()
    }

    fn left_out(lines: u64) -> Vec<LeftOut> {
        vec![LeftOut { level: Level::Warn, fact: "tunnel refused".to_owned(), lines }]
    }

    #[test]
    fn of_many_lines_ten_are_logged_a_second_and_the_others_counted() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        assert_eq!(logged(&mut sampler, HERE, 10_000, start), LINES_PER_WINDOW_MAX);
        assert_eq!(logged(&mut sampler, HERE, 10_000, start + WINDOW), LINES_PER_WINDOW_MAX);
        assert_eq!(sampler.left_out(start + WINDOW), left_out(19_980));
        assert_eq!(sampler.left_out(start + WINDOW), []);
    }

    #[test]
    fn a_place_that_says_much_does_not_silence_another() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        assert_eq!(logged(&mut sampler, HERE, 100, start), LINES_PER_WINDOW_MAX);
        assert_eq!(logged(&mut sampler, THERE, 5, start), 5);
        assert_eq!(sampler.left_out(start), left_out(90));
    }

    #[test]
    fn to_ask_what_was_left_out_opens_no_new_window() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        logged(&mut sampler, HERE, 11, start);
        assert_eq!(sampler.left_out(start + WINDOW / 2), left_out(1));
        assert_eq!(logged(&mut sampler, HERE, 5, start + WINDOW / 2), 0);
        assert_eq!(sampler.left_out(start + WINDOW / 2), left_out(5));
    }

    #[test]
    fn quiet_places_are_forgotten() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        logged(&mut sampler, HERE, 11, start);
        assert_eq!(sampler.left_out(start + WINDOW), left_out(1));
        assert!(sampler.places.is_empty());
    }
}
