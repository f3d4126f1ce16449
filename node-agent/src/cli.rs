//! The command line: flags, where their values come from, and the words that explain them.

use crate::Trouble;
use crate::budget::{Limits, Share};
use clap::{ArgGroup, Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vedette_crds::record::{Chain, Detection};
use vedette_crds::size::Size;
use vedette_engine::clock::{Clock, SystemClock};
use vedette_engine::{Engine, EngineError, JOURNAL_MIN, Settings};
use vedette_service::Logging;
use vedette_service::http::Guarding;

const RUN: &str = "Examples:
  vedette-agent run --node worker-3 --state-dir /var/lib/vedette --host-root /host
  vedette-agent run --node worker-3 --state-dir /tmp/state --kubeconfig ~/.kube/config --records none

While the API server or the NodeConfig is not there, it goes on by the plan that it has, and waits.
Exit: 0 after SIGTERM or SIGINT, 2 on trouble.";

const STANDALONE: &str = "Examples:
  vedette-agent standalone --rule web.yaml --state-dir /var/lib/vedette
  vedette-agent standalone --rule web.yaml --rule ssh.yaml --state-dir /var/lib/vedette \\
    --records /var/log/vedette/records.jsonl --listen 127.0.0.1:8080 --cpu-limit 250m

Exit: 0 after SIGTERM or SIGINT, 2 on trouble.";

const SCAN: &str = "Examples:
  vedette-agent scan --rule web.yaml --state-dir /var/lib/vedette        # the first run makes the baseline
  vedette-agent scan --rule web.yaml --state-dir /var/lib/vedette | jq   # what changed since the last run
  vedette-agent scan --rule web.yaml --state-dir /var/lib/vedette --dry-run
  vedette-agent scan --rule web.yaml --state-dir /var/lib/vedette --reread       # every byte, whatever metadata says
  vedette-agent scan --rule web.yaml --state-dir /var/lib/vedette --background --read-limit 50Mi

Exit: 0 no change, 1 changes (or the state is not the expected one), 2 trouble, 3 no change found, but some items are unknown (standard error names them).
Records that could not be written come with the next run.";

const VERIFY: &str = "Examples:
  vedette-agent verify /var/log/vedette/records.jsonl           # lines of one journal or of several
  cat vedette.jsonl.2 vedette.jsonl.1 | vedette-agent verify -  # rotated files, the oldest first
  vedette-agent verify --state-dir /var/lib/vedette
  vedette-agent verify --head sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef vedette.jsonl

Standard output has one JSON object a journal, standard error says it in words. A state is read and not changed.
Exit: 0 whole, 1 broken, 2 trouble.";

const INVENTORY: &str = "Examples:
  vedette-agent inventory --state-dir /var/lib/vedette
  vedette-agent inventory --state-dir /var/lib/vedette | jq 'select(.item.mode == \"4755\")'

A running agent is asked, through a socket in its state directory. docs/inventory.md says what each member means.
Exit: 0, or 2 on trouble.";

const EXPLAIN: &str = "Examples:
  vedette-agent explain /etc/passwd --rule web.yaml
  vedette-agent explain /etc/passwd --state-dir /var/lib/vedette                 # by the rules in force
  vedette-agent explain /etc/passwd --state-dir /var/lib/vedette --output json

Says which entry decides, what is compared and how often, when it was last looked at and read, or why it is not tracked.
A running agent is asked, through a socket in its state directory. Exit: 0, or 2 on trouble.";

/// Says when a file on this node changes: what it was, and what it is.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "vedette-agent",
    version,
    after_help = "Example:
  vedette-agent scan --rule web.yaml --state-dir /var/lib/vedette"
)]
pub struct Arguments {
    /// What is logged, and how.
    #[command(flatten)]
    pub logging: Logging,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Watch this node as its NodeConfig says, and report into the cluster
    #[command(after_help = RUN)]
    Run(Run),
    /// Watch this host by rule files, without a cluster: records on standard output
    #[command(after_help = STANDALONE)]
    Standalone(Standalone),
    /// Compare once: records on standard output, the answer as the exit code
    #[command(after_help = SCAN)]
    Scan(Scan),
    /// Check that lines, or a state, are what was written: none is changed, missing or out of its place
    #[command(after_help = VERIFY)]
    Verify(Verify),
    /// Print what is tracked and its last seen state, an item a line
    #[command(after_help = INVENTORY)]
    Inventory(Inventory),
    /// Say which entry decides about a path, and why it is tracked or not
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
}

