//! The preset kubernetes-node on a host with a node's files, by the real agent: what an attacker or a careless hand would
//! do is reported under the entry and severity that are meant, and what a node does by itself is not.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use vedette_crds::presets::presets;
use vedette_tests::products;

const FILES: [&str; 28] = [
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/manifests/etcd.yaml",
    "/etc/kubernetes/pki/ca.key",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/enc/encryption.yaml",
    "/etc/kubernetes/kubelet/kubelet-config.json",
    "/etc/cni/net.d/10-calico.conflist",
    "/etc/cni/net.d/calico-kubeconfig",
    "/etc/containerd/config.toml",
    "/etc/default/kubelet",
    "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf",
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/x/x",
    "/opt/cni/bin/bridge",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/pki/kubelet-client-2025-11-24-04-00-00.pem",
    "/var/lib/kubelet/pki/kubelet.crt",
    "/var/lib/kubelet/pods/1/volumes/x",
    "/var/lib/cni/networks/cbr0/10.0.0.2",
    "/var/lib/etcd/member/wal/0.wal",
    "/var/lib/rancher/rke2/agent/pod-manifests/etcd.yaml",
    "/var/lib/rancher/k3s/server/tls/server-ca.key",
    "/var/lib/rancher/k3s/server/tls/dynamic-cert.json",
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
    "/var/lib/rancher/k3s/agent/containerd/io.containerd.content.v1.content/blobs/x",
    "/var/snap/microk8s/7/args/kubelet",
    "/home/kubernetes/bin/kubelet",
];
const CURRENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

struct Node {
    folder: tempfile::TempDir,
    agent: PathBuf,
}

