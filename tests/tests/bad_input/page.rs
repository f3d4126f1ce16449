//! The page: its tables, and whether a line is what a row of them says.
use crate::scene::Said;

pub(crate) const PAGE: &str = include_str!("../../../docs/troubleshooting.md");

/// A row: what is said, and how the process ends: `goes on` where it does not.
pub(crate) type Row = (&'static str, &'static str);

/// Rows of a section in their order, each with the run that makes the binary say it.
macro_rules! rows {
    ($($name:ident: $exit:literal, $sentence:literal => $run:expr;)*) => {
        pub(crate) const ROWS: &[$crate::page::Row] = &[$(($sentence, $exit)),*];
        $(
            #[tokio::test]
            async fn $name() {
                let scene = $crate::scene::Scene::new().await;
                let run = $run;
                let said = run(&scene).await;
                $crate::page::holds(&said, ($sentence, $exit));
            }
        )*
    };
}

/// The rows of a section's table.
pub(crate) fn documented(section: &str) -> Vec<Row> {
    let section =
        PAGE.split("\n## ").find(|part| part.lines().next() == Some(section)).expect("the page has the section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let (sentence, rest) = row["| `".len()..].split_once("` | ").unwrap_or_else(|| panic!("no sentence: {row}"));
        assert!(!sentence.contains('|'), "a table has no | in its cells: {row}");
        let (exit, what_to_do) = rest.split_once(" | ").unwrap_or_else(|| panic!("no exit: {row}"));
        assert!(what_to_do.len() > 10, "a row says what to do: {row}");
        (sentence, exit)
    })
    .collect()
}

/// Fails unless the binary said this and ended so, in one sentence without its own insides, and nothing on standard output
/// beside its lines.
pub(crate) fn holds(said: &Said, (sentence, exit): Row) {
    assert_eq!(said.exit, exit, "{said:?}");
    let matching: Vec<&str> = said.err.lines().map(without_prefix).filter(|line| matches(line, sentence)).collect();
    assert!(!matching.is_empty(), "nothing of this is {sentence}:\n{}", said.err);
    for line in matching {
        let parts: Vec<&str> = line.split(": ").filter(|part| part.len() > 8).collect();
        let twice = parts.iter().enumerate().find(|(at, part)| parts[..*at].contains(part));
        assert!(twice.is_none(), "{twice:?} is said twice: {line}");
        for insides in ["Os {", "Error {", "Error(", "Custom {", "\\u{a}", "Some("] {
            assert!(!line.contains(insides), "{line}");
        }
    }
    assert!(!said.err.contains("panicked"), "{}", said.err);
    if exit == "2" {
        assert_eq!(said.out, "", "{}", said.err);
        let usage = said.err.starts_with("error: ");
        let sentences = said.err.lines().filter(|line| !is_log(line)).count();
        assert!(usage || sentences <= 1, "more than one sentence:\n{}", said.err);
    }
    for line in said.out.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

/// Whether a line is this sentence. A placeholder `<what>` stands for any text but none, `<...>` for any.
pub(crate) fn matches(line: &str, sentence: &str) -> bool {
    let Some((literal, rest)) = sentence.split_once('<') else { return line == sentence };
    let (placeholder, rest) = rest.split_once('>').expect("a placeholder ends");
    let Some(line) = line.strip_prefix(literal) else { return false };
    let least = usize::from(placeholder != "...");
    line.char_indices().map(|(at, _)| at).chain([line.len()]).skip(least).any(|end| matches(&line[end..], rest))
}

fn is_log(line: &str) -> bool {
    line.as_bytes().get(10) == Some(&b'T') && line.starts_with("20")
}

/// A line without who says it, and when.
pub(crate) fn without_prefix(line: &str) -> &str {
    let said = if is_log(line) {
        let level = ["ERROR ", "WARN ", "INFO "].into_iter().find_map(|level| line.split_once(level));
        level.and_then(|(_, rest)| rest.split_once(": ")).map_or(line, |(_, said)| said)
    } else {
        line.strip_prefix("vedette-agent: ").or_else(|| line.strip_prefix("vedette-operator: ")).unwrap_or(line)
    };
    said.strip_prefix("cannot start: ").unwrap_or(said)
}

#[test]
fn a_placeholder_stands_for_some_text() {
    assert!(matches("cannot read /a: gone", "cannot read <file>: <reason>"));
    assert!(!matches("cannot read : gone", "cannot read <file>: gone"));
    assert!(matches("cannot read : gone", "cannot read <...>: gone"));
    assert!(!matches("cannot read /a: gone", "cannot read <file>"[..12].trim_end()));
    assert!(!matches("cannot read /a: gone away", "cannot read <file>: gone"));
    assert!(matches("ä: b: c", "<what>: c"));
    let log = "2026-11-24T20:45:54.568456Z ERROR vedette_node_agent::observe: cannot commit: full reason=\"StoreFull\"";
    assert_eq!(without_prefix(log), "cannot commit: full reason=\"StoreFull\"");
}
