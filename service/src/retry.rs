//! When to try again what failed, and when to speak of it. Pure: moments in, pauses and words out.
//!
//! An outage is spoken of when it begins, not more often than once a minute while it lasts, and when it is over. Pauses
//! double, and each is drawn between half of its step and the whole, so that a fleet does not come back in step.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
/// While it lasts, an outage is spoken of this often.
const AGAIN: Duration = Duration::from_secs(60);
/// What works for so long has recovered; what fails sooner goes on with the pauses it had come to.
const CALM: Duration = Duration::from_secs(30);

/// One thing that is tried until it succeeds.
#[derive(Debug)]
pub struct Retry {
    longest: Duration,
    step: u32,
    /// When the outage began; `None` while there is none.
    began: Option<Instant>,
    recovered: Option<Instant>,
    spoken: Option<Instant>,
    is_spoken_of: bool,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// How long to wait before the next try.
    pub pause: Duration,
    /// Present when it is to be said: how long the outage has lasted.
    pub say: Option<Duration>,
}

impl Retry {
    /// Nothing has failed yet; pauses grow up to `longest`.
    pub fn new(longest: Duration) -> Self {
        Self { longest, step: 0, began: None, recovered: None, spoken: None, is_spoken_of: false }
    }

    /// Pauses grow up to `longest` from now on.
    pub fn set_longest(&mut self, longest: Duration) {
        self.longest = longest;
    }

    /// It failed.
    pub fn failed(&mut self, now: Instant) -> Failed {
        let began = *self.began.get_or_insert(now);
        if self.recovered.take().is_some_and(|recovered| now - recovered >= CALM) {
            self.step = 0;
        }
        let step = FIRST.saturating_mul(1 << self.step.min(16)).min(self.longest);
        self.step = self.step.saturating_add(1);
        let say = self.spoken.is_none_or(|spoken| now - spoken >= AGAIN).then(|| now - began);
        if say.is_some() {
            self.spoken = Some(now);
            self.is_spoken_of = true;
        }
        Failed { pause: step.mul_f64(0.5 + 0.5 * fastrand::f64()), say }
    }

    /// It succeeded. Returns how long the outage lasted when it was spoken of, so that its end is too.
    pub fn succeeded(&mut self, now: Instant) -> Option<Duration> {
        let began = self.began.take()?;
        self.recovered = Some(now);
        std::mem::take(&mut self.is_spoken_of).then(|| now - began)
    }
}

/// A length of time in one unit, as people say it: `45s`, `3m`, `2h`.
pub fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

/// How long it has lasted, as words in the middle of a sentence; none at its beginning.
pub fn lasting(duration: Duration) -> String {
    if duration.is_zero() { String::new() } else { format!(", for {} now", rough(duration)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_from_at_most_a_second_to_the_longest_and_are_not_in_step() {
        let now = Instant::now();
        let mut first = Vec::new();
        for _ in 0..50 {
            let mut retry = Retry::new(seconds(30));
            let pauses: Vec<f64> = (0..8).map(|_| retry.failed(now).pause.as_secs_f64()).collect();
            for (pause, step) in pauses.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]) {
                assert!((step / 2.0..=step).contains(pause), "{pauses:?}");
            }
            first.push((pauses[0] * 1e6) as u64);
        }
        first.sort_unstable();
        first.dedup();
        assert!(first.len() > 25, "{first:?}");
    }

    #[test]
    fn an_outage_is_spoken_of_at_once_then_once_a_minute_and_at_its_end() {
        let begin = Instant::now();
        let mut retry = Retry::new(seconds(30));
        assert_eq!(retry.succeeded(begin), None, "there was none");
        let said: Vec<_> = (0..200)
            .filter_map(|second| Some((second, retry.failed(begin + seconds(second)).say?.as_secs())))
            .collect();
        assert_eq!(said, [(0, 0), (60, 60), (120, 120), (180, 180)]);
        assert_eq!(retry.succeeded(begin + seconds(200)), Some(seconds(200)));
        assert_eq!(retry.succeeded(begin + seconds(201)), None, "said once");
    }

    #[test]
    fn what_comes_and_goes_is_spoken_of_once_a_minute_and_is_not_tried_faster() {
        let begin = Instant::now();
        let mut retry = Retry::new(seconds(30));
        let mut words = 0;
        for second in 0..120 {
            let failed = retry.failed(begin + seconds(second));
            words += u32::from(failed.say.is_some());
            words += u32::from(retry.succeeded(begin + seconds(second)).is_some());
            assert!(second < 6 || failed.pause >= seconds(15), "{second}: {failed:?}");
        }
        assert_eq!(words, 4, "begin and end, twice");
        retry.failed(begin + seconds(120));
        retry.succeeded(begin + seconds(121));
        assert!(retry.failed(begin + seconds(160)).pause <= seconds(1), "it had recovered");
    }

    #[test]
    fn lengths_of_time_are_said_in_one_unit() {
        let said = [0, 59, 60, 185, 3599, 3600, 90_000].map(|length| rough(seconds(length)));
        assert_eq!(said, ["0s", "59s", "1m", "3m", "59m", "1h", "25h"]);
    }
}
