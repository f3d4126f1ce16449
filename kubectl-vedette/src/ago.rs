//! Times as people say them: how long something is ago. Pure.

use jiff::Timestamp;

/// How long ago, in one unit: `45s`, `3m`, `2h`, `5d`.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    match now.as_second() - then.as_second() {
        // Clocks differ a little.
        seconds @ ..0 if seconds < -60 => "in the future".to_owned(),
        seconds @ ..120 => format!("{}s", seconds.max(0)),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// The same of what may never have been.
pub(crate) fn ago_or_never(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "-".to_owned(), |then| ago(then, now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_time_is_said_in_one_unit() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let said = |seconds: i64| ago(Timestamp::from_second(1_000_000_000 - seconds).unwrap(), now);
        assert_eq!([-5, 0, 119, 120, 7_199].map(said), ["0s", "0s", "119s", "2m", "119m"]);
        assert_eq!([7_200, 172_799, 172_800, -3_600].map(said), ["2h", "47h", "2d", "in the future"]);
    }
}
