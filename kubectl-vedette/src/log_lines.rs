//! A pod's log as lines, within bounds: whoever has its node decides what comes, how much of it, and when. Reads a stream.

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// No record is so long (`vedette-agent verify` takes as much): a path has at most 64 KiB, and what of it is escaped six times that.
const LONGEST_LINE: usize = 16 << 20;
/// A hundred times what a kubelet keeps before it begins another file.
const MOST_BYTES: u64 = 1 << 30;
/// A log that is there comes at once.
const SILENT: Duration = Duration::from_secs(30);
/// All that is waited for one log, however little comes at a time.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// One line of a log, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'l> {
    Whole(&'l [u8]),
    /// Longer than any record; it was passed over.
    TooLong,
}

/// Why the rest of a log is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("nothing came for {} s, and it had not ended", SILENT.as_secs())]
    Silent,
    #[error("it came so slowly that the rest was not waited for")]
    Slow,
    #[error("it is longer than {} MiB: the rest was not read", MOST_BYTES >> 20)]
    Endless,
    #[error("{0}")]
    Broken(std::io::Error),
}

/// The lines of a log.
pub(crate) struct LogLines<R> {
    log: R,
    line: Vec<u8>,
    bytes: u64,
    waited: Duration,
}

impl<R: AsyncBufRead + Unpin> LogLines<R> {
    pub(crate) fn new(log: R) -> Self {
        Self { log, line: Vec::new(), bytes: 0, waited: Duration::ZERO }
    }

    /// The next line; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Line<'_>>, Unread> {
        self.line.clear();
        let mut is_too_long = false;
        loop {
            let begun = Instant::now();
            let chunk = timeout(SILENT, self.log.fill_buf()).await.map_err(|_| Unread::Silent)?;
            let chunk = chunk.map_err(Unread::Broken)?;
            self.waited += begun.elapsed();
            if self.waited > LONGEST_WAIT {
                return Err(Unread::Slow);
            }
            let is_end = chunk.is_empty();
            if is_end && self.line.is_empty() && !is_too_long {
                return Ok(None);
            }
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let part = chunk.get(..newline.unwrap_or(chunk.len())).unwrap_or_default();
            let taken = part.len() + usize::from(newline.is_some());
            is_too_long |= self.line.len() + part.len() > LONGEST_LINE;
            if !is_too_long {
                self.line.extend_from_slice(part);
            }
            self.log.consume_unpin(taken);
            self.bytes += taken as u64;
            if self.bytes > MOST_BYTES {
                return Err(Unread::Endless);
            }
            if newline.is_some() || is_end {
                return Ok(Some(if is_too_long { Line::TooLong } else { Line::Whole(&self.line) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::{StreamExt as _, TryStreamExt as _, stream};
    use tokio::time::sleep;

    type Chunk = std::io::Result<Vec<u8>>;

    fn log(chunks: impl futures::Stream<Item = Chunk> + Send + 'static) -> LogLines<impl AsyncBufRead + Unpin> {
        LogLines::new(chunks.boxed().into_async_read())
    }

    /// Lines until it ends or does not; as text, without the lengths of long ones.
    async fn read(mut lines: LogLines<impl AsyncBufRead + Unpin>) -> (Vec<String>, Option<Unread>) {
        let mut read = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => read.push(String::from_utf8_lossy(line).into_owned()),
                Ok(Some(Line::TooLong)) => read.push("too long".to_owned()),
                Ok(None) => return (read, None),
                Err(unread) => return (read, Some(unread)),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_bytes_and_one_without_an_end_is_passed_over() {
        let long = vec![b'x'; LONGEST_LINE / 4];
        let chunks = [&b"a\n\xff\xfe"[..], b"\n", &long, &long, &long, &long, b"more", b"\n\nlast"];
        let chunks: Vec<Chunk> = chunks.map(|chunk| Ok(chunk.to_vec())).into();
        let (lines, ended) = read(log(stream::iter(chunks))).await;
        assert_eq!(lines, ["a", "\u{fffd}\u{fffd}", "too long", "", "last"]);
        assert!(ended.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_stops_in_the_middle_and_one_that_never_ends_are_left() {
        let silent = stream::iter([Ok(b"a\nb".to_vec())]).chain(stream::pending());
        let (lines, ended) = read(log(silent)).await;
        assert_eq!(lines, ["a"]);
        assert!(matches!(ended, Some(Unread::Silent)), "{ended:?}");

        let dripping = stream::repeat_with(|| Ok(b"y\n".to_vec())).then(async |chunk| {
            // Of the paused clock: a server that drips.
            sleep(SILENT / 2).await;
            chunk
        });
        let (lines, ended) = read(log(dripping)).await;
        assert!(lines.len() > 10 && matches!(ended, Some(Unread::Slow)), "{ended:?}");

        // A file with one line and no end: no more than a line's worth of it is held.
        let endless = stream::repeat_with(|| Ok(vec![b'z'; 8 << 20]));
        let mut lines = log(endless);
        let ended = lines.next().await.unwrap_err();
        assert!(matches!(ended, Unread::Endless), "{ended:?}");
        assert!(lines.line.capacity() <= 2 * LONGEST_LINE);
    }
}
