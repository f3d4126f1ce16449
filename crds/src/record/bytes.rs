//! Names as they are on disk: any bytes. In a line they are text, with what a terminal would obey made visible.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Text made from bytes; what is not UTF-8 became U+FFFD and needs its exact bytes beside it ([`ByteText::exact`]).
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[schemars(inline)]
#[serde(transparent)]
pub struct ByteText(pub String);

impl ByteText {
    /// The lossy text, and base64 of the exact bytes when the text lost something.
    pub fn exact(bytes: &[u8]) -> (Self, Option<String>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => (Self(text.to_owned()), None),
            Err(_) => (Self(String::from_utf8_lossy(bytes).into_owned()), Some(STANDARD.encode(bytes))),
        }
    }

    /// The exact bytes again.
    ///
    /// `exact` is what stood beside the text; where it is no base64 the text's own bytes are the best there is.
    pub fn to_bytes(&self, exact: Option<&str>) -> Vec<u8> {
        exact.and_then(|base64| STANDARD.decode(base64).ok()).unwrap_or_else(|| self.0.clone().into_bytes())
    }
}

/// Whether a terminal could obey it instead of showing it: C0, DEL, C1, line separators and bidirectional marks and overrides.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with every control character written as `\u{1b}`: for logs and messages that a terminal shows.
pub fn escape_controls(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_control(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}
