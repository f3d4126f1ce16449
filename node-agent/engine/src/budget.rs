//! What an engine may take of the machine, and what it took.
//!
//! Only numbers: `pace` keeps them.

use std::time::Duration;

/// What an engine may take of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Processor time of looking and committing, in cores; `None`: as much as there is.
    pub cpu: Option<f64>,
    /// Processor time of the whole process, in cores, where the system stops it beyond that: what it takes to answer others is
    /// taken from looking, of which half stays.
    pub process: Option<f64>,
    /// Bytes of content that are read in a second; `None`: as many as can be.
    pub read: Option<u64>,
    /// Whether all else goes first: it takes what is idle, and makes way while others wait for processors or disks.
    pub is_background: bool,
}

/// Why work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It took the processor time that it may.
    Cpu,
    /// It read as much as it may.
    Read,
    /// Others wait for processors or disks.
    Pressure,
}

impl Wait {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Read, Self::Pressure];

    /// Its name, as metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "Cpu",
            Self::Read => "Read",
            Self::Pressure => "Pressure",
        }
    }
}

/// What was taken since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of the whole process.
    pub cpu: Duration,
    /// Bytes of content that were read.
    pub read: u64,
    /// How long threads waited, added up, in the order of [`Wait::ALL`].
    pub waited: [Duration; 3],
}
