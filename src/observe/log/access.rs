//! The access log: one line for each call that has ended, as JSON or as text.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{LINES, outside};
use crate::observe::tally::{Count, count};

/// How calls are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// In which form, if at all.
    pub form: Form,
    /// Lines in a second. Of more calls some are logged, spread over the second; the others are left
    /// out, and counted in a line of their own.
    pub lines_per_second_max: usize,
}

/// The form of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// There is none.
    Off,
    /// A JSON object a line.
    Json,
    /// `name=value` words, in the same order under the same names.
    Text,
}

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Call<'c> {
    /// The method as it was called: a path.
    pub method: &'c str,
    /// What its caller was told, by name.
    pub status: &'static str,
    /// Why the gateway itself ended it, if it did.
    pub reason: Option<&'static str>,
    /// From its arrival until its end was written.
    pub duration: Duration,
    /// What of that the gateway took, if the service answered.
    pub overhead: Option<Duration>,
    /// Bytes of its messages from the caller.
    pub bytes_in: u64,
    /// Bytes of its messages to the caller.
    pub bytes_out: u64,
    /// Its messages from the caller.
    pub messages_in: u64,
    /// Its messages to the caller.
    pub messages_out: u64,
    /// The tunnel that carried it, if one did.
    pub tunnel: Option<Uuid>,
    /// The id of the caller's key, if it showed one.
    pub key: Option<&'c str>,
    /// What goes with it as `x-request-id`.
    pub request_id: &'c str,
    /// The gateway's own id of it, in frames.
    pub call_id: Uuid,
    /// Where it came from.
    pub remote: SocketAddr,
}

/// A call as it is written. The order is that of the fields.
#[derive(Serialize)]
struct Line<'c> {
    time: String,
    method: &'c str,
    status: &'static str,
    reason: Option<&'static str>,
    #[serde(serialize_with = "microseconds")]
    duration_seconds: Option<Duration>,
    #[serde(serialize_with = "microseconds")]
    overhead_seconds: Option<Duration>,
    bytes_in: u64,
    bytes_out: u64,
    messages_in: u64,
    messages_out: u64,
    tunnel: Option<String>,
    key: Option<&'c str>,
    request_id: &'c str,
    call_id: String,
    remote: SocketAddr,
}

/// Lets so many lines pass in a second, and counts the others. Who would log more has lines spread over
/// the second, by how many there were in the last; a flood is cut off only in its first.
#[derive(Debug)]
struct PerSecond {
    second: u64,
    lines: u64,
    left_out: u64,
    succeeded: Share,
    failed: Share,
}

/// Calls that have lines to themselves while there are many of both kinds.
#[derive(Debug)]
struct Share {
    /// In this second, and in the one before.
    calls: u64,
    before: u64,
    /// How far the next line is, in parts of a line that a call has.
    saved: u64,
}

const OFF: u8 = 0;
const JSON: u8 = 1;
const TEXT: u8 = 2;

static FORM: AtomicU8 = AtomicU8::new(OFF);
static LINES_MAX: AtomicU64 = AtomicU64::new(0);
static PASSED: Mutex<PerSecond> = Mutex::new(PerSecond::new());

impl Default for AccessLog {
    /// A thousand lines a second are some 30 GB a day: more is for nobody to read.
    fn default() -> Self {
        Self { form: Form::Off, lines_per_second_max: 1_000 }
    }
}

/// Calls that end from now on are logged so. Those that began while there was no access log have no
/// line: what it needs of them was not kept.
pub fn set(settings: AccessLog) {
    let max = u64::try_from(settings.lines_per_second_max).unwrap_or(u64::MAX);
    LINES_MAX.store(max, Ordering::Relaxed);
    let form = match settings.form {
        Form::Off => OFF,
        Form::Json => JSON,
        Form::Text => TEXT,
    };
    FORM.store(form, Ordering::Relaxed);
}

/// Whether calls are logged.
pub fn is_on() -> bool {
    FORM.load(Ordering::Relaxed) != OFF
}

/// Logs a call, unless there are too many in this second. It never waits for whoever writes.
pub fn write(call: &Call<'_>) {
    let Some(lines) = LINES.get() else { return };
    let form = match FORM.load(Ordering::Relaxed) {
        JSON => json,
        TEXT => text,
        _ => return,
    };
    let now = Timestamp::now();
    let second = u64::try_from(now.as_second()).unwrap_or_default();
    if passed().one_more(second, call.status == "OK", LINES_MAX.load(Ordering::Relaxed)) {
        lines.add_access(form(call, now));
    } else {
        count(Count::AccessLineLeftOut);
    }
}

