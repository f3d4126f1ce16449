//! `kubectl vedette rules lint`: rules in files, judged as the cluster would, without one.

use crate::NOT_WELL;
use crate::cli::{self, Form};
use crate::output::{object, text, unless_left};
use crate::trouble::Trouble;
use serde::Serialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;
use std::process::ExitCode;
use vedette_crds::lint::{Judged, judge};
use vedette_crds::record::escape_controls;

/// A hundred of the largest rules: what is longer is something else, perhaps a device without an end.
const MAX_BYTES: u64 = 8 << 20;
const STANDARD_INPUT: &str = "-";

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    is_good: bool,
    rules: usize,
    problems: Vec<Found>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Found {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
    sentence: String,
}

/// Judges the rules in files.
pub(crate) fn lint(asked: &cli::Lint) -> Result<ExitCode, Trouble> {
    let mut report = Report::default();
    let mut names = HashMap::new();
    for file in &asked.files {
        let shown = if is_standard_input(file) { "standard input".to_owned() } else { file.display().to_string() };
        report.file(&shown, &read(file, &shown)?, &mut names);
    }
    report.is_good = report.problems.is_empty();
    let form = asked.output.output;
    unless_left(match form {
        Form::Json | Form::Yaml => object(form, &report),
        Form::Table | Form::Wide => text(&report.words()),
    })?;
    Ok(ExitCode::from(if report.is_good { 0 } else { NOT_WELL }))
}

impl Report {
    fn file(&mut self, file: &str, yaml: &str, names: &mut HashMap<String, String>) {
        let judged = match judge(yaml) {
            Ok(judged) => judged,
            Err(error) => return self.whole(file, error.to_string()),
        };
        if judged.is_empty() {
            self.whole(file, "no rule is in it: write a DataCollectionRule into it".to_owned());
        }
        for Judged { document, name, problems } in judged {
            self.rules += 1;
            let mut found = |entry, field, sentence| {
                let (file, document, rule) = (file.to_owned(), Some(document), name.clone());
                self.problems.push(Found { file, document, rule, entry, field, sentence });
            };
            for problem in problems {
                found(problem.entry, problem.path, problem.sentence);
            }
            if let Some(name) = &name {
                let place = format!("document {document} of {file}");
                match names.get(name) {
                    Some(first) => {
                        let sentence = format!("{first} has this name already: rename one, or one replaces the other");
                        found(None, "metadata.name".to_owned(), sentence);
                    }
                    None => drop(names.insert(name.clone(), place)),
                }
            }
        }
    }

    fn whole(&mut self, file: &str, sentence: String) {
        let field = String::new();
        self.problems.push(Found { file: file.to_owned(), document: None, rule: None, entry: None, field, sentence });
    }

    fn words(&self) -> String {
        let mut words = String::new();
        for Found { file, document, rule, entry, field, sentence } in &self.problems {
            let mut line = file.clone();
            if let Some(document) = document {
                line.push_str(&format!(", document {document}"));
            }
            if let Some(rule) = rule {
                line.push_str(&format!(", rule {rule:?}"));
            }
            if !field.is_empty() {
                line.push_str(&format!(": {field}"));
            }
            if let Some(entry) = entry {
                line.push_str(&format!(" (entry {entry:?})"));
            }
            words.push_str(&escape_controls(&format!("{line}: {sentence}")));
            words.push('\n');
        }
        words.push_str(&match (self.rules, self.problems.len()) {
            (1, 0) => "1 rule is good\n".to_owned(),
            (rules, 0) => format!("{rules} rules are good\n"),
            (_, 1) => "1 problem\n".to_owned(),
            (_, problems) => format!("{problems} problems\n"),
        });
        words
    }
}

fn is_standard_input(file: &Path) -> bool {
    file == Path::new(STANDARD_INPUT)
}

fn read(file: &Path, shown: &str) -> Result<String, Trouble> {
    let failed = |source| Trouble::Io { what: format!("read {shown}"), source };
    let mut bytes = Vec::new();
    if is_standard_input(file) {
        stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(file).and_then(|open| open.take(MAX_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Trouble::said(format!("{shown} is larger than {} MiB: no rules are", MAX_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        Trouble::said(format!("{shown} is no text: byte {} is not UTF-8", error.utf8_error().valid_up_to()))
    })
}
