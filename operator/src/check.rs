//! Whether Vedette is whole in a cluster, for who has just installed or upgraded it. Reads what stands there with rights to read
//! alone; produces a line for each thing that should hold. Changes nothing.
//!
//! ```text
//! facts (reads the API server) ──► judge (pure) ──► lines, again until all hold or the time is over
//! ```

mod facts;
mod judge;
mod policy;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};
use vedette_service::{ApiServer, ConnectError};

use facts::LookError;
use judge::{Finding, judge};

const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// What is looked at, and for how long.
#[derive(Debug, Clone)]
pub struct CheckSettings {
    /// Where operator and agents are.
    pub namespace: String,
    /// How to reach the API server; absent: as a pod of the cluster, or as kubectl would.
    pub kubeconfig: Option<PathBuf>,
    /// What does not hold yet is looked at again for this long.
    pub within: Duration,
}

/// Why nothing can be said.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The API server cannot be found, or the credentials make no client.
    #[error("cannot look")]
    Connect {
        /// What was tried.
        source: ConnectError,
    },
    /// The API server does not say what it has.
    #[error("cannot look")]
    Look {
        /// At what, and why.
        source: LookError,
    },
    /// Nobody takes what was found.
    #[error("cannot write what was found")]
    Write {
        /// Why.
        source: io::Error,
    },
}

/// Writes a line for each thing that should hold; says whether all do.
///
/// # Errors
/// When it cannot be known.
pub async fn check(settings: &CheckSettings, out: &mut impl Write) -> Result<bool, CheckError> {
    let server = ApiServer::find(settings.kubeconfig.as_deref()).await;
    let server = server.map_err(|source| CheckError::Connect { source })?;
    let deadline = Instant::now() + settings.within;
    let looked = loop {
        let looked = facts::look(&server, &settings.namespace).await.map(|facts| judge(&facts));
        let all_hold = looked.as_ref().is_ok_and(|findings| !findings.iter().any(Finding::fails));
        if all_hold || Instant::now() >= deadline {
            break looked;
        }
        sleep(BETWEEN_LOOKS).await;
    };
    let findings = looked.map_err(|source| CheckError::Look { source })?;
    for finding in &findings {
        writeln!(out, "{finding}").map_err(|source| CheckError::Write { source })?;
    }
    Ok(!findings.iter().any(Finding::fails))
}
