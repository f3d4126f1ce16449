//! The account of processor time: what looks and commits may take, and what the whole process may.
//!
//! Pure: time and numbers come from the caller.

use super::{Bucket, DEBT};
use std::time::Duration;

/// While others take all of a quota, so much of ours stays ours.
const STAYS: f64 = 0.5;
/// The system counts a quota by the tenth of a second and forgets what was over it: so much longer is remembered here, in
/// seconds, and nobody pays for a minute of others'.
const MEMORY: f64 = 1.0;

#[derive(Debug)]
pub(super) struct Processors {
    ours: Bucket,
    quota: Option<Quota>,
}

/// Where the system stops the process.
#[derive(Debug)]
struct Quota {
    all: Bucket,
    /// What is ours of it, whatever others take.
    stays: Bucket,
}

impl Processors {
    pub(super) fn new(ours: f64, all: Option<f64>) -> Self {
        let quota = all.map(|all| Quota { all: Bucket::new(all, MEMORY), stays: Bucket::new(ours * STAYS, MEMORY) });
        Self { ours: Bucket::new(ours, DEBT), quota }
    }

    /// So much was taken by us, and by all of the process.
    pub(super) fn pass(&mut self, time: Duration, ours: Duration, all: Duration) {
        self.ours.pass(time, ours.as_secs_f64());
        if let Some(quota) = &mut self.quota {
            quota.all.pass(time, all.as_secs_f64());
            quota.stays.pass(time, ours.as_secs_f64());
        }
    }

    /// How long we may take nothing more.
    pub(super) fn owed(&mut self) -> Duration {
        let room = self.quota.as_mut().map_or(Duration::ZERO, |quota| quota.all.owed().min(quota.stays.owed()));
        self.ours.owed().max(room)
    }
}
