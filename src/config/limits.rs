//! The limits as written, and the rules between them.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::Value;

use super::mistakes::Mistakes;
use super::shapes::Count;
use super::units::{Size, Span, more_than_zero};
use crate::tunnel::limits::{Limits, STREAMS_MAX};

/// No count may be higher: more is a slip, and what counts with it need not fear to overflow.
const COUNT_MAX: usize = 10_000_000;

/// No message may be larger, because every message is held in memory whole.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What HTTP/2 is told to read of a header list is 64 KiB; less of it is a call's metadata.
const METADATA_BYTES_MAX: usize = 48 * 1024;
/// The room of a queue is counted in 32 bits.
const QUEUE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// A map of headers has places for a few times this many.
const METADATA_ENTRIES_MAX: usize = 4_096;

/// Declares the section with one optional field for each limit, described by its comment, and how the
/// fields become [`Limits`]. The struct literal has no `..`, so a limit that is missing here does not compile.
macro_rules! limits_file {
    ($($(#[$attribute:meta])* $name:ident: $unit:ty),* $(,)?) => {
        /// How much of everything the gateway holds, and how long it waits: each more than zero, counts
        /// up to 10000000. Limits are per process.
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        pub(super) struct LimitsFile {
            $(
                $(#[$attribute])*
                #[schemars(
                    transform = bounded,
                    extend("default" = <$unit>::from(Limits::default().$name).written())
                )]
                $name: Option<$unit>,
            )*
        }

        impl LimitsFile {
            fn or_default(&self, mistakes: &mut Mistakes) -> Limits {
                let default = Limits::default();
                Limits {
                    $($name: settle(
                        concat!("limits.", stringify!($name)),
                        self.$name,
                        default.$name,
                        mistakes,
                    )),*
                }
            }
        }

        /// Each limit with its name, as a number: things, bytes or seconds, as the name says.
        pub(super) fn numbers(limits: &Limits) -> Vec<(&'static str, f64)> {
            vec![$((stringify!($name), <$unit>::from(limits.$name).number())),*]
        }
    };
}

limits_file! {
    /// Calls in flight in the gateway.
    calls_max: Count,
    /// Calls in flight down one tunnel, and calls that its peer makes.
    calls_per_tunnel_max: Count,
    /// Calls in flight to one service, down all its tunnels.
    calls_per_service_max: Count,
    /// Calls that wait for a tunnel (`routing.wait_for_tunnel`).
    waiting_calls_max: Count,
    /// Calls to one service that wait for a tunnel.
    waiting_calls_per_service_max: Count,
    /// Bytes of messages held with calls that wait; a message alone is held whatever its size.
    waiting_bytes_max: Size,
    /// Open connections; further ones are closed as they come.
    connections_max: Count,
    /// Open connections from one address (one /64 of IPv6) that is not loopback.
    connections_per_address_max: Count,
    /// Open streams of one connection, tunnels among them.
    #[schemars(range(max = STREAMS_MAX))]
    streams_per_connection_max: Count,
    /// Calls that one connection may cancel at once before their answers have begun; one more and it is
    /// closed with GOAWAY (`ENHANCE_YOUR_CALM`) and all its calls. Calls that had three quarters of their
    /// time do not count.
    early_cancels_burst: Count,
    /// How many more it may cancel each second.
    early_cancels_per_second: Count,
    /// One message, either way; 64MiB at most.
    message_bytes_max: Size,
    /// Bytes of callers' messages, and of first frames, that have come in part, from everybody
    /// together; the call that would pass it ends.
    gathered_bytes_max: Size,
    /// Metadata of a call, each way: names, values and 32 bytes a pair; 48KiB at most.
    metadata_bytes_max: Size,
    /// Pairs of metadata of a call, each way.
    #[schemars(range(max = METADATA_ENTRIES_MAX))]
    metadata_entries_max: Count,
    /// One frame to a peer; a larger one fails its call.
    classic_frame_bytes_max: Size,
    /// One frame from a peer; a larger one ends the tunnel. Not under `message_bytes_max`.
    peer_frame_bytes_max: Size,
    /// Bytes queued to one tunnel; 1GiB at most. Not under `call_queue_bytes_max`.
    tunnel_queue_bytes_max: Size,
    /// One call's share of the queue to its tunnel.
    call_queue_bytes_max: Size,
    /// Bytes of one call held that came up a tunnel. Not under `message_bytes_max`.
    call_buffer_bytes_max: Size,
    /// Bytes of all calls of one tunnel held that came up it; no call may hold more than it leaves
    /// free. Not under `call_buffer_bytes_max`.
    tunnel_buffer_bytes_max: Size,
    /// Names that one tunnel registers.
    services_per_tunnel_max: Count,
    /// Length of a name that a tunnel registers.
    service_name_bytes_max: Size,
    /// Tunnels open with one key.
    tunnels_per_key_max: Count,
    /// Tunnels of one name.
    tunnels_per_service_max: Count,
    /// Names remembered without a tunnel.
    names_remembered_max: Count,
    /// Health watches open at once, from everybody together; the next ends with `inflight_limit`.
    health_watches_max: Count,
    /// Wrong keys in a minute from one address (one /64 of IPv6); further ones are answered late and
    /// not logged. A right key is never held up.
    bad_keys_per_minute_max: Count,
    /// How late a wrong key is answered when there were too many.
    bad_key_delay: Span,
    /// Topics that somebody listens to, each pattern counted once. Subscriptions that come at the same
    /// moment on different workers may pass it by a few.
    topics_max: Count,
    /// Topics and patterns that one tunnel listens to.
    subscriptions_per_tunnel_max: Count,
    /// Length of a topic or a pattern.
    topic_bytes_max: Size,
    /// Payload of one event; 64MiB at most. A peer gets no frame over `classic_frame_bytes_max`: an event
    /// that would be one is told to it as missed.
    event_bytes_max: Size,
    /// Calls of `adit.events.v1` open at once, from everybody together: publishers and subscribers. The
    /// next ends with `inflight_limit`.
    event_streams_max: Count,
    /// Events that wait for one subscriber; when there are more, the newest is dropped for it.
    subscriber_queue_events_max: Count,
    /// Bytes of those events; an event alone waits whatever its size.
    subscriber_queue_bytes_max: Size,
    /// A tunnel whose queue of events stays full for so long is closed.
    slow_consumer_timeout: Span,
    /// Time until the first frame of a tunnel.
    register_timeout: Span,
    /// Time for the HTTP/2 handshake.
    handshake_timeout: Span,
    /// Time from the message to the half-close, when only peers without `stream` serve the name.
    half_close_timeout: Span,
    /// Time for one question of reflection, with all the services that are asked.
    reflection_timeout: Span,
    /// Time for a call without a deadline to a peer that asked for no feature.
    plain_call_timeout: Span,
    /// Time for a caller's message to come once it has begun. A call may be silent between messages.
    message_timeout: Span,
    /// A call on which no message goes either way for so long ends. Left out, it may be still for ever.
    stream_idle_timeout: Span,
    /// A caller that takes nothing of its answer for so long is given up: its stream is reset, the
    /// peer told.
    send_stall_timeout: Span,
    /// How long a call that its caller left keeps its slot on the tunnel, unless its peer ends it
    /// before.
    cancel_timeout: Span,
}

impl LimitsFile {
    /// The limits as used: what is written, over the defaults.
    pub(super) fn used(&self, mistakes: &mut Mistakes) -> Limits {
        let limits = self.or_default(mistakes);
        for (name, count, most) in [
            ("metadata_entries_max", limits.metadata_entries_max, METADATA_ENTRIES_MAX),
            ("streams_per_connection_max", limits.streams_per_connection_max, STREAMS_MAX as usize),
        ] {
            if count > most {
                mistakes.add(format!("limits.{name}"), format_args!("must be {most} at most"));
            }
        }
        for (name, size, most) in [
            ("message_bytes_max", limits.message_bytes_max, MESSAGE_BYTES_MAX),
            ("event_bytes_max", limits.event_bytes_max, MESSAGE_BYTES_MAX),
            ("metadata_bytes_max", limits.metadata_bytes_max, METADATA_BYTES_MAX),
            ("tunnel_queue_bytes_max", limits.tunnel_queue_bytes_max, QUEUE_BYTES_MAX),
        ] {
            if size > most {
                let text = format_args!("must be {} at most", Size::from(most));
                mistakes.add(format!("limits.{name}"), text);
            }
        }
        let message = ("message_bytes_max", limits.message_bytes_max);
        let call_buffer = ("call_buffer_bytes_max", limits.call_buffer_bytes_max);
        // An answer is held whole until its caller takes it.
        at_least(call_buffer, message, mistakes);
        at_least(
            ("tunnel_buffer_bytes_max", limits.tunnel_buffer_bytes_max),
            call_buffer,
            mistakes,
        );
        // An answer comes in one frame unless its peer slices it.
        at_least(("peer_frame_bytes_max", limits.peer_frame_bytes_max), message, mistakes);
        at_least(
            ("tunnel_queue_bytes_max", limits.tunnel_queue_bytes_max),
            ("call_queue_bytes_max", limits.call_queue_bytes_max),
            mistakes,
        );
        limits
    }
}

/// Notes a mistake if the one limit has no room for the other.
fn at_least(one: (&str, usize), other: (&str, usize), mistakes: &mut Mistakes) {
    let (path, path_of_other) = (format!("limits.{}", one.0), format!("limits.{}", other.0));
    if one.1 >= other.1 || mistakes.touch(&path) || mistakes.touch(&path_of_other) {
        return;
    }
    let (size, size_of_other) = (Size::from(one.1), Size::from(other.1));
    mistakes.add(path, format_args!("{size} is less than {path_of_other} ({size_of_other})"));
}

/// A limit as written, if it can be used.
trait Written: Copy + From<Self::Used> {
    type Used;

    fn used(self) -> Result<Self::Used, LimitError>;

    /// How it looks in the file: what never ends is left out.
    fn written(self) -> Value;

    /// As a metric has it: things, bytes or seconds. What never ends is infinite.
    fn number(self) -> f64;
}

/// No limit is so high that a double is not exact.
#[expect(clippy::cast_precision_loss, reason = "what is over 2^53 is no limit any more")]
fn exact(count: usize) -> f64 {
    count as f64
}

/// What the schema says of a limit of any unit.
fn bounded(schema: &mut Schema) {
    more_than_zero(schema);
    if schema.get("minimum").is_some() && schema.get("maximum").is_none() {
        schema.insert("maximum".to_owned(), Value::from(COUNT_MAX));
    }
}

/// Why a number cannot be a limit.
#[derive(Debug)]
enum LimitError {
    Zero,
    CountTooHigh,
}

fn settle<W: Written>(
    path: &str,
    written: Option<W>,
    default: W::Used,
    mistakes: &mut Mistakes,
) -> W::Used {
    written.and_then(|written| mistakes.note(path, written.used())).unwrap_or(default)
}

impl Written for Count {
    type Used = usize;

    fn used(self) -> Result<usize, LimitError> {
        match self.0 {
            0 => Err(LimitError::Zero),
            1..=COUNT_MAX => Ok(self.0),
            _ => Err(LimitError::CountTooHigh),
        }
    }

    fn written(self) -> Value {
        Value::from(self.0)
    }

    fn number(self) -> f64 {
        exact(self.0)
    }
}

impl Written for Size {
    type Used = usize;

    fn used(self) -> Result<usize, LimitError> {
        if self.bytes() == 0 { Err(LimitError::Zero) } else { Ok(self.bytes()) }
    }

    fn written(self) -> Value {
        Value::from(self.to_string())
    }

    fn number(self) -> f64 {
        exact(self.bytes())
    }
}

impl Written for Span {
    type Used = Duration;

    fn used(self) -> Result<Duration, LimitError> {
        if self.duration().is_zero() { Err(LimitError::Zero) } else { Ok(self.duration()) }
    }

    fn written(self) -> Value {
        if self.duration() == Duration::MAX { Value::Null } else { Value::from(self.to_string()) }
    }

    fn number(self) -> f64 {
        let is_for_ever = self.duration() == Duration::MAX;
        if is_for_ever { f64::INFINITY } else { self.duration().as_secs_f64() }
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("must be more than zero"),
            Self::CountTooHigh => write!(f, "must be {COUNT_MAX} at most"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One value for each field, none of them its default.
    const EVERY_LIMIT: &str = r#"{
        "calls_max": 1, "calls_per_tunnel_max": 2, "calls_per_service_max": 35,
        "waiting_calls_max": 36, "waiting_calls_per_service_max": 33, "waiting_bytes_max": "34B",
        "connections_max": 27, "connections_per_address_max": 28,
        "streams_per_connection_max": 3, "early_cancels_burst": 29, "early_cancels_per_second": 30,
        "message_bytes_max": "4B", "gathered_bytes_max": "26B", "metadata_bytes_max": "5B", "metadata_entries_max": 6,
        "classic_frame_bytes_max": "7B", "peer_frame_bytes_max": "8B",
        "tunnel_queue_bytes_max": "10B", "call_queue_bytes_max": "9B",
        "call_buffer_bytes_max": "11B", "tunnel_buffer_bytes_max": "12B",
        "services_per_tunnel_max": 13, "service_name_bytes_max": "14B",
        "tunnels_per_key_max": 15, "tunnels_per_service_max": 16, "names_remembered_max": 17,
        "health_watches_max": 29, "reflection_timeout": "30s",
        "bad_keys_per_minute_max": 23, "bad_key_delay": "24s",
        "topics_max": 37, "subscriptions_per_tunnel_max": 38, "topic_bytes_max": "39B",
        "event_bytes_max": "40B", "event_streams_max": 44, "subscriber_queue_events_max": 41,
        "subscriber_queue_bytes_max": "42B", "slow_consumer_timeout": "43s",
        "register_timeout": "18s", "handshake_timeout": "19s", "half_close_timeout": "20s",
        "plain_call_timeout": "21s", "send_stall_timeout": "25s", "message_timeout": "31s", "stream_idle_timeout": "32s", "cancel_timeout": "22s"
    }"#;

    #[test]
    fn every_limit_can_be_set_under_its_own_name() {
        let expected = Limits {
            calls_max: 1,
            calls_per_tunnel_max: 2,
            calls_per_service_max: 35,
            waiting_calls_max: 36,
            waiting_calls_per_service_max: 33,
            waiting_bytes_max: 34,
            connections_max: 27,
            connections_per_address_max: 28,
            streams_per_connection_max: 3,
            early_cancels_burst: 29,
            early_cancels_per_second: 30,
            message_bytes_max: 4,
            gathered_bytes_max: 26,
            metadata_bytes_max: 5,
            metadata_entries_max: 6,
            classic_frame_bytes_max: 7,
            peer_frame_bytes_max: 8,
            tunnel_queue_bytes_max: 10,
            call_queue_bytes_max: 9,
            call_buffer_bytes_max: 11,
            tunnel_buffer_bytes_max: 12,
            services_per_tunnel_max: 13,
            service_name_bytes_max: 14,
            tunnels_per_key_max: 15,
            tunnels_per_service_max: 16,
            names_remembered_max: 17,
            health_watches_max: 29,
            bad_keys_per_minute_max: 23,
            bad_key_delay: Duration::from_secs(24),
            topics_max: 37,
            subscriptions_per_tunnel_max: 38,
            topic_bytes_max: 39,
            event_bytes_max: 40,
            event_streams_max: 44,
            subscriber_queue_events_max: 41,
            subscriber_queue_bytes_max: 42,
            slow_consumer_timeout: Duration::from_secs(43),
            register_timeout: Duration::from_secs(18),
            handshake_timeout: Duration::from_secs(19),
            half_close_timeout: Duration::from_secs(20),
            reflection_timeout: Duration::from_secs(30),
            plain_call_timeout: Duration::from_secs(21),
            message_timeout: Duration::from_secs(31),
            stream_idle_timeout: Duration::from_secs(32),
            send_stall_timeout: Duration::from_secs(25),
            cancel_timeout: Duration::from_secs(22),
        };
        assert_eq!(used(EVERY_LIMIT), (expected, vec![]));
    }

    #[test]
    fn what_is_not_written_is_the_default_and_the_defaults_obey_the_rules() {
        assert_eq!(used("{}"), (Limits::default(), vec![]));
    }

    #[test]
    fn zero_and_absurd_limits_are_refused_together() {
        let text = r#"{"calls_max": 0, "message_bytes_max": "0B", "cancel_timeout": "0s",
                       "tunnels_per_key_max": 10000001}"#;
        assert_eq!(
            used(text).1,
            [
                "limits.calls_max: must be more than zero",
                "limits.message_bytes_max: must be more than zero",
                "limits.tunnels_per_key_max: must be 10000000 at most",
                "limits.cancel_timeout: must be more than zero",
            ]
        );
    }

    #[test]
    fn a_message_has_a_hard_cap() {
        let message = |size: &str| {
            used(&format!(r#"{{"message_bytes_max": "{size}", "call_buffer_bytes_max": "64MiB"}}"#))
        };
        assert_eq!(message("64MiB").1, Vec::<String>::new());
        assert_eq!(
            message("65MiB").1,
            ["limits.message_bytes_max: must be 64MiB at most"],
            "nothing is compared with a message that is refused"
        );
    }

    #[test]
    fn what_http_2_or_a_counter_could_not_hold_is_a_mistake() {
        let text = r#"{"metadata_bytes_max": "49KiB", "metadata_entries_max": 4097,
                       "streams_per_connection_max": 1101, "tunnel_queue_bytes_max": "2GiB"}"#;
        assert_eq!(
            used(text).1,
            [
                "limits.metadata_entries_max: must be 4096 at most",
                "limits.streams_per_connection_max: must be 1100 at most",
                "limits.metadata_bytes_max: must be 48KiB at most",
                "limits.tunnel_queue_bytes_max: must be 1GiB at most",
            ]
        );
    }

    #[test]
    fn a_buffer_must_hold_what_it_is_for() {
        let text = r#"{"message_bytes_max": "32MiB", "peer_frame_bytes_max": "16MiB",
                       "tunnel_buffer_bytes_max": "1MiB", "tunnel_queue_bytes_max": "1KiB"}"#;
        assert_eq!(
            used(text).1,
            [
                "limits.call_buffer_bytes_max: 16MiB is less than limits.message_bytes_max (32MiB)",
                "limits.peer_frame_bytes_max: 16MiB is less than limits.message_bytes_max (32MiB)",
                "limits.tunnel_queue_bytes_max: 1KiB is less than limits.call_queue_bytes_max (64KiB)",
            ]
        );
    }

    fn used(text: &str) -> (Limits, Vec<String>) {
        let mut mistakes = Mistakes::default();
        let limits = serde_json::from_str::<LimitsFile>(text).unwrap().used(&mut mistakes);
        (limits, mistakes.into_list().iter().map(ToString::to_string).collect())
    }
}
