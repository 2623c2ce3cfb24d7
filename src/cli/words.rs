//! Numbers as people read them.

use std::fmt::Write as _;

/// Grouped by thousands.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// How often a second.
pub(super) fn rate(per_second: f64) -> String {
    let tenths = whole(per_second * 10.0);
    if tenths < 1_000 {
        format!("{}.{}", tenths / 10, tenths % 10)
    } else {
        number(whole(per_second))
    }
}

/// As many bytes, in the largest unit that they fill.
pub(super) fn bytes(bytes: u64) -> String {
    let (mut unit, mut amount) = ("B", bytes);
    let mut tenths = None;
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if amount < 1_024 {
            break;
        }
        tenths = Some(amount % 1_024 * 10 / 1_024);
        (unit, amount) = (larger, amount / 1_024);
    }
    match tenths {
        Some(tenths) if amount < 100 => format!("{amount}.{tenths} {unit}"),
        _ => format!("{amount} {unit}"),
    }
}

/// A duration, with as much of it as matters: `870ns`, `1.2ms`, `3m 4s`, `2d 5h`.
pub(super) fn duration(seconds: f64) -> String {
    const PARTS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let nanoseconds = whole(seconds * 1e9);
    for (unit, name) in [(1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")] {
        let tenths = nanoseconds * 10 / unit;
        let is_short = if name == "s" { tenths < 600 } else { tenths < 10_000 };
        if is_short && (unit == 1 || tenths >= 100) {
            return format!("{}{name}", tenths / 10);
        }
        if is_short {
            return format!("{}.{}{name}", tenths / 10, tenths % 10);
        }
    }
    let mut left = whole(seconds);
    let mut text = String::new();
    let first = PARTS.iter().position(|(unit, _)| left >= *unit).unwrap_or(PARTS.len() - 1);
    for (unit, name) in PARTS.iter().skip(first).take(2) {
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a text does not fail.
        let _ = write!(text, "{space}{}{name}", left / unit);
        left %= unit;
    }
    text
}

/// The same of what may not be known yet.
pub(super) fn known(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), duration)
}

/// What others chose, such as names, without what would move a cursor or turn text round.
pub(super) fn harmless(text: &str) -> String {
    let is_harmful = |letter: char| {
        let turns = ('\u{202a}'..='\u{202e}').contains(&letter);
        letter.is_control() || turns || ('\u{2066}'..='\u{2069}').contains(&letter)
    };
    if !text.contains(is_harmful) {
        return text.to_owned();
    }
    let shown = text.chars().map(|letter| {
        if is_harmful(letter) { letter.escape_unicode().to_string() } else { letter.to_string() }
    });
    shown.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast goes to the nearest number that there is"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let shown = [0, 999, 1_000, 1_234_567].map(number);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.04, 12.34, 99.96, 1_034.5].map(rate),
            ["0.0", "0.0", "12.3", "100", "1,035"]
        );
    }

    #[test]
    fn bytes_have_the_largest_unit_that_they_fill() {
        let shown = [0, 1_023, 1_024, 1_468_006, 500 << 20, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.3 MiB", "500 MiB", "16383 PiB"]);
    }

    #[test]
    fn durations_show_as_much_as_matters() {
        let shown = [0.0, 8.7e-7, 0.000_012_3, 0.001_24, 0.25, 1.24, 59.9].map(duration);
        assert_eq!(shown, ["0ns", "870ns", "12µs", "1.2ms", "250ms", "1.2s", "59s"]);
        let shown = [60.0, 184.2, 7_500.0, 190_800.0].map(duration);
        assert_eq!(shown, ["1m 0s", "3m 4s", "2h 5m", "2d 5h"]);
        assert_eq!(known(None), "-");
    }

    #[test]
    fn what_would_move_the_cursor_is_spelled_out() {
        assert_eq!(harmless("demo.Greeter"), "demo.Greeter");
        assert_eq!(harmless("a\x1b[2J\n\u{202e}b"), "a\\u{1b}[2J\\u{a}\\u{202e}b");
    }
}
