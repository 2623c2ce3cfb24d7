//! Which events are kept for subscribers that come back, and how many.

use super::file::{EventsFile, KEPT_MAX};
use super::mistakes::Mistakes;
use super::shapes::Count;
use super::units::Size;
use crate::tunnel::topic::history::Keep;

/// More than this is a slip: what is kept is kept in memory.
const KEPT_BYTES_MAX: usize = 1024 * 1024 * 1024 * 1024;

/// What is kept where the file says that something is and not how much: of each topic what one event
/// may be, and of all as much as a small machine can spare.
pub(super) const KEEP: Keep = Keep {
    events_max: KEPT_MAX,
    bytes_max: 1024 * 1024,
    topics_max: 1_000,
    total_bytes_max: 64 * 1024 * 1024,
};

/// Joins the section as written to what is kept; nothing unless it says how much.
pub(super) fn kept(written: &EventsFile, mistakes: &mut Mistakes) -> Option<Keep> {
    let EventsFile { keep_events, keep_bytes, keep_topics, keep_total_bytes, .. } = written;
    let asked = keep_events.is_some() || keep_bytes.is_some();
    for (name, is_written) in
        [("keep_topics", keep_topics.is_some()), ("keep_total_bytes", keep_total_bytes.is_some())]
    {
        if is_written && !asked {
            mistakes.add(format!("events.{name}"), "needs keep_events or keep_bytes beside it");
        }
    }
    let bytes_max = size("keep_bytes", *keep_bytes, KEEP.bytes_max, mistakes);
    let keep = Keep {
        events_max: count("keep_events", *keep_events, KEEP.events_max, mistakes),
        bytes_max,
        topics_max: count("keep_topics", *keep_topics, KEEP.topics_max, mistakes),
        total_bytes_max: size(
            "keep_total_bytes",
            *keep_total_bytes,
            KEEP.total_bytes_max.max(bytes_max),
            mistakes,
        ),
    };
    if keep.total_bytes_max < keep.bytes_max {
        let (total, of_topic) = (Size::from(keep.total_bytes_max), Size::from(keep.bytes_max));
        let text = format_args!("{total} is less than events.keep_bytes ({of_topic})");
        mistakes.add("events.keep_total_bytes", text);
    }
    asked.then_some(keep)
}

fn count(name: &str, written: Option<Count>, default: usize, mistakes: &mut Mistakes) -> usize {
    let count = written.map_or(default, |Count(written)| written);
    if !(1..=KEPT_MAX).contains(&count) {
        mistakes.add(format!("events.{name}"), format_args!("must be 1 to {KEPT_MAX}"));
    }
    count
}

fn size(name: &str, written: Option<Size>, default: usize, mistakes: &mut Mistakes) -> usize {
    let size = written.map_or(default, Size::bytes);
    if !(1..=KEPT_BYTES_MAX).contains(&size) {
        let text = format_args!("must be 1B to {}", Size::from(KEPT_BYTES_MAX));
        mistakes.add(format!("events.{name}"), text);
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, Environment, parse};

    #[test]
    fn nothing_is_kept_unless_the_file_says_how_much() {
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"keep_events": 5}"#), Ok(Some(Keep { events_max: 5, ..KEEP })));
        let large = Keep { bytes_max: 1 << 30, total_bytes_max: 1 << 30, ..KEEP };
        assert_eq!(read(r#"{"keep_bytes": "1GiB"}"#), Ok(Some(large)));
        let all =
            r#"{"keep_events": 1, "keep_bytes": "2B", "keep_topics": 3, "keep_total_bytes": "4B"}"#;
        let keep = Keep { events_max: 1, bytes_max: 2, topics_max: 3, total_bytes_max: 4 };
        assert_eq!(read(all), Ok(Some(keep)));
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let mistakes = |text| read(text).unwrap_err();
        assert_eq!(
            mistakes(r#"{"keep_topics": 3, "keep_total_bytes": "1MiB"}"#),
            [
                "events.keep_topics: needs keep_events or keep_bytes beside it",
                "events.keep_total_bytes: needs keep_events or keep_bytes beside it"
            ]
        );
        assert_eq!(
            mistakes(r#"{"keep_bytes": "2KiB", "keep_total_bytes": "1KiB"}"#),
            ["events.keep_total_bytes: 1KiB is less than events.keep_bytes (2KiB)"]
        );
        assert_eq!(
            mistakes(r#"{"keep_events": 0, "keep_topics": 1000001, "keep_bytes": "0B"}"#),
            [
                "events.keep_bytes: must be 1B to 1024GiB",
                "events.keep_events: must be 1 to 1000000",
                "events.keep_topics: must be 1 to 1000000"
            ]
        );
    }

    fn read(section: &str) -> Result<Option<Keep>, Vec<String>> {
        match parse(&format!(r#"{{"events": {section}}}"#), &Environment::default()) {
            Ok(config) => Ok(config.keep_events),
            Err(ConfigError::Mistakes(mistakes)) => {
                Err(mistakes.iter().map(ToString::to_string).collect())
            }
            Err(error) => panic!("{error}"),
        }
    }
}
