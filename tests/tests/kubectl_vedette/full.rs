//! `changes --full` where nodes give no log, half of one, or one that no agent wrote.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use serde_json::json;
use vedette_tests::{Agent, Cluster, eventually, not_yet, products};

use crate::{
    kubelet::{self, Kubelet, Log},
    scene::{Person, Ran, SOON, apply, counts, folder, node, rule, until},
};

struct Scene {
    cluster: Cluster,
    person: Person,
}

impl Scene {
    /// All records of some nodes, or of all.
    fn full(&self, words: &[&str]) -> Ran {
        self.person.runs(&[&["changes", "--full"], words].concat())
    }

    /// The lines of an agent, once all that its status knows of are written.
    async fn lines(&self, node: &str, agent: &Agent) -> Vec<String> {
        eventually(&format!("the whole journal of {node} is in its log"), SOON, async || {
            let ran = self.full(&["--node", node]);
            let written = fs::read_to_string(agent.records_file())?;
            if (ran.code, &*ran.errors, &ran.output) == (Some(0), "", &written) {
                Ok(written.lines().map(str::to_owned).collect())
            } else {
                Err(not_yet(format!("{ran:?}")))
            }
        })
        .await
        .unwrap()
    }
}

fn bytes(lines: &[&[u8]]) -> Log {
    Log::Bytes(lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect())
}

fn text(lines: &[String]) -> Log {
    bytes(&lines.iter().map(String::as_bytes).collect::<Vec<_>>())
}

