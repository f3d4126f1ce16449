//! The log: lines on standard error, by the level that a flag or `VEDETTE_LOG` asks for, for people or as JSON. What is said is one line and has an end, whoever wrote
//! the words in it: an API server, a proxy before it, who names a file or holds a Lease.

use std::io::{self, IsTerminal as _, Write, stderr};

use clap::{Args, ValueEnum};
use serde_json::Value;
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// What the client of the API server logs of a failure is in the error that we get and log.
const DEFAULT: &str = "info,kube_client=off,kube_runtime=off";

/// Longer than any sentence of ours, with the names in it.
const LONGEST: usize = 8 * 1024;

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What is logged, and how: part of a command line.
#[derive(Clone, Debug, Default, Args)]
pub struct Logging {
    /// What is logged on standard error: error, warn, info or debug; without it, what VEDETTE_LOG says, or info
    #[arg(long, global = true, value_name = "LEVEL", value_parser = level)]
    pub log_level: Option<String>,
    /// How it is logged: a line for people, or a JSON object a line
    #[arg(long, global = true, env = "VEDETTE_LOG_FORMAT", value_name = "text|json", value_enum, default_value_t)]
    #[arg(hide_possible_values = true)]
    pub log_format: LogFormat,
}

fn level(wanted: &str) -> Result<String, &'static str> {
    let is_level = ["error", "warn", "info", "debug", "trace"].contains(&wanted);
    if is_level { Ok(wanted.to_owned()) } else { Err("write error, warn, info or debug") }
}

impl Logging {
    /// Logs to standard error from now on.
    pub fn begin(&self) {
        let wanted = self.log_level.clone().or_else(|| std::env::var("VEDETTE_LOG").ok());
        let wanted = wanted.filter(|wanted| !wanted.is_empty()).map(EnvFilter::try_new).transpose();
        let (filter, refused) = match wanted {
            Ok(filter) => (filter.unwrap_or_else(|| EnvFilter::new(DEFAULT)), None),
            Err(refused) => (EnvFilter::new(DEFAULT), Some(refused)),
        };
        let is_colored = self.log_format == LogFormat::Text && stderr().is_terminal();
        let form = match self.log_format {
            LogFormat::Text => text_line,
            LogFormat::Json => json_line,
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || Lines { to: stderr(), is_colored, form })
            .with_ansi(is_colored)
            // Of a log that cannot be written it would speak on standard error, and panic there.
            .log_internal_errors(false);
        match self.log_format {
            LogFormat::Text => subscriber.init(),
            LogFormat::Json => subscriber.json().flatten_event(true).init(),
        }
        if let Some(refused) = refused {
            warn!("VEDETTE_LOG cannot be used, logging info: {refused}");
        }
    }
}

/// Where lines go: each write is one event.
struct Lines<W> {
    to: W,
    /// Escapes are the formatter's own, which lets no other through.
    is_colored: bool,
    /// Makes one line of an event.
    form: fn(&str, bool) -> String,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.to.write_all((self.form)(&String::from_utf8_lossy(event), self.is_colored).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn text_line(event: &str, is_colored: bool) -> String {
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

/// The event, for JSON has no line ends within: its longest words are cut where it would be too long, and what JSON may hold as it
/// is and a terminal obeys is escaped.
fn json_line(event: &str, _: bool) -> String {
    let event = event.trim_end_matches('\n');
    let mut members: serde_json::Map<String, Value> = match serde_json::from_str(event) {
        Ok(members) if event.len() > LONGEST => members,
        _ => return visible(event),
    };
    let share = LONGEST / members.len().max(1);
    for value in members.values_mut() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text.len() > share {
            let end = (0..=share).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            *value = Value::String(format!("{}… and {} bytes more", &text[..end], text.len() - end));
        }
    }
    visible(&Value::Object(members).to_string())
}

/// A line of the same JSON: what is obeyed, and is not escaped yet, stands within a string.
fn visible(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_obeyed(c) {
            line.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            line.push(c);
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
        let said = text_line("WARN 502: <html>\n2026 INFO all is well\r\u{1b}[31m\u{202e}\u{85}é\n", false);
        let expected = "WARN 502: <html>\\u{a}2026 INFO all is well\\u{d}\\u{1b}[31m\\u{202e}\\u{85}é\n";
        assert_eq!(said, expected);
        assert_eq!(text_line("\u{1b}[33mWARN\u{1b}[0m a\nb\n", true), "\u{1b}[33mWARN\u{1b}[0m a\\u{a}b\n");
    }

    #[test]
    fn an_event_has_an_end() {
        let said = text_line(&"é".repeat(1_000_000), false);
        assert!(said.len() < LONGEST + 50 && said.ends_with("é… and 1991808 bytes more\n"), "{}", said.len());
    }

    #[test]
    fn an_event_as_json_is_one_object_with_an_end() {
        let short = r#"{"level":"WARN","message":"a\nb"}"#;
        assert_eq!(json_line(&format!("{short}\n"), false), format!("{short}\n"));
        let long = serde_json::json!({ "level": "WARN", "message": "é".repeat(1_000_000), "peers": vec![1; 100_000] });
        let said = json_line(&long.to_string(), false);
        let read: Value = serde_json::from_str(&said).expect("JSON");
        assert!(said.len() < LONGEST + 200 && said.ends_with("}\n"), "{}", said.len());
        assert_eq!(read["level"], "WARN");
        assert!(read["message"].as_str().is_some_and(|text| text.ends_with("bytes more")), "{read}");
    }

    #[test]
    fn an_event_as_json_has_nothing_that_a_terminal_obeys() {
        let some = "\u{1b}[8m\u{9b}8m\u{7f}\u{85}\u{202e}\u{2028}é\n";
        for words in [some.to_owned(), some.repeat(10_000)] {
            let event = serde_json::json!({ "message": words, "\u{9b}": 1 }).to_string();
            let said = json_line(&event, false);
            assert!(!said.trim_end_matches('\n').chars().any(is_obeyed), "{said:?}");
            let read: Value = serde_json::from_str(&said).expect("JSON");
            assert!(read["message"].as_str().is_some_and(|read| read.starts_with(some)), "{said:?}");
            assert!(read.get("\u{9b}").is_some(), "{said:?}");
        }
    }

    #[test]
    fn an_event_is_written_whole_and_counted_as_it_came() {
        let mut to = Vec::new();
        let written = Lines { to: &mut to, is_colored: false, form: text_line }.write(b"a\nb\n");
        assert_eq!((written.ok(), to.as_slice()), (Some(4), &b"a\\u{a}b\n"[..]));
    }
}
