//! Answers about a state: the inventory is what is tracked, and an explanation says what a compare does, and why.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use support::{Host, everything, rule, rule_with};
use vedette_crds::record::ByteText;
use vedette_engine::StoreError;
use vedette_engine::explain::{Decision, Explanation, Question, explain_rules};
use vedette_engine::inspect::{Inspector, Tracked};

fn inventory(inspector: &Inspector) -> Vec<Tracked> {
    let mut items = Vec::new();
    let mut from = None;
    loop {
        let part = inspector.inventory(from.as_deref()).unwrap();
        items.extend(part.items);
        from = part.next;
        if from.is_none() {
            return items;
        }
    }
}

fn question(path: &str) -> Question {
    Question { path: ByteText(path.to_owned()), ..Question::default() }
}

fn explained(host: &mut Host, path: &str) -> Explanation {
    host.engine().inspector().explain(&question(path)).unwrap()
}

/// What the entry `r/e` has to do with a path, and why.
fn decided(host: &mut Host, path: &str) -> (Decision, String) {
    let explanation = explained(host, path);
    let entry = explanation.entries.into_iter().find(|entry| entry.entry == "r/e").unwrap();
    (entry.decision, entry.message)
}

fn one(entry: Value) -> Value {
    let mut entry = entry;
    entry["name"] = json!("e");
    json!([entry])
}

/// Every path of a host.
fn paths(root: &Path, here: &Path, found: &mut BTreeSet<String>) {
    found.insert(format!("/{}", here.strip_prefix(root).unwrap().display()));
    if here.symlink_metadata().unwrap().is_dir() {
        std::fs::read_dir(here).unwrap().for_each(|entry| paths(root, &entry.unwrap().path(), found));
    }
}

fn tree(host: &Host) {
    for file in
        ["/etc/a.conf", "/etc/a.swp", "/etc/sub/b.conf", "/etc/sub/deep/c.conf", "/usr/bin/ls", "/usr/lib/x", "/srv/a"]
    {
        host.write(file, "1");
    }
    host.link("usr/bin", "/bin");
    host.link("/etc/a.conf", "/etc/link");
    host.link("../srv", "/etc/out");
    host.link("nowhere", "/srv/dangling");
    host.mkdir("/etc/sub/empty");
}

#[test]
fn what_an_explanation_says_to_be_tracked_is_what_a_compare_tracks() {
    for entries in [
        everything(),
        json!([{"name": "e", "path": "/etc"}]),
        json!([{"name": "e", "path": "/etc/**/*.conf", "exclude": ["/etc/sub/deep"]}]),
        json!([{"name": "e", "path": "/etc", "maxDepth": 1, "exclude": ["*.swp"], "links": "Ignore"}]),
        json!([{"name": "e", "path": "/bin/*"}, {"name": "f", "path": "/srv", "maxDepth": 0}]),
        json!([{"name": "e", "path": "/**", "exclude": ["sub", "/usr/**", "/srv"]}]),
        json!([{"name": "e", "path": "/bin", "exclude": ["/bin/ls"]}, {"name": "f", "path": "/*/*.{conf,swp}"}]),
        json!([{"name": "e", "path": "/{etc,srv}", "maxDepth": 2}]),
        json!([{"name": "e", "path": "/etc", "links": "Follow"}, {"name": "f", "path": "/usr/lib"}]),
    ] {
        let mut host = Host::new(entries.clone());
        tree(&host);
        host.compare();
        let tracked: BTreeSet<String> =
            inventory(&host.engine().inspector()).into_iter().map(|item| item.path.0).collect();
        let mut all = BTreeSet::new();
        paths(&host.root(), &host.root(), &mut all);
        assert!(!tracked.is_empty() && tracked.is_subset(&all), "{entries}");
        for path in all {
            let explanation = explained(&mut host, &path);
            assert_eq!(explanation.is_selected, tracked.contains(&path), "{entries}: {explanation:?}");
            assert_eq!(explanation.tracked.is_some(), explanation.is_selected, "{path}");
            let selecting: Vec<&str> = explanation
                .entries
                .iter()
                .filter(|entry| entry.decision == Decision::Selects)
                .map(|entry| entry.entry.as_str())
                .collect();
            let stored = explanation.tracked.map(|tracked| tracked.rules).unwrap_or_default();
            assert_eq!(selecting, stored, "{path}");
        }
    }
}

