//! An agent that was taken over, as it runs in its pod: what it tries is refused, and what it is there for works.
use crate::{intruder::Intruder, scene::Scene};
use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};
use vedette_tests::{
    Node,
    cluster::{NAMESPACE, node_config, node_configs_as},
};

/// The folder that is its own.
const STATE: &str = "/var/lib/vedette";
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// As a refusal may say it. That nothing is there would prove nothing.
const REFUSALS: [i32; 3] = [libc::EACCES, libc::EPERM, libc::EROFS];

/// What it sees mounted, but for the folder that is its own, and proc, where no file can be made: some of its are tried by name.
fn mount_points(process: i32) -> BTreeSet<PathBuf> {
    let mounts = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let others = mounts.lines().filter(|line| !line.contains(" - proc "));
    let points = others.map(|line| PathBuf::from(line.split(' ').nth(4).unwrap()));
    points.filter(|point| !point.starts_with(STATE) && !point.as_os_str().to_string_lossy().contains('\\')).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, i32>, what: &str) {
    match result {
        Err(error) if REFUSALS.contains(&error) => {}
        other => panic!("{what}: {other:?}"),
    }
}

fn flags(flags: impl TryInto<u64, Error: std::fmt::Debug>) -> u64 {
    flags.try_into().unwrap()
}

