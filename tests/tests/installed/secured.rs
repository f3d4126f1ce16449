//! Metrics over TLS with a certificate in a Secret: real kubelets probe the pods, and who may read them does, from a node.
use crate::scene::Scene;
use serde_json::Value;
use std::{fs, process::Command};
use vedette_tests::{cluster::NAMESPACE, helm::chart, release::NAME};

/// Asks for /metrics at an address, of whoever the CA vouches for under the name; prints the answer's first line and all metrics.
const ASKS: &str = r#"
import socket, ssl, sys
address, name, ca, token = sys.argv[1:]
context = ssl.create_default_context(cadata=ca)
with context.wrap_socket(socket.create_connection((address, 8080), 30), server_hostname=name) as stream:
    stream.sendall(f"GET /metrics HTTP/1.1\r\nHost: {name}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    print(b"".join(iter(lambda: stream.recv(65536), b"")).decode())
"#;

pub(crate) async fn is_secured(scene: &Scene) {
    let ca = certificate(scene);
    let chart = chart().display().to_string();
    let readers = format!(r#"metrics.readers=[{{"namespace":"{NAMESPACE}","name":"reader"}}]"#);
    let upgrade = ["upgrade", NAME, &chart, "--namespace", NAMESPACE, "--reset-then-reuse-values", "--wait"];
    let values = ["--timeout=180s", "--set=metrics.secure=true,metrics.tlsSecret=vedette-tls", "--set-json", &readers];
    // It waits until kubelets have found all pods ready.
    scene.helm(&[&upgrade[..], &values].concat()).unwrap_or_else(|error| panic!("{error}\n{}", scene.state()));

    for account in ["reader", "stranger"] {
        scene.kubectl(&["create", "serviceaccount", account, "--namespace", NAMESPACE]).unwrap();
    }
    let token = |account| scene.kubectl(&["create", "token", account, "--namespace", NAMESPACE]).unwrap();
    let (reader, stranger) = (token("reader"), token("stranger"));
    for program in ["vedette-agent", "vedette-operator"] {
        let selector = format!("--selector=app.kubernetes.io/name={program}");
        let pods =
            scene.get(&["pods", "--namespace", NAMESPACE, &selector, "--field-selector=status.phase=Running"]).unwrap();
        let pods: Vec<&Value> = pods["items"].as_array().unwrap().iter().collect();
        let pods = pods.iter().filter(|pod| pod["metadata"].get("deletionTimestamp").is_none());
        let addresses: Vec<&str> = pods.map(|pod| pod["status"]["podIP"].as_str().unwrap()).collect();
        assert_eq!(addresses.len(), 2, "{program}");
        for address in addresses {
            let own = format!("{}_build_info", program.replace('-', "_"));
            let answer = ask(scene, address, &ca, reader.trim()).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&own), "{answer}");
            let answer = ask(scene, address, &ca, stranger.trim()).await;
            assert!(
                answer.starts_with("HTTP/1.1 403 ") && answer.contains(":stranger may not get /metrics"),
                "{answer}"
            );
            assert!(ask(scene, address, &ca, "none").await.starts_with("HTTP/1.1 401 "));
        }
    }
}

/// Puts a certificate into the Secret that the chart is told of; gives its CA as PEM.
fn certificate(scene: &Scene) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new([format!("vedette.{NAMESPACE}.svc")]).unwrap();
    // With the CA's own name it would be taken for one that signed itself.
    params.distinguished_name.push(rcgen::DnType::CommonName, "vedette");
    let folder = tempfile::tempdir().unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap().pem();
    for (name, content) in [("tls.crt", certificate), ("tls.key", key.serialize_pem()), ("ca.crt", ca.pem())] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let files = format!("--from-file={}", folder.path().display());
    let create = ["create", "secret", "generic", "vedette-tls", "--namespace", NAMESPACE, "--type=kubernetes.io/tls"];
    scene.kubectl(&[&create[..], &[&files]].concat()).unwrap();
    ca.pem()
}

async fn ask(scene: &Scene, address: &str, ca: &str, token: &str) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", ASKS, address, &format!("vedette.{NAMESPACE}.svc"), ca, token]);
    let output = scene.cluster.node("n1").unwrap().run(python).await.unwrap();
    assert!(output.status.success(), "{address}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
