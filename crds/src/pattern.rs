//! What a path or name of a rule means: reads the pattern's text, produces a matcher over bytes.
//!
//! Patterns match segment by segment and know nothing of a host's path type, so the same rules work
//! wherever a collector can cut a path into components. This module never touches a file system, never
//! panics on any input, and never spends more than pattern times name on one component.
//!
//! `*`, `?`, `[ab]`, `[a-z]`, `[!a]` and `{a,b}` match within one segment, `**` as a whole segment matches
//! any number of segments, none included. `[[]`, `[{]`, `[$]` write the character itself.

mod name;
#[cfg(test)]
mod tests;

pub use name::NamePattern;

use thiserror::Error;

/// How many segments may follow a pattern's literal prefix: the positions of a [`Cursor`] are bits.
const MAX_SEGMENTS_AFTER_PREFIX: usize = 127;

pub(crate) const RELATIVE: &str = "a path is absolute: begin it with /, for example /etc/**/*.conf";
pub(crate) const DOTS_OR_EMPTY_SEGMENT: &str =
    "write the path without .. or . or empty segments and without a / at the end";
pub(crate) const ANY_DEPTH_BESIDE_OTHERS: &str =
    "** stands alone between slashes, for example /etc/**/*.conf; within one segment write *";
pub(crate) const UNCLOSED_CLASS: &str =
    "a [ is not closed within its segment: close it, or write [[] for the character itself";
pub(crate) const UNCLOSED_OR_NESTED_BRACES: &str =
    "a { is not closed within its segment, or is nested: close it, or write [{] for the character itself";
pub(crate) const CONTROL_CHARACTER: &str = "control characters cannot be written: write ? in their place";

/// Why a text is no pattern; each sentence says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is empty.
    #[error("a pattern cannot be empty")]
    Empty,
    /// A path does not begin with a slash.
    #[error("{RELATIVE}")]
    Relative,
    /// A name holds a slash.
    #[error("a name holds no slash: write an absolute path, or the name alone")]
    SlashInName,
    /// An empty, `.` or `..` segment, or a slash at the end, also where classes write the dots.
    #[error("{DOTS_OR_EMPTY_SEGMENT}")]
    DotsOrEmptySegment,
    /// `**` beside other characters of its segment, or as a name.
    #[error("{ANY_DEPTH_BESIDE_OTHERS}")]
    AnyDepthBesideOthers,
    /// A class without its end.
    #[error("{UNCLOSED_CLASS}")]
    UnclosedClass,
    /// A range that holds nothing.
    #[error("the range {from}-{to} is empty: write {to}-{from}")]
    EmptyRange {
        /// The range's first character as it was written.
        from: char,
        /// The range's last character as it was written.
        to: char,
    },
    /// Braces without their end, or braces within braces.
    #[error("{UNCLOSED_OR_NESTED_BRACES}")]
    UnclosedOrNestedBraces,
    /// A null byte, which no name on a host can hold.
    #[error("{CONTROL_CHARACTER}")]
    Nul,
    /// More segments behind the first wildcard than any host needs.
    #[error("at most {MAX_SEGMENTS_AFTER_PREFIX} segments may follow the first wildcard: write ** for many of them")]
    TooManySegments,
}

/// One segment of a [`PathPattern`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// One component of exactly these bytes.
    Literal(Box<[u8]>),
    /// One component that matches.
    Name(NamePattern),
    /// `**`: any number of components, none included.
    AnyDepth,
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        match text {
            "" | "." | ".." => Err(PatternError::DotsOrEmptySegment),
            "**" => Ok(Self::AnyDepth),
            _ => {
                let name = NamePattern::parse(text)?;
                Ok(match name.as_literal() {
                    Some(literal) => Self::Literal(literal.into()),
                    None => Self::Name(name),
                })
            }
        }
    }
}

/// An absolute path with wildcards: the segments below `/`, of which `/` itself has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    segments: Vec<Segment>,
    literal_prefix: usize,
}

