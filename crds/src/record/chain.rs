//! The chain: each line carries the hash of all before it, so that nothing can be taken out of a copy unnoticed.

use super::bytes::is_control;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use sha2::{Digest, Sha256};
use std::io;

const MEMBER: &[u8] = br#","chain":""#;
const MEMBER_LEN: usize = MEMBER.len() + 64 + br#""}"#.len();

/// The chain value after a line; before the first line it is all zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The value after a line whose bytes without the chain member are `body`.
    pub fn next(&self, body: &[u8]) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(body).finalize().into())
    }
}

impl Chain {
    /// The value that these 64 lower-case hex digits write.
    pub fn parse(hex: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.bytes().all(is_digit) {
            return None;
        }
        let mut chain = [0; 32];
        for (at, byte) in chain.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(chain))
    }
}

impl std::fmt::Display for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A rendered line, without its newline, and the chain value that it ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainedLine {
    /// One JSON object; its last member is `chain`.
    pub line: Vec<u8>,
    /// The head of the journal once this line is its last.
    pub chain: Chain,
}

/// Renders a record or notice as the line that follows `previous`.
///
/// # Panics
/// Never for the types of this crate: they serialize to JSON objects without fallible parts.
pub fn render(value: &impl Serialize, previous: Chain) -> ChainedLine {
    let mut line = Vec::with_capacity(1024);
    value
        .serialize(&mut Serializer::with_formatter(&mut line, VisibleControls))
        .expect("records and notices have string keys and no fallible members");
    let chain = previous.next(&line);
    line.pop();
    line.extend_from_slice(MEMBER);
    line.extend_from_slice(chain.to_string().as_bytes());
    line.extend_from_slice(br#""}"#);
    ChainedLine { line, chain }
}

/// Why a line does not continue a chain.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    /// The line does not end with a chain member.
    #[error("the line has no chain member at its end")]
    Missing,
    /// The line, or one before it, was changed, or lines between are missing.
    #[error("the line's chain is {found}, the lines up to it give {expected}")]
    Broken {
        /// What stands in the line.
        found: String,
        /// What the line and the chain before it give.
        expected: Chain,
    },
}

/// Checks that `line` (without newline) follows `previous` and returns the chain after it.
///
/// # Errors
/// When the line carries no chain, or one that does not follow.
pub fn unchain(line: &[u8], previous: Chain) -> Result<Chain, ChainError> {
    let cut = line.len().checked_sub(MEMBER_LEN).ok_or(ChainError::Missing)?;
    let (body, member) = line.split_at(cut);
    let found = member
        .strip_prefix(MEMBER)
        .and_then(|rest| rest.strip_suffix(br#""}"#))
        .and_then(|hex| std::str::from_utf8(hex).ok())
        .ok_or(ChainError::Missing)?;
    let mut body = body.to_vec();
    body.push(b'}');
    let expected = previous.next(&body);
    if found == expected.to_string() {
        Ok(expected)
    } else {
        Err(ChainError::Broken { found: found.to_owned(), expected })
    }
}

/// The chain value that stands in a line, right or wrong; `None` when the line has none.
pub fn chain_of(line: &[u8]) -> Option<Chain> {
    let member = &line[line.len().checked_sub(MEMBER_LEN)?..];
    let hex = member.strip_prefix(MEMBER)?.strip_suffix(br#""}"#)?;
    Chain::parse(std::str::from_utf8(hex).ok()?)
}

/// The line without what only a journal gives it, for a change that is not committed: no sequence, no chain.
pub fn without_place(line: &[u8]) -> Option<Vec<u8>> {
    const SEQUENCE: &[u8] = br#","sequence":"#;
    chain_of(line)?;
    let body = &line[..line.len() - MEMBER_LEN];
    // A quote within a name before it would be escaped, so the first one is the member.
    let begin = body.windows(SEQUENCE.len()).position(|part| part == SEQUENCE)?;
    let digits = body[begin + SEQUENCE.len()..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some([&body[..begin], &body[begin + SEQUENCE.len() + digits..], b"}"].concat())
}

/// An object as compact JSON in which a terminal finds nothing to obey.
///
/// # Errors
/// When the object is none that JSON can hold.
pub fn visible_json(object: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    object.serialize(&mut Serializer::with_formatter(&mut line, VisibleControls))?;
    Ok(line)
}

/// Compact JSON that also escapes what JSON itself would let through to a terminal (DEL, C1, bidirectional overrides).
struct VisibleControls;

impl Formatter for VisibleControls {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_control(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_checked_against_the_one_before_it() {
        let first = render(&json!({"a": 1}), Chain::default());
        let second = render(&json!({"b": 2}), first.chain);
        assert_eq!(unchain(&first.line, Chain::default()), Ok(first.chain));
        assert_eq!(unchain(&second.line, first.chain), Ok(second.chain));
        assert!(matches!(unchain(&second.line, Chain::default()), Err(ChainError::Broken { .. })));
        let value: serde_json::Value = serde_json::from_slice(&second.line).unwrap();
        assert_eq!(value["chain"], second.chain.to_string());
        assert_eq!((chain_of(&first.line), chain_of(&second.line)), (Some(first.chain), Some(second.chain)));
    }

    #[test]
    fn the_chain_is_the_hash_of_the_previous_chain_and_the_object_without_it() {
        let line = render(&json!({"a": 1}), Chain::default());
        let mut hashed = vec![0; 32];
        hashed.extend_from_slice(br#"{"a":1}"#);
        assert_eq!(line.chain.0[..], Sha256::digest(&hashed)[..]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let line = render(&json!({"path": "/a\u{1b}[2J\u{9b}\u{7f}\u{202e}é\n"}), Chain::default());
        let text = String::from_utf8(line.line).unwrap();
        assert!(text.starts_with(r#"{"path":"/a\u001b[2J\u009b\u007f\u202eé\n""#), "{text}");
    }

    #[test]
    fn a_line_without_its_place_has_neither_sequence_nor_chain() {
        let line = render(&json!({"node": ",\"sequence\":1", "sequence": 42, "time": "t"}), Chain::default());
        let bare = String::from_utf8(without_place(&line.line).unwrap()).unwrap();
        assert_eq!(bare, r#"{"node":",\"sequence\":1","time":"t"}"#);
        assert_eq!(without_place(b"{}"), None);
    }

    #[test]
    fn a_line_without_a_chain_is_named_as_such() {
        assert_eq!(unchain(b"{}", Chain::default()), Err(ChainError::Missing));
        assert_eq!(unchain(&[b'x'; 200], Chain::default()), Err(ChainError::Missing));
    }
}
