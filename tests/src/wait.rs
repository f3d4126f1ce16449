//! Waiting for a state with a deadline. Tests look again and again for what has to hold; they never sleep and hope.
use std::{error::Error as StdError, fmt::Display, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::error::{Error, Result};

/// Short enough that a waiting test is not what takes the time, long enough not to load the API server.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The state is not there yet; the sentence says what is there instead.
#[derive(Debug)]
pub struct NotYet(String);

/// What a look found instead of the awaited state.
pub fn not_yet(seen: impl Display) -> NotYet {
    NotYet(seen.to_string())
}

impl<E: StdError> From<E> for NotYet {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

/// Looks until `look` finds what it wants, and returns that. A look that fails is one that has not found it yet.
///
/// # Errors
/// [`Error::Expired`] with what the last look saw, when `within` has passed first.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, NotYet>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut last = "nothing: no look came back".to_owned();
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(NotYet(seen))) => last = seen,
            Err(_) => {}
        }
        if Instant::now() + BETWEEN_LOOKS >= deadline {
            return Err(Error::Expired { what: what.to_owned(), within, last });
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_state_that_comes_is_returned() {
        let mut looks = 0;
        let found = eventually("three looks", Duration::from_secs(5), async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(not_yet(looks)) }
        })
        .await;
        assert_eq!(found.unwrap(), 3);
    }

    #[tokio::test]
    async fn an_expired_wait_says_what_was_there_last() {
        let expired =
            eventually::<()>("the end of time", Duration::from_millis(200), async || Err(not_yet("a Tuesday"))).await;
        assert_eq!(expired.unwrap_err().to_string(), "the end of time: not within 200ms; last seen:\na Tuesday");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_hold_up_the_deadline() {
        let expired =
            eventually::<()>("an answer", Duration::from_millis(200), async || std::future::pending().await).await;
        assert!(matches!(expired, Err(Error::Expired { .. })));
    }
}