fn it_writes_nowhere_but_in_its_state(agent: &mut Intruder, process: i32) {
    let mut tried = 0;
    for point in mount_points(process) {
        let seen = PathBuf::from(format!("/proc/{process}/root{}", point.display()));
        let Ok(kind) = fs::metadata(&seen) else { continue };
        let (target, how) = match kind.is_dir() {
            true => (point.join("taken-over"), libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY),
            false => (point.clone(), libc::O_WRONLY),
        };
        refused(agent.open(&target, how), &target.display().to_string());
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
    let files = [
        "/host/etc/passwd",
        "/host/proc/sys/kernel/core_pattern",
        "/host/proc/sys/kernel/modprobe",
        "/host/proc/sysrq-trigger",
        "/host/proc/1/mem",
        "/host/proc/1/oom_score_adj",
        "/proc/self/mem",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/dev/termination-log",
    ];
    for file in files.map(Path::new) {
        match agent.open(file, libc::O_PATH) {
            Ok(there) => agent.close(there),
            // A kernel without it.
            Err(libc::ENOENT) => continue,
            Err(other) => panic!("{}: {other}", file.display()),
        }
        // Nothing is written where one of them is opened.
        refused(agent.open(file, libc::O_WRONLY), &file.display().to_string());
        refused(agent.open(file, libc::O_RDWR), &file.display().to_string());
        let path = agent.path(file);
        refused(agent.call(libc::SYS_chmod, &[path, 0o600]), &format!("chmod {}", file.display()));
        let path = agent.path(file);
        refused(agent.call(libc::SYS_chown, &[path, 0, 0]), &format!("chown {}", file.display()));
        let path = agent.path(file);
        let now = i64::from(libc::AT_FDCWD).cast_unsigned();
        refused(agent.call(libc::SYS_utimensat, &[now, path, 0, 0]), &format!("utimensat {}", file.display()));
        let (path, name, value) = (agent.path(file), agent.put(b"user.taken-over\0"), agent.put(b"1"));
        refused(agent.call(libc::SYS_setxattr, &[path, name, value, 1, 0]), &format!("setxattr {}", file.display()));
    }
    let own = Path::new(STATE).join("taken-over");
    let made = agent.open(&own, libc::O_CREAT | libc::O_WRONLY).unwrap();
    agent.close(made);
    let path = agent.path(&own);
    agent.call(libc::SYS_unlink, &[path]).unwrap();
}

fn it_changes_no_mount_and_looks_into_nobody(agent: &mut Intruder, victim: u32) {
    let (host, none) = (agent.path(Path::new("/host")), agent.path(Path::new("none")));
    let remount = flags(libc::MS_REMOUNT | libc::MS_BIND);
    refused(agent.call(libc::SYS_mount, &[none, host, 0, remount, 0]), "remount /host");
    let host = agent.path(Path::new("/host/run"));
    refused(agent.call(libc::SYS_umount2, &[host, flags(libc::MNT_DETACH)]), "umount /host/run");
    let host = agent.path(Path::new("/host"));
    refused(agent.call(libc::SYS_open_tree, &[u64::MAX, host, 1]), "open_tree /host");
    let host = agent.path(Path::new("/host"));
    refused(agent.call(libc::SYS_chroot, &[host]), "chroot /host");
    refused(agent.call(libc::SYS_unshare, &[flags(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)]), "unshare");
    refused(agent.call(libc::SYS_setns, &[0, 0]), "setns");
    refused(agent.call(libc::SYS_ptrace, &[flags(libc::PTRACE_ATTACH), 1, 0, 0]), "ptrace");
    refused(agent.call(libc::SYS_bpf, &[0, 0, 0]), "bpf");
    refused(agent.call(libc::SYS_finit_module, &[0, 0, 0]), "finit_module");
    refused(agent.call(libc::SYS_open_by_handle_at, &[0, 0, 0]), "open_by_handle_at");
    let program = agent.path(Path::new("/vedette-agent"));
    refused(agent.call(libc::SYS_execve, &[program, 0, 0]), "execve");
    // A process of root's without capabilities is one that who has none more may trace, but for Landlock.
    for of_it in ["environ", "maps", "root/etc/passwd"] {
        let secret = Path::new("/host/proc").join(victim.to_string()).join(of_it);
        refused(agent.open(&secret, libc::O_RDONLY), &secret.display().to_string());
    }
}

/// A process of root's on a node that has no capability.
struct Victim {
    process: Child,
    /// As the node numbers it.
    number: u32,
}

impl Victim {
    fn on(node: &Node) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--", "sleep", "3600"]);
        let process = node.inside(move || command.spawn()).unwrap().unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        let number = numbers.split_whitespace().last().unwrap().parse().unwrap();
        Self { process, number }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have gone with its node.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn it_reaches_no_socket_of_the_host(agent: &mut Intruder, process: i32) {
    let kinds =
        [(libc::AF_UNIX, libc::SOCK_STREAM), (libc::AF_UNIX, libc::SOCK_DGRAM), (libc::AF_NETLINK, libc::SOCK_RAW)];
    for (family, kind) in kinds {
        refused(agent.call(libc::SYS_socket, &[flags(family), flags(kind), 0]), &format!("socket {family} {kind}"));
    }
    let pair = agent.put(&[0; 8]);
    let arguments = [flags(libc::AF_UNIX), flags(libc::SOCK_DGRAM), 0, pair];
    refused(agent.call(libc::SYS_socketpair, &arguments), "socketpair");
    for covered in ["run", "dev", "sys"] {
        let shown: Vec<_> = fs::read_dir(format!("/proc/{process}/root/host/{covered}")).unwrap().collect();
        assert!(shown.is_empty(), "{covered}: {shown:?}");
    }
}

/// Who asks the API server with the token that was taken.
async fn with_token(scene: &Scene, token: String) -> Client {
    let admin = Config::from_custom_kubeconfig(
        kube::config::Kubeconfig::read_from(scene.cluster.kubeconfig()).unwrap(),
        &kube::config::KubeConfigOptions::default(),
    )
    .await
    .unwrap();
    let mut config = Config::new(admin.cluster_url);
    (config.root_cert, config.auth_info.token) = (admin.root_cert, Some(token.into()));
    Client::try_from(config).unwrap()
}

#[track_caller]
fn forbidden<T: std::fmt::Debug>(result: kube::Result<T>, what: &str) {
    match result {
        Err(kube::Error::Api(refusal)) if refusal.code == 403 || refusal.code == 422 => {}
        other => panic!("{what}: {other:?}"),
    }
}

async fn its_token_writes_the_status_of_its_own_node_and_nothing_else(client: Client) {
    let configs = node_configs_as(client.clone());
    let how = PatchParams { dry_run: true, ..PatchParams::apply("vedette-agent").force() };
    let status = |node: &str| node_config(node, json!({"status": {"trackedItems": 1}}));
    let change = PatchParams { dry_run: true, ..PatchParams::default() };
    // It may, so that what follows is refused for what it is and not for who asks.
    let own = Patch::Merge(json!({"status": {"trackedItems": 1}}));
    configs.patch_status("n1", &change, &own).await.unwrap();
    forbidden(configs.patch_status("n2", &how, &Patch::Apply(status("n2"))).await, "status of n2");
    let spec = Patch::Merge(json!({"spec": {"rules": []}}));
    forbidden(configs.patch("n1", &change, &spec).await, "spec of n1");
    let new: DynamicObject = serde_json::from_value(node_config("n9", json!({"spec": {"rules": []}}))).unwrap();
    forbidden(configs.create(&PostParams { dry_run: true, ..PostParams::default() }, &new).await, "create");
    forbidden(configs.delete("n2", &DeleteParams::default().dry_run()).await, "delete");
    let drop = Patch::Merge(json!({"status": {"journal": null}}));
    forbidden(configs.patch_status("n1", &change, &drop).await, "journal dropped");
    let all = |group: &str, version: &str, kind: &str, namespace: Option<&str>| -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    };
    let listed = [
        ("", "v1", "Secret", None),
        ("", "v1", "ConfigMap", Some(NAMESPACE)),
        ("", "v1", "Pod", None),
        ("", "v1", "Pod", Some(NAMESPACE)),
        ("", "v1", "Node", None),
        ("", "v1", "ServiceAccount", Some(NAMESPACE)),
        ("vedette.dev", "v1alpha1", "DataCollectionRule", None),
        ("coordination.k8s.io", "v1", "Lease", Some(NAMESPACE)),
        ("rbac.authorization.k8s.io", "v1", "ClusterRole", None),
    ];
    for (group, version, kind, namespace) in listed {
        let api = all(group, version, kind, namespace);
        forbidden(api.list(&ListParams::default().limit(1)).await, &format!("list {kind}"));
    }
    let pods = all("", "v1", "Pod", Some(NAMESPACE));
    let pod: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "taken-over"},
        "spec": {"containers": [{"name": "a", "image": "a"}]}
    }))
    .unwrap();
    forbidden(pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await, "create a pod");
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client, NAMESPACE);
    for account in ["vedette-operator", "vedette-agent"] {
        let (how, request) = (PostParams::default(), Default::default());
        forbidden(accounts.create_token_request(account, &how, &request).await, "a token of an account");
    }
}

