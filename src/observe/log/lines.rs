//! Log lines on their way out. Who logs never waits: a line that has no room is dropped and counted.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{Level, Record};

use super::access;
use super::sampler::{Sampler, WINDOW};
use crate::observe::tally::{Count, count};

/// How many lines wait while stderr takes none. At ten lines a second of each fact, some seconds.
pub(super) const LINES_MAX: usize = 1024;

/// How many of them may be of the access log, so that a flood of calls leaves room to tell of.
const ACCESS_LINES_MAX: usize = LINES_MAX / 2;

/// How long a line may get; the rest is cut. With [`LINES_MAX`], all that waits is 4 MiB at most.
const LINE_BYTES_MAX: usize = 4096;

/// The lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<String>,
    sampler: Sampler,
    /// Lines without room, not told yet.
    dropped: u64,
    /// The writer has something in its hands.
    writing: bool,
    /// Somebody waits until all is written.
    flush: bool,
}

/// What the writer has to do next.
enum Task {
    Write(String),
    /// Write what is still to be told, too.
    Finish,
    /// Nothing came for a while.
    Look,
}

impl Lines {
    /// Takes a record, unless its place has said too much.
    pub(super) fn add(&self, record: &Record<'_>, now: Instant) {
        let message = record.args().to_string();
        let place = (record.file_static().unwrap_or("elsewhere"), record.line().unwrap_or(0));
        let line = line(record.level(), record.target(), &message);
        let mut state = self.lock();
        if state.sampler.admits(place, record.level(), &message, now) {
            self.push(&mut state, line);
        } else {
            count(Count::LogLineLeftOut);
        }
    }

    /// Takes text as it is.
    pub(super) fn add_text(&self, text: String) {
        self.push(&mut self.lock(), text);
    }

    /// Takes a line of the access log.
    pub(super) fn add_access(&self, line: String) {
        let mut state = self.lock();
        if state.waiting.len() < ACCESS_LINES_MAX {
            self.push(&mut state, line);
        } else {
            state.dropped += 1;
            count(Count::LogLineDropped);
        }
    }

    /// Waits until everything is written, but not for longer than this.
    pub(super) fn flush(&self, wait_max: Duration) {
        let mut state = self.lock();
        state.flush = true;
        self.changed.notify_all();
        let unfinished =
            |state: &mut State| state.flush || state.writing || !state.waiting.is_empty();
        drop(self.changed.wait_timeout_while(state, wait_max, unfinished));
    }

    fn push(&self, state: &mut State, line: String) {
        if state.waiting.len() < LINES_MAX {
            state.waiting.push_back(line);
            self.changed.notify_all();
        } else {
            state.dropped += 1;
            count(Count::LogLineDropped);
        }
    }

    /// What is to be done next. Waits for it, for a [`WINDOW`] at most.
    fn next(&self) -> Task {
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.flush;
        let waited = self.changed.wait_timeout_while(self.lock(), WINDOW, nothing);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.writing = true;
        match state.waiting.pop_front() {
            Some(line) => Task::Write(line),
            None if std::mem::take(&mut state.flush) => Task::Finish,
            None => Task::Look,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the lines, on a thread of its own, and tells what is missing among them.
#[derive(Debug)]
pub(super) struct Writer<'a, W> {
    lines: &'a Lines,
    out: W,
    /// Lines that are missing and not told yet.
    lost: u64,
    /// When it was last told what was left out.
    told: Instant,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(super) fn new(lines: &'a Lines, out: W, now: Instant) -> Self {
        Self { lines, out, lost: 0, told: now }
    }

    /// Writes one line, or what there is to tell. Waits for either for a second at most.
    pub(super) fn step(&mut self) {
        let task = self.lines.next();
        let now = Instant::now();
        let works = match &task {
            Task::Write(line) => self.write_or_lose(line),
            Task::Finish | Task::Look => true,
        };
        if matches!(task, Task::Finish) || now.duration_since(self.told) >= WINDOW {
            self.told = now;
            self.tell_left_out(now);
        }
        if works {
            self.tell_lost();
        }
        self.lines.lock().writing = false;
        self.lines.changed.notify_all();
    }

    fn tell_left_out(&mut self, now: Instant) {
        let left_out = self.lines.lock().sampler.left_out(now);
        for left_out in left_out {
            let message = format!("left out: lines={} like={:?}", left_out.lines, left_out.fact);
            self.write_or_lose(&line(left_out.level, module_path!(), &message));
        }
        let calls = access::left_out();
        if calls > 0 {
            let message = format!("left out: lines={calls} like=\"access\"");
            self.write_or_lose(&line(Level::Warn, module_path!(), &message));
        }
    }

    fn tell_lost(&mut self) {
        self.lost += std::mem::take(&mut self.lines.lock().dropped);
        let message = format!("lines dropped: lines={}", self.lost);
        if self.lost > 0 && self.write(&line(Level::Error, module_path!(), &message)) {
            self.lost = 0;
        }
    }

    fn write_or_lose(&mut self, line: &str) -> bool {
        let written = self.write(line);
        if !written {
            self.lost += 1;
            count(Count::LogLineDropped);
        }
        written
    }

    fn write(&mut self, line: &str) -> bool {
        self.out.write_all(line.as_bytes()).is_ok()
    }
}

/// A line as it is written. Whatever its message has from outside, it stays one line of text.
fn line(level: Level, target: &str, message: &str) -> String {
    let mut line = format!("[{:.0} {level:<5} {target}] ", Timestamp::now());
    for character in message.chars() {
        if line.len() >= LINE_BYTES_MAX {
            line.push('…');
            break;
        }
        if may_mislead(character) {
            line.extend(character.escape_unicode());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Characters that end a line, move a cursor, or turn the direction of the text that follows.
fn may_mislead(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests;
