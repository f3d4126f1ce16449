//! What Events say: their reasons, a closed set; which reason a condition's reason has; the note. Pure: a notice is
//! something to be told, [`crate::recorder`] tells it.

use std::fmt;

use vedette_crds::condition::Reason;
use vedette_crds::condition::node::{AgentAvailable, Ready as NodeReady};
use vedette_crds::condition::rule::{Accepted, AllNodesCovered, Programmed, Ready as RuleReady};

use crate::fleet::{Name, Uid};

/// Whether somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    Normal,
    Warning,
}

impl Weight {
    /// As an Event's type spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The reasons, each with the one weight that it has.
macro_rules! subjects {
    ($($weight:ident: $subject:ident,)+) => {
        /// The reason of an Event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Subject { $($subject,)+ }

        impl Subject {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$subject),+];

            /// As an Event spells it.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$subject => stringify!($subject),)+ }
            }

            pub(crate) fn weight(self) -> Weight {
                match self { $(Self::$subject => Weight::$weight,)+ }
            }
        }
    };
}

subjects! {
    Normal: RuleAccepted,
    Warning: RuleRefused,
    Warning: RuleTooLarge,
    Normal: RuleProgrammed,
    Normal: RuleSuspended,
    Warning: RulePending,
    Warning: NodeConfigTooLarge,
    Warning: SchemaOutdated,
    Warning: NoNodes,
    Normal: RuleReady,
    Warning: NoAgents,
    Normal: NodesNotReady,
    Normal: NodesCovered,
    Warning: NodesUnavailable,
    Normal: NodeReady,
    Warning: ConfigNotApplied,
    Normal: BaselineNotReady,
    Normal: AgentAvailable,
    Normal: AgentStarting,
    Warning: AgentUnavailable,
    Warning: JournalChanged,
    Warning: NodeDeselected,
}

impl Subject {
    /// Whether it may be the trace of an attack: what is not let down by a fleet that has other troubles.
    pub(crate) fn is_security(self) -> bool {
        matches!(self, Self::JournalChanged | Self::NodeDeselected)
    }

    /// What was being done, as an Event spells it.
    pub(crate) fn action(self) -> &'static str {
        match self {
            Self::JournalChanged => "ReadStatus",
            Self::NodeDeselected => "SelectNodes",
            _ => "JudgeConditions",
        }
    }
}

/// What kind of object a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Rule,
    NodeConfig,
}

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) subject: Subject,
    pub(crate) about: About,
    pub(crate) name: Name,
    pub(crate) uid: Uid,
    /// The node whose doing it is, where it is one's.
    pub(crate) node: Option<Name>,
    pub(crate) note: String,
}

/// A condition that changed and has stayed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition<R> {
    /// What stood before; nothing, when the object is new.
    pub(crate) from: Option<R>,
    pub(crate) to: R,
}

impl<R: Reason> Transition<R> {
    /// What a person reads, with the message that the condition has now.
    pub(crate) fn note(self, message: &str) -> String {
        let Self { from, to } = self;
        let said = if message.is_empty() { String::new() } else { format!(": {message}") };
        format!("{} is {}, {}{said}{}", R::CONDITION, to.status().as_str(), to.as_str(), Before(from))
    }
}

struct Before<R>(Option<R>);

impl<R: Reason> fmt::Display for Before<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(from) => write!(f, " (before: {}, {})", from.status().as_str(), from.as_str()),
            None => Ok(()),
        }
    }
}

/// A condition's reason that an Event can tell.
pub(crate) trait Told: Reason {
    fn subject(self) -> Subject;
}

impl Told for Accepted {
    fn subject(self) -> Subject {
        match self {
            Self::Accepted => Subject::RuleAccepted,
            Self::Refused => Subject::RuleRefused,
            Self::TooLarge => Subject::RuleTooLarge,
        }
    }
}

impl Told for Programmed {
    fn subject(self) -> Subject {
        match self {
            Self::Programmed => Subject::RuleProgrammed,
            Self::Suspended => Subject::RuleSuspended,
            Self::Pending => Subject::RulePending,
            Self::NodeConfigTooLarge => Subject::NodeConfigTooLarge,
            Self::SchemaOutdated => Subject::SchemaOutdated,
            Self::NoNodes => Subject::NoNodes,
        }
    }
}

impl Told for RuleReady {
    fn subject(self) -> Subject {
        match self {
            Self::Ready => Subject::RuleReady,
            Self::Suspended => Subject::RuleSuspended,
            Self::NoNodes => Subject::NoNodes,
            Self::NoAgents => Subject::NoAgents,
            Self::NodesNotReady => Subject::NodesNotReady,
        }
    }
}

impl Told for AllNodesCovered {
    fn subject(self) -> Subject {
        match self {
            Self::Covered => Subject::NodesCovered,
            Self::NoNodes => Subject::NoNodes,
            Self::NodesUnavailable => Subject::NodesUnavailable,
        }
    }
}

impl Told for NodeReady {
    fn subject(self) -> Subject {
        match self {
            Self::Ready => Subject::NodeReady,
            Self::ConfigNotApplied => Subject::ConfigNotApplied,
            Self::BaselineNotReady => Subject::BaselineNotReady,
            Self::AgentUnavailable => Subject::AgentUnavailable,
        }
    }
}

impl Told for AgentAvailable {
    fn subject(self) -> Subject {
        match self {
            Self::Available => Subject::AgentAvailable,
            Self::Starting => Subject::AgentStarting,
            Self::NoPod | Self::NotReady | Self::Silent => Subject::AgentUnavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_page_on_events_has_every_reason_with_its_type_and_no_other() {
        let page = include_str!("../../docs/events.md");
        let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| reason"));
        let documented: Vec<_> = rows
            .map(|row| {
                let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
                (cells[0].to_owned(), cells[1].to_owned())
            })
            .collect();
        let known = Subject::ALL.iter().map(|subject| (subject.as_str().into(), subject.weight().as_str().into()));
        assert_eq!(documented, known.collect::<Vec<_>>());
    }

    #[test]
    fn a_note_says_what_is_why_and_what_was() {
        let transition = Transition { from: Some(Programmed::Programmed), to: Programmed::NodeConfigTooLarge };
        assert_eq!(
            transition.note("older rules fill n1"),
            "Programmed is False, NodeConfigTooLarge: older rules fill n1 (before: True, Programmed)"
        );
        let first = Transition { from: None, to: AgentAvailable::NoPod };
        assert_eq!(first.note(""), "AgentAvailable is False, NoPod");
    }
}
