//! Questions to a running agent: a socket in its state directory, which only the state's owner may reach.
//!
//! A connection is one question and its answer: one JSON object a line. The server answers one connection after the other on a
//! thread of its own, each within a deadline and of bounded size, so that nobody who asks holds up the engine.

mod client;
mod server;

pub(crate) use client::Agent;
pub(crate) use server::{Bound, Server};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use vedette_engine::explain::{Explanation, Question};
use vedette_engine::inspect::Tracked;

/// More than the rules of a node take; what is longer is no question.
const LONGEST_QUESTION: u64 = 4 << 20;

/// What can be asked.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Asked {
    /// A part of what is tracked, from where the last part said.
    Inventory { from: Option<Vec<u8>> },
    /// Why a path is tracked, or is not.
    Explain(Box<Question>),
}

/// A line of an answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// One item.
    Item(Box<Tracked>),
    /// One path.
    Explanation(Box<Explanation>),
    /// The last line: all of the answer was there.
    End { next: Option<Vec<u8>> },
    /// The last line: why there is no answer.
    Refused(String),
}

/// A path to a name in a directory that is short however long the directory's is: a socket's path has at most 107 bytes.
struct Short {
    directory: OwnedFd,
}

impl Short {
    fn to(directory: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::openat(CWD, directory, flags, Mode::empty())? })
    }

    fn path(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()).into()
    }
}
