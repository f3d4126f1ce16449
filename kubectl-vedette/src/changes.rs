//! `kubectl vedette changes`: what the statuses of all nodes hold, the newest last, and what comes.

use crate::cli::{self, Form};
use crate::connect::Cluster;
use crate::filter::Wanted;
use crate::fleet::{self, part};
use crate::ledger::{Ledger, News};
use crate::output::{Paint, Tone, one_of_many, say, text};
use crate::records;
use crate::table::{Cell, line};
use crate::trouble::Trouble;
use crate::watching::Watching;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher::Event;
use serde::Serialize;
use std::process::ExitCode;
use vedette_crds::node_config::{NodeConfigSpec, NodeConfigStatus, RecentChange};

/// Nodes with older changes that are named; the rest is a number.
const NAMED: usize = 5;

/// One thing to tell.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind")]
pub(crate) enum Told {
    /// A change.
    Change {
        node: String,
        journal: String,
        #[serde(flatten)]
        change: RecentChange,
    },
    /// Changes that no status has shown.
    Missing { node: String, journal: String, changes: u64, older: bool },
    /// A node whose journal is another one now.
    JournalLost { node: String, journal: String, before: String },
}

/// Tells them.
pub(crate) async fn changes(cluster: &Cluster, asked: cli::Changes, paint: Paint) -> Result<ExitCode, Trouble> {
    let now = Timestamp::now();
    let wanted = Wanted::new(&asked.filter, now);
    let form = asked.output.output;
    if asked.full {
        return records::records(cluster, &wanted, form).await;
    }
    let teller = Teller { form, paint, widths: [0; 5] };
    let page = Page { ledger: Ledger::default(), wanted, teller, has_rule: asked.filter.rule.is_empty() };
    if asked.follow { page.follow(cluster, asked.tail).await } else { page.once(cluster, asked.tail).await }
}

struct Page<'f> {
    ledger: Ledger,
    wanted: Wanted<'f>,
    teller: Teller,
    /// Whether a node has a wanted rule.
    has_rule: bool,
}

impl Page<'_> {
    async fn once(mut self, cluster: &Cluster, tail: Option<usize>) -> Result<ExitCode, Trouble> {
        let only = self.wanted.only_node().map(|node| ListParams::default().fields(&format!("metadata.name={node}")));
        let page = std::sync::Mutex::new((&mut self, Vec::new()));
        let read = |object: DynamicObject| {
            if let Ok(mut page) = page.lock() {
                let told = page.0.take(&object);
                page.1.extend(told);
            }
        };
        let listed =
            fleet::list(cluster, &cluster.node_configs(), "NodeConfigs", only.unwrap_or_default(), read).await?;
        let (_, told) = page.into_inner().map_err(|_| Trouble::said("a reader of a list ended"))?;
        self.teller.begin(told, tail)?;
        self.warn_of_nothing(listed.len());
        Ok(ExitCode::SUCCESS)
    }

    async fn follow(mut self, cluster: &Cluster, tail: Option<usize>) -> Result<ExitCode, Trouble> {
        let mut watching = Watching::new(cluster, self.wanted.only_node().as_deref());
        let mut first: Option<Vec<Told>> = Some(Vec::new());
        loop {
            let told = match watching.next().await? {
                Event::Init => continue,
                Event::InitApply(object) | Event::Apply(object) => self.take(&object),
                Event::InitDone => match first.take() {
                    Some(told) => {
                        self.teller.begin(told, tail)?;
                        if !self.has_rule {
                            say("note: no node has such a rule yet");
                        }
                        self.wanted.begin();
                        continue;
                    }
                    None => continue,
                },
                Event::Delete(object) => {
                    self.ledger.forget(&object.name_any());
                    continue;
                }
            };
            match &mut first {
                Some(first) => first.extend(told),
                None => told.iter().try_for_each(|told| self.teller.tell(told))?,
            }
        }
    }

    /// What a NodeConfig says that is news and wanted.
    fn take(&mut self, object: &DynamicObject) -> Vec<Told> {
        let node = object.name_any();
        if !self.wanted.node(&node) {
            return Vec::new();
        }
        let status: NodeConfigStatus = match part(object, "status") {
            Ok(status) => status,
            Err(error) => {
                say(&format!("warning: this version cannot read the status of {node}: {error}"));
                return Vec::new();
            }
        };
        let spec: Option<NodeConfigSpec> = part(object, "spec").ok();
        self.has_rule |= self.wanted.has_rule(spec.as_ref());
        let entries = self.wanted.entries(spec.as_ref());
        let News { journal, changes, missing, is_first, lost_journal } = self.ledger.take(&node, &status);
        // Older ones than what is shown are of no interest where that reaches back to what was asked for.
        let oldest = changes.first().map(|change| change.time.0);
        let reaches_back = self.wanted.since().zip(oldest).is_some_and(|(since, oldest)| oldest < since);
        let mut told = Vec::new();
        if let Some(before) = lost_journal {
            told.push(Told::JournalLost { node: node.clone(), journal: journal.clone(), before });
        }
        if missing > 0 && !(is_first && reaches_back) {
            told.push(Told::Missing {
                node: node.clone(),
                journal: journal.clone(),
                changes: missing,
                older: is_first,
            });
        }
        let news = changes.into_iter().filter(|change| self.wanted.change(change, &entries));
        told.extend(news.map(|change| Told::Change { node: node.clone(), journal: journal.clone(), change }));
        told
    }

    /// Says where nothing can be told, whatever changes.
    fn warn_of_nothing(&self, nodes: usize) {
        match (nodes, self.wanted.only_node()) {
            (0, Some(node)) => {
                say(&format!("note: {node} has no NodeConfig: no rule selects it, or there is no such node"))
            }
            (0, None) => say("note: no node has a NodeConfig: is there a rule that selects one?"),
            _ if !self.has_rule => say("note: no node has a rule of that name: kubectl vedette rules list"),
            _ => {}
        }
    }
}

