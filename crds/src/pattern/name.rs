//! A pattern for one name: reads its text, produces a matcher over the name's bytes.
//!
//! A name is a sequence of characters: each is a UTF-8 scalar where the bytes are one, a single byte where they
//! are not. It never decodes more than it has to: the literal ends of a pattern are compared as bytes.

use super::PatternError;

/// A pattern for one name (a single segment), such as `*.sw[op]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Literal(Box<[u8]>),
    /// No alternatives. The literal ends are cut off: a UTF-8 text never begins or ends inside a character of a name.
    Plain {
        head: Box<[u8]>,
        middle: Box<[Step]>,
        tail: Box<[u8]>,
    },
    Branching(Box<[Instruction]>),
}

/// What a pattern without alternatives is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `*`
    Any,
    One(One),
}

/// What matches one character.
#[derive(Debug, Clone, PartialEq, Eq)]
enum One {
    Exactly(char),
    /// `?`
    Any,
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
}

/// A state of the automaton that a pattern with alternatives is; the state behind the last one is its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Instruction {
    Step(Step),
    /// Goes on at each of these.
    Fork(Box<[usize]>),
    Jump(usize),
}

/// A character of a name.
#[derive(Clone, Copy)]
enum Unit {
    Scalar(char),
    Byte,
}

impl NamePattern {
    /// Parses a pattern for one name.
    ///
    /// # Errors
    /// What cannot be meant as it is written: see [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let parts = Parser { rest: text }.parse()?;
        let form = match plain(&parts) {
            Some(steps) => cut_ends(steps),
            None => Form::Branching(assemble(parts)),
        };
        if let Form::Literal(literal) = &form
            && matches!(&**literal, b"." | b"..")
        {
            return Err(PatternError::DotsOrEmptySegment);
        }
        Ok(Self { form })
    }

    /// Whether this whole name matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        match &self.form {
            Form::Literal(literal) => **literal == *name,
            Form::Plain { head, middle, tail } => name
                .strip_prefix(&**head)
                .and_then(|rest| rest.strip_suffix(&**tail))
                .is_some_and(|rest| plain_matches(middle, rest)),
            Form::Branching(program) => branching_matches(program, name),
        }
    }

    /// The one name that matches, if the pattern holds no wildcard; `[[]` and its like are the character.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &self.form {
            Form::Literal(literal) => Some(literal),
            Form::Plain { .. } | Form::Branching(_) => None,
        }
    }
}

impl One {
    fn matches(&self, unit: Unit) -> bool {
        match (self, unit) {
            (Self::Any, _) => true,
            (Self::Exactly(expected), Unit::Scalar(found)) => *expected == found,
            (Self::Exactly(_), Unit::Byte) => false,
            (Self::Class { negated, ranges }, Unit::Scalar(found)) => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&found)) != *negated
            }
            (Self::Class { negated, .. }, Unit::Byte) => *negated,
        }
    }
}

/// The first character of `bytes` and its length in bytes.
fn first_unit(bytes: &[u8]) -> Option<(Unit, usize)> {
    let first = *bytes.first()?;
    let length = match first {
        0..0x80 => return Some((Unit::Scalar(char::from(first)), 1)),
        0xC2..0xE0 => 2,
        0xE0..0xF0 => 3,
        0xF0..0xF5 => 4,
        _ => return Some((Unit::Byte, 1)),
    };
    let scalar = bytes.get(..length).and_then(|bytes| str::from_utf8(bytes).ok()).and_then(|text| text.chars().next());
    Some(match scalar {
        Some(scalar) => (Unit::Scalar(scalar), length),
        None => (Unit::Byte, 1),
    })
}

