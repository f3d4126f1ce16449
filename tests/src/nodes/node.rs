//! One node: a machine with containerd, kubelet and kube-proxy on it, joined to the control plane's network. Produces what tests do to
//! a node: files, programs, images, and taking the kubelet or the network away.
use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use tokio::sync::Mutex;
use vedette_image::{
    archive,
    image::{Image, Kind},
    program::Program,
};

use crate::{
    binaries::ClusterBinaries,
    error::{Doing as _, Error, Result},
    host::write_at_once,
    identity::{Ca, Identity, Server},
    nodes::{
        machine::Machine,
        network::Network,
        root::{PROGRAMS, Root},
        settings::{self, CONTROL_PLANE, PAUSE, PAUSE_VERSION, Place},
    },
    pki::{Certified, Pki},
    process::Process,
    wait::eventually,
};

/// containerd answers after 1 s on an idle machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

/// What a node is made from.
#[derive(Clone)]
pub(crate) struct Parts<'a> {
    pub(crate) binaries: &'a ClusterBinaries,
    pub(crate) packages: &'a Path,
    /// The control plane's network.
    pub(crate) network: &'a Network,
    pub(crate) pki: &'a Pki,
}

/// A node. Everything on it ends, and is removed, when it is dropped.
pub struct Node {
    // In the order in which they have to go: processes before the machine that they run on.
    kubelet: Mutex<Option<Process>>,
    _proxy: Process,
    _containerd: Process,
    machine: Machine,
    place: Place,
    network: Network,
    logs: PathBuf,
}

impl Node {
    /// Starts the machine and all of its processes. `folder` is its own. Does not wait until the node is ready.
    pub(crate) async fn start(place: Place, folder: PathBuf, parts: Parts<'_>) -> Result<Self> {
        let machine = start_machine(&place, &folder, &parts)?;
        join(&place, &machine, parts.network).await?;
        write_settings(&place, &machine, parts.pki)?;
        let mut command = Command::new(format!("{PROGRAMS}/containerd/containerd"));
        command.args(["--config", "/etc/containerd/config.toml"]);
        let mut containerd = machine.start_process("containerd", command, &folder.join("containerd.log"))?;
        containerd_answers(&machine, &mut containerd).await?;
        import(&machine, pause(&parts.binaries.holder())?).await?;
        let mut command = hyperkube("kube-proxy");
        command.args(["--config", "/var/lib/kube-proxy/config.yaml", "--v=1"]);
        let proxy = machine.start_process("kube-proxy", command, &folder.join("kube-proxy.log"))?;
        let node = Self {
            kubelet: Mutex::new(None),
            _proxy: proxy,
            _containerd: containerd,
            machine,
            place,
            network: parts.network.clone(),
            logs: folder,
        };
        node.start_kubelet().await?;
        Ok(node)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Where its root file system shows on this machine.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.machine.pid()).into()
    }

    /// Reads a file in its root file system.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: impl Into<PathBuf>) -> Result<Vec<u8>> {
        let path = path.into();
        let what = format!("read {} on {}", path.display(), self.name());
        self.machine.run(move || fs::read(path))?.doing(|| what)
    }

    /// Writes a file in its root file system, in one step; its folder must be there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: impl Into<PathBuf>, content: impl Into<Vec<u8>>) -> Result<()> {
        let (path, content) = (path.into(), content.into());
        let what = format!("write {} on {}", path.display(), self.name());
        self.machine.run(move || write_at_once(Path::new("/.written"), &path, &content))?.doing(|| what)
    }

    /// Does something where paths are the node's. It must be short, and start no thread.
    ///
    /// # Errors
    /// When the machine's thread has ended.
    pub fn inside<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        self.machine.run(job)
    }

    /// Runs a program of the node's to its end.
    ///
    /// # Errors
    /// When it cannot be started. How it ended is in the output.
    pub async fn run(&self, command: Command) -> Result<Output> {
        self.machine.output(command).await
    }

    /// Imports an image for its pods, from the tar of an OCI layout.
    ///
    /// # Errors
    /// When containerd refuses it, with what it said.
    pub async fn import_image(&self, tar: impl Into<Vec<u8>>) -> Result<()> {
        import(&self.machine, tar.into()).await
    }

    /// Takes the kubelet away, at once (SIGKILL). Pods go on. No-op while it does not run.
    ///
    /// # Errors
    /// When the system cannot kill it.
    pub async fn stop_kubelet(&self) -> Result<()> {
        match self.kubelet.lock().await.take() {
            Some(mut kubelet) => kubelet.kill(),
            None => Ok(()),
        }
    }

    /// Starts the kubelet again. No-op while it runs.
    ///
    /// # Errors
    /// When it cannot be started.
    pub async fn start_kubelet(&self) -> Result<()> {
        let mut slot = self.kubelet.lock().await;
        if slot.is_none() {
            let place = &self.place;
            let mut command = hyperkube("kubelet");
            command
                .args(["--config", "/var/lib/kubelet/config.yaml", "--kubeconfig", "/etc/kubernetes/kubelet.conf"])
                .arg(format!("--hostname-override={}", place.name))
                .arg(format!("--node-ip={}", place.address()))
                .arg("--v=2");
            *slot = Some(self.machine.start_process("kubelet", command, &self.logs.join("kubelet.log"))?);
        }
        Ok(())
    }

    /// Writes other certificates for its kubelet, which reads them when it starts.
    pub(crate) fn renew_certificates(&self, pki: &Pki) -> Result<()> {
        write_files(&self.machine, kubelet_identity(&self.place, pki)?)
    }

    /// Pulls the node's cable: nobody reaches it, and it reaches nobody.
    ///
    /// # Errors
    /// When the link cannot be set.
    pub fn cut_off(&self) -> Result<()> {
        self.network.ip(&format!("link set {} down", self.name()))
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// When the link cannot be set.
    pub fn reconnect(&self) -> Result<()> {
        self.network.ip(&format!("link set {} up", self.name()))
    }

    /// The last lines of its kubelet, for people who look why something did not come.
    pub(crate) async fn last_words(&self) -> String {
        match &*self.kubelet.lock().await {
            Some(kubelet) => kubelet.tail(),
            None => "(its kubelet is stopped)".to_owned(),
        }
    }

    /// Fails when its kubelet has ended by itself.
    pub(crate) async fn still_runs(&self) -> Result<()> {
        match &mut *self.kubelet.lock().await {
            Some(kubelet) => kubelet.still_runs(),
            None => Ok(()),
        }
    }
}