async fn verifies(lines: &str) {
    let mut verify = Command::new(&products().await.unwrap().agent);
    let mut verify = verify.args(["verify", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    verify.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let verified = verify.wait_with_output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}: {lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_gives_no_log_or_a_false_one_hides_no_other() {
    let cluster = Cluster::start().await.unwrap();
    let _operator = cluster.start_operator().await.unwrap();
    let person = Person::new(cluster.control_plane().admin(), folder(&cluster, "admin")).await;
    let (first, first_agent) = node(&cluster, "n1").await;
    let (second, second_agent) = node(&cluster, "n2").await;
    let kubelet = Kubelet::start(&cluster, "n1", Log::File(first_agent.records_file().to_owned())).await;
    let _other = Kubelet::start(&cluster, "n2", Log::File(second_agent.records_file().to_owned())).await;
    apply(&cluster, rule("web", json!([{"name": "etc", "path": "/etc"}]))).await;
    until(&person, &["status"], 0).await;
    first.write("/etc/passwd", "evil").unwrap();
    second.write("/etc/passwd", "root\nevil").unwrap();
    counts(&cluster, "n1", 1).await;
    counts(&cluster, "n2", 1).await;
    first.chmod("/etc/passwd", 0o600).unwrap();
    counts(&cluster, "n1", 2).await;
    let scene = Scene { cluster, person };
    let ours = scene.lines("n1", &first_agent).await;
    let theirs = scene.lines("n2", &second_agent).await;
    assert!(ours.len() >= 3, "a baseline and two changes: {ours:?}");
    verifies(&scene.full(&["--node", "n1"]).output).await;

    nodes_without_a_log(&scene, &ours, &theirs).await;
    lines_that_no_agent_of_the_node_wrote(&scene, &kubelet, &ours, &theirs);
    lines_that_are_not_there(&scene, &kubelet, &ours);
    a_log_that_stalls(&scene, &kubelet, &ours, &theirs);

    // Who has records, and nobody in whose log they are.
    kubelet.shows(text(&ours));
    let pods: Api<Pod> = Api::namespaced(scene.cluster.client(), "vedette-system");
    pods.delete("vedette-agent-n2", &DeleteParams::default().grace_period(0)).await.unwrap();
    let ran = scene.full(&["--node", "n*"]);
    assert_eq!((ran.code, ran.output), (Some(2), ours.join("\n") + "\n"), "{}", ran.errors);
    assert_eq!(ran.errors, "warning: n2: it has records, and no agent's pod is on it to read them from\n");
}

async fn nodes_without_a_log(scene: &Scene, ours: &[String], theirs: &[String]) {
    // They are before the others by name: of one nobody knows where its kubelet is, that of the other is not there.
    for node in ["dark", "far"] {
        scene.cluster.add_node(node, &[]).await.unwrap();
        scene.cluster.add_agent_pod(node).await.unwrap();
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    kubelet::at(&scene.cluster, "far", nobody).await;
    let ran = scene.full(&[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.output.lines().collect::<Vec<_>>(), [ours, theirs].concat(), "{}", ran.errors);
    for node in ["dark", "far"] {
        let begin = format!("warning: {node}: cannot read the log of vedette-agent-{node} at ");
        assert!(ran.errors.lines().any(|line| line.starts_with(&begin)), "{begin}\nis not in\n{}", ran.errors);
    }
    for node in ["n1", "n2"] {
        assert!(!ran.errors.contains(node), "{}", ran.errors);
    }
}

fn lines_that_no_agent_of_the_node_wrote(scene: &Scene, kubelet: &Kubelet, ours: &[String], theirs: &[String]) {
    let (last, before) = ours.split_last().unwrap();
    let moves = last.replace("/etc", "\u{9b}2J/etc");
    let overwrites = last.replacen(",\"node\"", "\r ,\"node\"", 1);
    let mut lines: Vec<&[u8]> =
        vec![b"{\"schema\":\"vedette.dev/change/v1\",\"path\":\"\xff\xfe\"}", b"\xff for people"];
    lines.extend(before.iter().map(String::as_bytes));
    lines.extend([moves.as_bytes(), overwrites.as_bytes()]);
    lines.extend(theirs.iter().map(String::as_bytes));
    lines.push(last.as_bytes());
    kubelet.shows(bytes(&lines));
    let ran = scene.full(&["--node", "n1"]);
    assert_eq!(
        (ran.code, ran.output.lines().collect::<Vec<_>>()),
        (Some(2), ours.iter().map(String::as_str).collect()),
        "{}",
        ran.errors
    );
    assert_eq!(
        ran.errors,
        format!(
            "note: n1: 3 lines of its log look like records and are not whole, or not an agent's\n\
             note: n1: {} lines of its log claim to be of other nodes, the first of n2: they are not shown\n",
            theirs.len()
        )
    );
    // A journal that the status does not know, whole as it is.
    let another = theirs.iter().map(|line| line.replace("\"node\":\"n2\"", "\"node\":\"n1\"")).collect::<Vec<_>>();
    kubelet.shows(text(&another));
    let ran = scene.full(&["--node", "n1"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.errors.contains("note: n1: its log ends in the journal "), "{}", ran.errors);
}

fn lines_that_are_not_there(scene: &Scene, kubelet: &Kubelet, ours: &[String]) {
    let (last, rest) = ours.split_last().unwrap();
    kubelet.shows(text(std::slice::from_ref(last)));
    let count = rest.len();
    for words in [&["--node", "n1"][..], &["--node", "n1", "--since", "1h"]] {
        let ran = scene.full(words);
        assert_eq!((ran.code, ran.output), (Some(0), last.clone() + "\n"), "{}", ran.errors);
        assert_eq!(ran.errors, format!("note: n1: records and notices 1 to {count} are not in its log any more\n"));
    }
    kubelet.shows(text(rest));
    let ran = scene.full(&["--node", "n1"]);
    let missing = ours.len();
    let note = format!("note: n1: records and notices {missing} to {missing} of its journal are not in its log\n");
    assert_eq!((ran.code, ran.errors), (Some(0), note));
    kubelet.shows(text(&[]));
    let ran = scene.full(&["--node", "n1", "--since", "1h"]);
    let note = format!("note: n1: its log holds no record, and its journal has {missing}: does the agent write them");
    assert!(ran.code == Some(0) && ran.errors.starts_with(&note), "{ran:?}");
    // Nothing is asked for that is not there.
    kubelet.shows(text(ours));
    let ran = scene.full(&["--node", "n1", "--since", "1ms"]);
    assert_eq!((ran.code, &*ran.output, &*ran.errors), (Some(0), "", ""));
}

fn a_log_that_stalls(scene: &Scene, kubelet: &Kubelet, ours: &[String], theirs: &[String]) {
    kubelet.shows(Log::Stalled((ours[0].clone() + "\n").into_bytes()));
    let ran = scene.full(&["--node", "n*"]);
    let shown: Vec<String> = [&ours[..1], theirs].concat();
    assert_eq!(
        (ran.code, ran.output.lines().collect::<Vec<_>>()),
        (Some(2), shown.iter().map(String::as_str).collect())
    );
    assert_eq!(
        ran.errors,
        "warning: n1: cannot read the log of vedette-agent-n1 to its end: nothing came for 30 s, and it had not ended\n"
    );
}