/// How many lines were left out since it was last asked.
pub(super) fn left_out() -> u64 {
    std::mem::take(&mut passed().left_out)
}

/// It is only counted in: a panic in between leaves it usable.
fn passed() -> MutexGuard<'static, PerSecond> {
    PASSED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn json(call: &Call<'_>, now: Timestamp) -> String {
    let method = outside(call.method);
    // Nothing in it can fail to be JSON.
    let mut line = serde_json::to_string(&line(call, &method, now)).unwrap_or_default();
    line.push('\n');
    line
}

fn text(call: &Call<'_>, now: Timestamp) -> String {
    let (method, request_id) = (outside(call.method), outside(call.request_id));
    let call = line(call, &method, now);
    let Line { time, status, bytes_in, bytes_out, messages_in, messages_out, .. } = &call;
    let Line { call_id, remote, .. } = &call;
    let (reason, tunnel) = (call.reason.unwrap_or("-"), call.tunnel.as_deref().unwrap_or("-"));
    let mut line = format!("time={time} method={}", Word(&method));
    // A `String` takes whatever is written to it.
    let _ = write!(
        line,
        " status={status} reason={reason} duration_seconds={} overhead_seconds={} \
         bytes_in={bytes_in} bytes_out={bytes_out} messages_in={messages_in} \
         messages_out={messages_out} tunnel={tunnel} key={} request_id={} call_id={call_id} \
         remote={remote}",
        Seconds(call.duration_seconds),
        Seconds(call.overhead_seconds),
        call.key.unwrap_or("-"),
        Word(&request_id),
    );
    line.push('\n');
    line
}

fn line<'c>(call: &Call<'c>, method: &'c str, now: Timestamp) -> Line<'c> {
    Line {
        time: format!("{now:.3}"),
        method,
        status: call.status,
        reason: call.reason,
        duration_seconds: Some(call.duration),
        overhead_seconds: call.overhead,
        bytes_in: call.bytes_in,
        bytes_out: call.bytes_out,
        messages_in: call.messages_in,
        messages_out: call.messages_out,
        tunnel: call.tunnel.map(|tunnel| tunnel.to_string()),
        key: call.key,
        request_id: call.request_id,
        call_id: call.call_id.to_string(),
        remote: call.remote,
    }
}

/// Seconds to the microsecond: the clock that measures calls knows no better.
#[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
fn microseconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    let rounded = time.map(|time| (time.as_secs_f64() * 1e6).round() / 1e6);
    rounded.serialize(to)
}

struct Seconds(Option<Duration>);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => write!(f, "{:.6}", time.as_secs_f64()),
            None => f.write_str("-"),
        }
    }
}

/// Escaped text as one word: in quotes where it could be taken for more than one.
struct Word<'t>(&'t str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
        if !self.0.is_empty() && self.0.bytes().all(is_plain) {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0)
        }
    }
}

impl PerSecond {
    const fn new() -> Self {
        let (succeeded, failed) = (Share::new(), Share::new());
        Self { second: 0, lines: 0, left_out: 0, succeeded, failed }
    }

    /// Whether one more call is logged. Neither those that succeed nor those that fail take more than
    /// half of the lines from the others.
    fn one_more(&mut self, second: u64, succeeded: bool, max: u64) -> bool {
        if self.second != second {
            let follows = self.second + 1 == second;
            self.succeeded.next_second(follows);
            self.failed.next_second(follows);
            (self.second, self.lines) = (second, 0);
        }
        let (of, others) = if succeeded {
            (&mut self.succeeded, &self.failed)
        } else {
            (&mut self.failed, &self.succeeded)
        };
        let passes = of.one_more(max - others.before.min(max / 2)) && self.lines < max;
        if passes {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        passes
    }
}

impl Share {
    const fn new() -> Self {
        Self { calls: 0, before: 0, saved: 0 }
    }

    fn next_second(&mut self, follows: bool) {
        let before = if follows { self.calls } else { 0 };
        *self = Self { before, ..Self::new() };
    }

