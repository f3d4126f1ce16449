//! The asking end.

use super::{Answer, Asked, Short};
use crate::Trouble;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vedette_engine::explain::{Explanation, Question};
use vedette_engine::inspect::{Part, Tracked};
use vedette_engine::{Holder, SOCKET};

/// An agent that has not answered by then does not: others may be before us in its queue.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running agent, by the state that it holds.
#[derive(Debug)]
pub(crate) struct Agent {
    state_dir: PathBuf,
    holder: Option<Holder>,
}

impl Agent {
    pub(crate) fn new(state_dir: &Path, holder: Option<Holder>) -> Self {
        Self { state_dir: state_dir.to_owned(), holder }
    }

    /// A part of what it tracks.
    pub(crate) fn inventory(&self, from: Option<&[u8]>) -> Result<Part, Trouble> {
        let mut items: Vec<Tracked> = Vec::new();
        let next = self.ask(&Asked::Inventory { from: from.map(<[u8]>::to_vec) }, &mut |answer| {
            if let Answer::Item(item) = answer {
                items.push(*item);
            }
        })?;
        Ok(Part { items, next })
    }

    /// Why a path is tracked, or is not.
    pub(crate) fn explain(&self, question: &Question) -> Result<Explanation, Trouble> {
        let mut explanation = None;
        self.ask(&Asked::Explain(Box::new(question.clone())), &mut |answer| {
            if let Answer::Explanation(answer) = answer {
                explanation = Some(*answer);
            }
        })?;
        explanation.ok_or_else(|| self.silent(std::io::ErrorKind::UnexpectedEof.into()))
    }

    fn ask(&self, asked: &Asked, each: &mut dyn FnMut(Answer)) -> Result<Option<Vec<u8>>, Trouble> {
        let silent = |error| self.silent(error);
        let connect = || {
            let stream = UnixStream::connect(Short::to(&self.state_dir)?.path(SOCKET))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let mut stream: UnixStream = connect().map_err(silent)?;
        let mut line = serde_json::to_vec(asked).map_err(|error| silent(error.into()))?;
        line.push(b'\n');
        // A question that is refused may not be read to its end: the answer says why.
        let sent = stream.write_all(&line);
        for line in BufReader::new(&stream).split(b'\n') {
            let line = line.map_err(silent)?;
            match serde_json::from_slice(&line).map_err(|error| silent(error.into()))? {
                Answer::End { next } => return Ok(next),
                Answer::Refused(why) => return Err(Trouble::new(format!("{} says: {why}", self.name()))),
                answer => each(answer),
            }
        }
        Err(silent(sent.err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into())))
    }

    fn name(&self) -> String {
        self.holder.as_ref().map_or_else(|| "the agent".to_owned(), Holder::to_string)
    }

    fn silent(&self, error: std::io::Error) -> Trouble {
        let (state, name) = (self.state_dir.display(), self.name());
        let message = format!(
            "the state directory {state} is in use by {name}, which does not answer at its socket {SOCKET}: a scan does not, an agent does"
        );
        Trouble::because(message, error)
    }
}
