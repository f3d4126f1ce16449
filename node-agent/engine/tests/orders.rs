//! Configurations in any order, each at any moment of a scan, with restarts, kills and clocks that step between: whatever
//! leaves, returns, is suspended or resumed, each rule's records lead from its baseline to what is there, and nothing
//! else is said.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Host, SetClock, rule_with};
use vedette_crds::node_config::NodeRule;
use vedette_engine::clock::{Clock, SystemClock};
use vedette_engine::{Due, Engine, Identity};

/// Numbers that look random, the same for one seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The rule `r` of these directories.
fn of(uid: &str, directories: &[&str], suspend: bool) -> NodeRule {
    let entries =
        directories.iter().enumerate().map(|(at, path)| json!({"name": format!("e{at}"), "path": path})).collect();
    rule_with("r", Value::Array(entries), json!({"uid": uid, "suspend": suspend}))
}

/// What one rule can be made to be: wider, narrower, suspended, gone, made again.
fn one_rule(random: &mut Random) -> Vec<NodeRule> {
    let uid = format!("uid-{}", random.below(2));
    match random.below(7) {
        0 => vec![],
        1 => vec![of(&uid, &["/a", "/b", "/c"], true)],
        2 => vec![of(&uid, &["/a"], false)],
        3 => vec![of(&uid, &["/b", "/c"], false)],
        4 => vec![of(&uid, &["/c"], true)],
        5 => vec![of(&uid, &["/"], false)],
        _ => whole(),
    }
}

fn whole() -> Vec<NodeRule> {
    vec![of("uid-0", &["/a", "/b", "/c"], false)]
}

/// Two rules that share `/b`, each suspended or not.
fn two_rules(random: &mut Random) -> Vec<NodeRule> {
    both(random.below(2) == 0, random.below(2) == 0)
}

fn both(r: bool, q: bool) -> Vec<NodeRule> {
    let mut second = of("uid-q", &["/b", "/c"], q);
    second.name = "q".into();
    vec![of("uid-r", &["/a", "/b"], r), second]
}

/// The first of them, and the second in any form or not at all.
fn one_of_two_rules(random: &mut Random) -> Vec<NodeRule> {
    let mut rules = two_rules(random);
    let narrower = of("uid-q", &["/c"], random.below(2) == 0);
    match random.below(4) {
        0 => drop(rules.pop()),
        1 => rules[1] = NodeRule { name: "q".into(), ..narrower },
        2 => rules[1].uid = "uid-other".into(),
        _ => {}
    }
    rules
}

/// Changes a file, makes one or removes one; `/a/still` and its like are never touched.
fn happen(host: &Host, random: &mut Random, count: u64) {
    let path = host.at(&format!("/{}/{}", ["a", "b", "b", "c"][random.below(4) as usize], random.below(6)));
    match random.below(4) {
        0 => drop(fs::remove_file(path)), // it may not be there
        _ => fs::write(path, format!("{count}")).unwrap(),
    }
}

/// What is at the paths that a rule watches.
fn there(host: &Host, rule: &NodeRule) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in &rule.files.as_ref().unwrap().paths {
        for file in fs::read_dir(host.at(&entry.path)).unwrap() {
            let file = file.unwrap();
            let md5 = <md5::Md5 as md5::Digest>::digest(fs::read(file.path()).unwrap());
            let md5 = md5.iter().map(|byte| format!("{byte:02x}")).collect();
            found.insert(format!("{}/{}", entry.path, file.file_name().to_str().unwrap()), md5);
        }
    }
    found
}

/// Applies a rule's records to its baseline: each begins where the one before it ended.
fn replay(lines: &[Value], rule: &str, mut state: BTreeMap<String, String>, seed: u64) -> BTreeMap<String, String> {
    for line in lines.iter().filter(|line| line["changeType"].is_string()) {
        let names_it = |entry: &Value| entry.as_str().unwrap().starts_with(&format!("{rule}/"));
        if !line["rules"].as_array().unwrap().iter().any(names_it) {
            continue;
        }
        let path = line["path"].as_str().unwrap().to_owned();
        let md5 = |item: &Value| item["md5"].as_str().map(str::to_owned);
        let (before, after) = (md5(&line["before"]), md5(&line["after"]));
        assert_eq!(state.get(&path), before.as_ref(), "seed {seed}: {line}");
        assert_ne!(before, after, "seed {seed}: {line}");
        match after {
            Some(after) => state.insert(path, after),
            None => state.remove(&path),
        };
    }
    state
}

/// A host with a few files, compared under these rules.
fn begin(rules: Vec<NodeRule>, clock: Arc<dyn Clock>) -> Host {
    let mut host = Host::with_clock(json!([]), clock);
    for name in ["0", "1", "2", "still"] {
        ["a", "b", "c"].iter().for_each(|directory| host.write(&format!("/{directory}/{name}"), "begin"));
    }
    host.set_rules(rules);
    host.compare();
    host
}

/// A compare that is stopped so soon.
fn interrupt(host: &mut Host, after: Duration) {
    let stop = Arc::new(AtomicBool::new(after.is_zero()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begin = Instant::now();
            while begin.elapsed() < after {
                std::hint::spin_loop();
            }
            stop.store(true, Ordering::Relaxed);
        });
        host.engine().compare(&Due::All, &stop, &mut |_| {}).unwrap();
    });
}

