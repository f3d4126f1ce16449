//! How much is on its way to the committer, in bytes: reports are few, but what one holds is up to the host.

use crate::commit::{Finding, Report, What};
use crate::crew::Sent;
use crate::item::{AttributeValue, ItemState};
use crate::moves::{Candidate, Moved};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// So many bytes are on their way: a thousand findings of the usual size for each of two walkers, several times over.
const LIMIT: usize = 4 * 1024 * 1024;
/// What a finding takes beside its name and texts.
const FINDING: usize = 400;

/// What is on its way.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    bytes: Mutex<usize>,
    less: Condvar,
}

/// So many bytes of it, until they have arrived or were thrown away.
#[derive(Debug)]
pub(crate) struct Share {
    flow: Arc<Flow>,
    bytes: usize,
}

impl Flow {
    /// Waits until there is room. Something larger than all of it goes alone.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize) -> Share {
        let mut on_the_way = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while *on_the_way > 0 && *on_the_way + bytes > LIMIT {
            on_the_way = self.less.wait(on_the_way).unwrap_or_else(PoisonError::into_inner);
        }
        *on_the_way += bytes;
        Share { flow: Arc::clone(self), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.flow.bytes.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.flow.less.notify_all();
    }
}

impl Sent {
    /// About how many bytes it takes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Report(report) => report.bytes(),
            Self::Moved(moved) => moved.bytes(),
            Self::Weighed(sent, _) => sent.iter().map(Self::bytes).sum(),
            Self::Remote(_) | Self::Ended(_) | Self::RemoteEnded(..) | Self::Panicked => 0,
        }
    }
}

impl Report {
    pub(crate) fn bytes(&self) -> usize {
        let names = self.vanished.iter().chain(&self.unseen).map(Vec::len).sum::<usize>();
        let findings = self.findings.iter().map(Finding::bytes).sum::<usize>();
        self.directory.as_bytes().len() + names + findings + FINDING * (1 + self.remounts.len())
    }
}

impl Finding {
    fn bytes(&self) -> usize {
        let state = match &self.what {
            What::Seen(state) => texts(state),
            What::Missing => 0,
        };
        FINDING + self.name.len() + state
    }
}

impl Moved {
    /// With both paths, which its records name.
    pub(crate) fn bytes(&self) -> usize {
        let path = |end: &Candidate| end.directory.as_bytes().len() + end.name.len();
        2 * FINDING + path(&self.from) + path(&self.to) + texts(&self.before) + texts(&self.after)
    }
}

fn value(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::Short(bytes) => bytes.len(),
        AttributeValue::Long(_) => 0,
    }
}

/// What a state holds of no fixed size.
pub(crate) fn texts(state: &ItemState) -> usize {
    let attributes = state.attributes.iter().map(|attributes| {
        let lists = [&attributes.acl, &attributes.default_acl, &attributes.capabilities];
        let others = attributes.others.iter().map(|other| size_of_val(other) + other.name.len() + value(&other.value));
        lists.into_iter().flatten().map(String::len).sum::<usize>() + others.sum::<usize>()
    });
    state.target.as_ref().map_or(0, Vec::len) + attributes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_larger_than_all_room_goes_alone_and_the_next_when_it_has_arrived() {
        let flow = Arc::<Flow>::default();
        let huge = flow.enter(3 * LIMIT);
        let (waiting, arrived) = (
            Arc::clone(&flow),
            std::thread::spawn({
                let flow = Arc::clone(&flow);
                move || flow.enter(1).bytes
            }),
        );
        assert_eq!(*waiting.bytes.lock().unwrap(), 3 * LIMIT);
        drop(huge);
        assert_eq!(arrived.join().unwrap(), 1);
        assert_eq!(*flow.bytes.lock().unwrap(), 0);
    }
}
