//! Which programs the tests run that are not the product's, and where they come from. Reads `KUBEBUILDER_ASSETS`; produces the
//! paths of etcd, of Kubernetes in one program and of containerd, built from the Go modules in this tree.
use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    go_build::{GoModule, Program},
};

const ETCD: &str = "etcd";
const KUBE_APISERVER: &str = "kube-apiserver";
const HYPERKUBE: &str = "hyperkube";
const HOLDER: &str = "holder";

const CONTROL_PLANE: &[Program] = &[
    Program { name: ETCD, package: "go.etcd.io/etcd/server/v3", linker_flags: "-s -w" },
    Program {
        name: HYPERKUBE,
        package: "./hyperkube",
        // Without its version stamped in it calls itself v0.0.0-master, and charts that ask for a minimum refuse it.
        linker_flags: "-s -w \
            -X k8s.io/component-base/version.gitVersion=v1.37.2 \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=37 \
            -X k8s.io/client-go/pkg/version.gitVersion=v1.37.2 \
            -X k8s.io/client-go/pkg/version.gitMajor=1 \
            -X k8s.io/client-go/pkg/version.gitMinor=37",
    },
    Program { name: HOLDER, package: "./holder", linker_flags: "-s -w" },
];

/// Kubelets ask it for its version.
const CONTAINERD_FLAGS: &str = "-s -w -X github.com/containerd/containerd/v2/version.Version=2.4.2";
const CONTAINERD: &[Program] = &[
    Program {
        name: "containerd",
        package: "github.com/containerd/containerd/v2/cmd/containerd",
        linker_flags: CONTAINERD_FLAGS,
    },
    Program {
        name: "containerd-shim-runc-v2",
        package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
        linker_flags: CONTAINERD_FLAGS,
    },
    Program { name: "ctr", package: "github.com/containerd/containerd/v2/cmd/ctr", linker_flags: CONTAINERD_FLAGS },
];

const OWN_ASSETS: &str = "; or set KUBEBUILDER_ASSETS to a folder with etcd and kube-apiserver";

/// The two programs of a control plane, as files that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// etcd
    pub etcd: PathBuf,
    /// kube-apiserver, when it is started under that name: it may be a program that is every Kubernetes command.
    pub kube_apiserver: PathBuf,
}

impl Binaries {
    /// Finds them, or builds them; a build takes 5 to 15 minutes and tells on standard error how it goes. Blocks.
    ///
    /// # Errors
    /// When `KUBEBUILDER_ASSETS` names a folder without them, when Go is missing or too old, or when the build fails.
    pub fn find_or_build() -> Result<Self> {
        match env::var_os("KUBEBUILDER_ASSETS").filter(|value| !value.is_empty()) {
            Some(assets) => Self::in_assets(Path::new(&assets)),
            None => Ok(Self::in_build(&build_control_plane(&[ETCD, HYPERKUBE])?)),
        }
    }

    fn in_build(folder: &Path) -> Self {
        Self { etcd: folder.join(ETCD), kube_apiserver: folder.join(HYPERKUBE) }
    }

    fn in_assets(assets: &Path) -> Result<Self> {
        let asset = |name: &str| {
            let path = assets.join(name);
            if path.is_file() {
                Ok(path)
            } else {
                Err(Error::Prerequisite(format!(
                    "KUBEBUILDER_ASSETS is {}, but there is no {name} in it: unset it, and both are built",
                    assets.display(),
                )))
            }
        };
        Ok(Self { etcd: asset(ETCD)?, kube_apiserver: asset(KUBE_APISERVER)? })
    }
}

/// The programs of a cluster with nodes, as files that can be run.
#[derive(Debug, Clone)]
pub(crate) struct ClusterBinaries {
    /// etcd, hyperkube and holder lie in it.
    pub(crate) kubernetes: PathBuf,
    /// containerd, its shim and ctr lie in it.
    pub(crate) containerd: PathBuf,
}

impl ClusterBinaries {
    /// Finds them, or builds them. Blocks. `KUBEBUILDER_ASSETS` has no say: there is no kubelet in what it names.
    pub(crate) fn find_or_build() -> Result<Self> {
        let containerd: Vec<&str> = CONTAINERD.iter().map(|program| program.name).collect();
        Ok(Self {
            kubernetes: build_control_plane(&[ETCD, HYPERKUBE, HOLDER])?,
            containerd: GoModule::of_this_tree("containerd", CONTAINERD, "")?.find_or_build(&containerd)?,
        })
    }

    /// The two of a control plane.
    pub(crate) fn control_plane(&self) -> Binaries {
        Binaries::in_build(&self.kubernetes)
    }

    /// Every Kubernetes command in one: it is the one whose name it is started under.
    pub(crate) fn hyperkube(&self) -> PathBuf {
        self.kubernetes.join(HYPERKUBE)
    }

    /// The first process of machines and pods, and who cleans up behind a killed test.
    pub(crate) fn holder(&self) -> PathBuf {
        self.kubernetes.join(HOLDER)
    }
}

/// The holder alone, for tests of a machine: seconds, not minutes.
#[cfg(test)]
pub(crate) fn find_or_build_holder() -> Result<PathBuf> {
    Ok(build_control_plane(&[HOLDER])?.join(HOLDER))
}

fn build_control_plane(wanted: &[&str]) -> Result<PathBuf> {
    GoModule::of_this_tree("control-plane", CONTROL_PLANE, OWN_ASSETS)?.find_or_build(wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    #[test]
    fn set_assets_are_what_is_run() {
        let assets = tempfile::tempdir().unwrap();
        for name in ["etcd", "kube-apiserver"] {
            fs::write(assets.path().join(name), "").unwrap();
        }
        let found = Binaries::in_assets(assets.path()).unwrap();
        assert_eq!(found.etcd, assets.path().join("etcd"));
        assert_eq!(found.kube_apiserver, assets.path().join("kube-apiserver"));
    }

    #[test]
    fn assets_without_a_binary_are_named_and_not_silently_replaced() {
        let assets = tempfile::tempdir().unwrap();
        let error = Binaries::in_assets(assets.path()).unwrap_err().to_string();
        assert!(error.contains("there is no etcd in it"), "{error}");
    }
}
