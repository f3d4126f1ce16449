//! The line sink: the journal's lines to standard output or a file, from a cursor that is saved behind them.
//!
//! At least once: after a crash the lines since the saved cursor come again, the same to the byte.

use crate::Trouble;
use crate::metrics::{Metrics, SinkFault};
use crate::observe::Watch;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vedette_crds::record::{CHANGE_SCHEMA, without_place};
use vedette_engine::journal::{Journal, Line, Sink};

/// Every line begins so.
const HEAD: &[u8] = b"{\"schema\":\"vedette.dev/";
/// Lines are read and written in pieces of about this size.
const PIECE: usize = 1 << 20;
/// Who rotates a file does not do so again within a write.
const TRIES: usize = 3;
/// After a failed write the next try is made this much later.
const RETRY: Duration = Duration::from_secs(5);
/// While they go on failing, the log says so as often as this.
const SAY: Duration = Duration::from_secs(60);

/// Where lines go, and whether the last of them is only half there.
pub(crate) struct Output {
    to: To,
    /// A write ended in the middle of a line: what comes next begins a new one.
    is_torn: bool,
}

enum To {
    Stdout(std::io::Stdout),
    File { file: File, path: PathBuf },
}

/// What a delivery wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    /// Change records among the lines.
    pub(crate) changes: u64,
    /// Whether another journal began among them: the state was not the expected one.
    pub(crate) was_reset: bool,
    /// The sequence of the last line.
    pub(crate) sequence: u64,
    /// Lines that had left the journal.
    pub(crate) lost: u64,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self { to: To::Stdout(std::io::stdout()), is_torn: false }
    }

    /// Opens a file for appending, root's alone, for records hold digests of what others may not read; half a line at its end, which a crash left, is ended first.
    pub(crate) fn file(path: &Path) -> Result<Self, Trouble> {
        if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
            return Self::pipe(path);
        }
        let failed = |source| Trouble::because(format!("cannot open the records file {}", path.display()), source);
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        let mut is_torn = false;
        if file.metadata().map_err(failed)?.is_file() && file.seek(SeekFrom::End(0)).map_err(failed)? > 0 {
            let mut begin = Vec::new();
            file.rewind().and_then(|()| (&file).take(1024).read_to_end(&mut begin)).map_err(failed)?;
            // Behind a mistyped path lies what must not be harmed.
            if !are_records(&begin) {
                let path = path.display();
                let message =
                    format!("the records file {path} holds something else than records: give another, which is made");
                return Err(Trouble::new(message));
            }
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(failed)?;
            file.read_exact(&mut last).map_err(failed)?;
            is_torn = last != *b"\n";
        }
        Ok(Self { to: To::File { file, path: path.to_owned() }, is_torn })
    }

    /// Opens a named pipe for writing alone: who could read it too would never be told that nobody else does, and what
    /// it wrote then would be gone.
    fn pipe(path: &Path) -> Result<Self, Trouble> {
        let opened = OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
        let file = opened.map_err(|source| {
            let path = path.display();
            Trouble::because(
                match source.raw_os_error() == Some(Errno::NXIO.raw_os_error()) {
                    true => format!("the records file {path} is a pipe that nobody reads: start its reader first"),
                    false => format!("cannot open the records file {path}"),
                },
                source,
            )
        })?;
        // From here on a slow reader is waited for, as at standard output.
        let flags = fcntl_getfl(&file).and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK));
        flags.map_err(|source| Trouble::because(format!("cannot open the records file {}", path.display()), source))?;
        Ok(Self { to: To::File { file, path: path.to_owned() }, is_torn: false })
    }

    /// Opens a file anew that somebody has moved away or deleted: what is written into it would be lost.
    fn renew(&mut self) -> Result<(), Trouble> {
        if let To::File { file, path } = &self.to
            && let Ok(open) = file.metadata()
            && open.is_file()
        {
            let same = |found: &Metadata| (found.dev(), found.ino()) == (open.dev(), open.ino());
            if !std::fs::metadata(path).is_ok_and(|found| same(&found)) {
                let path = path.clone();
                *self = Self::file(&path)?;
            }
        }
        Ok(())
    }

    /// Writes lines; again, where the file was deleted or emptied while they were written.
    fn write(&mut self, lines: &[Line]) -> Result<(), Trouble> {
        for _ in 0..TRIES {
            self.renew()?;
            self.write_once(lines)?;
            if self.is_kept() {
                return Ok(());
            }
        }
        Err(Trouble::new("somebody deletes or empties the records file as often as it is written"))
    }

    /// Whether what was written last is still in a file that has a name.
    fn is_kept(&mut self) -> bool {
        let To::File { file, .. } = &mut self.to else { return true };
        match (file.metadata(), file.stream_position()) {
            (Ok(open), Ok(end)) if open.is_file() => open.nlink() > 0 && open.len() >= end,
            _ => true,
        }
    }

    fn write_once(&mut self, lines: &[Line]) -> Result<(), Trouble> {
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.bytes.len() + 1).sum::<usize>() + 1);
        if self.is_torn {
            bytes.push(b'\n');
        }
        for line in lines {
            bytes.extend_from_slice(&line.bytes);
            bytes.push(b'\n');
        }
        let (fd, what) = match &self.to {
            To::Stdout(stdout) => (stdout.as_fd(), "standard output".to_owned()),
            To::File { file, path } => (file.as_fd(), path.display().to_string()),
        };
        let mut written = 0;
        let result = put(fd, &bytes, &mut written);
        let is_torn = if written == 0 { self.is_torn } else { bytes[written - 1] != b'\n' };
        let result = match &self.to {
            To::File { file, .. } if file.metadata().is_ok_and(|open| open.is_file()) => match result {
                Ok(()) => file.sync_data(),
                Err(error) => {
                    // The whole of it comes again: half a line in the middle would be none.
                    let end = file.metadata().map_or(0, |open| open.len());
                    let begin = end.checked_sub(written as u64).filter(|_| is_torn);
                    if begin.is_some_and(|begin| file.set_len(begin).is_ok()) {
                        return Err(Trouble::because(format!("cannot write records to {what}"), error));
                    }
                    Err(error)
                }
            },
            _ => result,
        };
        self.is_torn = is_torn;
        result.map_err(|source| Trouble::because(format!("cannot write records to {what}"), source))
    }
}