/// What one process may do, by the kernel's own account of it.
fn it_has_no_right_but_to_read(process: i32) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_else(|| panic!("{status}")).trim().to_owned()
    };
    const READS: &str = "0000000000000004";
    assert_eq!([line("CapEff"), line("CapPrm"), line("CapBnd")], [READS, READS, READS]);
    assert_eq!([line("CapInh"), line("CapAmb")], ["0000000000000000", "0000000000000000"]);
    assert_eq!([line("NoNewPrivs"), line("Seccomp")], ["1", "2"]);
}

/// When a process began: its number alone may be another one's by now.
fn began(process: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_was_taken_over_reads_what_it_must_and_is_refused_all_else() {
    let Some(scene) = Scene::new().await else { return };
    let node = scene.cluster.node("n1").unwrap();
    node.inside(|| {
        use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
        fs::DirBuilder::new().mode(0o700).create("/home/somebody").unwrap();
        fs::write("/home/somebody/secret", "of somebody").unwrap();
        fs::set_permissions("/home/somebody/secret", fs::Permissions::from_mode(0o600)).unwrap();
        for path in ["/home/somebody/secret", "/home/somebody"] {
            chown(path, Some(1000), Some(1000)).unwrap();
        }
    })
    .unwrap();
    scene.install().unwrap();
    scene.is_watched().await;
    let process = scene.agent_process("n1").unwrap();
    let before = began(process);
    let victim = Victim::on(node);
    it_has_no_right_but_to_read(process);
    // One thread does all of it: the kernel lets only that one.
    let number = victim.number;
    let token = tokio::task::spawn_blocking(move || {
        let mut agent = Intruder::into(process);
        assert_eq!(agent.read(Path::new("/host/home/somebody/secret")).unwrap(), b"of somebody");
        it_writes_nowhere_but_in_its_state(&mut agent, process);
        it_changes_no_mount_and_looks_into_nobody(&mut agent, number);
        it_reaches_no_socket_of_the_host(&mut agent, process);
        String::from_utf8(agent.read(Path::new(TOKEN)).unwrap()).unwrap()
    });
    let client = with_token(&scene, token.await.unwrap()).await;
    its_token_writes_the_status_of_its_own_node_and_nothing_else(client).await;
    // It was stopped for that long, and goes on.
    scene.tells("root:x:0:0::/root:/bin/sh\n").await;
    assert_eq!((scene.agent_process("n1").unwrap(), began(process)), (process, before), "the same process");
}
