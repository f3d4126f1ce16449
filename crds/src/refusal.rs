//! Why a rule is refused: the problems, all at once, in words for its author.

use std::fmt;

use thiserror::Error;

/// How many problems a refusal spells out; the rest is a number.
const SPELLED_OUT: usize = 5;

/// One thing that is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the entry that it is about, if it is about one.
    pub entry: Option<String>,
    /// The field, for example `spec.files.paths[0].path`; empty for the whole document.
    pub path: String,
    /// What is wrong and what to write instead.
    pub sentence: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.sentence);
        }
        f.write_str(&self.path)?;
        if let Some(entry) = &self.entry {
            write!(f, " (entry {entry:?})")?;
        }
        write!(f, ": {}", self.sentence)
    }
}

/// Why a rule is refused: at least one problem.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Refusal {
    problems: Vec<Problem>,
}

impl Refusal {
    /// A refusal for these problems; `None` when there are none.
    pub(crate) fn of(problems: Vec<Problem>) -> Option<Self> {
        (!problems.is_empty()).then_some(Self { problems })
    }

    pub(crate) fn one(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }

    /// All problems, in the order of the fields.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().take(SPELLED_OUT).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        match self.problems.len().saturating_sub(SPELLED_OUT) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
