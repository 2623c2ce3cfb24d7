//! What becomes of lines when stderr takes them, and when it does not.

use std::io;

use super::super::sampler::LINES_PER_WINDOW_MAX;
use super::*;

/// A stderr whose disk may be full.
#[derive(Default)]
struct Disk {
    full: bool,
    written: Vec<u8>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn writer(lines: &Lines) -> Writer<'_, Disk> {
    Writer::new(lines, Disk::default(), Instant::now())
}

fn text(lines: &Lines, count: usize) {
    for number in 0..count {
        lines.add_text(format!("{number}\n"));
    }
}

fn failures(lines: &Lines, count: usize, now: Instant) {
    for _ in 0..count {
        let arguments = format_args!("tunnel refused: remote=x");
        let record = Record::builder().level(Level::Warn).target("adit").args(arguments).build();
        lines.add(&record, now);
    }
}

/// All lines that have been written when there is nothing left to do, as if somebody waited for it.
fn written(writer: &mut Writer<'_, Disk>) -> Vec<String> {
    writer.lines.lock().flush = true;
    while writer.lines.lock().flush {
        writer.step();
    }
    let written = std::str::from_utf8(&writer.out.written).unwrap();
    written.lines().map(str::to_owned).collect()
}

#[test]
fn a_line_over_the_limit_is_dropped_and_told_when_there_is_room() {
    let lines = Lines::default();
    text(&lines, LINES_MAX + 7);
    let written = written(&mut writer(&lines));
    assert_eq!(written.len(), LINES_MAX + 1);
    assert_eq!(written[0], "0");
    assert!(written[1].ends_with("ERROR adit::observe::log::lines] lines dropped: lines=7"));
    assert_eq!(written[LINES_MAX], format!("{}", LINES_MAX - 1));
}

#[test]
fn lines_that_a_full_disk_did_not_take_are_told_when_it_takes_some() {
    let lines = Lines::default();
    let mut writer = writer(&lines);
    writer.out.full = true;
    text(&lines, 3);
    assert!(written(&mut writer).is_empty());
    writer.out.full = false;
    text(&lines, 1);
    let written = written(&mut writer);
    assert_eq!(written.len(), 2);
    assert_eq!(written[0], "0");
    assert!(written[1].ends_with("lines dropped: lines=3"), "{}", written[1]);
}

#[test]
fn of_a_flood_some_lines_and_the_number_of_the_others_are_written() {
    let lines = Lines::default();
    failures(&lines, 10_000, Instant::now());
    let mut written = written(&mut writer(&lines));
    let last = written.pop().unwrap();
    let told = format!("left out: lines={} like=\"tunnel refused\"", 10_000 - LINES_PER_WINDOW_MAX);
    assert!(last.ends_with(&told) && last.contains(" WARN "), "{last}");
    assert_eq!(written.len(), LINES_PER_WINDOW_MAX as usize);
    assert!(written.iter().all(|line| line.ends_with("Z WARN  adit] tunnel refused: remote=x")));
}

#[test]
fn a_flush_ends_though_nothing_can_be_written() {
    let lines = Lines::default();
    text(&lines, 1);
    lines.flush(Duration::from_millis(1));
    assert_eq!(lines.lock().waiting.len(), 1);
}

#[test]
fn a_message_stays_one_line_of_limited_length() {
    let bad = line(Level::Info, "adit", "a\nb\r\u{1b}[31m\u{202e}\u{85}\u{2028}é\"");
    assert!(
        bad.ends_with("adit] a\\u{a}b\\u{d}\\u{1b}[31m\\u{202e}\\u{85}\\u{2028}é\"\n"),
        "{bad}"
    );
    let long = line(Level::Info, "adit", &"\n".repeat(LINE_BYTES_MAX));
    assert!(long.len() < LINE_BYTES_MAX + 16);
    assert_eq!(long.matches('\n').count(), 1);
}
