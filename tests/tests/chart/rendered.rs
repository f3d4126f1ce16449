//! What the chart renders.

use crate::{container, find, names, objects, pod};
use serde_json::{Value, json};
use std::fs;
use vedette_tests::helm::chart;

/// The chart has a version of its own: it changes where the programs do not.
#[test]
fn images_are_of_the_programs_version() {
    let text = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], version);
    let objects = objects(&[]);
    for (kind, name) in [("Deployment", "vedette-operator"), ("DaemonSet", "vedette-agent")] {
        assert_eq!(container(find(&objects, kind, name))["image"], format!("{name}:{version}"));
    }
}

#[test]
fn an_agent_has_one_capability_and_one_folder_to_write() {
    let objects = objects(&[]);
    let agent = find(&objects, "DaemonSet", "vedette-agent");
    let expected = json!({
        "runAsUser": 0,
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"], "add": ["DAC_READ_SEARCH"]},
    });
    assert_eq!(container(agent)["securityContext"], expected);
    for sharing in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod(agent).get(sharing).is_none(), "{sharing}");
    }
    let mounts = container(agent)["volumeMounts"].as_array().unwrap();
    let writable: Vec<&Value> = mounts.iter().filter(|mount| mount["readOnly"] != true).collect();
    assert_eq!(writable, [&json!({"name": "state", "mountPath": "/var/lib/vedette"})]);
}

