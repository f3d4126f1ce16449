//! Durations as Kubernetes writes them (GEP-2257): reads and writes `1h30m`, checks ranges.
//!
//! One to four numbers of at most five digits, each with a unit of h, m, s or ms. No signs, no fractions.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// The time between two compares: 10 seconds to 24 hours.
pub type CompareInterval = Interval<10, 86_400>;

/// The time within which all content is read again: 1 hour to 720 hours.
pub type RehashInterval = Interval<3_600, 2_592_000>;

/// A text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is no duration: write one with units h, m, s or ms, for example 15m or 1h30m")]
pub struct DurationError {
    text: String,
}

/// A duration of at least `MIN` and at most `MAX` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Interval<MIN, MAX> {
    /// The interval that a text writes; `None` when it is no duration or out of range.
    pub fn parse(text: &str) -> Option<Self> {
        let duration = parse(text).ok()?;
        let range = Duration::from_secs(MIN)..=Duration::from_secs(MAX);
        range.contains(&duration).then_some(Self(duration))
    }

    /// The interval as a plain duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> fmt::Display for Interval<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format(self.0))
    }
}

/// Reads a duration such as `1h30m`.
///
/// # Errors
/// The text is not one to four numbers of at most five digits, each with its unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let parts = || {
        let mut rest = text;
        let mut total = Duration::ZERO;
        for _ in 0..4 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest.get(..digits).filter(|_| (1..=5).contains(&digits))?.parse().ok()?;
            rest = &rest[digits..];
            let (unit, milliseconds) = match rest.as_bytes() {
                [b'm', b's', ..] => (2, 1),
                [b'h', ..] => (1, 3_600_000),
                [b'm', ..] => (1, 60_000),
                [b's', ..] => (1, 1_000),
                _ => return None,
            };
            rest = &rest[unit..];
            total += Duration::from_millis(number * milliseconds);
            if rest.is_empty() {
                return Some(total);
            }
        }
        None
    };
    parts().ok_or_else(|| DurationError { text: text.into() })
}

/// Writes a duration in its shortest form, rounded down to milliseconds; `0s` for none.
/// What is longer than 99,999 hours, which no field allows, does not read back.
pub fn format(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let parts = [
        (milliseconds / 3_600_000, "h"),
        (milliseconds / 60_000 % 60, "m"),
        (milliseconds / 1_000 % 60, "s"),
        (milliseconds % 1_000, "ms"),
    ];
    let text: String =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_gateway_api_writes_them() {
        for (text, seconds) in
            [("15m", 900.0), ("1h30m", 5400.0), ("10s", 10.0), ("500ms", 0.5), ("1h1m1s1ms", 3661.001)]
        {
            assert_eq!(parse(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        assert_eq!(parse("30m30m").unwrap(), parse("1h").unwrap());
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "15", "m", "1.5h", "-1h", "1d", "100000s", "1h1h1h1h1h", " 1h", "1h ", "1H", "1m s", "１h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_interval_cannot_be_out_of_range() {
        assert!(CompareInterval::parse("9999ms").is_none());
        assert_eq!(CompareInterval::parse("10000ms").unwrap().to_string(), "10s");
        assert!(CompareInterval::parse("24h1ms").is_none());
        assert_eq!(CompareInterval::parse("24h").unwrap().get(), Duration::from_secs(86_400));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 0_u64..359_996_400_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}|[0-9hms]{0,30}") {
            let _ = parse(&text);
        }
    }
}