#[test]
fn an_inventory_has_every_item_as_records_show_it_in_parts_that_fit_together() {
    let mut host = Host::new(everything());
    for at in 0..5000 {
        host.write(&format!("/d{}/f{at}", at % 50), "1");
    }
    host.compare();
    let inspector = host.engine().inspector();
    assert!(inspector.inventory(None).unwrap().next.is_some(), "it comes in parts");
    let items = inventory(&inspector);
    assert_eq!(items.len() as u64, host.standing().totals.tracked);
    let paths: BTreeSet<&str> = items.iter().map(|item| item.path.0.as_str()).collect();
    assert_eq!(paths.len(), items.len(), "each once");
    host.write("/d7/f7", "22");
    let change = host.compare().only().clone();
    let item = inventory(&inspector).into_iter().find(|item| item.path.0 == "/d7/f7").unwrap();
    let shown = serde_json::to_value(&item).unwrap();
    assert_eq!(shown["item"], change["after"]);
    assert_eq!((&shown["rules"], &shown["volume"]), (&change["rules"], &json!("/")));
    assert!(shown["lastRead"].as_str() >= change["since"].as_str());
}

#[test]
fn when_it_was_last_looked_at_moves_with_each_compare_and_when_it_was_read_does_not() {
    let clock = std::sync::Arc::new(support::SetClock::now());
    let mut host = Host::with_clock(everything(), clock.clone());
    host.write("/a", "1");
    clock.advance(Duration::from_secs(60));
    host.compare();
    host.compare();
    let before = explained(&mut host, "/a").tracked.unwrap();
    clock.advance(Duration::from_secs(60));
    host.compare();
    let after = explained(&mut host, "/a").tracked.unwrap();
    assert!(after.last_looked > before.last_looked);
    assert_eq!(after.last_read, before.last_read);
}

#[test]
fn each_reason_not_to_track_a_path_is_said() {
    let said = |entry: Value, path: &str| {
        let mut host = Host::new(one(entry));
        tree(&host);
        host.compare();
        decided(&mut host, path)
    };
    let (decision, message) = said(json!({"path": "/etc", "exclude": ["*.swp"]}), "/etc/a.swp");
    assert_eq!(
        (decision, message.as_str()),
        (Decision::Excluded, "/etc leads there, but exclude *.swp of the entry leaves it out")
    );
    let (decision, message) = said(json!({"path": "/etc", "exclude": ["x", "/etc/sub"]}), "/etc/sub/deep/c.conf");
    let expected = "/etc leads there, but exclude /etc/sub of the entry leaves /etc/sub, which it lies under, out";
    assert_eq!((decision, message.as_str()), (Decision::Excluded, expected));
    let (decision, message) = said(json!({"path": "/bin", "exclude": ["/bin/l*"]}), "/usr/bin/ls");
    assert!(decision == Decision::Excluded && message.contains("exclude /bin/l*"), "{message}");
    let (decision, message) = said(json!({"path": "/etc", "maxDepth": 1}), "/etc/sub/b.conf");
    assert!(decision == Decision::TooDeep && message.ends_with("ends before /etc/sub/b.conf"), "{message}");
    assert_eq!(said(json!({"path": "/etc", "links": "Ignore"}), "/etc/link").0, Decision::LinkIgnored);
    assert_eq!(said(json!({"path": "/etc/**/*.conf"}), "/etc/sub").0, Decision::LeadsBelow);
    let (decision, message) = said(json!({"path": "/etc/**/*.conf"}), "/etc/a.swp");
    assert_eq!((decision, message.as_str()), (Decision::PathDoesNotMatch, "/etc/**/*.conf does not match it"));
    let (decision, message) = said(json!({"path": "/etc/sub/x"}), "/etc/sub/b.conf");
    let expected = "/etc/sub/x does not match: it leads to /etc/sub, but not on to b.conf";
    assert_eq!((decision, message.as_str()), (Decision::PathDoesNotMatch, expected));
}

#[test]
fn a_mount_that_is_not_entered_is_named() {
    support::with_own_mounts("a_mount_that_is_not_entered_is_named", || {
        let mut host = Host::new(one(json!({"path": "/srv"})));
        host.mkdir("/srv/proc");
        let at = host.at("/srv/proc");
        support::run("mount", &["-t".as_ref(), "proc".as_ref(), "none".as_ref(), at.as_os_str()]);
        host.compare();
        let (decision, message) = decided(&mut host, "/srv/proc/version");
        assert!(
            decision == Decision::MountNotEntered && message.contains("/srv/proc, a mount of type proc"),
            "{message}"
        );
        let explanation = explained(&mut host, "/srv/proc/version");
        assert!(explanation.found.is_none() && explanation.notes[0].contains("was not looked at"), "{explanation:?}");
        support::run("umount", &[at.as_os_str()]);
    });
}

