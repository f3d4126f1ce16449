//! Where the journal stood when it was last told elsewhere: reads the end of a records file and a NodeConfig's status.
//!
//! An anchor never leads the journal, for a line is told after it was committed: a state that lags behind one is an older one.

use crate::Trouble;
use crate::cli::Records;
use serde::Deserialize;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use vedette_crds::node_config::NodeConfigStatus;
use vedette_engine::Anchor;

/// The last line lies within so much of a file's end, torn halves behind it included.
const END: u64 = 1 << 20;

/// The anchor in where records go.
///
/// # Errors
/// When a records file is there and cannot be read.
pub(crate) fn of_records(records: &Records) -> Result<Option<Anchor>, Trouble> {
    let Records::File(path) = records else { return Ok(None) };
    let end = read_end(path)
        .map_err(|source| Trouble::because(format!("cannot open the records file {}", path.display()), source))?;
    Ok(last_line(&end))
}

/// The anchor in a status.
pub(crate) fn of_status(status: &NodeConfigStatus) -> Option<Anchor> {
    let journal = status.journal.as_ref()?;
    let head = journal.head.strip_prefix("sha256:")?.to_owned();
    Some(Anchor { journal: journal.id.clone(), sequence: journal.sequence, head })
}

/// The end of a regular file; nothing of what is none, or not there.
fn read_end(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut end = Vec::new();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(end),
        Ok(found) if !found.is_file() => return Ok(end),
        Err(error) => return Err(error),
        Ok(found) => {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(found.len().saturating_sub(END)))?;
            file.take(END).read_to_end(&mut end)?;
        }
    }
    Ok(end)
}

/// The last whole line; what a crash tore is none.
fn last_line(end: &[u8]) -> Option<Anchor> {
    #[derive(Deserialize)]
    struct Told {
        journal: String,
        sequence: u64,
        chain: String,
    }
    let told = end.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice::<Told>(line).ok())?;
    Some(Anchor { journal: told.journal, sequence: told.sequence, head: told.chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_line_is_the_anchor() {
        let line = |sequence| format!("{{\"journal\":\"j\",\"sequence\":{sequence},\"chain\":\"c{sequence}\"}}\n");
        let anchor = |sequence| Some(Anchor { journal: "j".into(), sequence, head: format!("c{sequence}") });
        let (one, two) = (line(1), line(2));
        assert_eq!(last_line(format!("{one}{two}").as_bytes()), anchor(2));
        assert_eq!(last_line(format!("{one}{}", &two[..20]).as_bytes()), anchor(1), "the end of the last was torn off");
        assert_eq!(last_line(format!("{one}{}\n{}", &two[..20], &two[..9]).as_bytes()), anchor(1));
        assert_eq!(last_line(&two.as_bytes()[5..]), None, "its begin lies too far from the end");
        assert_eq!(last_line(b""), None);
    }
}
