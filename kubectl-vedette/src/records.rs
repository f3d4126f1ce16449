//! `kubectl vedette changes --full`: whole records, from the logs of the agents' pods.
//!
//! Node by node, each in the order of its journal, a line as it was written: `vedette-agent verify -` takes them. A log is one
//! sink among others: what it does not hold any more is said, never passed over.

use crate::agent::{self, AgentPod};
use crate::cli::Form;
use crate::connect::Cluster;
use crate::filter::Wanted;
use crate::output::{say, text};
use crate::trouble::Trouble;
use futures::{AsyncBufRead, AsyncBufReadExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::LogParams;
use serde::Deserialize;
use std::process::ExitCode;
use vedette_crds::node_config::RecentChange;
use vedette_crds::record::{CHANGE_SCHEMA, NOTICE_SCHEMA};

/// Writes the records that are wanted.
pub(crate) async fn records(
    cluster: &Cluster,
    wanted: &Wanted<'_>,
    form: Form,
    now: Timestamp,
) -> Result<ExitCode, Trouble> {
    if matches!(form, Form::Yaml | Form::Wide) {
        return Err(Trouble::said("records are lines of JSON: leave -o out, or write -o json"));
    }
    let pods = agent::pods(cluster, wanted.only_node().as_deref()).await?;
    let pods: Vec<&AgentPod> = pods.iter().filter(|pod| wanted.node(&pod.node)).collect();
    if pods.is_empty() {
        let message = format!(
            "no agent's pod is in the namespace {} on such nodes: is it another one (--namespace)?",
            cluster.namespace
        );
        return Err(Trouble::said(message));
    }
    for pod in pods {
        let mut log = Log { pod, wanted, journal: String::new(), sequence: 0, broken: 0 };
        // Who was there before the last restart of the container wrote into a log of its own.
        for previous in [true, false] {
            log.read(cluster, previous, now).await?;
        }
        log.end();
    }
    Ok(ExitCode::SUCCESS)
}

/// A line, as far as it decides anything here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    schema: String,
    journal: String,
    sequence: u64,
    time: Timestamp,
    #[serde(default)]
    category: String,
    #[serde(default)]
    change_type: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    severity: String,
    #[serde(default)]
    rules: Vec<String>,
}

/// The log of one agent, as it is read.
struct Log<'l> {
    pod: &'l AgentPod,
    wanted: &'l Wanted<'l>,
    journal: String,
    /// Of the last line of that journal.
    sequence: u64,
    /// Lines that begin like a record and are none.
    broken: u64,
}

impl Log<'_> {
    async fn read(&mut self, cluster: &Cluster, previous: bool, now: Timestamp) -> Result<(), Trouble> {
        // A line is logged after what it says was detected.
        let since_seconds = self.wanted.since().map(|since| (now.as_second() - since.as_second()).max(1));
        let which =
            LogParams { container: Some(self.pod.container.clone()), previous, since_seconds, ..LogParams::default() };
        let what = format!("read the log of {}", self.pod.name);
        let lines = match cluster.ask(&what, cluster.pods().log_stream(&self.pod.name, &which)).await {
            Ok(stream) => stream,
            Err(Trouble::Asked { source, .. })
                if previous && matches!(&*source, kube::Error::Api(status) if matches!(status.code, 400 | 404)) =>
            {
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        };
        let failed = |source| Trouble::Io { what: what.clone(), source };
        self.lines(lines).await.map_err(|error| match error {
            Ended::Reading(source) => failed(source),
            Ended::Writing(trouble) => trouble,
        })
    }

    async fn lines(&mut self, log: impl AsyncBufRead) -> Result<(), Ended> {
        let mut lines = std::pin::pin!(log.lines());
        while let Some(line) = lines.try_next().await.map_err(Ended::Reading)? {
            self.line(&line).map_err(Ended::Writing)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<(), Trouble> {
        // What else is in the log is for people.
        if !line.starts_with("{\"schema\":\"vedette.dev/") {
            return Ok(());
        }
        let Ok(read) = serde_json::from_str::<Line>(line) else {
            self.broken += 1;
            return Ok(());
        };
        if read.schema != CHANGE_SCHEMA && read.schema != NOTICE_SCHEMA {
            return Ok(());
        }
        if read.journal != self.journal {
            if !self.journal.is_empty() {
                self.say(&format!("the journal {} ends, {} begins", self.journal, read.journal));
            }
            (self.journal, self.sequence) = (read.journal.clone(), 0);
        }
        // After a crash the last lines come again, the same to the byte.
        if read.sequence <= self.sequence {
            return Ok(());
        }
        if read.sequence > self.sequence + 1 && !(self.sequence == 0 && self.wanted.since().is_some()) {
            let (from, to) = (self.sequence + 1, read.sequence - 1);
            self.say(&format!("records and notices {from} to {to} are not in its log any more"));
        }
        self.sequence = read.sequence;
        if read.schema != CHANGE_SCHEMA {
            // They are links of the chain, which holds only when none is left out.
            return if self.wanted.is_everything() { text(&format!("{line}\n")) } else { Ok(()) };
        }
        let change = RecentChange {
            sequence: read.sequence,
            time: Time(read.time),
            category: read.category,
            change_type: read.change_type,
            detection: String::new(),
            path: read.path,
            fields: Vec::new(),
            severity: read.severity,
        };
        if self.wanted.record(&change, &read.rules) { text(&format!("{line}\n")) } else { Ok(()) }
    }

    fn end(&self) {
        if self.broken > 0 {
            self.say(&format!("{} lines of its log look like records and are not whole", self.broken));
        }
        if self.sequence == 0 && self.wanted.since().is_none() {
            self.say(
                "its log holds no record: does the agent write them elsewhere (--records, in the chart agent.records)?",
            );
        }
    }

    fn say(&self, what: &str) {
        say(&format!("note: {}: {what}", self.pod.node));
    }
}

enum Ended {
    Reading(std::io::Error),
    Writing(Trouble),
}
