//! Rules from files: the same YAML as in the cluster, with the same verdicts and sentences.

use crate::{Trouble, sentence};
use std::path::{Path, PathBuf};
use vedette_crds::compile::standalone;
use vedette_crds::node_config::NodeRule;
use vedette_crds::parse::parse_rules;
use vedette_engine::Engine;

/// The rules in these files; each document is one rule, and each name stands once.
pub(crate) fn load(files: &[PathBuf]) -> Result<Vec<NodeRule>, Trouble> {
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|source| Trouble::because(format!("cannot read the rule file {}", file.display()), source))?;
        let rules =
            parse_rules(&text).map_err(|error| Trouble::new(format!("{}: {}", file.display(), sentence(&error))))?;
        if rules.is_empty() {
            let message = format!("{} holds no rule: write a DataCollectionRule into it", file.display());
            return Err(Trouble::new(message));
        }
        all.extend(rules);
    }
    standalone(&all).map_err(|refused| Trouble::new(sentence(&refused)))
}

/// The name that records give a host without a cluster: `--node`, else what the host calls itself.
pub(crate) fn node_name(given: Option<&String>, host_root: &Path) -> String {
    let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    given.cloned().or_else(|| Engine::host_name(host_root)).unwrap_or_else(own)
}
