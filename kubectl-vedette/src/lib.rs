//! `kubectl vedette`: the fleet for people. It reads what operator and agents wrote and changes nothing.
//!
//! ```text
//! kubeconfig ──connect──> API server ──fleet──> rules, NodeConfigs, the operator's Lease (in pages, one slim form each)
//!                             │                    └─health──> findings ──status, rules──> table, JSON, YAML (output)
//!                             ├──watch, ledger──> changes, each once, and how many are missing
//!                             ├──spec, decision──> explain          by names alone; --ask-agent has the agent answer
//!                             └──pods' logs, records──> changes --full
//! files ──lint──> what is wrong with them, without a cluster
//! ```
//!
//! | room | what it holds |
//! |---|---|
//! | [`cli`], `complete` | flags and subcommands; candidates for kubectl's completion |
//! | `connect`, `trouble` | the cluster that is asked; why there is no answer, and what to do |
//! | `fleet`, `health` | lists; what is not well about a rule, a node, the operator (pure) |
//! | `status`, `node`, `rules`, `version` | the commands that read once |
//! | `changes`, `filter`, `ledger`, `watching` | what changed: which of it, each once (pure), and what comes |
//! | `records`, `log_lines`, `record_line`, `reading` | whole records: node by node, a log within bounds, what it says (pure) |
//! | `explain`, `decision`, `agent` | why a path is tracked or not: the words, by names alone (pure), by the agent |
//! | `lint` | rules in files |
//! | `output`, `table`, `ago` | what is printed |

mod agent;
mod ago;
mod changes;
pub mod cli;
mod complete;
mod connect;
mod decision;
mod explain;
mod filter;
mod fleet;
mod health;
mod ledger;
mod lint;
mod log_lines;
mod node;
mod output;
mod reading;
mod record_line;
mod records;
mod rules;
mod status;
mod table;
mod trouble;
mod version;
mod watching;

use cli::{Arguments, Command, Rules};
use connect::Cluster;
use output::Paint;
use std::process::ExitCode;
use trouble::Trouble;

/// Exit code 1: something is not well, or a rule is not good.
const NOT_WELL: u8 = 1;
/// Exit code 2: trouble.
const TROUBLE: u8 = 2;

/// Runs the subcommand that the command line names, and says what went wrong on standard error.
pub fn main(arguments: Arguments) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(source) => Err(Trouble::Io { what: "start".to_owned(), source }),
    };
    result.unwrap_or_else(|trouble| {
        // Who pipes into head has seen enough.
        if trouble.is_broken_pipe() {
            return ExitCode::SUCCESS;
        }
        output::say(&format!("error: {trouble}"));
        ExitCode::from(TROUBLE)
    })
}

async fn run(Arguments { command, cluster: options, color }: Arguments) -> Result<ExitCode, Trouble> {
    let paint = Paint::chosen(color);
    match command {
        Command::Rules(Rules::Lint(asked)) => lint::lint(&asked),
        Command::Completion => complete::program(),
        Command::Complete { words } => complete::candidates(&words),
        Command::Version(asked) if asked.client => version::client(asked.output),
        Command::Version(asked) => version::all(&Cluster::connect(&options).await?, asked.output).await,
        Command::Status(asked) => status::status(&Cluster::connect(&options).await?, &asked, paint).await,
        Command::Changes(asked) => changes::changes(&Cluster::connect(&options).await?, *asked, paint).await,
        Command::Explain(asked) => explain::explain(&Cluster::connect(&options).await?, &options, &asked).await,
        Command::Rules(Rules::List(output)) => {
            rules::list(&Cluster::connect(&options).await?, output.output, paint).await
        }
    }
}