#[test]
fn a_path_through_a_link_is_explained_under_its_real_path() {
    let mut host = Host::new(one(json!({"path": "/usr"})));
    tree(&host);
    host.compare();
    let explanation = explained(&mut host, "/bin/ls");
    assert!(explanation.is_selected && explanation.tracked.is_some());
    assert_eq!(explanation.real_path, Some(ByteText("/usr/bin/ls".into())));
    assert_eq!(explanation.notes, ["/bin is a symbolic link: what lies behind it is tracked under its real path"]);
    assert!(!explained(&mut host, "/bin").is_selected, "the link itself is another item");
}

#[test]
fn a_suspended_rule_is_said_to_be() {
    let mut host = Host::new(one(json!({"path": "/etc"})));
    tree(&host);
    host.compare();
    host.set_rules(vec![rule_with("r", one(json!({"path": "/etc"})), json!({"suspend": true, "generation": 2}))]);
    host.compare();
    assert_eq!(decided(&mut host, "/etc/a.conf").0, Decision::RuleSuspended);
    let explanation = explained(&mut host, "/etc/a.conf");
    assert!(!explanation.is_selected && explanation.tracked.is_some());
}

#[test]
fn rules_are_explained_without_a_state_too() {
    let host = Host::new(everything());
    tree(&host);
    let rules =
        vec![rule("a", json!([{"name": "e", "path": "/etc"}])), rule("b", json!([{"name": "e", "path": "/etc/*"}]))];
    let asked = Question { rules: Some(rules), ..question("/etc/a.conf") };
    let explanation = explain_rules(&host.root(), &asked).unwrap();
    let entries: Vec<&str> = explanation.entries.iter().map(|entry| entry.entry.as_str()).collect();
    assert_eq!((explanation.is_selected, entries), (true, vec!["a/e", "b/e"]));
    let watched = explanation.watched.unwrap();
    assert_eq!((watched.interval.as_str(), watched.hashes), ("10s", vec!["Md5".to_owned(), "Sha256".to_owned()]));
    let nowhere = explain_rules(&host.root(), &Question { path: ByteText("/etc/none".into()), ..asked }).unwrap();
    assert!(nowhere.is_selected && nowhere.found.is_none());
    assert_eq!(nowhere.notes, ["there is no such file on the host"]);
}

#[test]
fn a_name_that_is_no_text_is_found_by_its_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let mut host = Host::new(everything());
    host.mkdir("/etc");
    std::fs::write(host.at("/etc").join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "1").unwrap();
    host.compare();
    let (path, path_bytes) = ByteText::exact(b"/etc/caf\xe9");
    let explanation = host.engine().inspector().explain(&Question { path, path_bytes, rules: None }).unwrap();
    assert!(explanation.is_selected && explanation.found.as_deref() == Some("Regular"), "{explanation:?}");
    assert_eq!(explanation.tracked.unwrap().path_bytes, explanation.path_bytes);
}

#[test]
fn a_state_that_nobody_holds_is_opened_and_left_as_it_is() {
    let mut host = Host::new(everything());
    tree(&host);
    host.compare();
    let running = inventory(&host.engine().inspector());
    assert!(matches!(Inspector::open(&host.state_dir(), &host.root()), Err(StoreError::InUse { .. })));
    host.stop();
    let before = std::fs::read(host.state_dir().join("vedette.redb")).unwrap();
    assert_eq!(inventory(&Inspector::open(&host.state_dir(), &host.root()).unwrap()), running);
    assert_eq!(std::fs::read(host.state_dir().join("vedette.redb")).unwrap(), before);
}

#[test]
fn the_agents_own_socket_is_no_item() {
    let mut host = Host::with_state_inside(everything());
    host.compare();
    let socket = std::os::unix::net::UnixListener::bind(host.state_dir().join(vedette_engine::SOCKET)).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(host.at("/other.sock")).unwrap();
    assert_eq!(host.compare().told(), ["Added /other.sock"]);
    drop(socket);
    host.remove("/state/agent.sock");
    host.write("/state/agent.sock", "a file in its place is none of ours");
    assert_eq!(host.compare().told(), ["Added /state/agent.sock"]);
}
