//! When to make way: while others wait for processors or disks.
//!
//! The kernel says how long anybody waited, us included: we wait for the very disk that we read. So what it says while we
//! work only gives reason to be quiet for a moment; what it says of that moment is about others. While they wait we are quiet
//! for a while between turns. A turn ends when its work is done, not by the clock alone: where the scheduler gives us
//! little it lasts long, so that the two together do not starve us.
//! Pure: time and numbers come from the caller.

use crate::machine::Stalls;
use std::time::Duration;

/// So long is looked at while we work.
const WINDOW: Duration = Duration::from_secs(1);
/// What was said longer ago is no reason.
const STALE: Duration = Duration::from_secs(5);
/// Quiet for so long to hear others,
const LISTEN: Duration = Duration::from_millis(200);
/// and not again for so long when there was nothing.
const TRUST: Duration = Duration::from_secs(5);
/// While others wait we take a turn of so much processor time,
const WORK: Duration = Duration::from_millis(50);
/// or, where it is disks that they wait for, of so much time with at least so much processor time in it,
const DISK_TIME: Duration = Duration::from_millis(50);
const DISK_WORK: Duration = Duration::from_millis(5);
/// and then make way for so long.
const WAY: Duration = Duration::from_millis(450);
/// Others wait when somebody did for so much of the time: for a processor, and for a disk.
const CPU: f64 = 0.2;
const IO: f64 = 0.1;

/// What is known of others.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Unknown,
    /// We work as we like; nothing is judged before then.
    Free { since: Sample, trusted: Duration },
    /// All of us are quiet until then.
    Quiet { since: Sample, until: Duration },
    /// Others wait, and it is our turn; with the processor time at its beginning.
    Turn { since: Duration, cpu: Duration, for_disks: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scarce {
    Disks,
    Processors,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    stalls: Stalls,
}

impl Sample {
    /// What somebody waited too much for from one to the other.
    fn scarce(&self, later: &Self) -> Option<Scarce> {
        let passed = later.at.saturating_sub(self.at).as_secs_f64();
        let is_over = |before: Duration, after: Duration, limit: f64| {
            passed > 0.0 && after.saturating_sub(before).as_secs_f64() / passed > limit
        };
        if is_over(self.stalls.io, later.stalls.io, IO) {
            return Some(Scarce::Disks);
        }
        is_over(self.stalls.cpu, later.stalls.cpu, CPU).then_some(Scarce::Processors)
    }
}

impl Pressure {
    /// How long to make way; `cpu` is the processor time that we took so far.
    pub(crate) fn owed(&mut self, now: Duration, cpu: Duration, stalls: impl FnOnce() -> Option<Stalls>) -> Duration {
        match self.state {
            State::Free { since, trusted } if now < trusted || now < since.at + WINDOW => return Duration::ZERO,
            State::Quiet { until, .. } if now < until => return until.saturating_sub(now),
            State::Turn { since, cpu: before, for_disks }
                if !is_over(now.saturating_sub(since), cpu.saturating_sub(before), for_disks) =>
            {
                return Duration::ZERO;
            }
            _ => {}
        }
        let Some(stalls) = stalls() else {
            self.state = State::Unknown;
            return Duration::ZERO;
        };
        let sample = Sample { at: now, stalls };
        let quiet = |long| State::Quiet { since: sample, until: now + long };
        self.state = match &self.state {
            State::Unknown => State::Free { since: sample, trusted: now },
            State::Free { since, .. } if now <= since.at + STALE && since.scarce(&sample).is_some() => quiet(LISTEN),
            State::Free { .. } => State::Free { since: sample, trusted: now },
            State::Quiet { since, .. } => match since.scarce(&sample) {
                Some(scarce) => State::Turn { since: now, cpu, for_disks: scarce == Scarce::Disks },
                None => State::Free { since: sample, trusted: now + TRUST },
            },
            State::Turn { .. } => quiet(WAY),
        };
        match self.state {
            State::Quiet { until, .. } => until.saturating_sub(now),
            _ => Duration::ZERO,
        }
    }
}

/// Whether a turn of this length, with so much processor time in it, is over.
fn is_over(time: Duration, cpu: Duration, for_disks: bool) -> bool {
    cpu >= WORK || for_disks && time >= DISK_TIME && cpu >= DISK_WORK
}
