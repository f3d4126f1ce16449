//! Sizes as a rule writes them: reads a number of bytes or a text such as `4Gi`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A size as it is written: not checked yet.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Size {
    /// A number of bytes.
    Bytes(i64),
    /// Digits, and perhaps one of the units k, M, G, T, Ki, Mi, Gi and Ti.
    Text(String),
}

impl Size {
    pub(crate) fn of(value: &serde_json::Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// The size in bytes; `None` when it is not written as one.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => parse(&bytes.to_string()),
            Self::Text(text) => parse(text),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 20})
    }
}

/// At most 15 digits without a leading zero, so that no unit leaves the range of a file's size by much;
/// what does is the largest size there is.
fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let leading_zero = number.starts_with('0') && text != "0";
    if !(1..=15).contains(&digits) || leading_zero {
        return None;
    }
    let factor: u64 = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let largest = i64::MAX.unsigned_abs();
    Some(number.parse::<u64>().ok()?.saturating_mul(factor).min(largest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_of_bytes_or_a_text_with_a_unit() {
        for (text, bytes) in [("0", 0), ("512", 512), ("4Gi", 4 << 30), ("5M", 5_000_000), ("1k", 1_000)] {
            assert_eq!(Size::Text(text.into()).bytes(), Some(bytes), "{text}");
        }
        assert_eq!(Size::Bytes(5_242_880).bytes(), Some(5_242_880));
        assert_eq!(Size::Text("999999999999999Ti".into()).bytes(), Some(i64::MAX.unsigned_abs()));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "4GB", "4gi", "-1", "1.5Gi", "04Gi", "0Ki", "1e3", " 1", "1000000000000000"] {
            assert_eq!(Size::Text(text.into()).bytes(), None, "{text}");
        }
        assert_eq!(Size::Bytes(-1).bytes(), None);
    }
}