fn hyperkube(name: &str) -> Command {
    let mut command = Command::new(format!("{PROGRAMS}/kubernetes/hyperkube"));
    command.arg0(name);
    command
}

fn start_machine(place: &Place, folder: &Path, parts: &Parts<'_>) -> Result<Machine> {
    let root = Root {
        name: place.name.clone(),
        disk: folder.join("disk"),
        mount_point: folder.join("root"),
        packages: parts.packages.to_owned(),
        programs: vec![
            ("kubernetes", parts.binaries.kubernetes.clone()),
            ("containerd", parts.binaries.containerd.clone()),
        ],
    };
    root.make_disk()?;
    Machine::start(&place.name, &parts.binaries.holder(), &folder.join("holder.log"), move || root.enter())
}

async fn join(place: &Place, machine: &Machine, network: &Network) -> Result<()> {
    let (name, address) = (&place.name, place.address());
    network.ip(&format!("link add {name} type veth peer name eth0 netns {}", machine.pid()))?;
    network.ip(&format!("link set {name} master nodes up"))?;
    network.ip(&format!("route replace {} via {address}", place.pods()))?;
    for arguments in [
        "link set lo up",
        &format!("addr add {address}/24 dev eth0"),
        "link set eth0 up",
        // The control plane knows where every pod is.
        &format!("route add default via {CONTROL_PLANE}"),
    ] {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        succeeded(&format!("ip {arguments}"), &machine.output(command).await?)?;
    }
    machine.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?.doing(|| format!("let {name} forward packets"))
}