/// Two places suffice: only the last `*` ever has to take one character more.
fn plain_matches(steps: &[Step], name: &[u8]) -> bool {
    let (mut step, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let unit = first_unit(&name[at..]);
        match (steps.get(step), unit) {
            (Some(Step::Any), _) => {
                step += 1;
                retry = Some((step, at));
                if step == steps.len() {
                    return true;
                }
                continue;
            }
            (Some(Step::One(one)), Some((unit, length))) if one.matches(unit) => {
                step += 1;
                at += length;
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((step_after, taken)) = retry else {
            return false;
        };
        let Some((_, length)) = first_unit(&name[taken..]) else {
            return false;
        };
        step = step_after;
        at = taken + length;
        retry = Some((step_after, at));
    }
}

/// Runs all alternatives side by side, one character at a time.
fn branching_matches(program: &[Instruction], name: &[u8]) -> bool {
    let mut now = States::new(program);
    let mut next = States::new(program);
    now.enter(program, 0);
    let mut at = 0;
    while let Some((unit, length)) = first_unit(&name[at..]) {
        for &state in &now.active {
            match program.get(state) {
                Some(Instruction::Step(Step::Any)) => next.enter(program, state),
                Some(Instruction::Step(Step::One(one))) if one.matches(unit) => next.enter(program, state + 1),
                _ => {}
            }
        }
        std::mem::swap(&mut now, &mut next);
        next.clear();
        if now.active.is_empty() {
            return false;
        }
        at += length;
    }
    now.entered[program.len()]
}

/// A set of states of a program, kept as members and as marks.
struct States {
    active: Vec<usize>,
    entered: Vec<bool>,
    pending: Vec<usize>,
}

impl States {
    fn new(program: &[Instruction]) -> Self {
        Self { active: Vec::new(), entered: vec![false; program.len() + 1], pending: Vec::new() }
    }

    /// Enters a state and all that can be reached from it without a character.
    fn enter(&mut self, program: &[Instruction], state: usize) {
        self.pending.push(state);
        while let Some(state) = self.pending.pop() {
            if std::mem::replace(&mut self.entered[state], true) {
                continue;
            }
            self.active.push(state);
            match program.get(state) {
                Some(Instruction::Step(Step::Any)) => self.pending.push(state + 1),
                Some(Instruction::Fork(targets)) => self.pending.extend(targets),
                Some(Instruction::Jump(target)) => self.pending.push(*target),
                Some(Instruction::Step(Step::One(_))) | None => {}
            }
        }
    }

    fn clear(&mut self) {
        self.active.clear();
        self.entered.fill(false);
    }
}

/// What the text of a pattern is made of.
enum Part {
    Step(Step),
    Alternatives(Vec<Vec<Step>>),
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn parse(mut self) -> Result<Vec<Part>, PatternError> {
        if self.rest.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut parts = Vec::new();
        while let Some(character) = self.next() {
            let part = match character {
                '{' => Part::Alternatives(self.alternatives()?),
                other => Part::Step(self.step(other)?),
            };
            if matches!((parts.last(), &part), (Some(Part::Step(Step::Any)), Part::Step(Step::Any))) {
                return Err(PatternError::AnyDepthBesideOthers);
            }
            parts.push(part);
        }
        Ok(parts)
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let character = characters.next()?;
        self.rest = characters.as_str();
        Some(character)
    }

    fn step(&mut self, character: char) -> Result<Step, PatternError> {
        Ok(match character {
            '*' => Step::Any,
            '?' => Step::One(One::Any),
            '[' => Step::One(self.class()?),
            '/' => return Err(PatternError::SlashInName),
            '\0' => return Err(PatternError::Nul),
            other => Step::One(One::Exactly(other)),
        })
    }

    fn alternatives(&mut self) -> Result<Vec<Vec<Step>>, PatternError> {
        let mut alternatives = Vec::new();
        let mut alternative = Vec::new();
        loop {
            match self.next().ok_or(PatternError::UnclosedOrNestedBraces)? {
                '{' => return Err(PatternError::UnclosedOrNestedBraces),
                ',' => alternatives.push(std::mem::take(&mut alternative)),
                '}' => {
                    alternatives.push(alternative);
                    return Ok(alternatives);
                }
                other => {
                    let step = self.step(other)?;
                    if step == Step::Any && alternative.last() == Some(&step) {
                        return Err(PatternError::AnyDepthBesideOthers);
                    }
                    alternative.push(step);
                }
            }
        }
    }

    /// The rest of a class behind its `[`. A `]` that comes first is a member, as in a shell.
    fn class(&mut self) -> Result<One, PatternError> {
        let negated = self.rest.starts_with(['!', '^']);
        if negated {
            self.next();
        }
        let mut ranges = Vec::new();
        loop {
            let from = match self.next().ok_or(PatternError::UnclosedClass)? {
                ']' if !ranges.is_empty() => break,
                '/' => return Err(PatternError::SlashInName),
                '\0' => return Err(PatternError::Nul),
                member => member,
            };
            ranges.push((from, self.range_end(from)?));
        }
        Ok(match *ranges {
            [(from, to)] if from == to && !negated => One::Exactly(from),
            _ => One::Class { negated, ranges: ranges.into() },
        })
    }

    /// The end of a range that begins with `from`: `from` itself where no range is written.
    fn range_end(&mut self, from: char) -> Result<char, PatternError> {
        let to = match self.rest.strip_prefix('-').and_then(|rest| rest.chars().next()) {
            None | Some(']') => return Ok(from),
            Some('/') => return Err(PatternError::SlashInName),
            Some('\0') => return Err(PatternError::Nul),
            Some(to) => to,
        };
        self.next();
        self.next();
        if from > to {
            return Err(PatternError::EmptyRange { from, to });
        }
        Ok(to)
    }
}

/// The steps of a pattern that holds no alternatives.
fn plain(parts: &[Part]) -> Option<Vec<Step>> {
    parts
        .iter()
        .map(|part| match part {
            Part::Step(step) => Some(step.clone()),
            Part::Alternatives(_) => None,
        })
        .collect()
}

fn cut_ends(mut steps: Vec<Step>) -> Form {
    let exact = |step: &&Step| matches!(step, Step::One(One::Exactly(_)));
    let text = |steps: &[Step]| -> Box<[u8]> {
        let characters = steps.iter().filter_map(|step| match step {
            Step::One(One::Exactly(character)) => Some(*character),
            _ => None,
        });
        characters.collect::<String>().into_bytes().into()
    };
    let head = steps.iter().take_while(exact).count();
    if head == steps.len() {
        return Form::Literal(text(&steps));
    }
    let tail = steps.iter().rev().take_while(exact).count();
    let tail = text(&steps.split_off(steps.len() - tail));
    let middle = steps.split_off(head).into();
    Form::Plain { head: text(&steps), middle, tail }
}

fn assemble(parts: Vec<Part>) -> Box<[Instruction]> {
    let mut program = Vec::new();
    for part in parts {
        match part {
            Part::Step(step) => program.push(Instruction::Step(step)),
            Part::Alternatives(alternatives) => {
                let fork = program.len();
                // Each alternative is its steps and a jump behind the last one.
                let end = fork + 1 + alternatives.iter().map(|steps| steps.len() + 1).sum::<usize>();
                let mut targets = Vec::with_capacity(alternatives.len());
                program.push(Instruction::Jump(end));
                for steps in alternatives {
                    targets.push(program.len());
                    program.extend(steps.into_iter().map(Instruction::Step));
                    program.push(Instruction::Jump(end));
                }
                program[fork] = Instruction::Fork(targets.into());
            }
        }
    }
    program.into()
}
