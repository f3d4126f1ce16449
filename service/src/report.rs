//! Errors as people read them.

use std::error::Error;

/// An error's last source: what lies above may say only what was tried.
pub fn deepest<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest
}

/// An error with its sources, in one line, none of them twice.
pub fn report(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some libraries print their source themselves.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Told {
        #[error("cannot open the door")]
        Once(#[source] Box<Told>),
        #[error("cannot turn the key: {0}")]
        ByItself(#[source] std::io::Error),
    }

    #[test]
    fn every_source_is_there_and_none_twice() {
        let error = Told::Once(Box::new(Told::ByItself(std::io::Error::other("it is bent"))));
        assert_eq!(report(&error), "cannot open the door: cannot turn the key: it is bent");
        assert_eq!(deepest(&error).to_string(), "it is bent");
    }
}
