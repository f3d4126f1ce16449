//! One line of an agent's log, if an agent can have written it. Pure.

use jiff::Timestamp;
use serde::Deserialize;
use vedette_crds::record::{ByteText, CHANGE_SCHEMA, NOTICE_SCHEMA, is_control};

/// How a line begins that is a record or a notice; what else is in a log is for people.
const BEGIN: &[u8] = br#"{"schema":"vedette.dev/"#;

/// A line that looks like a record, and that no agent of this version wrote.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAnAgents;

/// A line, as far as it decides anything here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    pub(crate) schema: String,
    pub(crate) node: String,
    pub(crate) journal: String,
    pub(crate) sequence: u64,
    pub(crate) time: Timestamp,
    #[serde(default)]
    pub(crate) category: String,
    #[serde(default)]
    pub(crate) change_type: String,
    #[serde(default)]
    pub(crate) path: ByteText,
    #[serde(default)]
    pub(crate) path_bytes: Option<String>,
    #[serde(default)]
    pub(crate) severity: String,
    #[serde(default)]
    pub(crate) rules: Vec<String>,
}

impl Entry {
    /// The text of a line and what it says; `None` of one for people.
    pub(crate) fn read(line: &[u8]) -> Option<Result<(&str, Self), NotAnAgents>> {
        line.starts_with(BEGIN).then(|| Self::of(line).ok_or(NotAnAgents))
    }

    fn of(line: &[u8]) -> Option<(&str, Self)> {
        let line = std::str::from_utf8(line).ok()?;
        // An agent escapes those in names.
        if line.chars().any(is_control) {
            return None;
        }
        let entry: Self = serde_json::from_str(line).ok()?;
        let is_id = entry.journal.len() == 32 && entry.journal.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_known = entry.schema == CHANGE_SCHEMA || entry.schema == NOTICE_SCHEMA;
        (is_id && is_known).then_some((line, entry))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINE: &str = r#"{"schema":"vedette.dev/change/v1","node":"n","journal":"0123456789abcdef0123456789abcdef","sequence":7,
        "time":"2026-11-24T04:00:00.000000000Z","path":"/etc/é"}"#;

    #[test]
    fn a_line_is_an_agents_for_people_or_neither() {
        let line = LINE.replace("\n        ", "");
        let (text, entry) = Entry::read(line.as_bytes()).unwrap().unwrap();
        assert_eq!((text, entry.sequence, entry.path.0.as_str()), (line.as_str(), 7, "/etc/é"));
        assert!(Entry::read(b"\xff listening at 0.0.0.0:9090").is_none());
        assert!(Entry::read(b"").is_none());
        for (part, by) in [
            ("/etc", "\u{9b}31m"),
            ("/etc", "\u{7f}"),
            ("/etc", "\u{202e}"),
            ("/etc", "\u{2028}"),
            ("/etc", "\u{1b}[2J"),
            (",\"node\"", "\r,\"node\""),
            ("\"node\":\"n\"", "\"node\":\"n\",\"node\":\"m\""),
            ("\"node\":\"n\",", ""),
            ("0123", "012"),
            ("012345", "<b>345"),
            ("v1", "v2"),
            (":7", ":-7"),
            ("\"}", ""),
        ] {
            let other = line.replacen(part, by, 1);
            assert_eq!(Entry::read(other.as_bytes()).unwrap().unwrap_err(), NotAnAgents, "{other:?}");
        }
        let not_text = [line.as_bytes(), b"\xff"].concat();
        assert!(Entry::read(&not_text).unwrap().is_err());
    }
}
