//! One control plane: etcd and kube-apiserver as users run them, on loopback, with RBAC, admission and certificates of their
//! own, or in the network of a cluster with nodes. Reads the binaries; produces a server that answers and people who may talk to
//! it. Knows nothing of Vedette.
//!
//! No controller manager and no scheduler run: nothing is garbage-collected, no pod is placed, no object follows its owner, unless
//! somebody starts them beside it.
use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    binaries::Binaries,
    error::{Doing as _, Error, Result},
    ground::{Ground, Listener},
    identity::{Ca, Identity, Server},
    pki::{Authority, Certified, Pki, TokenKey},
    process::Process,
    run_folder::RunFolder,
    wait::{eventually, not_yet},
};

/// Generous: a laptop needs 4 s, a loaded two-core machine has been seen to need 25 s.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What is audited: who writes what of ours. It shows who is busy, and costs nothing that a test would notice.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete]
    resources: [{group: vedette.dev}]
  - level: None
";
const AUDIT_POLICY: &str = "audit.yaml";
const AUDIT_LOG: &str = "audit.log";

/// In its folder: what other parts of a cluster are told.
const CA: &str = "ca.crt";
const TRUSTED: &str = "trusted.crt";
const TOKEN_KEY: &str = "tokens.key";
const TOKEN_PUBLIC_KEYS: &str = "tokens.pub";
const CERTIFICATE: &str = "apiserver.crt";
const CERTIFICATE_KEY: &str = "apiserver.key";

/// How often a start is tried again because somebody else took its port first.
const PORT_TRIES: usize = 5;

/// etcd and kube-apiserver, killed when dropped, and when this process ends in any way.
pub struct ControlPlane {
    // In the order in which they have to go: the server, its store, their files.
    apiserver: Mutex<Option<Process>>,
    apiserver_command: ApiserverCommand,
    apiserver_port: u16,
    etcd: Process,
    server: Server,
    pki: Pki,
    admin: Identity,
    client: Client,
    folder: RunFolder,
    ground: Ground,
}

/// One write, as the API server audits it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// When it came in.
    pub received: Timestamp,
    /// When it was answered.
    pub answered: Timestamp,
    /// Who: `system:serviceaccount:...`.
    pub user: String,
    /// create, update, patch or delete.
    pub verb: String,
    /// The resource with its subresource: `nodeconfigs/status`.
    pub resource: String,
    /// The object.
    pub name: String,
    /// The answer, as in 200.
    pub code: u64,
}

impl Write {
    fn of(event: &Value) -> Self {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let part = text("/objectRef/subresource");
        let resource = text("/objectRef/resource");
        // The server writes both times into every event.
        let time = |pointer: &str| text(pointer).parse().unwrap_or_default();
        Self {
            received: time("/requestReceivedTimestamp"),
            answered: time("/stageTimestamp"),
            user: text("/user/username"),
            verb: text("/verb"),
            resource: if part.is_empty() { resource } else { format!("{resource}/{part}") },
            name: text("/objectRef/name"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_u64).unwrap_or_default(),
        }
    }
}

struct ApiserverCommand {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
}

impl ApiserverCommand {
    fn start(&self, ground: &Ground, port: u16) -> Result<Process> {
        let mut command = Command::new(&self.program);
        ground.enter(&mut command);
        // The program may be every Kubernetes command.
        command.arg0("kube-apiserver").args(&self.arguments).arg(format!("--secure-port={port}"));
        Process::start("kube-apiserver", command, &self.log)
    }
}

