//! The line sink: the journal's lines to standard output or a file, from a cursor that is saved behind them.
//!
//! At least once: after a crash the lines since the saved cursor come again, the same to the byte.

use crate::Trouble;
use crate::metrics::{Metrics, SinkFault};
use crate::observe::Watch;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vedette_crds::record::CHANGE_SCHEMA;
use vedette_engine::journal::{Journal, Line, Sink};

/// Lines are read and written in pieces of about this size.
const PIECE: usize = 1 << 20;
/// After a failed write the next try is made this much later.
const RETRY: Duration = Duration::from_secs(5);

/// Where lines go.
pub(crate) enum Output {
    Stdout(std::io::Stdout),
    File { file: File, path: PathBuf },
}

/// What a delivery wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Change records among the lines.
    pub(crate) changes: u64,
    /// The sequence of the last line.
    pub(crate) sequence: u64,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self::Stdout(std::io::stdout())
    }

    /// Opens a file for appending, root's alone, for records hold digests of what others may not read; half a line at its end, which a crash left, is ended first.
    pub(crate) fn file(path: &Path) -> Result<Self, Trouble> {
        let failed = |source| Trouble::because(format!("cannot open the records file {}", path.display()), source);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        if file.seek(SeekFrom::End(0)).map_err(failed)? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(failed)?;
            }
        }
        Ok(Self::File { file, path: path.to_owned() })
    }

    fn write(&mut self, lines: &[Line]) -> Result<(), Trouble> {
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.bytes.len() + 1).sum());
        for line in lines {
            bytes.extend_from_slice(&line.bytes);
            bytes.push(b'\n');
        }
        match self {
            Self::Stdout(stdout) => {
                let written = stdout.write_all(&bytes).and_then(|()| stdout.flush());
                written.map_err(|source| Trouble::because("cannot write records to standard output", source))
            }
            Self::File { file, path } => {
                let written = file.write_all(&bytes).and_then(|()| file.sync_data());
                written
                    .map_err(|source| Trouble::because(format!("cannot write records to {}", path.display()), source))
            }
        }
    }
}

/// Delivers all lines that the sink has not had; `head` is the journal's last sequence.
pub(crate) fn deliver(journal: &Journal, sink: Sink, head: u64, output: &mut Output) -> Result<Delivered, Trouble> {
    let unread = |source| Trouble::because("cannot read the journal", source);
    let mut delivered = Delivered { changes: 0, sequence: journal.cursor(sink, head).map_err(unread)? };
    loop {
        let lines = journal.after(delivered.sequence, PIECE).map_err(unread)?;
        let Some(last) = lines.last() else { return Ok(delivered) };
        output.write(&lines)?;
        journal.advance(sink, last.sequence).map_err(unread)?;
        delivered.sequence = last.sequence;
        delivered.changes += lines.iter().filter(|line| is_change(line)).count() as u64;
    }
}

fn is_change(line: &Line) -> bool {
    line.bytes.starts_with(format!("{{\"schema\":\"{CHANGE_SCHEMA}\"").as_bytes())
}

/// Delivers whenever something was committed, until the watch closes; then what is left.
pub(crate) async fn run(
    journal: Journal,
    sink: Sink,
    output: Output,
    mut watch: Watch,
    metrics: Arc<Metrics>,
) -> Result<(), Trouble> {
    let mut output = Some(output);
    loop {
        let head = watch.borrow_and_update().standing.sequence;
        let (journal, mut writing) = (journal.clone(), output.take().unwrap_or_else(Output::stdout));
        let task = tokio::task::spawn_blocking(move || {
            let result = deliver(&journal, sink, head, &mut writing);
            (result, writing)
        });
        let (result, written) =
            task.await.map_err(|error| Trouble::because("the task that writes records ended", error))?;
        output = Some(written);
        let failed = match result {
            Ok(delivered) => {
                metrics.delivered(sink, delivered.sequence);
                false
            }
            Err(trouble) => {
                tracing::error!(sink = sink.as_str(), "{}", crate::sentence(&trouble));
                metrics.sink_failed(sink, SinkFault::Write);
                true
            }
        };
        tokio::select! {
            changed = watch.changed() => if changed.is_err() { return Ok(()) },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}
