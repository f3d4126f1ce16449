//! API servers that cannot be found, reached, or do not let the agent or the operator in.
use std::net::TcpListener;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, api::PostParams};
use serde_json::json;
use vedette_tests::{SharedCluster, loopback};

use crate::{
    page::{matches, without_prefix},
    scene::{Said, Scene, Service, command, ended},
};

static CLUSTER: SharedCluster = SharedCluster::new();

pub(crate) const FORBIDDEN: (&str, &str) = ("cannot watch <what>: <who may not do what with which kind>", "goes on");

rows! {
    no_way_to_an_api_server: "2", "<...>no pod with a service account<...>" =>
        async |scene: &Scene| ended(scene.agent("run", &[])).await;

    no_way_to_an_api_server_for_the_operator: "2", "cannot find the API server: <reason>" =>
        async |scene: &Scene| ended(operator(scene, &[])).await;

    a_kubeconfig_that_cannot_be_used: "2", "cannot use the kubeconfig <file>: <reason>" => async |scene: &Scene| {
        let secret = "s3cr3t";
        let malformed = format!("apiVersion: v1\nkind: Config\nusers: [{{name: a, user: {{token: {secret}\n");
        let malformed = scene.write("malformed", &malformed);
        let mistyped = scene.write("mistyped", &format!("apiVersion: v1\nusers: {{token: {secret}}}\n"));
        let empty = scene.write("empty", "");
        for kubeconfig in ["/nonexistent/config", &malformed, &mistyped, &empty, &scene.text("host")] {
            for command in [scene.agent("run", &[("--kubeconfig", kubeconfig)]), operator(scene, &["--kubeconfig", kubeconfig])] {
                let said = ended(command).await;
                assert!(said.err.contains(&format!("cannot use the kubeconfig {kubeconfig}")), "{said:?}");
                assert!(said.exit == "2" && !said.err.contains(secret), "{said:?}");
            }
        }
        ended(scene.agent("run", &[("--kubeconfig", "/nonexistent/config")])).await
    };

    a_certificate_that_cannot_be_used: "goes on", "the certificate in <folder> cannot be used, serving with one that nobody can verify until it can be: <reason>" =>
        async |scene: &Scene| {
            scene.write("tls/tls.crt", "");
            scene.write("tls/tls.key", "s3cr3t");
            let kubeconfig = unreachable_kubeconfig(scene);
            let mut said = None;
            for folder in ["/nonexistent/tls", &scene.text("tls")] {
                let mut command = scene.agent("run", &[("--kubeconfig", &kubeconfig), ("--tls-dir", folder)]);
                command.arg("--secure-metrics");
                let ran = scene.goes_on(command, |line| line.contains("cannot be used, serving")).await;
                assert!(ran.err.contains(folder) && !ran.err.contains("s3cr3t"), "{ran:?}");
                said = Some(ran);
            }
            said.unwrap()
        };

    an_address_that_is_taken: "2", "cannot listen on <address>: <...>Address already in use (os error 98)" =>
        async |scene: &Scene| {
            let taken = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = taken.local_addr().unwrap().to_string();
            let kubeconfig = unreachable_kubeconfig(scene);
            let mut listening = command(&scene.products.operator, &["run", "--listen", &address, "--kubeconfig", &kubeconfig]);
            listening.env_remove("POD_NAMESPACE");
            for command in [
                listening,
                scene.agent("standalone", &[("--listen", &address)]),
            ] {
                let said = ended(command).await;
                assert!(said.exit == "2" && said.err.contains("Address already in use"), "{said:?}");
                assert!(said.err.contains(&format!("cannot listen on {address}")), "{said:?}");
            }
            ended(scene.agent("run", &[("--listen", &address), ("--kubeconfig", &kubeconfig)])).await
        };

    an_api_server_that_cannot_be_reached: "goes on", "cannot watch <what>: <reason>" => async |scene: &Scene| {
        let kubeconfig = unreachable_kubeconfig(scene);
        let mut service = Service::start(scene, scene.agent("run", &[("--kubeconfig", &kubeconfig)]));
        let err = service.says(|line| line.contains("cannot watch")).await;
        assert!(err.contains("Connection refused"), "{err}");
        assert_eq!(loopback::get(service.address(), "/healthz").await.unwrap().status, 200);
        assert_eq!(loopback::get(service.address(), "/readyz").await.unwrap().status, 503, "it has no plan yet");
        service.end().await;
        Said { exit: "goes on".into(), out: String::new(), err }
    };

    an_api_server_that_the_operator_cannot_reach: "goes on", "cannot <do what>: <reason>" => async |scene: &Scene| {
        let kubeconfig = unreachable_kubeconfig(scene);
        let mut service = Service::start(scene, operator(scene, &["--kubeconfig", &kubeconfig]));
        let err = service.says(|line| line.contains("WARN") && line.contains("cannot")).await;
        assert!(err.contains("Connection refused"), "{err}");
        assert_eq!(loopback::get(service.address(), "/healthz").await.unwrap().status, 200);
        service.end().await;
        Said { exit: "goes on".into(), out: String::new(), err }
    };
}

/// A row of its own, for it needs a real cluster.
#[test]
fn a_permission_that_is_missing() {
    CLUSTER.test(async |cluster| {
        let scene = Scene::new().await;
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), "vedette-system");
        let stranger = serde_json::from_value(json!({"metadata": {"name": "stranger"}})).unwrap();
        accounts.create(&PostParams::default(), &stranger).await.unwrap();
        let identity = cluster.service_account("stranger", None).await.unwrap();
        let kubeconfig = scene.text("kubeconfig");
        identity.write_kubeconfig(kubeconfig.as_ref()).unwrap();
        for (command, kind) in [
            (scene.agent("run", &[("--kubeconfig", &kubeconfig)]), "nodeconfigs"),
            (operator(&scene, &["--kubeconfig", &kubeconfig]), "namespaces"),
        ] {
            let said = scene.goes_on(command, |line| is_ours(line) && line.contains(kind)).await;
            let line = said.err.lines().find(|line| is_ours(line) && line.contains(kind)).unwrap();
            for part in ["system:serviceaccount:vedette-system:stranger", kind] {
                assert!(line.contains(part), "{line}");
            }
            assert!(["list", "get"].iter().any(|verb| line.contains(verb)), "which verb: {line}");
            if kind == "nodeconfigs" {
                assert!(matches(without_prefix(line), FORBIDDEN.0), "{line}");
            }
        }
    });
}

/// Whether a line of a log is the product's, not one of a library that it uses.
fn is_ours(line: &str) -> bool {
    line.contains("WARN vedette_")
}

fn operator(scene: &Scene, options: &[&str]) -> tokio::process::Command {
    let mut command = command(&scene.products.operator, &["run", "--listen", "127.0.0.1:0"]);
    command.args(options).env_remove("POD_NAMESPACE").env_remove("CLUSTER_NAME");
    command
}

/// A kubeconfig for an API server at a port where nobody listens.
fn unreachable_kubeconfig(scene: &Scene) -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{free}")}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    scene.write("unreachable", &kubeconfig.to_string())
}