impl ControlPlane {
    /// Starts both and waits until the API server is ready. The first time ever it builds them, which takes minutes.
    ///
    /// # Errors
    /// When there are no binaries, or when one of them ends or is not ready in time: then with the end of its log.
    pub async fn start() -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::find_or_build)
            .await
            .map_err(|panic| Error::Unexpected(panic.to_string()))??;
        Self::start_on(Ground::Loopback, &binaries).await
    }

    /// Starts both where they are told to stand.
    pub(crate) async fn start_on(ground: Ground, binaries: &Binaries) -> Result<Self> {
        let folder = RunFolder::new()?;
        let pki = Pki::new()?;
        let (etcd, etcd_port) = start_etcd(&binaries.etcd, &folder, &ground).await?;
        let apiserver_command = apiserver_command(binaries, &folder, &pki, etcd_port, &ground)?;
        for _ in 0..PORT_TRIES {
            let port = ground.port(Listener::Api)?;
            let server = Server { url: ground.url(port), ca: Ca::Inline(pki.both()) };
            let certified = pki.person("admin", Some("system:masters"))?;
            let admin = Identity::person(&server, "admin", &certified);
            let client = admin.client().await?;
            let mut process = apiserver_command.start(&ground, port)?;
            match apiserver_is_ready(&mut process, &client).await {
                Ok(()) => {
                    return Ok(Self {
                        apiserver: Mutex::new(Some(process)),
                        apiserver_command,
                        apiserver_port: port,
                        etcd,
                        server,
                        pki,
                        admin,
                        client,
                        folder,
                        ground,
                    });
                }
                Err(error) if port_was_taken(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(no_port("kube-apiserver"))
    }

    /// Where the API server listens, also while it is stopped.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// The administrator (group system:masters): for people and for setting the scene, never for the product.
    #[must_use]
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// A client of the administrator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A person with a certificate. RBAC decides what they may do.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn person(&self, name: &str, group: Option<&str>) -> Result<Identity> {
        let certified = self.pki.person(name, group)?;
        Ok(Identity::person(&self.server, name, &certified))
    }

    /// A service account whose token is in `token_file`. It trusts what a file says, as in a pod: see [`ControlPlane::trust`].
    #[must_use]
    pub fn service_account(&self, name: &str, token_file: &Path) -> Identity {
        let server = Server { url: self.server.url.clone(), ca: Ca::File(self.trusted_file()) };
        Identity::service_account(&server, name, token_file)
    }

    /// A folder below the control plane's own, which is removed with it. Made when it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        self.folder.folder(name)
    }

    /// The certificates of the CAs that pods are told to trust, as a file.
    pub(crate) fn trusted_file(&self) -> PathBuf {
        self.folder.path().join(TRUSTED)
    }

    /// The key that signs tokens of service accounts, as a file.
    pub(crate) fn token_key_file(&self) -> PathBuf {
        self.folder.path().join(TOKEN_KEY)
    }

    /// Its certificates.
    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// A user as its own parts see it: they reach the API server where it stands.
    pub(crate) fn own_part(&self, name: &str) -> Result<Identity> {
        let server =
            Server { url: format!("https://127.0.0.1:{}", self.apiserver_port), ca: Ca::Inline(self.pki.both()) };
        Ok(Identity::person(&server, name, &self.pki.person(name, None)?))
    }

    /// Where it stands.
    pub(crate) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The process of etcd.
    #[must_use]
    pub fn etcd_pid(&self) -> u32 {
        self.etcd.pid()
    }

    /// The process of the API server.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn apiserver_pid(&self) -> Result<u32> {
        Ok(self.running(self.apiserver.lock().await.as_mut())?.pid())
    }

    /// Takes the API server away, at once and without a goodbye (SIGKILL). etcd and its data stay.
    ///
    /// # Errors
    /// When the system cannot kill it.
    pub async fn stop_apiserver(&self) -> Result<()> {
        match self.apiserver.lock().await.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Stops the API server where it is: it accepts connections and answers nothing.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn pause_apiserver(&self) -> Result<()> {
        self.running(self.apiserver.lock().await.as_mut())?.pause()
    }

    /// Lets a paused API server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn resume_apiserver(&self) -> Result<()> {
        self.running(self.apiserver.lock().await.as_mut())?.resume()
    }

    /// Gives the API server another certificate, from its next start on.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn renew_certificate(&self, authority: Authority) -> Result<()> {
        write_certificate(&self.folder, &self.ground.certificate(&self.pki, authority)?)
    }

    /// Tells service accounts which CAs to trust, as a cluster tells its pods by their `ca.crt`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn trust(&self, authorities: &[Authority]) -> Result<()> {
        self.folder.file(TRUSTED, &self.pki.certificates(authorities)).map(drop)
    }

    /// Signs tokens with another key, from the API server's next start on. It then takes no token that the one before signed.
    ///
    /// # Errors
    /// When the key cannot be made or written.
    pub fn renew_token_key(&self) -> Result<()> {
        write_token_key(&self.folder, &self.pki.renew_token_key()?)
    }

    fn running<'p>(&self, process: Option<&'p mut Process>) -> Result<&'p mut Process> {
        process.ok_or_else(|| Error::Unexpected(format!("no API server runs at {}", self.url())))
    }

    /// Every write to an object of ours that the API server has answered, in the order of its answers.
    ///
    /// # Errors
    /// When its audit log cannot be read.
    pub fn writes(&self) -> Result<Vec<Write>> {
        let path = self.folder.path().join(AUDIT_LOG);
        let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        // The last line may still be under way.
        text.split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| {
                let event: Value = serde_json::from_str(line)
                    .map_err(|error| Error::Unexpected(format!("{}: {error} in {line}", path.display())))?;
                Ok(Write::of(&event))
            })
            .collect()
    }

    /// A copy of a service account's token that holds for another time: its claims, signed anew with the cluster's key. The
    /// server takes a token for a minute longer than it says.
    ///
    /// # Errors
    /// When it is no token.
    pub fn retime(&self, token: &str, valid_for: Duration) -> Result<String> {
        self.pki.retime(token, Timestamp::now().as_second(), valid_for)
    }

    /// Brings the API server back on the same port with the same data and waits until it is ready. No-op while it runs.
    ///
    /// # Errors
    /// When it ends or is not ready in time: then with the end of its log.
    pub async fn start_apiserver(&self) -> Result<()> {
        let mut slot = self.apiserver.lock().await;
        if slot.is_none() {
            let mut process = self.apiserver_command.start(&self.ground, self.apiserver_port)?;
            apiserver_is_ready(&mut process, &self.client).await?;
            *slot = Some(process);
        }
        Ok(())
    }
}

