//! gRPC status codes, and what peers say instead of them.

/// A gRPC status code, 0 to 16 (gRPC `doc/statuscodes.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(u8);

impl Code {
    /// The call succeeded.
    pub const OK: Self = Self(0);
    /// The caller went away.
    pub const CANCELLED: Self = Self(1);
    /// An error that nothing better is known of.
    pub const UNKNOWN: Self = Self(2);
    /// The request is wrong in itself.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// Time is up.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// The thing asked for does not exist.
    pub const NOT_FOUND: Self = Self(5);
    /// Known, but not allowed.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A limit is reached.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// A conflict with another's work.
    pub const ABORTED: Self = Self(10);
    /// No such service or method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// An invariant is broken.
    pub const INTERNAL: Self = Self(13);
    /// Not now; trying again may help.
    pub const UNAVAILABLE: Self = Self(14);
    /// Not known who is asking.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// Reads a `status_code` as a peer sends it: a gRPC code, or from 100 up an HTTP one. Any
    /// other number is UNKNOWN.
    pub fn from_peer(number: i32) -> Self {
        match number {
            0..=16 => Self(u8::try_from(number).unwrap_or(2)),
            200..=299 => Self::OK,
            400 => Self::INVALID_ARGUMENT,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::NOT_FOUND,
            409 => Self::ABORTED,
            429 => Self::RESOURCE_EXHAUSTED,
            499 => Self::CANCELLED,
            500 => Self::INTERNAL,
            501 => Self::UNIMPLEMENTED,
            503 => Self::UNAVAILABLE,
            504 => Self::DEADLINE_EXCEEDED,
            _ => Self::UNKNOWN,
        }
    }

    /// The number on the wire.
    pub fn number(self) -> i32 {
        i32::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_codes_are_translated_and_nonsense_is_unknown() {
        let table = [
            (0, 0),
            (16, 16),
            (17, 2),
            (-1, 2),
            (i32::MAX, 2),
            (99, 2),
            (100, 2),
            (200, 0),
            (204, 0),
            (302, 2),
            (400, 3),
            (401, 16),
            (403, 7),
            (404, 5),
            (409, 10),
            (418, 2),
            (429, 8),
            (499, 1),
            (500, 13),
            (501, 12),
            (502, 2),
            (503, 14),
            (504, 4),
        ];
        for (sent, meant) in table {
            assert_eq!(Code::from_peer(sent).number(), meant, "{sent}");
        }
    }
}
