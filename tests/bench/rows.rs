//! The rows of the table: their names, and what each needs.

use std::process::{Command, Stdio};

use vedette_tests::{Error, Result};

use crate::aide::Hashes;
use crate::bench::Bench;
use crate::corpora::Corpus;
use crate::table::Line;
use crate::{baselines, cold, recheck, scale};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    SysMd5,
    SysSha256,
    SysBoth,
    Tripwire,
    Tiny,
    Big,
    Recheck,
    Cold,
    Memory,
    Ladder,
    Hundred,
}

impl Row {
    pub(crate) const ALL: [Self; 11] = [
        Self::SysMd5,
        Self::SysSha256,
        Self::SysBoth,
        Self::Tripwire,
        Self::Tiny,
        Self::Big,
        Self::Recheck,
        Self::Cold,
        Self::Memory,
        Self::Ladder,
        Self::Hundred,
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SysMd5 => "sys-md5",
            Self::SysSha256 => "sys-sha256",
            Self::SysBoth => "sys-both",
            Self::Tripwire => "tripwire",
            Self::Tiny => "tiny",
            Self::Big => "big",
            Self::Recheck => "recheck",
            Self::Cold => "cold",
            Self::Memory => "memory",
            Self::Ladder => "ladder",
            Self::Hundred => "hundred",
        }
    }

    pub(crate) fn corpora(self) -> &'static [Corpus] {
        match self {
            Self::SysMd5 | Self::SysSha256 | Self::SysBoth | Self::Tripwire | Self::Recheck | Self::Cold => {
                &[Corpus::Sys]
            }
            Self::Tiny => &[Corpus::Tiny],
            Self::Big => &[Corpus::Big],
            Self::Memory => &[Corpus::Tiny, Corpus::Million],
            Self::Ladder => &[Corpus::TenThousand, Corpus::HundredThousand, Corpus::Million],
            Self::Hundred => &[Corpus::Million],
        }
    }

    pub(crate) fn run(self, bench: &Bench, notes: &mut Vec<String>) -> Result<Vec<Line>> {
        match self {
            Self::SysMd5 => baselines::sys(bench, Hashes::Md5, notes),
            Self::SysSha256 => baselines::sys(bench, Hashes::Sha256, notes),
            Self::SysBoth => baselines::sys(bench, Hashes::Both, notes),
            Self::Tripwire => baselines::tripwire(bench),
            Self::Tiny => baselines::tiny(bench, notes),
            Self::Big => baselines::big(bench, notes),
            Self::Recheck => recheck::run(bench, notes),
            Self::Cold => cold::run(bench, notes),
            Self::Memory => scale::memory(bench),
            Self::Ladder => scale::ladder(bench),
            Self::Hundred => scale::hundred(bench),
        }
    }

    fn peers(self) -> &'static [&'static str] {
        match self {
            Self::Tripwire => &["tripwire"],
            Self::Tiny => &["aide", "integrit"],
            Self::Ladder | Self::Hundred => &[],
            _ => &["aide"],
        }
    }
}

/// Refuses before anything is made.
pub(crate) fn prerequisites(rows: &[Row]) -> Result<()> {
    let mut programs: Vec<&str> = rows.iter().flat_map(|row| row.peers()).copied().collect();
    programs.push("cc");
    programs.sort_unstable();
    programs.dedup();
    let is_missing = |program: &&str| {
        let mut which = Command::new("sh");
        which.args(["-c", "test -n \"$(which \"$1\")\"", "sh", program]).stdout(Stdio::null()).stderr(Stdio::null());
        !which.status().is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = programs.into_iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.iter().map(|program| if *program == "cc" { "build-essential" } else { program });
    let packages = packages.collect::<Vec<_>>().join(" ");
    let (verb, them) = if missing.len() == 1 { ("is", "it") } else { ("are", "them") };
    Err(Error::Prerequisite(format!(
        "{} {verb} needed beside the agent: apt-get install -y --no-install-recommends {packages}, or choose --rows without {them}",
        missing.join(", "),
    )))
}