#[test]
fn an_agent_is_on_every_linux_node_and_stays_when_it_gets_tight() {
    let objects = objects(&[]);
    let agent = find(&objects, "DaemonSet", "vedette-agent");
    assert_eq!(pod(agent)["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    assert_eq!(pod(agent)["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(pod(agent)["priorityClassName"], "system-node-critical");
    assert_eq!(agent["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
}

/// A node that runs an operator holds a token that writes all NodeConfigs.
#[test]
fn an_operator_is_rather_on_the_control_plane_unless_that_is_not_wanted() {
    let taint = json!({"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"});
    let with = objects(&["--set-json", r#"operator.tolerations=[{"key":"pool","operator":"Exists"}]"#]);
    let operator = pod(find(&with, "Deployment", "vedette-operator"));
    assert_eq!(operator["tolerations"], json!([{"key": "pool", "operator": "Exists"}, taint]));
    let terms = &operator["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
    assert_eq!(terms[0]["preference"]["matchExpressions"], json!([taint]));
    let without = objects(&["--set", "operator.preferControlPlane=false"]);
    let operator = pod(find(&without, "Deployment", "vedette-operator"));
    assert!(operator.get("affinity").is_none() && operator.get("tolerations").is_none());
}

#[test]
fn selinux_and_openshift_get_what_they_ask_for() {
    let agent =
        |arguments: &[&str]| pod(find(&objects(arguments), "DaemonSet", "vedette-agent"))["securityContext"].clone();
    assert!(agent(&[]).get("seLinuxOptions").is_none());
    assert_eq!(agent(&["--set", "agent.seLinuxOptions.level=s0"])["seLinuxOptions"], json!({"level": "s0"}));
    assert_eq!(agent(&["--set", "openshift.enabled=true"])["seLinuxOptions"], json!({"type": "spc_t"}));
    let objects = objects(&["--set", "openshift.enabled=true", "--namespace", "security"]);
    let constraints = find(&objects, "SecurityContextConstraints", "vedette-agent");
    assert_eq!(constraints["users"], json!(["system:serviceaccount:security:vedette-agent"]));
    assert_eq!(constraints["allowedCapabilities"], json!(["DAC_READ_SEARCH"]));
    for no in ["PrivilegedContainer", "PrivilegeEscalation", "HostNetwork", "HostPorts", "HostPID", "HostIPC"] {
        assert_eq!(constraints[format!("allow{no}")], false, "{no}");
    }
    let binding = find(&objects, "RoleBinding", "vedette-operator-nonroot");
    assert_eq!(binding["roleRef"]["name"], "system:openshift:scc:nonroot-v2");
}

#[test]
fn an_operator_is_nobody_and_may_nothing() {
    let objects = objects(&[]);
    let operator = find(&objects, "Deployment", "vedette-operator");
    let user = &pod(operator)["securityContext"];
    assert_eq!((&user["runAsNonRoot"], &user["runAsUser"]), (&json!(true), &json!(65532)));
    assert_eq!(container(operator)["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    assert!(pod(operator).get("volumes").is_none());
    assert_eq!(find(&objects, "PodDisruptionBudget", "vedette-operator")["spec"]["maxUnavailable"], 1);
}

#[test]
fn no_role_has_a_wildcard_and_agents_cannot_make_or_delete() {
    let objects = objects(&[]);
    let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
    for role in roles {
        assert!(!role["rules"].to_string().contains('*'), "{role}");
    }
    let agent = json!([
        {"apiGroups": ["vedette.dev"], "resources": ["nodeconfigs"], "verbs": ["list", "watch"]},
        {"apiGroups": ["vedette.dev"], "resources": ["nodeconfigs/status"], "verbs": ["patch"]},
    ]);
    assert_eq!(find(&objects, "ClusterRole", "vedette-agent")["rules"], agent);
}

#[test]
fn definitions_and_rules_are_kept_and_only_where_they_are_asked_for() {
    assert!(names(&objects(&["--set", "crds.enabled=false"]), "CustomResourceDefinition").is_empty());
    let objects = objects(&["--set", "presets={linux-baseline,etc}"]);
    let definitions = ["datacollectionrules.vedette.dev", "nodeconfigs.vedette.dev"];
    assert_eq!(names(&objects, "CustomResourceDefinition"), definitions);
    let mut rules = names(&objects, "DataCollectionRule");
    rules.sort();
    assert_eq!(rules, ["etc", "linux-baseline"]);
    let kept = |object: &&Value| object["kind"] == "CustomResourceDefinition" || object["kind"] == "DataCollectionRule";
    for object in objects.iter().filter(kept) {
        assert_eq!(object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

/// A template is text: this is what it says of a preset and of a definition once it has been through Helm.
#[test]
fn presets_and_definitions_say_what_their_files_say() {
    let objects = objects(&["--set", "presets={linux-baseline,kubernetes-node,etc}"]);
    for preset in vedette_crds::presets::presets() {
        let file: Value = serde_saphyr::from_str(preset.yaml).unwrap();
        assert_eq!(find(&objects, "DataCollectionRule", preset.name)["spec"], file["spec"], "{}", preset.name);
    }
    for file in vedette_crds::definition::files().unwrap() {
        let file: Value = serde_saphyr::from_str(&file.yaml).unwrap();
        let name = file["metadata"]["name"].as_str().unwrap();
        assert_eq!(find(&objects, "CustomResourceDefinition", name)["spec"], file["spec"], "{name}");
    }
}

#[test]
fn pods_are_reached_for_metrics_alone_and_reach_an_api_server_alone() {
    let policy = |arguments: &[&str]| find(&objects(arguments), "NetworkPolicy", "vedette")["spec"].clone();
    let default = policy(&[]);
    assert_eq!(default["ingress"], json!([]));
    let port = |port: u16| json!({"protocol": "TCP", "port": port});
    let ports = [443, 6443, 8443, 16443].map(port);
    assert_eq!(default["egress"], json!([{"ports": ports}]));
    let prometheus = r#"networkPolicy.metricsFrom=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]"#;
    let scraped = policy(&["--set-json", prometheus]);
    let from = json!([{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]);
    assert_eq!(scraped["ingress"], json!([{"ports": [{"protocol": "TCP", "port": "metrics"}], "from": from}]));
    let known = policy(&["--set-json", r#"networkPolicy.apiServers=[{"ipBlock":{"cidr":"10.0.0.0/28"}}]"#]);
    assert_eq!(known["egress"][0]["to"], json!([{"ipBlock": {"cidr": "10.0.0.0/28"}}]));
    let without = objects(&["--set", "networkPolicy.enabled=false"]);
    assert!(names(&without, "NetworkPolicy").is_empty());
}

#[test]
fn the_admission_policy_knows_the_accounts_of_the_releases_namespace() {
    let objects = objects(&["--namespace", "security"]);
    let policy = find(&objects, "ValidatingAdmissionPolicy", "nodeconfig-status.vedette.dev").to_string();
    for account in ["agent", "operator"] {
        assert!(policy.contains(&format!("'system:serviceaccount:security:vedette-{account}'")), "{policy}");
    }
    let elsewhere = ["vedette-operator-events"];
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        if let Some(namespace) = object["metadata"].get("namespace") {
            assert!(namespace == "security" || elsewhere.contains(&name), "{} {name}", object["kind"]);
        }
        for subject in object["subjects"].as_array().into_iter().flatten() {
            assert_eq!(subject["namespace"], "security", "{name}");
        }
    }
}

#[test]
fn values_reach_the_pods() {
    let objects = objects(&[
        "--set=image.registry=registry.example.com/team/,image.tag=v9,image.pullSecrets={key}",
        &format!("--set=agent.image.digest=sha256:{}", "a".repeat(64)),
        "--set=clusterName=prod-eu,agent.budget.cpuLimit=250m,agent.budget.readLimit=none,agent.logLevel=debug",
        "--set=agent.stateDir=/data/vedette,agent.journalMax=1Gi,agent.records=none,agent.priorityClassName=",
        "--set=agent.nodeSelector.pool=a,agent.podLabels.team=sec,agent.podAnnotations.note=n,agent.maxUnavailable=2",
        "--set=operator.replicas=1,podMonitor.enabled=true,podMonitor.labels.release=prometheus",
    ]);
    let (operator, agent) =
        (find(&objects, "Deployment", "vedette-operator"), find(&objects, "DaemonSet", "vedette-agent"));
    assert_eq!(container(operator)["image"], "registry.example.com/team/vedette-operator:v9");
    let digest = format!("registry.example.com/team/vedette-agent@sha256:{}", "a".repeat(64));
    assert_eq!(container(agent)["image"], digest);
    assert_eq!(pod(agent)["imagePullSecrets"], json!([{"name": "key"}]));
    let environment = |workload: &Value, name: &str| {
        let variables = container(workload)["env"].as_array().unwrap().clone();
        variables.into_iter().find(|variable| variable["name"] == name).map(|variable| variable["value"].clone())
    };
    assert_eq!(environment(operator, "CLUSTER_NAME"), Some(json!("prod-eu")));
    for (name, value) in [("VEDETTE_CPU_LIMIT", "250m"), ("VEDETTE_READ_LIMIT", "none"), ("VEDETTE_LOG", "debug")] {
        assert_eq!(environment(agent, name), Some(json!(value)), "{name}");
    }
    let arguments = container(agent)["args"].to_string();
    assert!(arguments.contains("--journal-max=1Gi") && arguments.contains("--records=none"), "{arguments}");
    assert_eq!(pod(agent)["volumes"][3]["hostPath"]["path"], "/data/vedette");
    assert!(pod(agent).get("priorityClassName").is_none());
    assert_eq!(pod(agent)["nodeSelector"], json!({"kubernetes.io/os": "linux", "pool": "a"}));
    assert_eq!(agent["spec"]["template"]["metadata"]["labels"]["team"], "sec");
    assert_eq!(agent["spec"]["template"]["metadata"]["annotations"], json!({"note": "n"}));
    assert_eq!(agent["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], 2);
    assert!(names(&objects, "PodDisruptionBudget").is_empty(), "one replica may be drained");
    assert_eq!(find(&objects, "PodMonitor", "vedette")["metadata"]["labels"]["release"], "prometheus");
}

#[test]
fn secure_metrics_are_asked_for_over_tls_and_their_readers_are_reviewed() {
    let (plain, secure) = (objects(&[]), ["--set", "metrics.secure=true,serviceMonitor.enabled=true"]);
    for (kind, name) in [("ClusterRole", "vedette-metrics-review"), ("Service", "vedette-agent")] {
        assert!(!names(&plain, kind).contains(&name.to_owned()), "{kind} {name}: none without the switch");
    }
    let readers = r#"metrics.readers=[{"namespace":"monitoring","name":"prometheus-k8s"}]"#;
    let own = objects(&[&secure[..], &["--set-json", readers]].concat());
    let given = objects(
        &[
            &secure[..],
            &[
                "--set",
                "metrics.tlsSecret=tls,openshift.enabled=true,metrics.audience=vedette,serviceMonitor.tokenFile=/token",
            ],
        ]
        .concat(),
    );
    for (kind, name) in [("Deployment", "vedette-operator"), ("DaemonSet", "vedette-agent")] {
        let flags = |objects: &[Value]| container(find(objects, kind, name))["args"].to_string();
        assert!(!flags(&plain).contains("secure"));
        assert!(flags(&own).contains("--secure-metrics") && !flags(&own).contains("--tls-dir"), "{}", flags(&own));
        assert!(flags(&given).contains("--tls-dir=/etc/vedette/tls"), "{}", flags(&given));
        for probe in ["livenessProbe", "readinessProbe"] {
            assert!(container(find(&plain, kind, name))[probe]["httpGet"].get("scheme").is_none());
            assert_eq!(container(find(&own, kind, name))[probe]["httpGet"]["scheme"], "HTTPS");
        }
        assert!(flags(&given).contains("--metrics-audience=vedette"), "{}", flags(&given));
        let volumes = pod(find(&given, kind, name))["volumes"].to_string();
        assert!(volumes.contains(r#"{"secretName":"tls"}"#), "{volumes}");
        assert_eq!(find(&own, "Service", name)["spec"]["clusterIP"], "None");
        assert_eq!(find(&own, "Service", name)["spec"]["selector"], json!({"app.kubernetes.io/name": name}));
    }
    let constraints = find(&given, "SecurityContextConstraints", "vedette-agent");
    assert!(constraints["volumes"].to_string().contains("secret"));
    let endpoint = |objects: &[Value]| find(objects, "ServiceMonitor", "vedette")["spec"]["endpoints"][0].clone();
    assert_eq!(endpoint(&own)["tlsConfig"], json!({"insecureSkipVerify": true}));
    assert_eq!(endpoint(&own)["bearerTokenFile"], "/var/run/secrets/kubernetes.io/serviceaccount/token");
    assert_eq!(endpoint(&given)["bearerTokenFile"], "/token");
    // As a PodMonitor's: else every series would begin anew, and what agents find at that restart be told by no alert.
    let relabelings = endpoint(&own)["relabelings"].clone();
    assert!(relabelings.as_array().unwrap().contains(&json!({"action": "labeldrop", "regex": "service"})));
    let verified =
        json!({"ca": {"secret": {"name": "tls", "key": "ca.crt"}}, "serverName": "vedette.vedette-system.svc"});
    assert_eq!(endpoint(&given)["tlsConfig"], verified);
    let binding = find(&own, "ClusterRoleBinding", "vedette-metrics-reader");
    let reader = json!([{"kind": "ServiceAccount", "name": "prometheus-k8s", "namespace": "monitoring"}]);
    assert_eq!(binding["subjects"], reader);
    assert!(!names(&given, "ClusterRoleBinding").contains(&"vedette-metrics-reader".to_owned()), "nobody is bound");
}

/// What the chart says of flags and variables is said by the programs too: else a pod would not start.
#[tokio::test]
async fn the_programs_know_every_flag_and_variable_of_the_pods() {
    let products = vedette_tests::products().await.unwrap();
    let set = "--set=clusterName=c,agent.budget.cpuLimit=1,agent.budget.readLimit=1Mi";
    let objects = objects(&[
        set,
        "--set=metrics.secure=true,metrics.tlsSecret=t,metrics.audience=a,agent.requireConfinement=true",
    ]);
    let workloads =
        [("Deployment", "vedette-operator", &products.operator), ("DaemonSet", "vedette-agent", &products.agent)];
    for (kind, name, program) in workloads {
        let help = [&["--help"][..], &["run", "--help"]].map(|arguments| {
            let said = std::process::Command::new(program).args(arguments).output().unwrap();
            String::from_utf8(said.stdout).unwrap()
        });
        let help = help.concat();
        let workload = find(&objects, kind, name);
        let flags = container(workload)["args"].as_array().unwrap().iter().skip(1);
        let flags = flags.map(|flag| flag.as_str().unwrap().split('=').next().unwrap().to_owned());
        let variables = container(workload)["env"].as_array().unwrap().iter();
        let variables = variables.map(|variable| variable["name"].as_str().unwrap().to_owned());
        for word in flags.chain(variables) {
            assert!(help.contains(&word), "{name} does not know {word}:\n{help}");
        }
    }
}
