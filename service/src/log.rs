//! The log: lines on standard error, by the level in `VEDETTE_LOG`. What is said is one line and has an end, whoever wrote
//! the words in it: an API server, a proxy before it, who names a file or holds a Lease.

use std::io::{self, IsTerminal as _, Write, stderr};

use tracing::warn;
use tracing_subscriber::EnvFilter;

/// What the client of the API server logs of a failure is in the error that we get and log.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off";

/// Longer than any sentence of ours, with the names in it.
const LONGEST: usize = 8 * 1024;

/// Logs to standard error from now on, as `VEDETTE_LOG` says: error, warn, info, debug, or a filter of them.
pub fn log_to_stderr() {
    let wanted = std::env::var("VEDETTE_LOG").ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.map(EnvFilter::try_new).transpose();
    let (filter, refused) = match wanted {
        Ok(filter) => (filter.unwrap_or_else(|| EnvFilter::new(DEFAULT)), None),
        Err(refused) => (EnvFilter::new(DEFAULT), Some(refused)),
    };
    let is_colored = stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || Lines { to: stderr(), is_colored })
        .with_ansi(is_colored)
        // Of a log that cannot be written it would speak on standard error, and panic there.
        .log_internal_errors(false)
        .init();
    if let Some(refused) = refused {
        warn!("VEDETTE_LOG cannot be used, logging info: {refused}");
    }
}

/// Where lines go: each write is one event.
struct Lines<W> {
    to: W,
    /// Escapes are the formatter's own, which lets no other through.
    is_colored: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.to.write_all(one_line(&String::from_utf8_lossy(event), self.is_colored).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn one_line(event: &str, is_colored: bool) -> String {
    let event = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len() + 1);
    for (at, c) in event.char_indices() {
        if line.len() >= LONGEST {
            line.push_str(&format!("… and {} bytes more", event.len() - at));
            break;
        }
        match c {
            '\x1b' if is_colored => line.push(c),
            _ if is_obeyed(c) => line.extend(c.escape_unicode()),
            _ => line.push(c),
        }
    }
    line.push('\n');
    line
}

/// Whether a terminal, or who reads lines, obeys it instead of showing it.
fn is_obeyed(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
    c.is_control() || turns.contains(&c) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let said = one_line("WARN 502: <html>\n2026 INFO all is well\r\u{1b}[31m\u{202e}\u{85}é\n", false);
        let expected = "WARN 502: <html>\\u{a}2026 INFO all is well\\u{d}\\u{1b}[31m\\u{202e}\\u{85}é\n";
        assert_eq!(said, expected);
        assert_eq!(one_line("\u{1b}[33mWARN\u{1b}[0m a\nb\n", true), "\u{1b}[33mWARN\u{1b}[0m a\\u{a}b\n");
    }

    #[test]
    fn an_event_has_an_end() {
        let said = one_line(&"é".repeat(1_000_000), false);
        assert!(said.len() < LONGEST + 50 && said.ends_with("é… and 1991808 bytes more\n"), "{}", said.len());
    }

    #[test]
    fn an_event_is_written_whole_and_counted_as_it_came() {
        let mut to = Vec::new();
        let written = Lines { to: &mut to, is_colored: false }.write(b"a\nb\n");
        assert_eq!((written.ok(), to.as_slice()), (Some(4), &b"a\\u{a}b\n"[..]));
    }
}