impl Command {
    /// Whether what it finds goes to standard output.
    pub(crate) fn writes_to_standard_output(&self) -> bool {
        match self {
            Self::Run(Run { records, .. }) | Self::Standalone(Standalone { records, .. }) => {
                *records == Records::Stdout
            }
            Self::Scan(_) | Self::Verify(_) | Self::Inventory(_) | Self::Explain(_) => true,
        }
    }
}

/// Where state and host are.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// Where the state lies; one process holds it
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where the host's / is mounted: every path is resolved inside it
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub host_root: PathBuf,
    /// How many bytes of lines the journal holds, the oldest go first: a number, or one with Ki, Mi or Gi
    #[arg(long, value_name = "SIZE", value_parser = journal_max, default_value = "256Mi")]
    pub journal_max: u64,
}

impl Places {
    /// Opens the state and the host.
    pub(crate) fn open(&self, share: Share, first_detection: Detection) -> Result<Engine, Trouble> {
        self.open_by(Engine::open, share, first_detection)
    }

    /// The same without changing the state.
    pub(crate) fn rehearse(&self, share: Share, first_detection: Detection) -> Result<Engine, Trouble> {
        self.open_by(Engine::rehearse, share, first_detection)
    }

    fn open_by(
        &self,
        open: impl FnOnce(Settings, Arc<dyn Clock>) -> Result<Engine, EngineError>,
        share: Share,
        first_detection: Detection,
    ) -> Result<Engine, Trouble> {
        let settings = Settings {
            state_dir: self.state_dir.clone(),
            host_root: self.host_root.clone(),
            threads: share.threads,
            first_detection,
            answer_within: ANSWER,
        };
        let mut engine = open(settings, Arc::new(SystemClock)).map_err(Trouble::of)?;
        engine.set_journal_max(self.journal_max);
        engine.set_budget(share.budget);
        Ok(engine)
    }
}

/// Servers that were away for a moment answer within that; a reader of a status should not wait longer.
const ANSWER: Duration = Duration::from_secs(30);

/// `vedette-agent run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The node's name
    #[arg(long, env = "NODE_NAME", value_parser = node_name)]
    pub node: String,
    /// State and host.
    #[command(flatten)]
    pub places: Places,
    /// What may be taken of the node.
    #[command(flatten)]
    pub limits: Limits,
    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, value_name = "IP:PORT", value_parser = listen, default_value = "[::]:8080")]
    pub listen: SocketAddr,
    /// Who may read them.
    #[command(flatten)]
    pub guarding: Guarding,
    /// How to reach the API server; without it, as a pod of the cluster or as kubectl would
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Where records and notices go, beside the status: stdout, a file, or none
    #[arg(long, value_name = "stdout|FILE|none", default_value = "stdout")]
    pub records: Records,
    /// End where the kernel cannot keep it from writing elsewhere, mounting and the like; without it, that is said
    #[arg(long, env = "VEDETTE_REQUIRE_CONFINEMENT")]
    pub require_confinement: bool,
}

/// `vedette-agent standalone`.
#[derive(Clone, Debug, Args)]
pub struct Standalone {
    /// DataCollectionRules as YAML, as in the cluster, nodeSelector ignored; may be given several times
    #[arg(long = "rule", value_name = "FILE", required = true)]
    pub rules: Vec<PathBuf>,
    /// State and host.
    #[command(flatten)]
    pub places: Places,
    /// What may be taken of the node.
    #[command(flatten)]
    pub limits: Limits,
    /// The name that records give this host; without it, the host's own
    #[arg(long, value_parser = node_name)]
    pub node: Option<String>,
    /// Where /metrics, /healthz and /readyz are served; without it, nowhere
    #[arg(long, value_name = "IP:PORT", value_parser = listen)]
    pub listen: Option<SocketAddr>,
    /// Where records and notices go: stdout, a file, or none
    #[arg(long, value_name = "stdout|FILE|none", default_value = "stdout")]
    pub records: Records,
    /// End where the kernel cannot keep it from writing elsewhere, mounting and the like; without it, that is said
    #[arg(long, env = "VEDETTE_REQUIRE_CONFINEMENT")]
    pub require_confinement: bool,
}

/// `vedette-agent scan`.
#[derive(Clone, Debug, Args)]
pub struct Scan {
    /// DataCollectionRules as YAML, as in the cluster, nodeSelector ignored; may be given several times
    #[arg(long = "rule", value_name = "FILE", required = true)]
    pub rules: Vec<PathBuf>,
    /// State and host.
    #[command(flatten)]
    pub places: Places,
    /// What may be taken of the node.
    #[command(flatten)]
    pub limits: Limits,
    /// The name that records give this host; without it, the host's own
    #[arg(long, value_parser = node_name)]
    pub node: Option<String>,
    /// Say what changed and leave the state as it is: the records have no sequence and no chain, and come again
    #[arg(long)]
    pub dry_run: bool,
    /// Read all content now, also of files whose metadata is what it was and whose re-hash is not due yet
    #[arg(long)]
    pub reread: bool,
}

