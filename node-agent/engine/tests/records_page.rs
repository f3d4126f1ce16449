//! docs/records.md is what the engine writes: its lines, examples and tables are made from a scratch host and from the
//! schemas, and the program on it checks them. `VEDETTE_REGENERATE=1` writes them anew.
#![allow(clippy::unwrap_used)]

mod support;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use support::{Host, SetClock, compare_unread, everything, is_root, rule_with, run, with_own_mounts};
use vedette_crds::record::{CHANGE_SCHEMA, Chain, Change, Item, Nanos, Notice, NoticeKind, Origin, render, schema};
use vedette_engine::journal::Sink;
use vedette_engine::{Anchor, Identity};

/// As many lines are on the page whole; the others lend their members to the tables.
const SHOWN: usize = 4;

/// The lines of a scratch host, the same at every run: what the host, its clock and chance decide is replaced. `None`,
/// and said visibly, where the machine does not let us make all that there is to show.
fn lines() -> Option<Vec<String>> {
    if !is_root("docs/records.md is held to what the engine writes: owners, capabilities and devices need root") {
        return None;
    }
    let clock = Arc::new(SetClock::now());
    let mut host = Host::with_clock(json!([]), clock.clone());
    let entries = json!([
        {"name": "etc", "path": "/etc", "severity": "High"},
        {"name": "srv", "path": "/srv", "hashes": ["Md5", "Sha256", "Sha512", "Blake3"]},
    ]);
    let rules = vec![rule_with("linux-baseline", entries, json!({"tags": ["pci-dss-11.5.2"]}))];
    let identity =
        Identity { cluster: Some("prod-eu".into()), node: "worker-3".into(), node_uid: Some(NODE_UID.into()) };
    host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
    host.write("/etc/group", "root:x:0:\n");
    host.write("/etc/machine-id", "b08dfa6083e7567a1921a715000001fb\n");
    host.write("/etc/motd", "Welcome\n");
    host.mkdir("/srv");
    let moves = |name: &[u8]| host.at("/srv").join(std::ffi::OsStr::from_bytes(name));
    let (old, new) = (moves(b"r\xe9sum\xe9"), moves(b"r\xe9sum\xe9.old"));
    fs::write(&old, "a life\n").unwrap();
    host.engine().configure(rules.clone(), identity.clone(), 1);
    host.engine().announce_start().unwrap();
    let mut lines = host.compare().lines;
    host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\nr00t:x:0:0::/:/bin/sh\n");
    lines.extend(host.compare().lines);
    assert_eq!(lines.len(), SHOWN);

    host.remove("/etc/motd");
    fs::rename(&old, &new).unwrap();
    host.mkdir("/srv/directory");
    host.mkdir("/srv/volume");
    setxattr(host.at("/srv/directory"), "system.posix_acl_default", &access_list(), XattrFlags::empty()).ok()?;
    mknodat(CWD, host.at("/srv/null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).ok()?;
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::os::unix::fs::symlink(odd, host.at("/srv").join(odd)).ok()?;
    host.write("/srv/ping", "a program\n");
    let ping = host.at("/srv/ping");
    let capability: Vec<u8> = [0x0200_0001u32, 1 << 13, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let attributes: [(&str, &[u8]); 3] = [
        ("system.posix_acl_access", &access_list()),
        ("security.capability", &capability),
        ("user.origin", b"https://example.com/"),
    ];
    let set = attributes.iter().all(|(name, value)| setxattr(&ping, *name, value, XattrFlags::empty()).is_ok());
    let flagged = Command::new("chattr").arg("+d").arg(&ping).status().is_ok_and(|status| status.success());
    if !(set && flagged) {
        eprintln!("SKIPPED: the temporary directory's file system has no access lists, attributes or flags");
        return None;
    }
    setxattr(&ping, b"user.caf\xe9".as_slice(), b"1", XattrFlags::empty()).ok()?;
    run("mount", &["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), host.at("/srv/volume").as_os_str()]);
    lines.extend(host.compare().lines);
    host.start();
    host.engine().configure(rules, identity, 1);
    host.engine().announce_start().unwrap();
    lines.extend(host.lines());
    clock.go_back(Duration::from_secs(3600));
    lines.extend(host.compare().lines);
    // A file of records that has had nothing yet, and a journal that is full.
    host.delivered(Sink::File, 0);
    let full = host.standing().totals.journal_bytes;
    host.engine().set_journal_max(full);
    host.engine().announce_start().unwrap();
    lines.extend(host.lines().into_iter().filter(|line| line["kind"] == "Gap"));
    let anchor = host.anchor();
    host.engine().hold_against(Anchor { sequence: anchor.sequence + 5, ..anchor });
    host.engine().settle().unwrap();
    host.expect_new_journal();
    lines.extend(host.lines());

    let mut chain = Chain::default();
    let rendered = lines.into_iter().map(|line| {
        let rendered = if line["schema"] == CHANGE_SCHEMA {
            render(&settle_change(serde_json::from_value(line).unwrap()), chain)
        } else {
            render(&settle_notice(serde_json::from_value(line).unwrap()), chain)
        };
        chain = rendered.chain;
        String::from_utf8(rendered.line).unwrap()
    });
    Some(rendered.collect())
}

const NODE_UID: &str = "4c52e2f5-7a3e-4b3c-9f0f-2d2f0a7c5b11";
const DETECTED: &str = "2026-11-24T04:00:00.123456789Z";
/// In minutes.
const DAY: i64 = 1440;

fn access_list() -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        value.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        value.extend(id.to_le_bytes());
    }
    value
}

/// So many minutes from the moment at which the page's change was detected.
fn minutes(count: i64) -> Nanos {
    Nanos(DETECTED.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(count))
}

fn settle_origin(origin: &mut Origin) -> Nanos {
    origin.journal = "6f1c0b7e52d84a0a9c3e1f2d3b4a5968".into();
    minutes(if origin.sequence < SHOWN as u64 { -15 } else { 0 })
}

fn settle_change(mut change: Change) -> Change {
    change.time = settle_origin(&mut change.origin);
    change.since = change.since.map(|_| minutes(-15));
    let same_inode = matches!((&change.before, &change.after), (Some(one), Some(other)) if one.inode == other.inode);
    let was_there = change.before.is_some();
    if let Some(before) = &mut change.before {
        settle_item(before, -DAY, -DAY, 131_074);
    }
    if let Some(after) = &mut change.after {
        let is_old = was_there || change.moved_from.is_some();
        settle_item(after, -3, if is_old { -DAY } else { -3 }, if same_inode { 131_074 } else { 131_099 });
    }
    change
}

fn settle_item(item: &mut Item, modified: i64, created: i64, inode: u64) {
    let modified = Some(minutes(modified));
    (item.modified, item.changed, item.created) = (modified, modified, Some(minutes(created)));
    (item.inode, item.device) = (Some(inode), Some("8:1".into()));
}

fn settle_notice(mut notice: Notice) -> Notice {
    notice.time = settle_origin(&mut notice.origin);
    match &mut notice.kind {
        NoticeKind::Started { stopped_since, boot_id, kernel, agent_version, .. } => {
            *stopped_since = stopped_since.map(|_| minutes(-1));
            *boot_id = "0f8fad5b-d9cb-469f-a165-70867728950e".into();
            *kernel = "6.18.0".into();
            *agent_version = "0.1.0".into();
        }
        NoticeKind::BaselineReset { expected_journal, expected_head, found_journal, .. } => {
            *expected_journal = Some("0d5a8c3e1b7f49268e54a9c1d2f37b60".into());
            *expected_head = Some("79c21f433e0af1f8e788f6838526fd02f2d610b10d017832f24c2eaf9329b0f5".into());
            *found_journal = expected_journal.clone();
        }
        NoticeKind::Gap { from, to, .. } => (*from, *to) = (1042, 9317),
        _ => {}
    }
    if let NoticeKind::ClockStepped { from, to } = &mut notice.kind {
        (*from, *to) = (minutes(60), minutes(0));
    }
    notice
}

/// `| member | meaning | example |` rows of an object's members.
fn table(object: &Value, examples: &[&Value]) -> String {
    let mut table = String::from("| member | | meaning | example |\n|---|---|---|---|\n");
    let required = |name: &str| object["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    for (name, member) in object["properties"].as_object().unwrap() {
        if name == "kind" {
            continue;
        }
        let example = match examples.iter().find_map(|example| example.get(name)) {
            Some(Value::Object(members)) if members.contains_key("mode") => "an [item](#items)".to_owned(),
            Some(example) => format!("`{}`", example.to_string().replace('|', "\\|")),
            None => "—".to_owned(),
        };
        let always = if required(name) { "always" } else { "" };
        writeln!(table, "| `{name}` | {always} | {} | {example} |", member["description"].as_str().unwrap()).unwrap();
    }
    table
}

/// What stands between the page's marks, by name.
fn made(lines: &[String]) -> Vec<(&'static str, String)> {
    let values: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let changes: Vec<&Value> = values.iter().filter(|line| line["schema"] == CHANGE_SCHEMA).collect();
    let items: Vec<&Value> =
        changes.iter().flat_map(|change| [change.get("before"), change.get("after")]).flatten().collect();
    let (change, notice) = (schema::change(), schema::notice());
    let pretty: Change = serde_json::from_str(&lines[SHOWN - 1]).unwrap();
    let mut sets = String::new();
    for (name, set) in [&change, &notice].into_iter().flat_map(|schema| schema["$defs"].as_object().unwrap()) {
        if set.get("enum").is_some() {
            writeln!(sets, "- **{name}**: {}", set["description"].as_str().unwrap()).unwrap();
        }
    }
    let mut kinds = String::new();
    for kind in notice["oneOf"].as_array().unwrap() {
        let name = kind["properties"]["kind"]["const"].as_str().unwrap();
        // The last one of a kind has the most to say.
        let examples: Vec<&Value> = values.iter().rev().filter(|line| line["kind"] == name).collect();
        writeln!(kinds, "`{name}`: {}\n\n{}", kind["description"].as_str().unwrap(), table(kind, &examples)).unwrap();
    }
    vec![
        ("record", format!("```json\n{}\n```\n", serde_json::to_string_pretty(&pretty).unwrap())),
        ("change", table(&change, &changes)),
        ("item", table(&change["$defs"]["Item"], &items)),
        ("sets", sets),
        ("kinds", format!("{}\n", kinds.trim_end())),
        ("lines", format!("```jsonl\n{}\n```\n", lines[..SHOWN].join("\n"))),
    ]
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/records.md")
}

/// The text between `<!-- name -->` and `<!-- /name -->`.
fn part<'p>(page: &'p str, name: &str) -> &'p str {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    page.split_once(&begin).and_then(|(_, rest)| rest.split_once(&end)).unwrap_or_else(|| panic!("no {begin}")).0
}

#[test]
fn the_page_is_what_the_engine_writes() {
    with_own_mounts("the_page_is_what_the_engine_writes", || {
        if let Some(lines) = lines() {
            hold_page(&lines);
        }
    });
}

/// Compares the page with these lines, or writes it anew.
fn hold_page(lines: &[String]) {
    let regenerate = std::env::var_os("VEDETTE_REGENERATE").is_some();
    let mut text = fs::read_to_string(page()).unwrap();
    for (name, made) in made(lines) {
        let stands = part(&text, name);
        if regenerate {
            let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
            text = text.replace(&format!("{begin}{stands}{end}"), &format!("{begin}{made}{end}"));
        } else {
            assert_eq!(
                stands, made,
                "docs/records.md: run this test with VEDETTE_REGENERATE=1 and look at the difference"
            );
        }
    }
    if regenerate {
        fs::write(page(), text).unwrap();
    }
}

#[test]
fn every_member_of_the_schemas_is_on_the_page_with_an_example_or_a_word_why_not() {
    fn members(schema: &Value, found: &mut Vec<String>) {
        found.extend(schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
        schema["$defs"].as_object().into_iter().flatten().for_each(|(_, below)| members(below, found));
        schema["oneOf"].as_array().into_iter().flatten().for_each(|kind| members(kind, found));
    }
    let text = fs::read_to_string(page()).unwrap();
    let mut names = Vec::new();
    members(&schema::change(), &mut names);
    members(&schema::notice(), &mut names);
    let missing: Vec<_> = names.iter().filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let without: Vec<_> = text.lines().filter(|line| line.ends_with("| — |")).collect();
    assert!(without.iter().all(|line| line.contains("No version")), "{without:#?}");
}

/// Runs the program that stands on the page.
fn check(lines: &[&str], from: Option<&str>) -> Option<Output> {
    let text = fs::read_to_string(page()).unwrap();
    let program = part(&text, "check").trim().trim_start_matches("```python\n").trim_end_matches("```").to_owned();
    let folder = tempfile::tempdir().unwrap();
    let (program_at, lines_at) = (folder.path().join("check.py"), folder.path().join("lines"));
    fs::write(&program_at, program).unwrap();
    fs::write(&lines_at, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let ran = Command::new("python3").arg(program_at).arg(lines_at).args(from).output();
    if ran.is_err() {
        eprintln!("SKIPPED without python3: the program on docs/records.md");
    }
    ran.ok()
}

#[test]
fn the_program_on_the_page_accepts_the_lines_on_the_page_and_says_where_others_break() {
    let text = fs::read_to_string(page()).unwrap();
    let lines: Vec<&str> = part(&text, "lines").lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), SHOWN);
    let mut chain = Chain::default();
    for line in &lines {
        chain = vedette_crds::record::unchain(line.as_bytes(), chain).unwrap();
    }
    let said =
        |ran: &Output| format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));

    let Some(good) = check(&lines, None) else { return };
    assert!(good.status.success() && said(&good).contains(&chain.to_string()), "{}", said(&good));
    let again = check(&[lines[0], lines[1], lines[0], lines[1], lines[2], lines[3]], None).unwrap();
    assert!(again.status.success(), "delivered again after a crash: {}", said(&again));
    let first: Value = serde_json::from_str(lines[0]).unwrap();
    let later = check(&lines[1..], first["chain"].as_str()).unwrap();
    assert!(later.status.success(), "an export that begins later: {}", said(&later));

    let changed = lines[3].replace("r00t", "root").replace("\"High\"", "\"Low\"");
    for (broken, at) in [
        (vec![lines[0], lines[2], lines[3]], "line 2"),
        (vec![lines[0], lines[1], lines[2], &changed], "line 4"),
        (vec![lines[1]], "line 1"),
        (vec!["{}"], "line 1"),
    ] {
        let ran = check(&broken, None).unwrap();
        assert!(!ran.status.success() && said(&ran).contains(at), "{broken:?}: {}", said(&ran));
    }
}

