//! What an explanation says is what compares do: of what is suspended, covered, not mounted, not there or not readable.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::Path;
use support::{Host, everything, rule, rule_with, run};
use vedette_crds::record::{ByteText, ContentState};
use vedette_engine::explain::{Decision, Explanation, Question, Tracking, explain_rules};

fn question(path: &str) -> Question {
    Question { path: ByteText(path.to_owned()), ..Question::default() }
}

fn explained(host: &mut Host, path: &str) -> Explanation {
    host.engine().inspector().explain(&question(path)).unwrap()
}

fn one(entry: Value) -> Value {
    let mut entry = entry;
    entry["name"] = json!("e");
    json!([entry])
}

fn suspended(entries: Value) -> vedette_crds::node_config::NodeRule {
    rule_with("r", entries, json!({"suspend": true, "generation": 2}))
}

fn mount(options: &[&str], at: &Path) {
    let options: Vec<&OsStr> = options.iter().map(OsStr::new).chain([at.as_os_str()]).collect();
    run("mount", &options);
}

fn says(explanation: &Explanation, words: &str) -> bool {
    explanation.notes.iter().any(|note| note.contains(words))
}

#[test]
fn what_is_frozen_is_said_to_stay_and_it_stays() {
    let mut host = Host::new(one(json!({"path": "/etc"})));
    host.write("/etc/a", "1");
    host.compare();
    host.set_rules(vec![suspended(one(json!({"path": "/etc"})))]);
    host.compare();
    for _ in 0..2 {
        let explanation = explained(&mut host, "/etc/a");
        assert_eq!(explanation.tracking, Tracking::NotCompared);
        assert!(
            says(&explanation, "rule r is suspended: what the state holds of it stays as it is"),
            "{explanation:?}"
        );
        assert!(!says(&explanation, "leaves watch"), "{explanation:?}");
        assert!(explanation.tracked.is_some() && !explanation.is_selected);
        host.compare();
    }
}

#[test]
fn what_no_rule_selects_any_more_is_said_to_leave_and_then_until_when_it_is_kept() {
    let mut host = Host::new(everything());
    host.write("/etc/a", "1");
    host.compare();
    let by_others = Question { rules: Some(vec![rule("r", one(json!({"path": "/srv"})))]), ..question("/etc/a") };
    let explanation = host.engine().inspector().explain(&by_others).unwrap();
    assert_eq!(explanation.tracking, Tracking::LeavesWatch);
    host.set_entries(one(json!({"path": "/srv"})));
    host.compare();
    let explanation = explained(&mut host, "/etc/a");
    assert_eq!((explanation.tracking, explanation.tracked.is_some()), (Tracking::NotTracked, false));
    assert!(says(&explanation, "what was known of it is kept until "), "{explanation:?}");
    assert!(!says(&explained(&mut host, "/etc/b"), "kept until"));
}

#[test]
fn what_a_mount_covers_is_said_to_keep_its_state_and_keeps_it() {
    support::with_own_mounts("what_a_mount_covers_is_said_to_keep_its_state_and_keeps_it", || {
        let mut host = Host::new(one(json!({"path": "/srv", "mounts": "Same"})));
        host.write("/srv/d/a", "1");
        host.compare();
        let at = host.at("/srv/d");
        mount(&["-t", "tmpfs", "none"], &at);
        for _ in 0..2 {
            host.compare();
            for path in ["/srv/d", "/srv/d/a"] {
                let explanation = explained(&mut host, path);
                assert_eq!(explanation.tracking, Tracking::NotCompared, "{explanation:?}");
                assert!(
                    says(&explanation, "stays as it is: a mount of type tmpfs at /srv/d covers it"),
                    "{explanation:?}"
                );
                assert!(!says(&explanation, "leaves watch") && explanation.tracked.is_some());
            }
        }
        run("umount", &[at.as_os_str()]);
        host.compare();
        assert_eq!(explained(&mut host, "/srv/d/a").tracking, Tracking::Tracked);
    });
}

#[test]
fn a_file_that_a_bind_mount_covers_names_the_mount() {
    support::with_own_mounts("a_file_that_a_bind_mount_covers_names_the_mount", || {
        let mut host = Host::new(one(json!({"path": "/srv"})));
        host.write("/srv/d/a", "1");
        host.write("/other/b", "1");
        host.compare();
        let (other, at) = (host.at("/other"), host.at("/srv/d"));
        mount(&["--bind", other.to_str().unwrap()], &at);
        host.compare();
        let beneath = explained(&mut host, "/srv/d/a");
        assert_eq!((beneath.tracking, beneath.is_selected), (Tracking::NotCompared, true), "{beneath:?}");
        assert!(says(&beneath, "at /srv/d covers it"), "{beneath:?}");
        let shows = explained(&mut host, "/srv/d/b");
        assert_eq!(shows.tracking, Tracking::Tracked, "{shows:?}");
        let top = explained(&mut host, "/srv/d");
        assert!(top.tracking == Tracking::Tracked && top.tracked.unwrap().item.mount.is_some());
        run("umount", &[at.as_os_str()]);
        host.compare();
        let gone = explained(&mut host, "/srv/d/b");
        assert_eq!(gone.tracking, Tracking::NotCompared, "{gone:?}");
        assert!(says(&gone, "that is not mounted at /srv/d now"), "{gone:?}");
        assert!(explained(&mut host, "/srv/d").tracked.unwrap().item.mount.is_none());
    });
}