/// Writes what there is to tell: changes on standard output; what is missing there too for programs, else on standard error.
struct Teller {
    form: Form,
    paint: Paint,
    widths: [usize; 5],
}

impl Teller {
    /// What stands now, the newest last.
    fn begin(&mut self, mut told: Vec<Told>, tail: Option<usize>) -> Result<(), Trouble> {
        told.sort_by(|left, right| left.place().cmp(&right.place()));
        let changes = told.iter().filter(|told| matches!(told, Told::Change { .. })).count();
        let mut skipped = tail.map_or(0, |tail| changes.saturating_sub(tail));
        told.retain(|told| {
            let is_skipped = matches!(told, Told::Change { .. }) && skipped > 0;
            skipped -= usize::from(is_skipped);
            !is_skipped
        });
        if matches!(self.form, Form::Json | Form::Yaml) {
            return told.iter().try_for_each(|told| self.tell(told));
        }
        let heads = ["TIME", "NODE", "CHANGE", "SEVERITY", "FIELDS", "PATH"].map(|head| Cell::toned(Tone::Head, head));
        let mut widths = [20, 4, 8, 8, 12];
        for told in &told {
            if let Told::Change { node, change, .. } = told {
                widths[1] = widths[1].max(node.chars().count());
                widths[4] = widths[4].max(change.fields.join(",").chars().count().min(32));
            }
        }
        self.widths = widths;
        let (missing, changes): (Vec<Told>, Vec<Told>) =
            told.into_iter().partition(|told| matches!(told, Told::Missing { older: true, .. }));
        if changes.iter().any(|told| matches!(told, Told::Change { .. })) {
            let mut head = String::new();
            line(
                &self.with_more(heads.to_vec(), ["DETECTION", "SEQUENCE", "CATEGORY"]),
                &self.columns(),
                self.paint,
                &mut head,
            );
            text(&head)?;
        }
        changes.iter().try_for_each(|told| self.tell(told))?;
        missing.iter().take(NAMED).try_for_each(|told| self.tell(told))?;
        if missing.len() > NAMED {
            say(&format!("note: and so on {} more nodes", missing.len() - NAMED));
        }
        Ok(())
    }

    fn tell(&self, told: &Told) -> Result<(), Trouble> {
        if matches!(self.form, Form::Json | Form::Yaml) {
            return one_of_many(self.form, told);
        }
        match told {
            Told::Change { node, change, .. } => text(&self.words(node, change)),
            Told::Missing { node, changes, older: true, .. } => {
                say(&format!(
                    "note: {changes} older changes of {node} are not in its status, which holds the newest few: --full reads its records"
                ));
                Ok(())
            }
            Told::Missing { node, changes, older: false, .. } => {
                say(&format!(
                    "warning: {changes} changes of {node} came faster than its status tells them and are not here: --full reads its records"
                ));
                Ok(())
            }
            Told::JournalLost { node, journal, before } => {
                say(&format!(
                    "warning: {node} has another journal, {journal}, and not {before}: its history was lost or reset"
                ));
                Ok(())
            }
        }
    }

    fn words(&self, node: &str, change: &RecentChange) -> String {
        let RecentChange { time, change_type, severity, fields, path, detection, sequence, category } = change;
        let of_type = match change_type.as_str() {
            "Added" => Tone::Good,
            "Removed" => Tone::Bad,
            _ => Tone::Notable,
        };
        let of_severity = match severity.as_str() {
            "Critical" | "High" => Tone::Bad,
            "Info" | "Low" => Tone::Faint,
            _ => Tone::Plain,
        };
        let cells = vec![
            time.0.into(),
            node.into(),
            Cell::toned(of_type, change_type),
            Cell::toned(of_severity, severity),
            fields.join(",").into(),
            path.into(),
        ];
        let mut text = String::new();
        let cells = self.with_more(cells, [detection, &sequence.to_string(), category]);
        line(&cells, &self.columns(), self.paint, &mut text);
        text
    }

    /// More cells before the last one, on a wide screen.
    fn with_more(&self, mut cells: Vec<Cell>, more: [&str; 3]) -> Vec<Cell> {
        if self.form == Form::Wide {
            let last = cells.len() - 1;
            cells.splice(last..last, more.map(Cell::from));
        }
        cells
    }

    fn columns(&self) -> Vec<usize> {
        let wide: &[usize] = if self.form == Form::Wide { &[9, 8, 8] } else { &[] };
        [&self.widths, wide].concat()
    }
}

impl Told {
    /// In the order of time, a node's own in the order of its journal.
    fn place(&self) -> (Option<Timestamp>, &str, u64) {
        match self {
            Self::Change { node, change, .. } => (Some(change.time.0), node, change.sequence),
            Self::Missing { node, .. } | Self::JournalLost { node, .. } => (None, node, 0),
        }
    }
}