async fn start_etcd(program: &Path, folder: &RunFolder, ground: &Ground) -> Result<(Process, u16)> {
    for _ in 0..PORT_TRIES {
        let (clients, peers) = (ground.port(Listener::EtcdClients)?, ground.port(Listener::EtcdPeers)?);
        let (clients_url, peers_url) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
        let mut command = Command::new(program);
        ground.enter(&mut command);
        command
            .args(["--name=vedette", "--log-level=warn", "--unsafe-no-fsync"])
            .arg("--data-dir")
            .arg(folder.path().join("etcd"))
            .arg(format!("--listen-client-urls={clients_url}"))
            .arg(format!("--advertise-client-urls={clients_url}"))
            .arg(format!("--listen-peer-urls={peers_url}"))
            .arg(format!("--initial-advertise-peer-urls={peers_url}"))
            .arg(format!("--initial-cluster=vedette={peers_url}"));
        let mut process = Process::start("etcd", command, &folder.path().join("etcd.log"))?;
        let ready = until_ready("etcd is healthy", &mut process, async || {
            let answer = ground.get(clients, "/health").await?;
            Ok((answer.status == 200).then_some(()).ok_or(answer.body))
        })
        .await;
        match ready {
            Ok(()) => return Ok((process, clients)),
            Err(error) if port_was_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Err(no_port("etcd"))
}

fn apiserver_command(
    binaries: &Binaries,
    folder: &RunFolder,
    pki: &Pki,
    etcd_port: u16,
    ground: &Ground,
) -> Result<ApiserverCommand> {
    write_certificate(folder, &ground.certificate(pki, Authority::First)?)?;
    write_token_key(folder, &pki.token_key())?;
    folder.file(TRUSTED, &pki.ca())?;
    folder.file(AUDIT_POLICY, AUDIT)?;
    let at = |flag: &str, name: &str| format!("--{flag}={}", folder.path().join(name).display());
    let ca = folder.file(CA, &pki.ca())?.display().to_string();
    let mut arguments = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        "--profiling=false".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--cert-dir={}", folder.folder("apiserver")?.display()),
        at("audit-policy-file", AUDIT_POLICY),
        format!("--audit-log-path={}", folder.path().join(AUDIT_LOG).display()),
        // Each event is there when its request is answered.
        "--audit-log-mode=blocking-strict".into(),
        format!("--client-ca-file={ca}"),
        at("tls-cert-file", CERTIFICATE),
        at("tls-private-key-file", CERTIFICATE_KEY),
        at("service-account-key-file", TOKEN_PUBLIC_KEYS),
        at("service-account-signing-key-file", TOKEN_KEY),
    ];
    arguments.extend(ground.flags(folder, pki, &ca)?);
    Ok(ApiserverCommand {
        program: binaries.kube_apiserver.clone(),
        arguments,
        log: folder.path().join("kube-apiserver.log"),
    })
}

fn write_certificate(folder: &RunFolder, Certified { certificate, key }: &Certified) -> Result<()> {
    folder.file(CERTIFICATE, certificate)?;
    folder.file(CERTIFICATE_KEY, key).map(drop)
}

fn write_token_key(folder: &RunFolder, TokenKey { private, public }: &TokenKey) -> Result<()> {
    folder.file(TOKEN_PUBLIC_KEYS, public)?;
    folder.file(TOKEN_KEY, private).map(drop)
}

async fn apiserver_is_ready(process: &mut Process, client: &Client) -> Result<()> {
    until_ready("kube-apiserver is ready", process, async || {
        let request =
            http::Request::get("/readyz").body(Vec::new()).map_err(|error| Error::Unexpected(error.to_string()))?;
        match client.request_text(request).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => Ok(Err(error.to_string())),
        }
    })
    .await
}

/// Waits until `look` is content; ends at once when the process does, and shows its log when the time is over.
async fn until_ready(
    what: &str,
    process: &mut Process,
    look: impl AsyncFn() -> Result<Result<(), String>>,
) -> Result<()> {
    let ready = eventually(what, READY_WITHIN, async || {
        if let Err(ended) = process.still_runs() {
            return Ok(Err(ended));
        }
        look().await?.map(Ok).map_err(not_yet)
    })
    .await;
    match ready {
        Ok(outcome) => outcome,
        Err(Error::Expired { what, within, last }) => {
            Err(Error::Expired { what, within, last: format!("{last}\nthe end of its log:\n{}", process.tail()) })
        }
        Err(error) => Err(error),
    }
}

fn port_was_taken(error: &Error) -> bool {
    matches!(error, Error::Ended { tail, .. } if tail.contains("address already in use"))
}

fn no_port(name: &str) -> Error {
    Error::Unexpected(format!("{name} found its port taken {PORT_TRIES} times"))
}