impl PathPattern {
    /// Parses an absolute path pattern such as `/etc/**/*.conf`.
    ///
    /// # Errors
    /// What cannot be meant as it is written: see [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let below_root = text.strip_prefix('/').ok_or(PatternError::Relative)?;
        let mut segments = Vec::new();
        if !below_root.is_empty() {
            for segment in below_root.split('/') {
                let segment = Segment::parse(segment)?;
                let repeats = segment == Segment::AnyDepth && segments.last() == Some(&segment);
                if !repeats {
                    segments.push(segment);
                }
            }
        }
        let pattern = Self::new(segments);
        if pattern.segments.len() - pattern.literal_prefix > MAX_SEGMENTS_AFTER_PREFIX {
            return Err(PatternError::TooManySegments);
        }
        Ok(pattern)
    }

    fn new(segments: Vec<Segment>) -> Self {
        let literal_prefix = segments.iter().take_while(|segment| matches!(segment, Segment::Literal(_))).count();
        Self { segments, literal_prefix }
    }

    /// The pattern that matches exactly the path of these components.
    pub fn literal(components: &[impl AsRef<[u8]>]) -> Self {
        Self::new(components.iter().map(|component| Segment::Literal(component.as_ref().into())).collect())
    }

    /// The segments below `/`; neighboring `**` have become one.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// How many leading segments are literal.
    pub fn literal_prefix(&self) -> usize {
        self.literal_prefix
    }

    /// The same pattern under another place: its literal prefix is replaced by these components, as a
    /// collector does that has resolved the links in it. The new prefix may have any length.
    #[must_use]
    pub fn with_prefix(&self, real: &[impl AsRef<[u8]>]) -> Self {
        let prefix = real.iter().map(|component| Segment::Literal(component.as_ref().into()));
        let rest = self.segments[self.literal_prefix..].iter().cloned();
        Self { segments: prefix.chain(rest).collect(), literal_prefix: real.len() }
    }

    /// The cursor at `/`, before any component.
    pub fn start(&self) -> Cursor {
        self.at_prefix(0)
    }

    fn after_prefix(&self) -> &[Segment] {
        &self.segments[self.literal_prefix..]
    }

    fn at_prefix(&self, depth: usize) -> Cursor {
        if depth < self.literal_prefix { Cursor(Place::InPrefix(depth)) } else { self.beyond(1) }
    }

    /// `**` may match nothing, so who stands before it stands behind it too.
    fn beyond(&self, mut positions: u128) -> Cursor {
        for (index, segment) in self.after_prefix().iter().enumerate() {
            if positions & (1 << index) != 0 && *segment == Segment::AnyDepth {
                positions |= 1 << (index + 1);
            }
        }
        let end = 1 << self.after_prefix().len();
        Cursor(Place::Beyond { open: positions & !end, matched: positions & end != 0 })
    }
}

/// Where a descent stands in a [`PathPattern`] after some components: the set of positions that may come next.
/// It is valid for the pattern that it came from alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor(Place);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// This many components of the literal prefix have matched, and some are left.
    InPrefix(usize),
    /// Bit i of `open`: segment i after the literal prefix may come next.
    Beyond { open: u128, matched: bool },
}

impl Cursor {
    const DEAD: Self = Self(Place::Beyond { open: 0, matched: false });

    /// Descends by one component.
    #[must_use]
    pub fn step(&self, pattern: &PathPattern, name: &[u8]) -> Self {
        match self.0 {
            Place::InPrefix(depth) => match pattern.segments.get(depth) {
                Some(Segment::Literal(literal)) if **literal == *name => pattern.at_prefix(depth + 1),
                _ => Self::DEAD,
            },
            Place::Beyond { open, .. } => {
                let mut next = 0;
                for (index, segment) in pattern.after_prefix().iter().enumerate() {
                    if open & (1 << index) == 0 {
                        continue;
                    }
                    next |= match segment {
                        Segment::AnyDepth => 1 << index,
                        Segment::Literal(literal) if **literal == *name => 1 << (index + 1),
                        Segment::Name(wildcard) if wildcard.matches(name) => 1 << (index + 1),
                        Segment::Literal(_) | Segment::Name(_) => 0,
                    };
                }
                pattern.beyond(next)
            }
        }
    }

    /// Whether the path so far matches the whole pattern.
    pub fn is_match(&self, _: &PathPattern) -> bool {
        matches!(self.0, Place::Beyond { matched: true, .. })
    }

    /// Whether nothing below the path so far can match any more.
    pub fn is_dead(&self) -> bool {
        matches!(self.0, Place::Beyond { open: 0, .. })
    }

    /// The only names with which a match can go on from here, each once, none if the cursor is dead;
    /// `None` when a wildcard comes next and the directory has to be listed.
    pub fn next_literals<'p>(&self, pattern: &'p PathPattern) -> Option<Vec<&'p [u8]>> {
        let (segments, open) = match self.0 {
            Place::InPrefix(depth) => (pattern.segments.get(depth..)?, 1),
            Place::Beyond { open, .. } => (pattern.after_prefix(), open),
        };
        let mut names = Vec::new();
        for (index, segment) in segments.iter().enumerate().take(MAX_SEGMENTS_AFTER_PREFIX) {
            if open & (1 << index) == 0 {
                continue;
            }
            let Segment::Literal(literal) = segment else {
                return None;
            };
            if !names.contains(&&**literal) {
                names.push(&**literal);
            }
        }
        Some(names)
    }
}
