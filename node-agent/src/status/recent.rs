//! The newest changes, for a glance with kubectl: few, short, and without digests. The records tell the rest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::VecDeque;
use vedette_crds::node_config::RecentChange;
use vedette_crds::record::{CHANGE_SCHEMA, Change, escape_controls};
use vedette_engine::StoreError;
use vedette_engine::journal::Journal;

/// The list holds at most so many,
const MAX_CHANGES: usize = 8;
/// and this many bytes of JSON.
const MAX_BYTES: usize = 800;
const MAX_PATH: usize = 256;
/// Enough lines to find the newest changes among notices.
const LOOK_BACK: u64 = 64;

/// The newest changes of a journal, newest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Which journal they are of.
    id: String,
    read: u64,
    changes: VecDeque<RecentChange>,
}

impl Recent {
    /// Takes in the lines up to `head` of the journal with this id.
    pub(crate) fn read(&mut self, journal: &Journal, id: &str, head: u64) -> Result<(), StoreError> {
        if self.id != id {
            *self = Self { id: id.to_owned(), ..Self::default() };
        }
        self.read = self.read.max(head.saturating_sub(LOOK_BACK));
        while self.read < head {
            let lines = journal.after(self.read, 1 << 20)?;
            let Some(last) = lines.last() else { return Ok(()) };
            self.read = last.sequence;
            for line in lines {
                self.changes.extend(recent(&line.bytes));
                if self.changes.len() > MAX_CHANGES {
                    self.changes.pop_front();
                }
            }
        }
        Ok(())
    }

    /// As many of the newest as fit, newest first.
    pub(crate) fn list(&self) -> Vec<RecentChange> {
        let mut bytes = 2;
        let fits = |change: &&RecentChange| {
            bytes += serde_json::to_vec(change).map_or(MAX_BYTES, |json| json.len() + 1);
            bytes <= MAX_BYTES
        };
        self.changes.iter().rev().take_while(fits).cloned().collect()
    }
}

/// The change in a line; `None` for a notice.
fn recent(line: &[u8]) -> Option<RecentChange> {
    let change: Change = serde_json::from_slice(line).ok().filter(|change: &Change| change.schema == CHANGE_SCHEMA)?;
    Some(RecentChange {
        sequence: change.origin.sequence,
        time: Time(to_seconds(change.time.0)),
        category: format!("{:?}", change.category),
        change_type: change.change_type.as_str().to_owned(),
        detection: change.detection.as_str().to_owned(),
        path: shorten(&escape_controls(&change.path.0)),
        fields: change.fields.iter().map(|field| format!("{field:?}")).collect(),
        severity: format!("{:?}", change.severity),
    })
}

/// Kubernetes times carry whole seconds.
pub(super) fn to_seconds(time: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The path with its middle left out where it is long: both ends tell more.
fn shorten(path: &str) -> String {
    let characters: Vec<char> = path.chars().collect();
    if characters.len() <= MAX_PATH {
        return path.to_owned();
    }
    let half = (MAX_PATH - 1) / 2;
    let (head, tail) = (&characters[..half], &characters[characters.len() - half..]);
    head.iter().chain(['…'].iter()).chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_keeps_both_ends() {
        let path = format!("/a{}z", "é".repeat(400));
        let short = shorten(&path);
        assert_eq!(short.chars().count(), 255);
        assert!(short.starts_with("/aé") && short.ends_with("éz"), "{short}");
        assert_eq!(shorten("/etc/passwd"), "/etc/passwd");
    }

    #[test]
    fn a_notice_is_no_change() {
        assert_eq!(recent(br#"{"schema":"vedette.dev/notice/v1","kind":"BaselineMade","items":3}"#), None);
    }
}
