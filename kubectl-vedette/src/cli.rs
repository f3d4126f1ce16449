//! The command line: flags, and the words that explain them.

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;
use vedette_crds::duration;
use vedette_crds::pattern::{NamePattern, PathPattern};
use vedette_crds::rule::Severity;

const STATUS: &str = "Examples:
  kubectl vedette status                      # the fleet, and what is not well
  kubectl vedette status worker-3             # one node, with its newest changes
  kubectl vedette status -o wide              # a line a node
  kubectl vedette status -o json | jq '.nodes[] | select(.isWell | not).name'

Exit: 0 all is well, 1 something is not, 2 trouble (no cluster, no right, bad arguments).";

const CHANGES: &str = "Examples:
  kubectl vedette changes                                   # what the statuses of all nodes hold, the newest last
  kubectl vedette changes --since 1h --severity High        # High and Critical
  kubectl vedette changes --node 'worker-*' --path '/etc/**/*.conf' --type Modified,Removed
  kubectl vedette changes --rule linux-baseline --follow    # goes on until Ctrl-C
  kubectl vedette changes --full --node worker-3 | jq .after.sha256

A node's status holds its newest changes, at most 8; how many older ones there are is said on standard error.
--full reads the records in the logs of the agents' pods, which hold more, with all their members; unfiltered, notices too.
Exit: 0, or 2 on trouble.";

const EXPLAIN: &str = "Examples:
  kubectl vedette explain worker-3 /etc/ssh/sshd_config
  kubectl vedette explain worker-3 /bin/ls --ask-agent       # by kubectl exec: links, mounts, when it was last looked at
  kubectl vedette explain worker-3 /etc/passwd -o json

Exit: 0, or 2 on trouble.";

