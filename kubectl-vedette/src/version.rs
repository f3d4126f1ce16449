//! `kubectl vedette version`: of this program, and of the agents.

use crate::cli::{Form, Output};
use crate::connect::Cluster;
use crate::fleet;
use crate::output::{object, shown, text};
use crate::trouble::Trouble;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The versions.
#[derive(Serialize)]
struct Versions {
    client: &'static str,
    /// How many agents there are of each version.
    #[serde(skip_serializing_if = "Option::is_none")]
    agents: Option<BTreeMap<String, usize>>,
}

/// This program's alone.
pub(crate) fn client(output: Output) -> Result<ExitCode, Trouble> {
    write(output.output, &Versions { client: env!("CARGO_PKG_VERSION"), agents: None })
}

/// With those of the agents.
pub(crate) async fn all(cluster: &Cluster, output: Output) -> Result<ExitCode, Trouble> {
    let mut agents: BTreeMap<String, usize> = BTreeMap::new();
    for node in fleet::nodes(cluster).await?.into_iter().filter(|node| !node.agent_version.is_empty()) {
        *agents.entry(node.agent_version).or_default() += 1;
    }
    write(output.output, &Versions { client: env!("CARGO_PKG_VERSION"), agents: Some(agents) })
}

fn write(form: Form, versions: &Versions) -> Result<ExitCode, Trouble> {
    match form {
        Form::Json | Form::Yaml => object(form, versions)?,
        Form::Table | Form::Wide => {
            let mut words = format!("kubectl-vedette {}\n", versions.client);
            for (version, count) in versions.agents.iter().flatten() {
                let agents = if *count == 1 { "agent" } else { "agents" };
                words.push_str(&format!("{count} {agents} {}\n", shown(version)));
            }
            text(&words)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
