//! Uids and journal ids as the model keeps them: nearly all are UUIDs, which take 16 bytes as numbers and 52 as text.

use std::fmt;

use uuid::Uuid;

use super::Uid;

/// An id of whatever form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Id(Form);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Uuid(Uuid),
    Text(Box<str>),
}

impl Id {
    pub(crate) fn readable(&self) -> Readable<'_> {
        Readable(self)
    }

    pub(crate) fn to_uid(&self) -> Uid {
        self.to_string().into()
    }
}

/// An id as a person reads it: nothing in it moves a terminal's cursor, whoever made it up.
pub(crate) struct Readable<'i>(&'i Id);

impl fmt::Display for Readable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.0 {
            Form::Uuid(uuid) => uuid.hyphenated().fmt(f),
            Form::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        // What is written in another way would not come out as it went in.
        match Uuid::try_parse(text).ok().filter(|uuid| uuid.hyphenated().to_string() == text) {
            Some(uuid) => Self(Form::Uuid(uuid)),
            None => Self(Form::Text(text.into())),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Uuid(uuid) => uuid.hyphenated().fmt(f),
            Form::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_out_as_it_went_in_and_mostly_takes_little() {
        let uuid = "6f1c0a52-8d0e-4b1f-9a57-0c2f5d1b7e11";
        for text in [uuid, &uuid.to_uppercase(), &uuid.replace('-', ""), "", "n1-uid"] {
            assert_eq!(Id::from(text).to_string(), text);
            assert_ne!(Id::from(text), Id::from("another"));
        }
        assert!(matches!(Id::from(uuid).0, Form::Uuid(_)));
        assert_eq!(Id::from(uuid).readable().to_string(), uuid);
        let hostile = "a\u{1b}[2J\u{202e}";
        assert_eq!(Id::from(hostile).readable().to_string(), r#""a\u{1b}[2J\u{202e}""#);
        assert!(size_of::<Option<Id>>() <= 24);
    }
}