#[test]
fn the_program_on_the_page_accepts_as_verify_does_what_a_gap_notice_says_to_be_lost() {
    let mut host = Host::new(everything());
    let lines = |host: &mut Host| -> Vec<String> {
        let lines = host.engine().journal().after(0, usize::MAX).unwrap();
        lines.into_iter().map(|line| String::from_utf8(line.bytes).unwrap()).collect()
    };
    host.write("/a", "1");
    compare_unread(&mut host);
    let mut all = lines(&mut host);
    host.delivered(Sink::Stdout, all.len() as u64);
    host.engine().set_journal_max(4000);
    for length in 2..12 {
        host.write("/a", "1".repeat(length));
        compare_unread(&mut host);
    }
    let later = lines(&mut host);
    let is_gap = |line: &&String| line.contains("\"kind\":\"Gap\"");
    assert!(later.iter().any(|line| is_gap(&line)), "{later:#?}");
    all.extend(later);
    let is_whole = |lines: &[&str]| {
        let mut verify = vedette_engine::verify::Lines::default();
        lines.iter().for_each(|line| verify.line(line.as_bytes()));
        verify.end(None).iter().all(vedette_engine::verify::Verdict::is_whole)
    };
    let whole: Vec<&str> = all.iter().map(String::as_str).collect();
    let Some(ran) = check(&whole, None) else { return };
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && is_whole(&whole) && !said.contains(" 0 are lost"), "{said}");
    // A line of before the gap, which no notice names.
    let taken = [&whole[..1], &whole[2..]].concat();
    assert!(!check(&taken, None).unwrap().status.success() && !is_whole(&taken));
    let without: Vec<&str> = all.iter().filter(|line| !is_gap(line)).map(String::as_str).collect();
    assert!(!check(&without, None).unwrap().status.success() && !is_whole(&without));
}
