//! grpc-timeout: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").

use std::time::Duration;

/// Reads a timeout; `None` when it is malformed.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let well_formed = (1..=8).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number: u64 =
        std::str::from_utf8(digits).ok().filter(|_| well_formed).and_then(|d| d.parse().ok())?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Writes a timeout in the finest unit that fits, rounded down, so that it is never lengthened.
pub fn format(timeout: Duration) -> String {
    const MAX: u128 = 99_999_999;
    let units = [
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (u128::from(timeout.as_secs()), 'S'),
        (u128::from(timeout.as_secs() / 60), 'M'),
    ];
    let fits = units.into_iter().find(|(number, _)| *number <= MAX);
    let (number, unit) = fits.unwrap_or((u128::from(timeout.as_secs() / 3600).min(MAX), 'H'));
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_and_a_unit_and_nothing_else() {
        assert_eq!(parse(b"5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse(b"99999999H"), Some(Duration::from_hours(99_999_999)));
        assert_eq!(parse(b"0n"), Some(Duration::ZERO));
        for bad in ["", "S", "5", "5s", "123456789S", "-1S", "+1S", "1.5S", " 5S", "5S "] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_never_longer() {
        for nanos in [0, 999, 1_000, 99_999_999_000, 100_000_000_001_000, u64::MAX] {
            let timeout = Duration::from_nanos(nanos);
            let back = parse(format(timeout).as_bytes()).unwrap();
            assert!(
                back <= timeout
                    && back >= timeout.mul_f64(0.99).saturating_sub(Duration::from_micros(1))
            );
        }
        assert_eq!(format(Duration::MAX), "99999999H");
    }
}