/// `vedette-agent verify`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["file", "state_dir"])))]
pub struct Verify {
    /// Lines as they were exported; - for standard input
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The state of an agent that does not run
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// A head that was noted elsewhere, for example in a NodeConfig's status: it must be there
    #[arg(long, value_name = "sha256:HEX", value_parser = head)]
    pub head: Option<Chain>,
    /// The sequence that it was noted with
    #[arg(long, value_name = "NUMBER", requires = "head")]
    pub sequence: Option<u64>,
}

/// `vedette-agent inventory`.
#[derive(Clone, Debug, Args)]
pub struct Inventory {
    /// Where the state lies
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where the host's / is mounted; an agent that is asked knows better
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub host_root: PathBuf,
}

/// `vedette-agent explain`.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// A path of the host
    #[arg(value_name = "PATH")]
    pub path: std::ffi::OsString,
    /// DataCollectionRules as YAML, instead of those in force; may be given several times
    #[arg(long = "rule", value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Where the state lies
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where the host's / is mounted; an agent that is asked knows better
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub host_root: PathBuf,
    /// Words for people, or JSON for programs
    #[arg(long, value_enum, default_value = "text")]
    pub output: OutputForm,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputForm {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

fn head(text: &str) -> Result<Chain, &'static str> {
    let refused = "write sha256: and 64 hex digits, as in a NodeConfig's status.journal.head";
    text.strip_prefix("sha256:").and_then(Chain::parse).ok_or(refused)
}

fn node_name(text: &str) -> Result<String, &'static str> {
    let refused = "write a name as Kubernetes gives nodes: at most 253 lower-case letters, digits, '-' and '.', each part between dots beginning and ending with a letter or digit, for example worker-3";
    vedette_crds::names::is_node_name(text).then(|| text.to_owned()).ok_or(refused)
}

fn journal_max(text: &str) -> Result<u64, &'static str> {
    let refused = "write a size of at least 1Mi, for example 256Mi: about 1 KiB for each record";
    Size::Text(text.to_owned()).bytes().filter(|bytes| *bytes >= JOURNAL_MIN).ok_or(refused)
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "write an IP address and a port, for example 127.0.0.1:8080")
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
    /// Nowhere.
    None,
}

impl Records {
    /// The file that they go to.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdout | Self::None => None,
        }
    }
}

impl std::str::FromStr for Records {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stdout" => Ok(Self::Stdout),
            "none" => Ok(Self::None),
            "" => Err("write stdout, none, or the path of a file".into()),
            "-" => Err("write stdout for standard output, or ./- for a file of this name".into()),
            _ if text.eq_ignore_ascii_case("stdout") || text.eq_ignore_ascii_case("none") => {
                Err(format!("write {} in lower case, or ./{text} for a file of this name", text.to_ascii_lowercase()))
            }
            path => Ok(Self::File(path.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_help_ends_with_examples_that_the_parser_takes() {
        for subcommand in Arguments::command().get_subcommands_mut() {
            let help = subcommand.render_help().to_string().replace("\\\n", " ");
            let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  vedette-agent ")).collect();
            assert!(examples.len() >= 2, "{help}");
            for example in examples {
                let words = example.split(['#', '|']).next().unwrap().split_whitespace();
                let parsed = Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
                let name = format!("{:?}", parsed.command).to_lowercase();
                assert!(name.starts_with(subcommand.get_name()), "{example} stands under {}", subcommand.get_name());
            }
        }
    }

    #[test]
    fn the_default_bound_of_the_journal_is_the_engines() {
        assert_eq!(journal_max("256Mi"), Ok(vedette_engine::JOURNAL_MAX));
        for refused in ["", "0", "1048575", "1023Ki", "256MiB", "256M b", "-1Gi"] {
            journal_max(refused).unwrap_err();
        }
    }

    #[test]
    fn where_records_go_is_a_word_or_a_path() {
        assert_eq!("stdout".parse(), Ok(Records::Stdout));
        assert_eq!("none".parse(), Ok(Records::None));
        assert_eq!("./-".parse(), Ok(Records::File("./-".into())));
        for refused in ["", "-", "STDOUT", "None"] {
            refused.parse::<Records>().unwrap_err();
        }
    }
}
