//! Log lines on stderr.

pub mod access;
mod lines;
mod sampler;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use log::{Level, LevelFilter, Log, Metadata, Record};

use lines::{Lines, Writer};

/// Wins over the configured level when it is set.
const VARIABLE: &str = "RUST_LOG";

/// How long the end of the process waits for its last lines. A stderr that takes none must not keep
/// the process.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(1);

/// The lines of this process, once it logs.
static LINES: OnceLock<&'static Lines> = OnceLock::new();

/// Starts logging, once. `RUST_LOG` wins over the configured level. A thread does the writing, so that
/// no call ever waits for stderr; [`finish`] waits for the thread.
///
/// # Errors
/// If logging was started already, or there is no thread for it.
pub fn start(level: LevelFilter) -> io::Result<()> {
    let mut filter = env_filter::Builder::new();
    match env::var(VARIABLE) {
        Ok(directives) => filter.filter_level(level).parse(&directives),
        // The level of the process is enough, and it can change.
        Err(_) => filter.filter_level(LevelFilter::Trace),
    };
    let filter = filter.build();
    // The thread first: what is said without it would wait for ever.
    let lines: &'static Lines = Box::leak(Box::default());
    let mut writer = Writer::new(lines, io::stderr(), Instant::now());
    thread::Builder::new().name("log".to_owned()).spawn(move || {
        loop {
            writer.step();
        }
    })?;
    log::set_max_level(filter.filter());
    set_level(level);
    log::set_boxed_logger(Box::new(Logger { filter, lines })).map_err(io::Error::other)?;
    LINES.get_or_init(|| lines);
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Changes how much is logged, unless `RUST_LOG` says it.
pub fn set_level(level: LevelFilter) {
    if env::var_os(VARIABLE).is_none() {
        log::set_max_level(level);
    }
}

/// Says something to the person at the terminal, after the lines that were logged before.
pub fn say(text: &str) {
    match LINES.get() {
        Some(lines) => lines.add_text(format!("{text}\n")),
        // They may have closed it.
        None => drop(writeln!(io::stderr(), "{text}")),
    }
}

/// Waits until all lines are written, for a second at most.
pub fn finish() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_WAIT_MAX);
    }
}

/// Makes text from outside fit for one log line: escaped, and cut to 256 characters.
pub fn outside(text: &str) -> String {
    const CHARACTERS_MAX: usize = 256;
    let mut line: String = text.escape_debug().take(CHARACTERS_MAX).collect();
    if line.len() < text.len() && line.chars().count() == CHARACTERS_MAX {
        line.push('…');
    }
    line
}

struct Logger {
    filter: env_filter::Filter,
    lines: &'static Lines,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_fit_to_show(metadata) && self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if is_fit_to_show(record.metadata()) && self.filter.matches(record) {
            self.lines.add(record, Instant::now());
        }
    }

    fn flush(&self) {
        self.lines.flush(FLUSH_WAIT_MAX);
    }
}

/// What libraries say of single frames and headers would show keys and metadata, so of theirs only
/// warnings and errors are shown, whatever `RUST_LOG` asks for.
fn is_fit_to_show(metadata: &Metadata<'_>) -> bool {
    let own = env!("CARGO_CRATE_NAME");
    let is_own = metadata.target().split("::").next() == Some(own);
    is_own || metadata.level() <= Level::Warn
}

/// In the place of the standard hook, which writes to stderr on the thread that panicked.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no text");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    log::error!("panicked: at={place} message={}", outside(message));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        say(&backtrace.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_one_short_line() {
        assert_eq!(outside("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u{1b}[31m");
        let long = outside(&"x".repeat(1000));
        assert_eq!(long.chars().count(), 257);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn libraries_show_no_headers_whatever_is_asked_for() {
        let filter = env_filter::Builder::new().parse("trace,h2=trace").build();
        let shows = |target: &str, level| {
            let metadata = Metadata::builder().target(target).level(level).build();
            is_fit_to_show(&metadata) && filter.enabled(&metadata)
        };
        assert!(shows("adit::grpc::tunnel", Level::Trace));
        assert!(shows("adit", Level::Debug));
        assert!(shows("h2::codec", Level::Warn));
        assert!(!shows("h2::codec", Level::Trace));
        assert!(!shows("h2", Level::Info));
        assert!(!shows("adit_like::h2", Level::Debug));
    }
}
