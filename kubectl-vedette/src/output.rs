//! Standard output: tables, JSON and YAML in which a terminal finds nothing to obey, and colors where they are wanted.

use crate::cli::{Color, Form};
use crate::trouble::Trouble;
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use vedette_crds::record::{escape_controls, is_control, visible_json};

/// What a cell stands for, for those who see colors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Head,
    Good,
    Notable,
    Bad,
    Faint,
}

/// Whether tables are colored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    is_on: bool,
}

impl Paint {
    /// As the flag, the environment and the terminal say.
    pub(crate) fn chosen(color: Color) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !refused && stdout().is_terminal(),
        };
        Self { is_on }
    }

    /// The text in its color; it holds no control characters.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Head => "1",
            Tone::Good => "32",
            Tone::Notable => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        if self.is_on && !text.trim().is_empty() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Writes to standard output.
pub(crate) fn text(text: &str) -> Result<(), Trouble> {
    let mut out = stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Trouble::Io { what: "write to standard output".to_owned(), source })
}

/// Who pipes into head has seen enough, and is owed the exit code all the same.
pub(crate) fn unless_left(written: Result<(), Trouble>) -> Result<(), Trouble> {
    match written {
        Err(trouble) if trouble.is_broken_pipe() => Ok(()),
        written => written,
    }
}

/// Text of the cluster's as a line of ours has it: with control characters escaped, and with what nobody sees. Who may name a
/// file could else pad its name to the end of a terminal's line, and write another row behind.
pub(crate) fn shown(text: &str) -> String {
    let mut is_after_space = false;
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if is_control(c) || is_unseen(c) || (c == ' ' && is_after_space) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        is_after_space = c == ' ';
        out
    })
}

/// Whether a terminal shows nothing for it: spaces other than the usual one, characters of no width, tags, fillers.
fn is_unseen(c: char) -> bool {
    (c != ' ' && c.is_whitespace())
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Says something on standard error, on one line; where that cannot be written, nothing is lost but words.
pub(crate) fn say(sentence: &str) {
    let _ = writeln!(stderr(), "{}", shown(sentence));
}

/// Passes on a line that another program says on its standard error.
pub(crate) fn pass_on(line: &str) {
    let _ = writeln!(stderr(), "{}", escape_controls(line));
}

/// Writes one object for programs.
pub(crate) fn object(form: Form, object: &impl Serialize) -> Result<(), Trouble> {
    let unwritable = |error: String| Trouble::said(format!("cannot write the answer: {error}"));
    let written = match form {
        Form::Yaml => yaml(object).map_err(unwritable)?,
        Form::Json | Form::Table | Form::Wide => {
            let json = serde_json::to_string_pretty(object).map_err(|error| unwritable(error.to_string()))?;
            visible(&json) + "\n"
        }
    };
    text(&written)
}

/// Writes one of many objects for programs: a line of JSON, or a document of YAML.
pub(crate) fn one_of_many(form: Form, object: &impl Serialize) -> Result<(), Trouble> {
    let unwritable = |error: String| Trouble::said(format!("cannot write the answer: {error}"));
    let written = match form {
        Form::Yaml => "---\n".to_owned() + &yaml(object).map_err(unwritable)?,
        Form::Json | Form::Table | Form::Wide => {
            let line = visible_json(object).map_err(|error| unwritable(error.to_string()))?;
            String::from_utf8_lossy(&line).into_owned() + "\n"
        }
    };
    text(&written)
}

/// By way of JSON, so that both say the same.
fn yaml(object: &impl Serialize) -> Result<String, String> {
    let value = serde_json::to_value(object).map_err(|error| error.to_string())?;
    let yaml = serde_saphyr::to_string(&value).map_err(|error| error.to_string())?;
    if yaml.chars().any(|c| c != '\n' && is_control(c)) {
        // JSON is YAML too, and has a way to write what the writer of YAML lets through.
        let json = serde_json::to_string_pretty(&value).map_err(|error| error.to_string())?;
        return Ok(visible(&json) + "\n");
    }
    Ok(if yaml.ends_with('\n') { yaml } else { yaml + "\n" })
}

/// JSON with line breaks between its members, and no control character in them.
pub(crate) fn visible(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut out, c| {
        if c != '\n' && is_control(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    const HOSTILE: &str = "a\u{1b}[31m\n\u{85}\u{202e}\u{7f}\tb: # \"'";

    #[test]
    fn what_programs_read_is_what_was_there_and_a_terminal_finds_nothing_to_obey() {
        let object = json!({"path": HOSTILE, "list": [1, true, null, "no", "1.0", ""]});
        let pretty = visible(&serde_json::to_string_pretty(&object).unwrap());
        assert_eq!(serde_json::from_str::<Value>(&pretty).unwrap(), object);
        let yaml = yaml(&object).unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), object, "{yaml}");
        for written in [pretty, yaml] {
            assert!(!written.chars().any(|c| c != '\n' && is_control(c)), "{written:?}");
        }
    }

    #[test]
    fn what_nobody_sees_is_shown() {
        assert_eq!(shown("/srv/a b/\u{e9}e\u{301}/\u{6f22}"), "/srv/a b/\u{e9}e\u{301}/\u{6f22}");
        assert_eq!(shown("x    y"), r"x \u{20}\u{20}\u{20}y");
        assert_eq!(shown("x \u{a0} \u{3000}y"), r"x \u{a0} \u{3000}y");
        assert_eq!(shown("a\u{200b}b\u{feff}c\u{e0041}d\u{2800}\n"), r"a\u{200b}b\u{feff}c\u{e0041}d\u{2800}\u{a}");
    }

    #[test]
    fn colors_are_there_only_when_they_are_on() {
        assert_eq!(Paint { is_on: false }.paint(Tone::Bad, "x"), "x");
        assert_eq!(Paint { is_on: true }.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint { is_on: true }.paint(Tone::Bad, "  "), "  ");
    }
}
