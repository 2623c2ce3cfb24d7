//! Finds the field that a mistyped name was meant to be.

/// More slips than this make another word.
const SLIPS_MAX: usize = 3;

/// The name that is closest to what was written, if it is close.
pub(super) fn closest<'n>(written: &str, names: &[&'n str]) -> Option<&'n str> {
    let slips_max = SLIPS_MAX.min(written.len() / 2);
    // No longer name can be that close, and comparing it would take time for nothing.
    let near = names.iter().filter(|name| name.len().abs_diff(written.len()) <= slips_max);
    let (slips, name) = near.map(|name| (slips(written, name), *name)).min()?;
    (slips <= slips_max).then_some(name)
}

/// How many letters must be put in, taken out or replaced to get from one word to the other.
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *wanted);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["interval", "late_after", "dead_after", "id"];

    #[test]
    fn a_slip_finds_its_name() {
        assert_eq!(closest("intervall", NAMES), Some("interval"));
        assert_eq!(closest("late-after", NAMES), Some("late_after"));
        assert_eq!(closest("deadAfter", NAMES), Some("dead_after"));
    }

    #[test]
    fn another_word_finds_none() {
        for word in ["timeout", "", "x", &"interval".repeat(1000)] {
            assert_eq!(closest(word, NAMES), None, "{word}");
        }
    }

    #[test]
    fn slips_are_counted_as_edits() {
        assert_eq!(slips("kitten", "sitting"), 3);
        assert_eq!(slips("", "abc"), 3);
        assert_eq!(slips("abc", "abc"), 0);
    }
}