    /// Whether one more call is among those that share so many lines in a second.
    fn one_more(&mut self, lines: u64) -> bool {
        self.calls += 1;
        if self.before <= lines {
            return true;
        }
        self.saved += lines;
        let passes = self.saved >= self.before;
        if passes {
            self.saved -= self.before;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tally;

    fn call<'c>(method: &'c str, request_id: &'c str) -> Call<'c> {
        Call {
            method,
            status: "OK",
            reason: None,
            duration: Duration::from_nanos(1_234_567),
            overhead: Some(Duration::from_micros(40)),
            bytes_in: 1,
            bytes_out: 2,
            messages_in: 3,
            messages_out: 4,
            tunnel: None,
            key: Some("edge"),
            request_id,
            call_id: Uuid::from_u128(7),
            remote: ([127, 0, 0, 1], 5).into(),
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_millisecond(1_790_000_000_123).unwrap()
    }

    #[test]
    fn a_line_has_the_same_fields_in_both_forms() {
        let call = call("/demo.Echo/Say", "abc");
        assert_eq!(
            text(&call, now()),
            "time=2026-09-21T14:13:20.123Z method=/demo.Echo/Say status=OK reason=- \
             duration_seconds=0.001235 overhead_seconds=0.000040 bytes_in=1 bytes_out=2 \
             messages_in=3 messages_out=4 tunnel=- key=edge request_id=abc \
             call_id=00000000-0000-0000-0000-000000000007 remote=127.0.0.1:5\n"
        );
        assert_eq!(
            json(&call, now()),
            "{\"time\":\"2026-09-21T14:13:20.123Z\",\"method\":\"/demo.Echo/Say\",\
             \"status\":\"OK\",\"reason\":null,\"duration_seconds\":0.001235,\
             \"overhead_seconds\":0.00004,\"bytes_in\":1,\"bytes_out\":2,\"messages_in\":3,\
             \"messages_out\":4,\"tunnel\":null,\"key\":\"edge\",\"request_id\":\"abc\",\
             \"call_id\":\"00000000-0000-0000-0000-000000000007\",\"remote\":\"127.0.0.1:5\"}\n"
        );
    }

    #[test]
    fn what_comes_from_outside_stays_in_its_field() {
        let method = format!("/a b\"\n\u{202e}/{}", "x".repeat(5_000));
        let call = call(&method, "id=\"1\"\\");
        let line = text(&call, now());
        let start = "time=2026-09-21T14:13:20.123Z method=\"/a b\\\"\\n\\u{202e}/xxx";
        assert!(line.starts_with(start), "{line}");
        assert!(line.contains("x…\" status=OK"), "{line}");
        assert!(line.contains(" request_id=\"id=\\\"1\\\"\\\\\" call_id="), "{line}");
        assert_eq!(line.lines().count(), 1);
        let line = json(&call, now());
        assert_eq!(line.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["request_id"], "id=\"1\"\\");
        assert!(read["method"].as_str().unwrap().starts_with("/a b\\\"\\n\\u{202e}/xxx"));
        assert!(line.len() < 4_096);
    }

    #[test]
    fn in_a_second_only_so_many_lines_pass_and_the_others_are_counted() {
        let mut lines = PerSecond::new();
        let mut passes = |second| (0..100).filter(|_| lines.one_more(second, true, 30)).count();
        assert_eq!((passes(1), passes(1), passes(2), passes(4)), (30, 0, 15, 30));
        assert_eq!(lines.left_out, 70 + 100 + 85 + 70);
    }

    #[test]
    fn under_a_flood_the_lines_are_spread_over_the_second() {
        let mut lines = PerSecond::new();
        assert_eq!((0..1_000).filter(|_| lines.one_more(1, true, 10)).count(), 10);
        let logged: Vec<_> = (0..1_000).filter(|_| lines.one_more(2, true, 10)).collect();
        let steps: Vec<_> = logged.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!((logged.len(), steps), (10, vec![100; 9]));
        assert_eq!(
            (0..9_000).filter(|_| lines.one_more(3, true, 10)).count(),
            10,
            "ten times more"
        );
    }

    #[test]
    fn failures_have_lines_among_many_that_succeed_and_the_other_way_round() {
        let mut lines = PerSecond::new();
        let mut logged = |second, succeeded: &dyn Fn(u32) -> bool| {
            let calls = (0..1_000).map(succeeded);
            let (of_ok, of_failed): (Vec<_>, Vec<_>) = calls
                .filter(|succeeded| lines.one_more(second, *succeeded, 20))
                .partition(|succeeded| *succeeded);
            (of_ok.len(), of_failed.len())
        };
        let few_fail = |number: u32| number % 200 != 50;
        logged(1, &few_fail);
        assert_eq!(logged(2, &few_fail), (15, 5), "all five that failed");
        let most_fail = |number: u32| number % 10 == 5;
        logged(3, &most_fail);
        assert_eq!(logged(4, &most_fail), (10, 10));
    }

    #[test]
    fn while_there_is_no_access_log_nothing_is_left_out() {
        LINES.get_or_init(|| Box::leak(Box::default()));
        let (left_out, counted) = (passed().left_out, tally::counted(Count::AccessLineLeftOut));
        write(&call("/demo.Echo/Say", "abc"));
        assert_eq!(passed().left_out, left_out);
        assert_eq!(tally::counted(Count::AccessLineLeftOut), counted);
    }
}
