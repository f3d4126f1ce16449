//! An answer on standard output: one JSON object a line.

use crate::Trouble;
use serde::Serialize;
use std::io::Write;
use vedette_crds::record::visible_json;

/// Writes one object as one line.
pub(crate) fn write(answer: &impl Serialize) -> Result<(), Trouble> {
    let mut line = visible_json(answer).map_err(|error| Trouble::because("cannot write the answer as JSON", error))?;
    line.push(b'\n');
    text(&line)
}

/// Writes text as it is.
pub(crate) fn text(text: &[u8]) -> Result<(), Trouble> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text).and_then(|()| out.flush());
    written.map_err(|source| Trouble::because("cannot write to standard output", source))
}
