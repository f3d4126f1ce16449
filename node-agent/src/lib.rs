//! The agent: a node's configuration in; status, metrics and records out.
//!
//! ```text
//! --rule FILE ──rules──┐                                     scan, standalone
//! NodeConfig ──config──┴─> Driver (engine's thread) ──Observer──> watch: what stands now
//!                                │                                   │
//!                             journal ──cursor──> lines (stdout, FILE)   metrics ──> http (/metrics, /healthz, /readyz)
//!                                └─────cursor──> status (NodeConfig.status)
//! ```
//!
//! | room | what it holds |
//! |---|---|
//! | [`cli`], `standard_output` | flags and subcommands; whether there is an output to write to |
//! | [`scan`], [`standalone`], [`run`], [`verify`], [`inventory`], [`explain`] | the subcommands |
//! | [`budget`], `cgroup` | what may be taken of the node; the quota of its container |
//! | `confine` | what the process can do no more from its beginning on |
//! | `socket` | questions to a running agent |
//! | `answer` | what `verify` and its like print |
//! | `rules`, `config` | rules from files; the node's NodeConfig, kept on disk |
//! | `observe`, `narrate` | what the engine says, for tasks that wait for it, and for people |
//! | `anchors` | where the journal stood when it was last told elsewhere |
//! | `lines`, `status` | sinks: each delivers the journal from its own cursor |
//! | `metrics`, `http` | what is scraped; `vedette-service` serves it |

mod anchors;
mod answer;
pub mod budget;
mod cgroup;
pub mod cli;
mod config;
mod confine;
pub mod explain;
mod http;
pub mod inventory;
mod lines;
mod metrics;
mod narrate;
mod observe;
mod rules;
pub mod run;
pub mod scan;
mod socket;
pub mod standalone;
mod standard_output;
mod status;
pub mod verify;

use std::io::Write;
use std::process::ExitCode;

/// Something that ends a subcommand; the sentence says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Trouble {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Trouble {
    /// Trouble that has no cause of its own.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// An error that says all there is to say.
    pub fn of(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let error = error.into();
        Self { message: error.to_string(), source: Some(error) }
    }

    /// Trouble with its cause.
    pub fn because(message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

/// Exit code 2: trouble.
pub const TROUBLE: u8 = 2;

/// An error and its causes as one line.
pub fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    vedette_crds::record::escape_controls(&vedette_service::report(error))
}

/// A line on standard error; where that cannot be written, the exit code says enough.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", vedette_crds::record::escape_controls(text));
}

/// Runs the subcommand that the command line names, and says what went wrong on standard error.
pub fn main(arguments: cli::Arguments) -> ExitCode {
    if arguments.command.writes_to_standard_output() && standard_output::was_closed() {
        say("vedette-agent: standard output is closed, and records would be lost: open it, for example with > FILE");
        return ExitCode::from(TROUBLE);
    }
    let result = match arguments.command {
        cli::Command::Run(options) => run::run(options),
        cli::Command::Standalone(options) => standalone::standalone(options),
        cli::Command::Scan(options) => scan::scan(&options),
        cli::Command::Verify(options) => verify::verify(&options),
        cli::Command::Inventory(options) => inventory::inventory(&options),
        cli::Command::Explain(options) => explain::explain(&options),
    };
    result.unwrap_or_else(|trouble| {
        say(&format!("vedette-agent: {}", sentence(&trouble)));
        ExitCode::from(TROUBLE)
    })
}
