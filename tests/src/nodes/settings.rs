//! What containerd, CNI, kubelet and kube-proxy of a node are told, as the files that they read. Pure: text from names and addresses.
use std::net::Ipv4Addr;

use crate::nodes::root::PROGRAMS;

/// The image of every pod's first process. It ends at SIGTERM, so it serves as a pod's only program too.
pub const PAUSE: &str = "docker.io/library/pause:1";
pub(crate) const PAUSE_VERSION: &str = "1";

/// A node's name, its place among the nodes and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// n1, n2, …
    pub(crate) name: String,
    number: u8,
    /// The trees of cgroups that its pods are in.
    pub(crate) cgroup: String,
}

/// The control plane's address among the nodes.
pub(crate) const CONTROL_PLANE: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 1);
/// Services have their addresses from it, as the API server says.
const ALL_PODS: &str = "10.244.0.0/16";

impl Place {
    /// The place of the node with this number, from 1.
    pub(crate) fn new(number: u8, run: &str) -> Self {
        let name = format!("n{number}");
        Self { cgroup: format!("{run}-{name}"), name, number }
    }

    /// Its address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, 0, 10 + self.number)
    }

    /// Its pods' addresses.
    pub(crate) fn pods(&self) -> String {
        format!("10.244.{}.0/24", self.number)
    }
}

/// /etc/cni/net.d: a bridge, and nothing that judges traffic.
pub(crate) fn cni(place: &Place) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [{{
  "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
  "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}], "dataDir": "/run/cni"}}
}}]}}
"#,
        place.pods()
    )
}

/// /etc/containerd/config.toml
pub(crate) fn containerd() -> String {
    format!(
        r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  # A machine without CAP_SYS_RESOURCE cannot lower a score, and the first process of a pod wants -998.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "{PROGRAMS}/containerd/containerd-shim-runc-v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "/usr/sbin/runc"
        SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "/etc/cni/net.d"
"#
    )
}

/// /var/lib/kubelet/config.yaml
pub(crate) fn kubelet(place: &Place) -> String {
    let (address, cgroup) = (place.address(), &place.cgroup);
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: /etc/kubernetes/pki/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: /var/lib/kubelet/pki/kubelet.crt
tlsPrivateKeyFile: /var/lib/kubelet/pki/kubelet.key
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
staticPodPath: /etc/kubernetes/manifests
# 1.37 refuses cgroup version 1 unless it is told not to.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
seccompDefault: true
# A machine without CAP_SYS_RESOURCE cannot lower its score.
oomScoreAdj: 0
failSwapOn: false
resolvConf: /etc/resolv.conf
# The disk is the tests' machine's: how full that is says nothing about the node.
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
maxPods: 60
"
    )
}

/// /var/lib/kube-proxy/config.yaml
pub(crate) fn kube_proxy(place: &Place) -> String {
    let (name, address) = (&place.name, place.address());
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {name}
bindAddress: {address}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clusterCIDR: {ALL_PODS}
clientConnection: {{kubeconfig: /var/lib/kube-proxy/kubeconfig}}
# These are the whole machine's, not the node's: left as they are.
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"
    )
}