/// Whether a file that begins so was written by a sink: with a whole line, or with halves of one, each of them ended.
fn are_records(begin: &[u8]) -> bool {
    let strange = |line: &&[u8]| !line.is_empty() && !HEAD.starts_with(line);
    begin.split(|byte| *byte == b'\n').find(strange).is_none_or(|line| line.starts_with(HEAD))
}

/// Writes all of it, without a buffer that would hold back what could not be written and say it twice.
fn put(fd: BorrowedFd<'_>, bytes: &[u8], written: &mut usize) -> std::io::Result<()> {
    while *written < bytes.len() {
        match rustix::io::write(fd, &bytes[*written..]) {
            Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
            Ok(count) => *written += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Delivers all lines that the sink has not had. One that is new to the journal begins behind `start`.
pub(crate) fn deliver(journal: &Journal, sink: Sink, start: u64, output: &mut Output) -> Result<Delivered, Trouble> {
    let unread = |source| Trouble::because("cannot read the journal", source);
    let mut cursor = journal.cursor(sink, start).map_err(unread)?;
    let mut delivered = Delivered { sequence: cursor.sequence, ..Delivered::default() };
    loop {
        let lines = journal.after(delivered.sequence, PIECE).map_err(unread)?;
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(delivered) };
        delivered.lost += first.sequence - delivered.sequence - 1;
        output.write(&lines)?;
        cursor.sequence = last.sequence;
        if !journal.advance(sink, &cursor).map_err(unread)? {
            return Ok(delivered);
        }
        delivered.sequence = last.sequence;
        delivered.changes += lines.iter().filter(|line| is_change(line)).count() as u64;
        delivered.was_reset |= lines.iter().any(is_reset);
    }
}

/// Writes the changes after a sequence as what they would be, without sequence and chain: they are not committed.
pub(crate) fn show_changes(journal: &Journal, after: u64, output: &mut Output) -> Result<Delivered, Trouble> {
    let mut shown = Delivered { sequence: after, ..Delivered::default() };
    loop {
        let unread = |source| Trouble::because("cannot read the journal", source);
        let lines = journal.after(shown.sequence, PIECE).map_err(unread)?;
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return Ok(shown) };
        shown.lost += first.sequence - shown.sequence - 1;
        shown.sequence = last.sequence;
        shown.was_reset |= lines.iter().any(is_reset);
        let changes = lines
            .iter()
            .filter(|line| is_change(line))
            .filter_map(|line| Some(Line { sequence: line.sequence, bytes: without_place(&line.bytes)? }));
        let changes: Vec<Line> = changes.collect();
        shown.changes += changes.len() as u64;
        output.write(&changes)?;
    }
}

/// What is said where lines had left the journal.
pub(crate) fn lost(lines: u64) -> String {
    format!("{lines} records left the journal before they could be written: give --journal-max more")
}

fn is_change(line: &Line) -> bool {
    line.bytes.starts_with(format!("{{\"schema\":\"{CHANGE_SCHEMA}\"").as_bytes())
}

/// Only a journal's first line is such a notice; a quote within a name before the member would be escaped.
fn is_reset(line: &Line) -> bool {
    const MEMBER: &[u8] = br#","kind":"BaselineReset","#;
    line.sequence == 1 && line.bytes.windows(MEMBER.len()).any(|part| part == MEMBER)
}

/// Delivers whenever something was committed, until the watch closes; then what is left.
///
/// `start` is where a new sink begins, however late the state takes its first cursor: a full disk may refuse that for long.
pub(crate) async fn run(
    journal: Journal,
    sink: Sink,
    start: u64,
    output: Output,
    mut watch: Watch,
    metrics: Arc<Metrics>,
) -> Result<(), Trouble> {
    let mut output = Some(output);
    let mut said: Option<Instant> = None;
    loop {
        watch.mark_unchanged();
        let (journal, mut writing) = (journal.clone(), output.take().unwrap_or_else(Output::stdout));
        let task = tokio::task::spawn_blocking(move || {
            let result = deliver(&journal, sink, start, &mut writing);
            (result, writing)
        });
        let (result, written) =
            task.await.map_err(|error| Trouble::because("the task that writes records ended", error))?;
        output = Some(written);
        let failed = match result {
            Ok(delivered) => {
                metrics.delivered(sink, delivered.sequence);
                if delivered.lost > 0 {
                    tracing::warn!(sink = sink.as_str(), "{}", lost(delivered.lost));
                }
                if said.take().is_some() {
                    tracing::info!(sink = sink.as_str(), "records are written again, none is lost");
                }
                false
            }
            Err(trouble) => {
                if said.is_none_or(|said| said.elapsed() >= SAY) {
                    let trouble = crate::sentence(&trouble);
                    tracing::error!(sink = sink.as_str(), "{trouble}; records are kept, and written once that works");
                    said = Some(Instant::now());
                }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn lines(count: u64, bytes: usize) -> Vec<Line> {
        (1..=count).map(|sequence| Line { sequence, bytes: vec![b'x'; bytes] }).collect()
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("records"), folder.path().join("records.1"));
        let mut output = Output::file(&path).unwrap();
        output.write(&lines(1, 3)).unwrap();
        std::fs::rename(&path, &old).unwrap();
        output.write(&lines(2, 3)).unwrap();
        std::fs::remove_file(&path).unwrap();
        output.write(&lines(3, 3)).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "xxx\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "xxx\nxxx\nxxx\n");
    }

    #[test]
    fn what_is_written_into_a_file_that_is_deleted_or_emptied_meanwhile_is_not_taken_for_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        let mut output = Output::file(&path).unwrap();
        output.write_once(&lines(1, 3)).unwrap();
        assert!(output.is_kept());
        std::fs::rename(&path, folder.path().join("records.1")).unwrap();
        assert!(output.is_kept(), "it has another name, and is read there");
        std::fs::rename(folder.path().join("records.1"), &path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert!(!output.is_kept());
        output.write(&lines(2, 3)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "xxx\nxxx\n", "from its beginning");
        std::fs::remove_file(&path).unwrap();
        assert!(!output.is_kept());
    }

    #[test]
    fn only_what_a_sink_has_written_is_appended_to() {
        let half = &HEAD[..9];
        for records in [&b""[..], b"\n", HEAD, half, &[half, b"\n", HEAD, b"change/v1"].concat(), b"{\n{\n"] {
            assert!(are_records(records), "{}", String::from_utf8_lossy(records));
        }
        for other in [&b"{}"[..], b"{\n  \"schema\": 1\n}\n", b"{\"schema\":\"x\"}", b"\n[main]\n", b"\0"] {
            assert!(!are_records(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_is_written_into_a_pipe_has_a_reader() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let Err(refused) = Output::file(&path) else { panic!("nobody reads it") };
        assert!(refused.to_string().ends_with("is a pipe that nobody reads: start its reader first"), "{refused}");
        let reader =
            || OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&path).unwrap();
        let first = reader();
        let mut output = Output::file(&path).unwrap();
        output.write(&lines(1, 3)).unwrap();
        drop(first);
        output.write(&lines(1, 4)).unwrap_err();
        let mut second = reader();
        output.write(&lines(1, 5)).unwrap();
        let mut read = [0; 64];
        assert_eq!(second.read(&mut read).unwrap(), 10, "what the first has not read is still there");
        let To::File { file, .. } = &output.to else { panic!("it is a file") };
        assert!(!fcntl_getfl(file).unwrap().contains(OFlags::NONBLOCK), "a slow reader is waited for");
    }

    #[test]
    fn half_a_line_is_ended_before_it_comes_again_as_a_whole() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut output = Output { to: To::File { file, path: "pipe".into() }, is_torn: false };
        output.write(&lines(100, 999)).unwrap_err();
        let mut full = vec![0; 1 << 20];
        let held = reader.read(&mut full).unwrap();
        assert_ne!(full[held - 1], b'\n', "the pipe took whole lines only: nothing is tested");
        output.write(&lines(2, 999)).unwrap();
        drop(output);
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        let rest = String::from_utf8(rest).unwrap();
        let lengths: Vec<_> = rest.lines().map(str::len).collect();
        assert_eq!(lengths, [0, 999, 999]);
    }
}