const LINT: &str = "Examples:
  kubectl vedette rules lint rules/*.yaml
  helm template mine | kubectl vedette rules lint -

The verdicts of the API server and of the operator, without either; every problem, not only the first.
Exit: 0 every rule is good, 1 one is not, 2 trouble (a file cannot be read).";

const LIST: &str = "Examples:
  kubectl vedette rules list
  kubectl vedette rules list -o wide

Exit: 0, or 2 on trouble.";

const VERSION: &str = "Examples:
  kubectl vedette version
  kubectl vedette version --client

Exit: 0, or 2 on trouble.";

const COMPLETION: &str = "Example, once:
  kubectl vedette completion > /usr/local/bin/kubectl_complete-vedette && chmod +x /usr/local/bin/kubectl_complete-vedette

kubectl's own completion (kubectl completion bash|zsh|fish) then asks that program.";

/// Vedette for people: what is watched on the nodes of a cluster, and what changed there.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kubectl-vedette",
    bin_name = "kubectl vedette",
    version,
    after_help = "Example:
  kubectl vedette status"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterOptions,
    /// Whether to color a table; NO_COLOR in the environment is never
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = "Output")]
    pub color: Color,
}

/// The subcommands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// The fleet at a glance: rules, nodes, and what is not well
    #[command(after_help = STATUS)]
    Status(Status),
    /// What changed on all nodes, the newest last
    #[command(after_help = CHANGES)]
    Changes(Box<Changes>),
    /// Which entry decides about a path on a node, and why it is tracked or not
    #[command(after_help = EXPLAIN)]
    Explain(Explain),
    /// Rules: those of the cluster, or files before they get there
    #[command(subcommand)]
    Rules(Rules),
    /// The version of this program and of the agents
    #[command(after_help = VERSION)]
    Version(Version),
    /// Print the program that kubectl asks when it completes words
    #[command(after_help = COMPLETION)]
    Completion,
    /// Print candidates for the last of these words, as kubectl wants them
    #[command(hide = true, name = "__complete")]
    Complete {
        /// The words behind `kubectl vedette`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// Which cluster is asked, and as whom: as kubectl takes it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterOptions {
    /// The kubeconfig file; without it KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of it to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of it to use
    #[arg(long, global = true, value_name = "NAME")]
    pub cluster: Option<String>,
    /// The user of it to be
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Ask as this user, if you may
    #[arg(long = "as", global = true, value_name = "USER")]
    pub impersonate: Option<String>,
    /// Ask as a member of this group too; may be given several times
    #[arg(long = "as-group", global = true, value_name = "GROUP", requires = "impersonate")]
    pub impersonate_groups: Vec<String>,
    /// The namespace of operator and agents
    #[arg(short, long, global = true, value_name = "NAME", default_value = "vedette-system")]
    pub namespace: String,
}

/// When tables are colored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Also into a pipe.
    Always,
    /// Not at all.
    Never,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Table,
    /// For people with wide screens.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// How to write the answer.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// How the answer is written
    #[arg(short, long, value_enum, default_value = "table", help_heading = "Output")]
    pub output: Form,
}

/// `kubectl vedette status`.
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// These nodes alone, each with all that is known of it
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    /// How to write it.
    #[command(flatten)]
    pub output: Output,
}

/// `kubectl vedette changes`.
#[derive(Clone, Debug, Args)]
pub struct Changes {
    /// Go on with what comes, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Whole records from the logs of the agents' pods, as JSON lines; needs the right to read these logs
    #[arg(long, conflicts_with = "follow")]
    pub full: bool,
    /// Only the last so many
    #[arg(long, value_name = "NUMBER", conflicts_with = "full")]
    pub tail: Option<usize>,
    /// Which of them.
    #[command(flatten)]
    pub filter: Filter,
    /// How to write them.
    #[command(flatten)]
    pub output: Output,
}

/// Which changes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters, all of which hold")]
pub struct Filter {
    /// On nodes of this name; * and {a,b} as in rules
    #[arg(long, value_name = "NAME", value_parser = name_pattern)]
    pub node: Vec<NamePattern>,
    /// Of paths that this rule selects, by its entries as they are now; with --full, as the record says
    #[arg(long, value_name = "NAME")]
    pub rule: Vec<String>,
    /// Of this severity or a higher one: Info, Low, Medium, High, Critical
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub severity: Option<Severity>,
    /// Of this type: Added, Modified, Removed
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', ignore_case = true, value_parser = ["Added", "Modified", "Removed"])]
    pub change_type: Vec<String>,
    /// Of this category: File, Daemon, Software
    #[arg(long, value_name = "CATEGORY", value_delimiter = ',', ignore_case = true, value_parser = ["File", "Daemon", "Software"])]
    pub category: Vec<String>,
    /// Of what this path selects, as an entry of a rule does: what lies under it too
    #[arg(long, value_name = "PATTERN", value_parser = path_pattern)]
    pub path: Vec<PathPattern>,
    /// Detected within this time, for example 1h or 30m
    #[arg(long, value_name = "DURATION", value_parser = since, action = ArgAction::Set)]
    pub since: Option<Duration>,
}

/// `kubectl vedette explain`.
#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// A path of its host
    #[arg(value_name = "PATH")]
    pub path: OsString,
    /// Have the agent answer, which knows links, mounts and what was last seen: runs kubectl exec in its pod
    #[arg(long)]
    pub ask_agent: bool,
    /// How to write it.
    #[command(flatten)]
    pub output: Output,
}

/// `kubectl vedette rules`.
#[derive(Clone, Debug, Subcommand)]
pub enum Rules {
    /// Judge rules in files as the cluster would, without one
    #[command(after_help = LINT)]
    Lint(Lint),
    /// The rules of the cluster, and what became of each
    #[command(after_help = LIST)]
    List(Output),
}

/// `kubectl vedette rules lint`.
#[derive(Clone, Debug, Args)]
pub struct Lint {
    /// Files of DataCollectionRules; - for standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// How to write it.
    #[command(flatten)]
    pub output: Output,
}

/// `kubectl vedette version`.
#[derive(Clone, Debug, Args)]
pub struct Version {
    /// This program's alone: no cluster is asked
    #[arg(long)]
    pub client: bool,
    /// How to write it.
    #[command(flatten)]
    pub output: Output,
}

fn name_pattern(text: &str) -> Result<NamePattern, String> {
    NamePattern::parse(text).map_err(|error| error.to_string())
}

fn path_pattern(text: &str) -> Result<PathPattern, String> {
    PathPattern::parse(text).map_err(|error| error.to_string())
}

fn since(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

fn severity(text: &str) -> Result<Severity, String> {
    use vedette_crds::settings::Named;
    let known = Severity::ALL.iter().copied();
    let named = known.clone().find(|severity| severity.as_str().eq_ignore_ascii_case(text));
    named.ok_or_else(|| {
        let all: Vec<&str> = known.map(Named::as_str).collect();
        format!("write one of {}", all.join(", "))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use clap::CommandFactory;

    fn leaves(command: &mut clap::Command, found: &mut Vec<(String, String)>) {
        if command.get_name() == "help" {
            return;
        }
        if command.has_subcommands() {
            command.get_subcommands_mut().for_each(|sub| leaves(sub, found));
        } else if !command.is_hide_set() {
            found.push((command.get_name().to_owned(), command.render_help().to_string()));
        }
    }

    #[test]
    fn every_help_ends_with_examples_that_the_parser_takes() {
        let mut found = Vec::new();
        let mut root = Arguments::command();
        root.build();
        leaves(&mut root, &mut found);
        assert_eq!(found.len(), 7);
        for (name, help) in found {
            let examples: Vec<&str> = help.lines().filter(|line| line.contains("kubectl vedette ")).skip(1).collect();
            assert!(!examples.is_empty(), "{name}: {help}");
            for example in examples {
                let (_, example) = example.split_once("kubectl vedette ").unwrap();
                let words = example.split(['#', '|', '>']).next().unwrap().replace('\'', "");
                let words = ["kubectl-vedette"].into_iter().chain(words.split_whitespace());
                Arguments::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }

    #[test]
    fn a_filter_that_cannot_be_meant_is_refused_with_what_to_write() {
        let refused = |words: &[&str]| {
            let words = ["kubectl-vedette", "changes"].into_iter().chain(words.iter().copied());
            Arguments::try_parse_from(words).unwrap_err().to_string()
        };
        assert!(refused(&["--path", "etc"]).contains("a path is absolute: begin it with /"));
        assert!(refused(&["--severity", "Bad"]).contains("write one of Info, Low, Medium, High, Critical"));
        assert!(refused(&["--since", "1 day"]).contains("write one with units h, m, s or ms"));
        assert!(refused(&["--type", "Renamed"]).contains("possible values: Added, Modified, Removed"));
    }
}