#[test]
fn what_is_not_there_would_be_tracked() {
    let mut host = Host::new(one(json!({"path": "/etc"})));
    host.write("/etc/a/1", "1");
    host.compare();
    for path in ["/etc/a/1/x", "/etc/none"] {
        let explanation = explained(&mut host, path);
        assert_eq!((explanation.tracking, explanation.is_selected), (Tracking::WouldBeTracked, true), "{path}");
        assert!(says(&explanation, "there is no such file"), "{explanation:?}");
    }
    host.remove("/etc/a/1");
    assert_eq!(explained(&mut host, "/etc/a/1").tracking, Tracking::Tracked, "the state still holds it");
}

#[test]
fn content_that_is_not_read_is_of_the_state() {
    let mut host = Host::new(one(json!({"path": "/etc", "maxContentSize": 4})));
    host.write("/etc/a", "1");
    host.compare();
    host.write("/etc/a", "too large now");
    host.compare();
    let tracked = explained(&mut host, "/etc/a").tracked.unwrap();
    assert_eq!(tracked.item.content, Some(ContentState::TooLarge));
    assert!(tracked.last_read.is_some());
}

#[test]
fn a_suspended_rule_that_was_never_compared_is_named_only_where_it_would_select() {
    let mut host = Host::new(one(json!({"path": "/etc"})));
    host.write("/etc/a", "1");
    host.write("/srv/a", "1");
    host.compare();
    let new = || vec![rule_with("new", one(json!({"path": "/srv"})), json!({"suspend": true}))];
    let asked = |path: &str| Question { rules: Some(new()), ..question(path) };
    let with_state = |host: &mut Host, path: &str| host.engine().inspector().explain(&asked(path)).unwrap();
    let selected = with_state(&mut host, "/srv/a");
    assert_eq!((selected.entries[0].decision, selected.is_selected), (Decision::RuleSuspended, false));
    assert!(selected.entries[0].message.contains("is suspended and was never compared"), "{selected:?}");
    let other = with_state(&mut host, "/usr/a");
    assert_eq!(other.entries[0].decision, Decision::PathDoesNotMatch, "{other:?}");
    assert!(other.notes.iter().all(|note| !note.contains("suspended")), "{other:?}");
    let alone = explain_rules(&host.root(), &asked("/srv/a")).unwrap();
    assert_eq!(alone.entries[0].decision, Decision::RuleSuspended);
    assert!(!alone.entries[0].message.contains("never compared"), "nobody knows: {alone:?}");
    host.set_rules([host.rules().to_vec(), new()].concat());
    host.compare();
    assert!(says(&explained(&mut host, "/srv/a"), "rule new is suspended and was never compared: ask with --rule"));
    assert!(!says(&explained(&mut host, "/etc/a"), "suspended"));
}

#[test]
fn each_entry_says_what_it_asks_for() {
    let entries = json!([
        {"name": "all", "path": "/etc"},
        {"name": "mode", "path": "/etc/*", "compare": ["Mode"]},
    ]);
    let mut host = Host::new(entries);
    host.write("/etc/a", "1");
    host.compare();
    let explanation = explained(&mut host, "/etc/a");
    let asks: Vec<_> =
        explanation.entries.iter().map(|entry| (entry.entry.as_str(), entry.asks.clone().unwrap())).collect();
    let of = |entry: &str| asks.iter().find(|(name, _)| *name == entry).unwrap().1.clone();
    assert_eq!((of("r/mode").compare, of("r/mode").hashes), (vec!["Mode".to_owned()], vec![]));
    assert!(of("r/all").compare.contains(&"Content".to_owned()));
    assert!(explanation.watched.unwrap().compare.contains(&"Content".to_owned()));
}

#[test]
fn a_mount_that_only_the_host_sees_is_said_to_be_not_seen_and_no_entry_to_refuse_it() {
    support::with_own_mounts(
        "a_mount_that_only_the_host_sees_is_said_to_be_not_seen_and_no_entry_to_refuse_it",
        || {
            let mut host = Host::new(one(json!({"path": "/dev"})));
            host.write("/dev/file", "1");
            host.mkdir("/proc");
            host.compare();
            // This machine's own table: it has a mount at /dev, which the scratch host has not.
            mount(&["-t", "proc", "none"], &host.at("/proc"));
            host.compare();
            let explanation = explained(&mut host, "/dev/file");
            let entry = &explanation.entries[0];
            assert_eq!((entry.decision, explanation.tracking), (Decision::MountNotSeen, Tracking::NotCompared));
            assert!(
                entry.message.contains("is not seen here") && !entry.message.contains("does not enter"),
                "{entry:?}"
            );
            assert!(
                says(&explanation, "stays as it is: what the host has at /dev is not seen here"),
                "{explanation:?}"
            );
            let rules = vec![rule("r", one(json!({"path": "/dev"})))];
            let by_rules =
                explain_rules(&host.root(), &Question { rules: Some(rules), ..question("/dev/other") }).unwrap();
            assert_eq!(by_rules.entries[0].decision, Decision::MountNotSeen);
        },
    );
}