impl Node {
    /// With its baseline made.
    async fn new() -> Self {
        let node = Self { folder: tempfile::tempdir().unwrap(), agent: products().await.unwrap().agent.clone() };
        FILES.iter().for_each(|path| node.write(path, "as installed"));
        symlink("usr/lib", node.at("/lib")).unwrap();
        symlink("7", node.at("/var/snap/microk8s/current")).unwrap();
        symlink("kubelet-client-2025-11-24-04-00-00.pem", node.at(CURRENT)).unwrap();
        let preset = presets().into_iter().find(|preset| preset.name == "kubernetes-node").unwrap();
        fs::write(node.folder.path().join("rule.yaml"), preset.yaml).unwrap();
        assert_eq!(node.scan(), Vec::<String>::new());
        node
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("host").join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// As careful programs write: a new file, renamed over the old one.
    fn replace(&self, path: &str, content: &str) {
        let new = self.at(&format!("{path}.new"));
        fs::write(&new, content).unwrap();
        fs::rename(new, self.at(path)).unwrap();
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// `High Modified /path Mode: entry,entry`, sorted by path.
    fn scan(&self) -> Vec<String> {
        let at = |name: &str| self.folder.path().join(name);
        let scan = |arguments: &[&Path]| Command::new(&self.agent).arg("scan").args(arguments).output().unwrap();
        let out = scan(&[
            Path::new("--rule"),
            &at("rule.yaml"),
            Path::new("--state-dir"),
            &at("state"),
            Path::new("--host-root"),
            &at("host"),
        ]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(matches!(out.status.code(), Some(0 | 1)), "{}: {said}", out.status);
        let lines = String::from_utf8(out.stdout).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut told: Vec<Value> = lines.filter(|line| line["schema"] == "vedette.dev/change/v1").collect();
        told.sort_by_key(|change| change["path"].to_string());
        told.iter().map(tell).collect()
    }
}

fn tell(change: &Value) -> String {
    let text = |member: &str| change[member].as_str().unwrap().to_owned();
    let list = |member: &str| -> Vec<String> {
        let list = change[member].as_array().into_iter().flatten();
        list.map(|one| one.as_str().unwrap().trim_start_matches("kubernetes-node/").to_owned()).collect()
    };
    let mut what = format!("{} {} {}", text("severity"), text("changeType"), text("path"));
    if !list("fields").is_empty() {
        what = format!("{what} {}", list("fields").join(","));
    }
    format!("{what}: {}", list("rules").join(","))
}

#[tokio::test]
async fn what_an_attacker_would_do_is_reported_under_the_entry_and_severity_that_are_meant() {
    let node = Node::new().await;
    node.chmod("/etc/kubernetes/kubelet.conf", 0o666);
    node.write("/etc/kubernetes/manifests/evil.yaml", "kind: Pod");
    node.replace("/opt/cni/bin/bridge", "not the bridge");
    node.write("/etc/kubernetes/pki/etcd/ca.crt", "another authority");
    node.write("/etc/kubernetes/enc/encryption.yaml", "identity: {}");
    node.write("/etc/containerd/config.toml", "runtime_type = evil");
    node.write("/etc/cni/net.d/00-evil.conflist", "{}");
    node.chmod("/etc/cni/net.d/calico-kubeconfig", 0o644 | 0o022);
    node.write("/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--anonymous-auth=true");
    node.write("/etc/systemd/system/kubelet.service.d/99-evil.conf", "[Service]");
    node.write("/usr/libexec/kubernetes/kubelet-plugins/volume/exec/x/x", "#!/bin/sh");
    node.write("/var/lib/kubelet/config.yaml", "authentication: {anonymous: {enabled: true}}");
    node.write("/var/lib/kubelet/pki/kubelet.crt", "another certificate");
    node.chmod("/var/lib/etcd", 0o777);
    node.write("/var/lib/rancher/rke2/agent/pod-manifests/etcd.yaml", "kind: Evil");
    node.write("/var/lib/rancher/k3s/server/tls/server-ca.key", "another key");
    node.write("/var/snap/microk8s/7/args/kubelet", "--anonymous-auth=true");
    node.write("/home/kubernetes/bin/kubelet", "not the kubelet");
    assert_eq!(
        node.scan(),
        [
            "High Added /etc/cni/net.d/00-evil.conflist: cni",
            "High Modified /etc/cni/net.d/calico-kubeconfig Mode: cni-tokens",
            "High Modified /etc/containerd/config.toml Content,Size: settings",
            "High Modified /etc/default/kubelet Content,Size: flags",
            "High Modified /etc/kubernetes/enc/encryption.yaml Content: etc",
            "Critical Modified /etc/kubernetes/kubelet.conf Mode: credentials,etc",
            "Critical Added /etc/kubernetes/manifests/evil.yaml: etc,static-pods",
            "Critical Modified /etc/kubernetes/pki/etcd/ca.crt Content,Size: credentials,etc",
            "High Added /etc/systemd/system/kubelet.service.d/99-evil.conf: units",
            "High Modified /home/kubernetes/bin/kubelet Content,Size: gke",
            "Critical Modified /opt/cni/bin/bridge Content,Size: cni-bin",
            "High Modified /usr/libexec/kubernetes/kubelet-plugins/volume/exec/x/x Content,Size: plugins",
            "High Modified /var/lib/etcd Mode: data",
            "Critical Modified /var/lib/kubelet/config.yaml Content,Size: kubelet",
            "High Modified /var/lib/kubelet/pki/kubelet.crt Content,Size: kubelet-pki",
            "Critical Modified /var/lib/rancher/k3s/server/tls/server-ca.key Content,Size: rancher",
            "Critical Modified /var/lib/rancher/rke2/agent/pod-manifests/etcd.yaml Content,Size: rancher",
            "High Modified /var/snap/microk8s/7/args/kubelet Content,Size: microk8s",
        ]
    );
}

#[tokio::test]
async fn what_a_node_does_by_itself_is_not_reported_and_a_renewed_certificate_once_and_low() {
    let node = Node::new().await;
    node.replace("/etc/cni/net.d/calico-kubeconfig", "another token");
    node.write("/var/lib/cni/networks/cbr0/10.0.0.3", "a pod");
    fs::remove_file(node.at("/var/lib/cni/networks/cbr0/10.0.0.2")).unwrap();
    node.write("/var/lib/etcd/member/wal/1.wal", "written");
    node.write("/var/lib/kubelet/pods/2/volumes/x", "a volume");
    node.write("/var/lib/rancher/k3s/server/tls/dynamic-cert.json", "{}");
    node.write("/var/lib/rancher/k3s/agent/containerd/io.containerd.content.v1.content/blobs/y", "an image");
    assert_eq!(node.scan(), Vec::<String>::new());

    node.write("/var/lib/kubelet/pki/kubelet-client-2026-11-24-04-00-00.pem", "a new certificate");
    fs::remove_file(node.at(CURRENT)).unwrap();
    symlink("kubelet-client-2026-11-24-04-00-00.pem", node.at(CURRENT)).unwrap();
    let added = "Low Added /var/lib/kubelet/pki/kubelet-client-2026-11-24-04-00-00.pem: renewed";
    assert_eq!(node.scan(), [added]);
}
