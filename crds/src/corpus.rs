//! The corpus of good and bad rules, with which tests show that the API server and `--rule` give one verdict.
//!
//! Cases are separated by lines of `---`; what stands before the first one is a remark. A case's first line is its
//! name. A bad case's second line says the field that is refused and, after a colon, the sentence where both sides
//! say the same one. Then comes a whole rule, or its `spec:`, or the one `entry:` of a rule. `<3 x a>` stands for
//! `aaa`; in it `#` is the count so far.

/// One rule of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What the case is about.
    pub name: String,
    /// What is refused; `None`: the rule is accepted.
    pub refused: Option<Refused>,
    /// The rule's text.
    pub rule: String,
}

/// What is refused in a bad case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The field; empty where one side or the other names none.
    pub field: String,
    /// The sentence, where both sides say the same.
    pub sentence: Option<String>,
}

const WHOLE_RULE: &str = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: rule}\n";

/// All cases: the good ones, then the bad ones.
pub fn corpus() -> Vec<Case> {
    let good =
        cases(include_str!("../corpus/good.yaml")).map(|(name, rule)| Case { name, refused: None, rule: whole(rule) });
    let bad = cases(include_str!("../corpus/bad.yaml")).map(|(name, rest)| {
        let (refused, rule) = first_line(rest);
        let (field, sentence) = match refused.split_once(": ") {
            Some((field, sentence)) => (field.into(), Some(sentence.into())),
            None => (refused, None),
        };
        Case { name, refused: Some(Refused { field, sentence }), rule: whole(rule) }
    });
    good.chain(bad).collect()
}

fn cases(file: &'static str) -> impl Iterator<Item = (String, &'static str)> {
    file.split("\n---\n").skip(1).map(first_line)
}

/// The text of a comment's line, and what follows.
fn first_line(text: &str) -> (String, &str) {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    (line.trim_start_matches('#').trim().into(), rest)
}

fn whole(rule: &str) -> String {
    let rule = expand(rule);
    match rule.strip_prefix("entry: ") {
        Some(entry) => format!("{WHOLE_RULE}spec:\n  files:\n    paths:\n    - {entry}"),
        None if rule.starts_with("spec:") => format!("{WHOLE_RULE}{rule}"),
        None => rule,
    }
}

/// Innermost repetitions first.
fn expand(text: &str) -> String {
    let mut text = String::from(text);
    while let Some((start, end, repeated)) = innermost(&text) {
        text.replace_range(start..end, &repeated);
    }
    text
}

fn innermost(text: &str) -> Option<(usize, usize, String)> {
    let mut from = text.len();
    loop {
        let start = text[..from].rfind('<')?;
        let end = start + text[start..].find('>').unwrap_or(0);
        let repetition = text[start..end].strip_prefix('<').and_then(|inner| inner.split_once(" x "));
        if let Some((count, what)) = repetition
            && let Ok(count) = count.parse::<usize>()
        {
            let repeated = (0..count).map(|index| what.replace('#', &index.to_string())).collect();
            return Some((start, end + 1, repeated));
        }
        from = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{ParseError, parse_rules};

    #[test]
    fn repetitions_count() {
        assert_eq!(expand("[<2 x {<3 x a>#}, >] < b"), "[{aaa0}, {aaa1}, ] < b");
    }

    #[test]
    fn the_corpus_is_as_large_as_it_was_meant() {
        let (good, bad): (Vec<_>, Vec<_>) = corpus().into_iter().partition(|case| case.refused.is_none());
        assert!(good.len() >= 25 && bad.len() >= 110, "{} good, {} bad", good.len(), bad.len());
    }

    #[test]
    fn every_rule_of_the_corpus_gets_its_verdict_and_its_sentence() {
        let mut wrong = Vec::new();
        for case in corpus() {
            match (parse_rules(&case.rule), &case.refused) {
                (Ok(rules), None) if rules.len() == 1 => {}
                (Err(ParseError::Yaml { .. }), Some(Refused { field, .. })) if field.is_empty() => {}
                (Err(ParseError::Refused(documents)), Some(expected)) => {
                    let mut problems = documents.iter().flat_map(|document| document.refusal.problems());
                    let said = problems.any(|problem| {
                        problem.path.starts_with(&expected.field)
                            && expected.sentence.as_ref().is_none_or(|sentence| *sentence == problem.sentence)
                    });
                    if !said {
                        wrong.push(format!("{}: {}", case.name, ParseError::Refused(documents)));
                    }
                }
                (result, _) => wrong.push(format!("{}: {result:?}", case.name)),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_sentence_is_in_the_corpus() {
        let corpus = corpus();
        let said: Vec<_> = corpus.iter().filter_map(|case| case.refused.as_ref()?.sentence.as_deref()).collect();
        let missing: Vec<_> =
            crate::sentences::Sentence::messages().filter(|message| !said.contains(message)).collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }
}