/// A file of a node: its path, its mode and what is in it.
type Setting = (&'static str, u32, String);

fn write_settings(place: &Place, machine: &Machine, pki: &Pki) -> Result<()> {
    let proxy = kubeconfig(pki, "system:kube-proxy", "system:node-proxier")?;
    let files = vec![
        ("/etc/cni/net.d/10-pods.conflist", 0o644, settings::cni(place)),
        ("/etc/containerd/config.toml", 0o644, settings::containerd()),
        ("/etc/kubernetes/pki/ca.crt", 0o644, pki.ca()),
        ("/var/lib/kubelet/config.yaml", 0o644, settings::kubelet(place)),
        ("/var/lib/kube-proxy/config.yaml", 0o644, settings::kube_proxy(place)),
        ("/var/lib/kube-proxy/kubeconfig", 0o600, proxy),
    ];
    write_files(machine, files)?;
    write_files(machine, kubelet_identity(place, pki)?)
}

/// What a kubelet shows as a client of the API server, and as a server.
fn kubelet_identity(place: &Place, pki: &Pki) -> Result<Vec<Setting>> {
    let (user, group) = (format!("system:node:{}", place.name), "system:nodes");
    let known_as = [place.name.clone(), place.address().to_string()];
    let Certified { certificate, key } = pki.server(&user, Some(group), &known_as)?;
    Ok(vec![
        ("/etc/kubernetes/kubelet.conf", 0o600, kubeconfig(pki, &user, group)?),
        ("/var/lib/kubelet/pki/kubelet.crt", 0o644, certificate),
        ("/var/lib/kubelet/pki/kubelet.key", 0o600, key),
    ])
}

fn kubeconfig(pki: &Pki, user: &str, group: &str) -> Result<String> {
    let server = Server { url: format!("https://{CONTROL_PLANE}:6443"), ca: Ca::Inline(pki.both()) };
    Identity::person(&server, user, &pki.person(user, Some(group))?).kubeconfig()
}

fn write_files(machine: &Machine, files: Vec<Setting>) -> Result<()> {
    machine.run(move || {
        for (path, mode, content) in files {
            let path = Path::new(path);
            let folder = path.parent().unwrap_or(path);
            fs::create_dir_all(folder).doing(|| format!("make {}", folder.display()))?;
            fs::write(path, content)
                .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
                .doing(|| format!("write {}", path.display()))?;
        }
        Ok(())
    })?
}

/// The image that holds a pod's namespaces.
fn pause(program: &Path) -> Result<Vec<u8>> {
    let kind =
        Kind { name: "pause", title: "pause", description: "Holds namespaces", user: "65535:65535", environment: &[] };
    let made = Program::read(program)
        .and_then(|program| Image::of(kind, &program, PAUSE_VERSION, None))
        .and_then(|image| archive::bytes(&image, kind.name, PAUSE_VERSION));
    made.map_err(|error| Error::Unexpected(format!("the image {PAUSE}: {error:?}")))
}

fn ctr() -> Command {
    let mut command = Command::new(format!("{PROGRAMS}/containerd/ctr"));
    command.args(["--connect-timeout", "5s", "--namespace", "k8s.io"]);
    command
}

async fn containerd_answers(machine: &Machine, containerd: &mut Process) -> Result<()> {
    let answers = eventually("containerd answers", ANSWERS_WITHIN, async || {
        if let Err(ended) = containerd.still_runs() {
            return Ok(Err(ended));
        }
        let mut command = ctr();
        command.arg("version");
        succeeded("ctr version", &machine.output(command).await?).map(Ok).map_err(Into::into)
    })
    .await;
    match answers {
        Ok(outcome) => outcome,
        Err(Error::Expired { what, within, last }) => {
            Err(Error::Expired { what, within, last: format!("{last}\nthe end of its log:\n{}", containerd.tail()) })
        }
        Err(error) => Err(error),
    }
}

async fn import(machine: &Machine, tar: Vec<u8>) -> Result<()> {
    const PATH: &str = "/var/cache/image.tar";
    machine.run(move || fs::write(PATH, tar))?.doing(|| format!("write {PATH}"))?;
    let mut command = ctr();
    command.args(["images", "import", PATH]);
    let imported = machine.output(command).await?;
    machine.run(|| fs::remove_file(PATH))?.doing(|| format!("remove {PATH}"))?;
    succeeded("ctr images import", &imported)
}

fn succeeded(what: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Unexpected(format!("`{what}` ended with {}: {}", output.status, said.trim())))
}
