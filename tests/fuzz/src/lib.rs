//! The fuzzers' targets: bytes in; a panic when something that has to hold for all bytes does not.
//!
//! `cargo test` runs them over the seeds and random changes of these, and cargo-fuzz (`fuzz/`) without end. Each says whether
//! it took the bytes for something that makes sense, so that a seed which tests nothing is noticed.

use serde_json::{Value, json};
use vedette_crds::compile::standalone;
use vedette_crds::parse::parse_rules;
use vedette_crds::pattern::{NamePattern, PathPattern};
use vedette_crds::record::{ByteText, CHANGE_SCHEMA, Chain, Change, render, unchain};

/// What a target does with bytes.
pub type Target = fn(&[u8]) -> bool;

/// All targets, each under the name of its folder of seeds.
pub const TARGETS: [(&str, Target); 6] = [
    ("rule", rule),
    ("pattern", pattern),
    ("attributes", attributes),
    ("page", page),
    ("record", record),
    ("digests", digests),
];

/// A rule file: refused with a sentence, or the same rules once more when it is written down and read again.
pub fn rule(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let rules = match parse_rules(text) {
        Ok(rules) => rules,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    if let Err(error) = standalone(&rules) {
        assert!(!error.to_string().is_empty());
    }
    let written: Vec<String> = rules.iter().map(|rule| json!(rule).to_string()).collect();
    let again = parse_rules(&written.join("\n---\n")).expect("what was accepted is accepted");
    assert_eq!(json!(again), json!(rules));
    !rules.is_empty()
}

/// A pattern, a line's end and a path: what no longer can match never does, and what has to come next is nothing else.
pub fn pattern(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (Some(text), path) = (parts.next(), parts.next().unwrap_or_default()) else { return false };
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if let Ok(name) = NamePattern::parse(text) {
        name.matches(path);
    }
    let Ok(pattern) = PathPattern::parse(text) else { return false };
    let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let mut cursor = pattern.start();
    for name in &components {
        let (is_dead, next) = (cursor.is_dead(), cursor.next_literals(&pattern));
        cursor = cursor.step(&pattern, name);
        let is_ruled_out = is_dead || next.is_some_and(|names| !names.contains(name));
        assert!(!is_ruled_out || cursor.is_dead() && !cursor.is_match(&pattern), "{text:?} {path:?}");
    }
    let exact = PathPattern::literal(&components);
    let end = components.iter().fold(exact.start(), |cursor, name| cursor.step(&exact, name));
    assert!(end.is_match(&exact), "{path:?} is itself");
    true
}

/// The bytes of an access list or of file capabilities: text that a terminal can be shown.
pub fn attributes(data: &[u8]) -> bool {
    let texts = [vedette_engine::fuzzing::acl_text(data), vedette_engine::fuzzing::capability_text(data)];
    for text in &texts {
        assert!(text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()), "{text:?}");
        assert!(text.len() <= 64 + 16 * (64 + data.len()), "{} bytes of {}", text.len(), data.len());
    }
    texts.iter().any(|text| !text.starts_with("invalid:"))
}

/// A stored page behind a checksum that holds: refused, or the same page once more when it is stored and read again.
pub fn page(data: &[u8]) -> bool {
    vedette_engine::fuzzing::page(data)
}

/// Kinds of digests, the size of pieces, and files, each as a length of two bytes and one that its content begins with:
/// side by side their digests are what they are alone.
pub fn digests(data: &[u8]) -> bool {
    let [kinds, blocks, files @ ..] = data else { return false };
    let content = |file: &[u8; 3]| -> Vec<u8> {
        let [length @ .., first] = *file;
        (0..u16::from_le_bytes(length)).map(|at| (at ^ at >> 7).wrapping_mul(31) as u8 ^ first).collect()
    };
    let contents: Vec<_> = files.as_chunks().0.iter().take(100).map(content).collect();
    vedette_engine::fuzzing::digests(&contents, kinds & 0b1111, usize::from(*blocks) + 1);
    !contents.is_empty() && kinds & 0b1111 != 0
}

/// A path, a line's end and a link's target: the line tells both to the byte, and no byte of it can be changed.
pub fn record(data: &[u8]) -> bool {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (path, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    // Any line at all may come from outside.
    assert!(unchain(data, Chain::default()).is_err());
    let change = change(path, target);
    let previous = Chain::default().next(target);
    let line = render(&change, previous);
    assert_eq!(unchain(&line.line, previous), Ok(line.chain));
    assert!(!String::from_utf8_lossy(&line.line).chars().any(char::is_control));
    let read: Change = serde_json::from_slice(&line.line).expect("a line is read");
    assert_eq!(read.path.to_bytes(read.path_bytes.as_deref()), path);
    let after = read.after.expect("it has one");
    assert_eq!(after.link_target.expect("a link has one").to_bytes(after.link_target_bytes.as_deref()), target);
    let at =
        data.iter().fold(0usize, |at, byte| at.wrapping_mul(31).wrapping_add(usize::from(*byte))) % line.line.len();
    let mut spoiled = line.line;
    spoiled[at] ^= 1;
    assert!(unchain(&spoiled, previous).is_err(), "byte {at}");
    !path.is_empty()
}

fn change(path: &[u8], target: &[u8]) -> Change {
    let ((path, path_bytes), (target, target_bytes)) = (ByteText::exact(path), ByteText::exact(target));
    let time = "2026-11-24T04:00:00.123456789Z";
    let mut change = json!({
        "schema": CHANGE_SCHEMA, "node": "n", "journal": "6f1c0b7e52d84a0a9c3e1f2d3b4a5968", "sequence": 1, "time": time,
        "category": "File", "changeType": "Added", "detection": "Scan", "path": path, "rules": ["r/e"], "severity": "Low",
        "after": {
            "type": "Symlink", "mode": "0777", "uid": 0, "gid": 0, "modified": time, "changed": time, "inode": 1,
            "device": "8:1", "linkCount": 1, "linkTarget": target,
        },
    });
    let mut exact = |at: &str, name: &str, bytes: Option<String>| {
        if let Some(bytes) = bytes {
            change.pointer_mut(at).expect("it is there")[name] = Value::String(bytes);
        }
    };
    exact("", "pathBytes", path_bytes);
    exact("/after", "linkTargetBytes", target_bytes);
    serde_json::from_value(change).expect("it is a record")
}
