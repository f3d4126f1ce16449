//! Whoever can reach the port of an agent cannot keep it from its work, nor others from its pages.
#![allow(clippy::unwrap_used)]

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use vedette_tests::{
    Metrics, eventually,
    loopback::{free_port, get},
    not_yet,
    process::Process,
    products,
};

const SOON: Duration = Duration::from_secs(60);
/// Fewer than the crowd opens, and enough for an agent at work with its 64 connections.
const DESCRIPTORS: usize = 128;
const CROWD: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_idle_connections_starve_neither_the_compare_nor_the_probes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let deep = (0..40).fold(path("host/etc"), |deep, _| deep.join("d"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "1").unwrap();
    let rule = "apiVersion: vedette.dev/v1alpha1\nkind: DataCollectionRule\nmetadata: {name: r}\n\
                spec: {files: {interval: 10s, paths: [{name: etc, path: /etc}]}}\n";
    fs::write(path("rule.yaml"), rule).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"")).arg(&products().await.unwrap().agent);
    command.arg("standalone").arg("--rule").arg(path("rule.yaml")).arg("--state-dir").arg(path("state"));
    command.arg("--host-root").arg(path("host")).arg("--records").arg(path("records"));
    command.arg("--listen").arg(address.to_string());
    let mut agent = Process::start("agent", command, &path("log")).unwrap();

    let baseline = async || {
        agent.still_runs()?;
        let text = fs::read_to_string(path("records"))?;
        if text.contains("BaselineMade") { Ok(()) } else { Err(not_yet(text)) }
    };
    eventually("the baseline", SOON, baseline).await.unwrap();
    let mut crowd = Vec::new();
    for round in 0..3 {
        for number in 0..CROWD {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Some say nothing, some half of a question.
            if number % 2 == 0 {
                let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await;
            }
            crowd.push(stream);
        }
        fs::write(deep.join("file"), "x".repeat(round + 2)).unwrap();
        for probe in ["/healthz", "/readyz"] {
            assert_eq!(get(address, probe).await.unwrap().status, 200);
        }
        eventually("the change is found", SOON, async || {
            let metrics = Metrics::scrape(address).await?;
            let records = metrics.sum("vedette_agent_records_total", &[]);
            if records == (round + 1) as f64 { Ok(()) } else { Err(not_yet(metrics)) }
        })
        .await
        .unwrap();
    }
    let metrics = Metrics::scrape(address).await.unwrap();
    assert_eq!(metrics.sum("vedette_agent_scan_errors_total", &[]), 0.0, "{metrics}");
    assert_eq!(metrics.sum("vedette_agent_unknown_items", &[]), 0.0, "{metrics}");
    let status = agent.terminate(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", agent.tail());
}
