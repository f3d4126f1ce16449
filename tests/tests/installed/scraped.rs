//! A real Prometheus scrapes every pod of the product on real nodes, as the API server's proxy gives its pages.
use crate::scene::{Scene, WITHIN};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{fs, path::Path};
use vedette_tests::{cluster::NAMESPACE, eventually, not_yet, prometheus::Prometheus};

/// A member of the administrator's kubeconfig as a file.
fn file(kubeconfig: &Value, pointer: &str, folder: &Path) -> String {
    let data = kubeconfig.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer}"));
    let path = folder.join(pointer.replace('/', "-"));
    fs::write(&path, BASE64_STANDARD.decode(data).unwrap()).unwrap();
    path.display().to_string()
}

pub(crate) async fn is_scraped(scene: &Scene) {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(scene.cluster.kubeconfig()).unwrap();
    let kubeconfig: Value = serde_saphyr::from_str(&text).unwrap();
    let of = |pointer: &str| file(&kubeconfig, pointer, folder.path());
    let tls = json!({
        "ca_file": of("/clusters/0/cluster/certificate-authority-data"),
        "cert_file": of("/users/0/user/client-certificate-data"),
        "key_file": of("/users/0/user/client-key-data"),
    });
    let server = kubeconfig["clusters"][0]["cluster"]["server"].as_str().unwrap().strip_prefix("https://").unwrap();
    let selector = "--selector=app.kubernetes.io/part-of=vedette";
    let pods =
        scene.get(&["pods", "--namespace", NAMESPACE, selector, "--field-selector=status.phase=Running"]).unwrap();
    let names = pods["items"].as_array().unwrap().iter().map(|pod| pod["metadata"]["name"].as_str().unwrap());
    let jobs = names.map(|name| {
        json!({
            "job_name": name,
            "scheme": "https",
            "metrics_path": format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics"),
            "tls_config": tls,
            "static_configs": [{"targets": [server]}],
        })
    });
    let jobs: Vec<Value> = jobs.collect();
    assert_eq!(jobs.len(), 4, "two operators and two agents: {pods}");
    let configuration = json!({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs});
    let prometheus = Prometheus::start(&configuration.to_string()).await.unwrap();
    for query in [
        "count(up == 1) == 4",
        "sum(vedette_operator_leader) == 1",
        r#"max(vedette_operator_nodes{state="Ready"}) == 2"#,
        r#"sum(vedette_agent_changes_total{rule="linux-baseline", change_type="Modified"}) >= 1"#,
    ] {
        eventually(query, WITHIN, async || {
            let series = prometheus.query(query)?.unwrap_or_else(|refused| panic!("{query}: {refused}"));
            if series.is_empty() { Err(not_yet(prometheus.tail())) } else { Ok(()) }
        })
        .await
        .unwrap();
    }
}
