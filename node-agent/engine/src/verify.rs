//! Whether a state, or lines that were taken out of one, are whole: reads everything once, produces a verdict, changes nothing.
//!
//! [`Lines`] checks lines wherever they come from; [`state`] checks a state directory: every value by its checksum, every
//! line by the chain, the chain's end by the state's own description.

mod lines;

pub use lines::{Fault, FaultKind, Lines, Verdict};

use crate::meta::{Base, Meta};
use crate::store::{Medium, Store, StoreError};
use serde::Serialize;
use std::path::Path;
use vedette_crds::record::Chain;

/// A head that was noted elsewhere: what is checked must hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The sequence that it was the head at, if that was noted too.
    pub sequence: Option<u64>,
    /// The head.
    pub head: Chain,
}

/// What a state was found to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateVerdict {
    /// Its journal.
    #[serde(flatten)]
    pub journal: Verdict,
    /// Items in pages that are whole.
    pub items: u64,
}

/// Checks the state in a directory. Damage is a verdict, not an error.
///
/// # Errors
/// When there is no state, it is in use or of another version, or it cannot be read.
pub fn state(directory: &Path, anchor: Option<Anchor>) -> Result<StateVerdict, StoreError> {
    let broken = |error: &StoreError, known: Option<String>| StateVerdict {
        journal: Verdict::damaged(known, error.to_string()),
        items: 0,
    };
    let store = match Store::open_existing(directory, Medium::Unchanged) {
        Ok(store) => store,
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Damaged { .. })) => return Ok(broken(&error, None)),
        Err(error) => return Err(error),
    };
    let reader = store.read()?;
    let missing = || StoreError::damaged("its description is missing");
    let meta = match Meta::load(&reader).and_then(|meta| meta.ok_or_else(missing)) {
        Ok(meta) => meta,
        Err(error @ StoreError::Damaged { .. }) => return Ok(broken(&error, None)),
        Err(error) => return Err(error),
    };
    let Base { sequence, chain } = meta.base;
    let mut lines = Lines::following(&meta.journal, sequence, chain);
    reader.check_lines(&mut |sequence, line| match line {
        Ok(line) => lines.line(&line),
        Err(error) => lines.damaged(Some(sequence), &error),
    })?;
    let (mut own, others): (Vec<_>, Vec<_>) =
        lines.end(anchor).into_iter().partition(|verdict| verdict.journal.as_ref() == Some(&meta.journal));
    let mut verdict = own.pop().unwrap_or_else(|| Verdict::empty(&meta.journal, sequence, chain));
    for Verdict { journal, broken, from, .. } in others {
        broken.into_iter().for_each(|fault| verdict.add(fault));
        if let Some(journal) = journal {
            let message = format!("a line of another journal, {journal}, stands in it");
            verdict.add(Fault { line: None, sequence: Some(from), kind: FaultKind::NotALine, message });
        }
    }
    if (verdict.to, verdict.head.as_ref()) != (meta.sequence, Some(&Verdict::shown(meta.head))) {
        let head = Verdict::shown(meta.head);
        let message =
            format!("the state says that its journal ends at sequence {} with the head {head}", meta.sequence);
        verdict.add(Fault { line: None, sequence: Some(meta.sequence), kind: FaultKind::Head, message });
    }
    let mut damaged = |error: StoreError| {
        let message = error.to_string();
        verdict.add(Fault { line: None, sequence: None, kind: FaultKind::Damaged, message });
    };
    let items = reader.check_pages(&mut damaged)?;
    reader.check_values(&mut damaged)?;
    Ok(StateVerdict { journal: verdict, items })
}
