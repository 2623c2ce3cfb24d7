//! How the commands that watch a running gateway are asked, and how their answers are shown: once, or
//! again and again.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use adit::config::units::Span;
use adit::config::{self, Environment};
use adit::observe::log;
use anstream::{AutoStream, ColorChoice};
use hyper::body::Bytes;
use serde::de::DeserializeOwned;
use terminal_size::{Height, Width, terminal_size};

use super::client::{AskError, Client, TOKEN_VARIABLE};
use super::table::{Page, Tone};

/// The metrics listener's own default.
const ADDRESS: &str = "127.0.0.1:9464";
/// Watching more often than this shows people nothing more.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Puts the cursor at the top. Lines that are too long end at the edge while a page is drawn.
const FRAME_BEGINS: &str = "\x1b[H\x1b[?7l";
const LINE_ENDS: &str = "\x1b[K\n";
/// Clears what is left of the page before.
const FRAME_ENDS: &str = "\x1b[J\x1b[?7h";

/// What all commands that watch have in common.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("A token is taken from {TOKEN_VARIABLE}."))]
pub(crate) struct Watching {
    /// Where the gateway's metrics listener is.
    #[arg(long, value_name = "HOST:PORT", default_value = ADDRESS, conflicts_with = "config", value_parser = address)]
    address: String,
    /// Take the address from this configuration instead.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask again and again.
    #[arg(long)]
    watch: bool,
    /// How long to wait before asking again.
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "watch", value_parser = interval)]
    interval: Duration,
    /// Print the answers as they come, in JSON.
    #[arg(long)]
    json: bool,
}

/// Where the answers are shown.
#[derive(Clone, Copy, Debug)]
struct Screen {
    is_terminal: bool,
    colours: bool,
}

fn address(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':');
    let port = |port: &str| port.parse::<std::num::NonZeroU16>().is_ok();
    let is_right = parts.is_some_and(|(host, number)| !host.is_empty() && port(number));
    if is_right { Ok(text.to_owned()) } else { Err("must be a host and a port".to_owned()) }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = text.parse::<Span>().map_err(|error| error.to_string())?.duration();
    if interval < INTERVAL_MIN {
        return Err(format!("must be {} ms or more", INTERVAL_MIN.as_millis()));
    }
    Ok(interval)
}

impl Watching {
    /// A client for the gateway that is meant.
    pub(super) fn client(&self) -> Result<Client, String> {
        let Some(path) = &self.config else { return Client::new(&self.address) };
        let loaded = config::load(path, &Environment::of_process());
        let metrics = loaded.map_err(|error| super::refused(path, &error))?.config.metrics;
        let file = path.display();
        let Some(mut address) = metrics.address else {
            return Err(format!("{file}: its metrics listener is switched off"));
        };
        if address.port() == 0 {
            return Err(format!("{file}: metrics.address has port 0, any free one: use --address"));
        }
        if address.ip().is_unspecified() {
            // It listens on all addresses; this machine is reached by its loopback.
            let is_v4 = address.is_ipv4();
            let v6 = std::net::Ipv6Addr::LOCALHOST.into();
            address.set_ip(if is_v4 { std::net::Ipv4Addr::LOCALHOST.into() } else { v6 });
        }
        Client::new(&address.to_string())
    }

    /// Asks for `path` and shows the answers.
    pub(super) fn show<T: DeserializeOwned>(
        &self,
        client: &Client,
        path: &str,
        draw: impl Fn(&T, &mut Page),
    ) -> Result<ExitCode, String> {
        let screen = Screen::of_stdout();
        let in_place = screen.is_terminal && self.watch && !self.json;
        let (mut last, mut trouble) = (String::new(), String::new());
        loop {
            let answer = client.ask(path);
            match answer.and_then(|answer| self.shown(&answer, client, screen, &draw)) {
                Ok(text) => {
                    last = text;
                    trouble.clear();
                }
                Err(error) if self.watch && error.may_pass() => {
                    let line = format!("{}; trying again", error.told(client.address()));
                    if !in_place && line != trouble {
                        log::say(&line);
                    }
                    trouble = line;
                }
                Err(error) => return Ok(failed(&error, client)),
            }
            let is_read = if in_place {
                put(&framed(&screen.under(&trouble, &last)))?
            } else {
                !trouble.is_empty() || put(&last)?
            };
            if !is_read || !self.watch {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(self.interval);
        }
    }

    fn shown<T: DeserializeOwned>(
        &self,
        answer: &Bytes,
        client: &Client,
        screen: Screen,
        draw: impl Fn(&T, &mut Page),
    ) -> Result<String, AskError> {
        if self.json {
            return Ok(String::from_utf8_lossy(answer).into_owned());
        }
        let parsed: Answer<T> = serde_json::from_slice(answer).map_err(AskError::Strange)?;
        let mut page = Page::new(screen.width());
        page.line(Tone::Plain, &format!("{}  {}", client.address(), parsed.captured_at));
        draw(&parsed.what, &mut page);
        let apart = if self.watch && !screen.is_terminal { "\n" } else { "" };
        Ok(format!("{}{apart}", page.text(screen.colours)))
    }
}

/// An answer, with when its numbers were read.
#[derive(serde::Deserialize)]
struct Answer<T> {
    captured_at: String,
    #[serde(flatten)]
    what: T,
}

/// Says why there is no answer.
pub(super) fn failed(error: &AskError, client: &Client) -> ExitCode {
    log::say(&error.told(client.address()));
    ExitCode::FAILURE
}

impl Screen {
    fn of_stdout() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let colours = is_terminal && AutoStream::choice(&stdout) != ColorChoice::Never;
        Self { is_terminal, colours }
    }

    fn width(self) -> Option<u16> {
        let size = terminal_size().filter(|_| self.is_terminal);
        size.map(|(Width(width), _)| width)
    }

    /// A page under a line that says why it is not of now.
    fn under(self, trouble: &str, last: &str) -> String {
        if trouble.is_empty() {
            return last.to_owned();
        }
        let mut page = Page::default();
        page.line(Tone::Alarm, trouble);
        format!("{}\n{last}", page.text(self.colours))
    }
}

/// False if nobody reads any more.
fn put(text: &str) -> Result<bool, String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(format!("nothing can be shown: {error}")),
    }
}

/// As much of a page as a terminal has lines for, in the place of the one before.
fn framed(text: &str) -> String {
    let height = terminal_size().map_or(usize::MAX, |(_, Height(height))| height.into());
    let count = text.lines().count();
    // The cursor needs a line, and so does the number of those that are left out.
    let room = if count < height { count } else { height.saturating_sub(2) };
    let mut frame = FRAME_BEGINS.to_owned();
    for line in text.lines().take(room) {
        frame.push_str(line);
        frame.push_str(LINE_ENDS);
    }
    if room < count {
        // Writing to a text does not fail.
        let _ = write!(frame, "… {} more lines{LINE_ENDS}", count - room);
    }
    frame + FRAME_ENDS
}
