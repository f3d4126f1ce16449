//! Completion as kubectl asks for it: a program of the name `kubectl_complete-vedette` that prints candidates for the last word.

use crate::cli::Arguments;
use crate::output::text;
use crate::trouble::Trouble;
use clap::CommandFactory;
use std::process::ExitCode;

/// As in cobra: complete file names where nothing else is known, or do not.
const FILES_TOO: &str = ":0\n";
const NO_FILES: &str = ":4\n";

/// Prints the program.
pub(crate) fn program() -> Result<ExitCode, Trouble> {
    text("#!/bin/sh\nexec kubectl-vedette __complete -- \"$@\"\n")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the candidates.
pub(crate) fn candidates(words: &[String]) -> Result<ExitCode, Trouble> {
    text(&answer(words))?;
    Ok(ExitCode::SUCCESS)
}

fn answer(words: &[String]) -> String {
    let mut root = Arguments::command();
    root.build();
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &root;
    for word in before {
        if let Some(sub) = command.find_subcommand(word) {
            command = sub;
        }
    }
    let takes_value = before.last().and_then(|word| {
        command.get_arguments().find(|flag| is_flag(flag, word)).filter(|flag| flag.get_action().takes_values())
    });
    let (candidates, files): (Vec<String>, bool) = if let Some(flag) = takes_value {
        let values: Vec<String> = flag.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let is_file = flag.get_id() == "kubeconfig";
        (values, is_file)
    } else if last.starts_with('-') {
        let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
        (flags.filter_map(|flag| flag.get_long()).map(|long| format!("--{long}")).collect(), false)
    } else {
        let subs = command.get_subcommands().filter(|sub| !sub.is_hide_set());
        (subs.map(|sub| sub.get_name().to_owned()).collect(), command.get_name() == "lint")
    };
    let mut lines: String =
        candidates.iter().filter(|one| one.starts_with(last)).map(|one| format!("{one}\n")).collect();
    lines.push_str(if files { FILES_TOO } else { NO_FILES });
    lines
}

fn is_flag(flag: &clap::Arg, word: &str) -> bool {
    let long = word.strip_prefix("--").is_some_and(|long| flag.get_long() == Some(long));
    let short =
        word.strip_prefix('-').is_some_and(|short| flag.get_short().is_some_and(|flag| short == flag.to_string()));
    long || short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(words: &[&str]) -> String {
        answer(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn subcommands_flags_and_their_values_are_candidates() {
        assert_eq!(answered(&["st"]), "status\n:4\n");
        assert_eq!(answered(&["rules", ""]), "lint\nlist\nhelp\n:4\n");
        assert_eq!(answered(&["rules", "lint", "x"]), ":0\n");
        assert_eq!(answered(&["changes", "--sev"]), "--severity\n:4\n");
        assert_eq!(answered(&["status", "-o", "j"]), "json\n:4\n");
        assert_eq!(answered(&["changes", "--type", ""]), "Added\nModified\nRemoved\n:4\n");
        assert_eq!(answered(&["status", "--kubeconfig", "x"]), ":0\n");
        assert!(answered(&[""]).contains("changes\n"));
        assert!(!answered(&["_"]).contains("__complete"));
    }
}