/// Lives through random configurations from `rules` on, and back to them; the records of the first `told` are checked.
/// Where nothing of theirs leaves for good, so many days pass at once, or the clock goes back by them.
fn live(seed: u64, rules: &[NodeRule], told: usize, days: u64, configuration: fn(&mut Random) -> Vec<NodeRule>) {
    let mut random = Random(seed);
    let clock = Arc::new(SetClock::now());
    let mut host = begin(rules.to_vec(), clock.clone());
    let baselines: Vec<_> = rules.iter().take(told).map(|rule| there(&host, rule)).collect();
    let mut lines = Vec::new();
    for count in 0..30 {
        match random.below(5) {
            0 => host.set_rules(configuration(&mut random)),
            1 => (0..random.below(4)).for_each(|_| happen(&host, &mut random, count)),
            2 => interrupt(&mut host, Duration::from_micros(random.below(4) * random.below(1500))),
            3 if random.below(3) == 0 => {
                host.stop();
                host.start();
            }
            3 => {
                let by = Duration::from_secs(random.below(days * 86_400 + 1));
                if random.below(3) == 0 { clock.go_back(by) } else { clock.advance(by) }
            }
            _ => lines.extend(host.compare().lines),
        }
        lines.extend(host.lines());
    }
    host.set_rules(rules.to_vec());
    lines.extend(host.compare().lines);
    assert!(host.compare().lines.is_empty(), "seed {seed}");
    check(&mut host, rules, &lines, baselines, seed);
}

fn check(host: &mut Host, rules: &[NodeRule], lines: &[Value], baselines: Vec<BTreeMap<String, String>>, seed: u64) {
    let still = |line: &&Value| line["path"].as_str().is_some_and(|path| path.ends_with("/still"));
    assert_eq!(lines.iter().find(still), None, "seed {seed}: it was never touched");
    for (rule, baseline) in rules.iter().zip(baselines) {
        assert_eq!(replay(lines, &rule.name, baseline, seed), there(host, rule), "seed {seed}, rule {}", rule.name);
        let totals = host.standing().totals;
        let counted = totals.rules.iter().find(|totals| totals.name == rule.name).unwrap();
        let directories = rule.files.as_ref().unwrap().paths.len();
        assert_eq!(counted.tracked as usize, there(host, rule).len() + directories, "seed {seed}, rule {}", rule.name);
    }
}

/// As many as fit into some seconds; PROPTEST_CASES asks for more.
fn seeds() -> impl Iterator<Item = u64> {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(20);
    (1..=cases).map(|seed| seed * 0x9e37_79b9)
}

#[test]
fn one_rule_that_is_edited_suspended_deleted_and_made_again_in_any_order_loses_and_invents_nothing() {
    seeds().for_each(|seed| live(seed, &whole(), 1, 0, one_rule));
}

#[test]
fn two_rules_that_share_files_and_are_suspended_in_any_order_each_tell_all_and_once() {
    seeds().for_each(|seed| live(seed, &both(false, false), 2, 9, two_rules));
}

#[test]
fn a_rule_tells_all_and_once_whatever_another_one_does_with_its_files() {
    seeds().for_each(|seed| live(seed, &both(false, false), 1, 9, one_of_two_rules));
}

#[test]
fn what_stood_all_the_time_is_never_reported_though_it_is_forgotten_and_comes_back() {
    seeds().for_each(|seed| live(seed, &whole(), 0, 9, one_rule));
}

const FOLDER: &str = "VEDETTE_TEST_CHANGES_ITS_MIND_IN";

/// Not a test of its own: the process that the test below kills. It goes through configurations without end.
#[test]
fn helper_that_changes_its_mind_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let settings = support::settings(folder.join("state"), folder.join("host"));
    let mut engine = Engine::open(settings, Arc::new(SystemClock)).unwrap();
    let mut random = Random(u64::from(std::process::id()) * 0x9e37_79b9);
    loop {
        let identity = Identity { node: "n1".into(), ..Identity::default() };
        engine.configure(one_of_two_rules(&mut random), identity, 1);
        engine.compare(&Due::All, &Arc::default(), &mut |_| {}).unwrap();
    }
}

#[test]
fn killed_at_any_moment_between_its_configurations_it_tells_all_and_once() {
    let rules = both(false, false);
    let mut host = begin(rules.clone(), Arc::new(SystemClock));
    let baseline = vec![there(&host, &rules[0])];
    host.stop();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..15 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper_that_changes_its_mind_until_it_is_killed", "--nocapture"])
            .env(FOLDER, host.root().parent().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let end = Instant::now() + Duration::from_millis(30 + random.below(150));
        while Instant::now() < end {
            happen(&host, &mut random, round);
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    host.start();
    let mut lines = host.lines();
    host.set_rules(rules.clone());
    lines.extend(host.compare().lines);
    // What was written within one tick of the clock is found by the next one.
    lines.extend(host.compare().lines);
    check(&mut host, &rules, &lines, baseline, 0);
    assert!(lines.iter().filter(|line| line["detection"] == "Resumed").count() > 20, "{} lines", lines.len());
}
