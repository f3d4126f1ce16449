//! `kubectl vedette` on a real API server, with the real operator, real agents and the real kubectl.
#![allow(clippy::unwrap_used)]

mod asked;
mod follow;
mod full;
mod kubelet;
mod refused;
mod scene;
mod silent;

use scene::{Person, apply, counts, folder, node, plain, rule, status, until};
use serde_json::{Value, json};
use vedette_tests::Cluster;

fn texts(lines: &[Value], member: &str) -> Vec<String> {
    lines.iter().map(|line| line[member].as_str().unwrap_or("-").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_told_at_a_glance_with_what_changed_and_what_is_not_well() {
    let cluster = Cluster::start().await.unwrap();
    let _operator = cluster.start_operator().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    let nothing = person.runs(&["status"]);
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(nothing.output.starts_with("There is no rule: nothing is watched."), "{nothing:?}");

    let (first, _agent) = node(&cluster, "n1").await;
    let (second, _other) = node(&cluster, "n2").await;
    let entries = json!([{"name": "etc", "path": "/etc", "exclude": ["*.swp"], "severity": "High"},
        {"name": "srv", "path": "/srv/**/*.conf", "enabled": false}]);
    apply(&cluster, rule("web", entries)).await;
    let well = until(&person, &["status"], 0).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        plain(&well.output),
        format!(
            "RULE STATE NODES ITEMS ADDED MODIFIED REMOVED LAST CHANGE AGE\n\
             web Ready 2/2 4 0 0 0 - AGO\n\
             \n\
             Nodes 2 of 2 ready\n\
             Items 4\n\
             Changes 0 added, 0 modified, 0 removed\n\
             Agents {version} (2)"
        )
    );
    assert_eq!(well.errors, "");
    assert!(!well.output.contains('\u{1b}'), "a pipe is not colored");
    assert!(person.runs(&["status", "--color", "always"]).output.contains("\u{1b}[32mReady\u{1b}[0m"));
    // The plugin as kubectl finds and runs it.
    let through_kubectl = person.kubectl(&["vedette", "status"]);
    assert_eq!((through_kubectl.code, plain(&through_kubectl.output)), (Some(0), plain(&well.output)));
    assert_eq!(person.runs(&["version"]).output, format!("kubectl-vedette {version}\n2 agents {version}\n"));

    what_changed(&cluster, &person, &first, &second).await;
    why(&person);
    what_is_not_well(&cluster, &person).await;
}

async fn what_changed(
    cluster: &Cluster,
    person: &Person,
    first: &vedette_tests::ScratchHost,
    second: &vedette_tests::ScratchHost,
) {
    assert_eq!(person.runs(&["changes"]).output, "");
    first.write("/etc/passwd", "root\nevil").unwrap();
    counts(cluster, "n1", 1).await;
    second.write("/etc/\u{1b}[31mred\nline", "x").unwrap();
    second.chmod("/etc/passwd", 0o600).unwrap();
    counts(cluster, "n2", 2).await;
    let all = person.runs(&["changes"]);
    assert_eq!((all.code, all.errors.as_str()), (Some(0), ""));
    let mut lines: Vec<String> = plain(&all.output).lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "TIME NODE CHANGE SEVERITY FIELDS PATH");
    assert_eq!(lines[0], "TIME n1 Modified High Content,Size /etc/passwd", "the oldest first");
    lines.sort();
    assert_eq!(
        lines[1..],
        [
            r"TIME n2 Added High - /etc/\u{1b}[31mred\u{a}line".to_owned(),
            "TIME n2 Modified High Mode /etc/passwd".to_owned()
        ]
    );
    let paths = |words: &[&str]| {
        let ran = person.runs(&[&["changes", "-o", "json"], words].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let lines = ran.json_lines();
        let mut told: Vec<String> = texts(&lines, "node")
            .into_iter()
            .zip(texts(&lines, "path"))
            .map(|(node, path)| node + " " + &path)
            .collect();
        told.sort();
        told
    };
    let red = r"n2 /etc/\u{1b}[31mred\u{a}line";
    assert_eq!(paths(&[]), ["n1 /etc/passwd", red, "n2 /etc/passwd"]);
    assert_eq!(paths(&["--node", "n1"]), ["n1 /etc/passwd"]);
    assert_eq!(paths(&["--node", "n*", "--type", "added"]), [red]);
    // What of a name is escaped nobody knows, and it is shown.
    assert_eq!(paths(&["--path", "/etc/pass*", "--since", "1h"]), ["n1 /etc/passwd", red, "n2 /etc/passwd"]);
    assert_eq!(paths(&["--path", "/etc/pass*", "--type", "Modified"]), ["n1 /etc/passwd", "n2 /etc/passwd"]);
    assert_eq!(paths(&["--since", "1ms"]), Vec::<String>::new());
    assert_eq!(paths(&["--severity", "Critical"]), Vec::<String>::new());
    assert_eq!(paths(&["--rule", "web"]).len(), 3);
    assert_eq!(paths(&["--rule", "db"]), Vec::<String>::new());
    assert!(person.runs(&["changes", "--rule", "db"]).errors.contains("no node has a rule of that name"));
    assert!(person.runs(&["changes", "--node", "n9"]).errors.contains("n9 has no NodeConfig"));
    assert_eq!(paths(&["--tail", "2"]).len(), 2);

    // More than a status holds: what is shown and what is said to be missing are all there were.
    for file in 0..30 {
        first.write(&format!("/etc/new-{file}"), "x").unwrap();
    }
    let status = counts(cluster, "n1", 31).await;
    let held = status["recentChanges"].as_array().unwrap().len();
    let ran = person.runs(&["changes", "--node", "n1"]);
    assert_eq!(ran.output.lines().count(), held + 1, "{ran:?}");
    let note = format!("note: {} older changes of n1 are not in its status", 31 - held);
    assert!(ran.errors.starts_with(&note), "{ran:?}");
    let lines = person.runs(&["changes", "--node", "n1", "-o", "json"]).json_lines();
    assert_eq!((&lines[0]["kind"], &lines[0]["changes"]), (&json!("Missing"), &json!(31 - held)));
    assert_eq!(lines.len(), held + 1);
    let yaml = person.runs(&["changes", "--node", "n2", "-o", "yaml"]).output;
    assert_eq!(yaml.matches("---\n").count(), 2, "{yaml}");
    let one = person.runs(&["status", "n1"]);
    assert_eq!(one.code, Some(0), "{one:?}");
    let words = plain(&one.output);
    for part in
        ["Node n1", "State Ready", "Changes 30 added, 1 modified, 0 removed, the last AGO ago", "web 1 32 30 1 0 AGO"]
    {
        assert!(words.contains(part), "{part} is not in {words}");
    }
}

fn why(person: &Person) {
    let explained = |path: &str| {
        let ran = person.runs(&["explain", "n1", path]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.output
    };
    let selected = explained("/etc/passwd");
    for part in [
        "/etc/passwd is selected on n1\n  web/etc: /etc selects it\n  compared every 10s: Content, Type, Mode, Owner,",
        "  severity of a change: up to High\nnot by\n  web/srv: ",
        "note: by names alone:",
        "to ask the agent (--ask-agent does): kubectl exec --namespace vedette-system vedette-agent-n1",
    ] {
        // An entry that is not enabled is named only where it would select.
        let part = part.trim_end_matches("not by\n  web/srv: ");
        assert!(selected.contains(part), "{part} is not in {selected}");
    }
    let excluded = explained("/etc/a.swp/b");
    let why = "web/etc: /etc leads there, but exclude *.swp of the entry leaves /etc/a.swp, which it lies under, out";
    assert!(excluded.starts_with("/etc/a.swp/b is not selected on n1\nnot by\n"), "{excluded}");
    assert!(excluded.contains(why), "{excluded}");
    assert!(explained("/srv/a/b.conf").contains("web/srv: it would select it, but says enabled: false"));
    assert!(explained("/usr/bin/ls").contains("web/etc: /etc does not match: it leads to /, but not on to usr"));
    assert!(explained("/bin/ls").contains("ask about /usr/bin/ls too"));
    let json = person.runs(&["explain", "n1", "/etc/passwd", "-o", "json"]).json();
    assert_eq!((&json["isSelected"], &json["entries"][0]["decision"]), (&json!(true), &json!("Selects")));
    let relative = person.runs(&["explain", "n1", "etc"]);
    assert_eq!(relative.code, Some(2));
    assert!(relative.errors.contains("is relative: write it from the host's /"), "{relative:?}");
    let nowhere = person.runs(&["explain", "n9", "/etc"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(
        nowhere.errors.contains("n9 has no NodeConfig: there is no such node, or no rule selects it"),
        "{nowhere:?}"
    );
}

async fn what_is_not_well(cluster: &Cluster, person: &Person) {
    // A pattern that only compilation sees, and a node whose agent has not come.
    apply(cluster, rule("odd", json!([{"name": "etc", "path": "/etc/{a[}]b"}]))).await;
    cluster.add_node("n3", &[]).await.unwrap();
    status(cluster, "n3", "is judged", |status| status["conditions"].is_array()).await;
    let ailing = until(person, &["status"], 1).await;
    let words = plain(&ailing.output);
    let findings = words.split("NOT WELL CONDITION REASON SINCE MESSAGE\n").nth(1).unwrap_or_else(|| panic!("{words}"));
    let has = |begin: &str| findings.lines().any(|line| line.starts_with(begin));
    assert!(has("node n3 AgentAvailable "), "{findings}");
    let wide = until(person, &["status", "-o", "wide"], 1).await;
    assert!(plain(&wide.output).contains("NODE STATE RULES ITEMS UNKNOWN"), "{wide:?}");
    let refused = until(person, &["rules", "list", "-o", "json"], 0).await;
    let odd = refused.json().as_array().unwrap().iter().find(|rule| rule["name"] == "odd").cloned().unwrap();
    assert_eq!((&odd["isWell"], &odd["findings"][0]["reason"]), (&json!(false), &json!("Refused")), "{odd}");
    let json = person.runs(&["status", "-o", "json"]).json();
    assert_eq!((&json["isWell"], &json["totals"]["nodes"]), (&json!(false), &json!(3)));
    assert!(json["operator"]["leader"].is_string(), "{}", json["operator"]);
    let both = person.runs(&["status", "n1", "n3"]);
    assert_eq!(both.code, Some(1), "one of them is not well: {both:?}");
}
