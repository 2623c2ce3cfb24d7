//! How calls end, as it is counted: gRPC's status codes and the gateway's own reasons, by name.

/// The names of gRPC's status codes, each at its number (gRPC `doc/statuscodes.md`).
pub const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Why the gateway itself ends a call: the closed set of `x-gateway-error`.
pub const REASONS: [&str; 19] = [
    "bad_credentials",
    "bad_tunnel_frame",
    "cancelled",
    "deadline",
    "draining",
    "idle",
    "inflight_limit",
    "message_too_large",
    "metadata_too_large",
    "no_credentials",
    "no_tunnel",
    "panic",
    "protocol",
    "queue_full",
    "scope",
    "tunnel_lost",
    "unary_only",
    "unknown_service",
    "unsupported_encoding",
];

/// What stands for everything that has no place of its own.
pub const OTHER: &str = "other";

/// A gRPC status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u8);

/// A reason of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(u8);

impl Status {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The caller went away.
    pub const CANCELLED: Self = Self(1);

    /// The status with this number; a number that is none is UNKNOWN.
    pub fn numbered(number: i32) -> Self {
        let known =
            u8::try_from(number).ok().filter(|number| usize::from(*number) < STATUSES.len());
        Self(known.unwrap_or(2))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        STATUSES[self.place()]
    }

    pub(super) fn place(self) -> usize {
        usize::from(self.0)
    }
}

impl Reason {
    /// The caller went away.
    pub const CANCELLED: Self = Self(2);

    /// The reason of this name, if it is one of the set.
    pub fn named(name: &str) -> Option<Self> {
        let place = REASONS.iter().position(|reason| *reason == name)?;
        u8::try_from(place).ok().map(Self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        REASONS[self.place()]
    }

    pub(super) fn place(self) -> usize {
        usize::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_found_by_its_name_and_each_status_by_its_number() {
        assert!(REASONS.iter().all(|name| Reason::named(name).is_some_and(|r| r.name() == *name)));
        assert_eq!(Reason::named("made up"), None);
        assert_eq!(Reason::CANCELLED.name(), "cancelled");
        assert_eq!(Status::CANCELLED.name(), "CANCELLED");
        assert_eq!(Status::numbered(16).name(), "UNAUTHENTICATED");
        for number in [-1, 17, i32::MAX] {
            assert_eq!(Status::numbered(number).name(), "UNKNOWN", "{number}");
        }
    }
}
