//! The root file system of a machine: a disk of its own, laid out as a small Debian's, that tests may tamper with. Runs once, on the
//! machine's own thread; what it mounts is seen in the machine alone. Never writes outside its disk.
//!
//! `/usr` is the host's with the unpacked packages above it, seen through an overlay whose changes go to the machine's disk.
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    fs::{CWD, FileType, Mode, chmod, makedev, mknodat},
    mount::{
        MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
        mount_remount, unmount,
    },
    process::{chdir, pivot_root},
    system::sethostname,
};

use sha2::{Digest as _, Sha256};

use crate::{
    error::{Doing as _, Result},
    nodes::network::succeed,
};

/// Sparse: what is not written takes no space.
const DISK_BYTES: u64 = 6 << 30;

/// Where a node finds its programs.
pub(crate) const PROGRAMS: &str = "/opt/kubernetes";

/// Files of the kernel that a kubelet writes, and what it wants in them. They are the whole machine's, so it is shown others.
const SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nshadow:x:42:\nnogroup:x:65534:\n";

/// What a machine's root is made of.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    /// The machine's host name.
    pub(crate) name: String,
    /// The disk's file; made when it is not there.
    pub(crate) disk: PathBuf,
    /// An empty folder, for the time before the disk is the root.
    pub(crate) mount_point: PathBuf,
    /// The unpacked packages.
    pub(crate) packages: PathBuf,
    /// Folders of the host to be seen below [`PROGRAMS`], read-only, each under its name there.
    pub(crate) programs: Vec<(&'static str, PathBuf)>,
}

impl Root {
    /// Makes the disk. Outside the machine, since its tools write where they like.
    pub(crate) fn make_disk(&self) -> Result<()> {
        fs::create_dir_all(&self.mount_point).doing(|| format!("make {}", self.mount_point.display()))?;
        let what = || format!("make the disk {}", self.disk.display());
        fs::File::create_new(&self.disk).and_then(|file| file.set_len(DISK_BYTES)).doing(what)?;
        let mut command = Command::new("mkfs.ext4");
        command.args(["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"]).arg(&self.disk);
        succeed(command)
    }

    /// Mounts everything and makes the disk the root of this thread's mount namespace.
    pub(crate) fn enter(&self) -> Result<()> {
        sethostname(self.name.as_bytes()).map_err(io::Error::from).doing(|| format!("name a machine {}", self.name))?;
        // Nothing that is mounted here may show outside.
        change("/", MountPropagationFlags::PRIVATE)?;
        self.attach_disk()?;
        self.folders()?;
        self.mount_usr()?;
        self.mount_programs()?;
        self.mount_kernel()?;
        self.mount_devices()?;
        self.settings()?;
        self.pivot()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.mount_point.join(path)
    }

    fn attach_disk(&self) -> Result<()> {
        // `mount` makes a loop device that goes with the mount.
        let mut command = Command::new("mount");
        command.args(["-n", "-t", "ext4", "-o", "loop,noatime"]).args([&self.disk, &self.mount_point]);
        succeed(command)
    }

    fn folders(&self) -> Result<()> {
        let folders = [
            "usr",
            "etc/cni/net.d",
            "etc/containerd",
            "etc/kubernetes/manifests",
            "etc/kubernetes/pki",
            "home",
            "mnt",
            "opt",
            "proc",
            "root",
            "run",
            "srv",
            "sys",
            "dev",
            "tmp",
            "var/cache",
            "var/lib/containerd",
            "var/lib/kubelet/pki",
            "var/log/containers",
            "var/log/pods",
            "var/tmp",
            "var/usr/changes",
            "var/usr/work",
            ".host",
        ];
        for folder in folders {
            make(&self.at(folder))?;
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            link(&format!("usr/{name}"), &self.at(name))?;
        }
        link("/run", &self.at("var/run"))?;
        for open in ["tmp", "var/tmp"] {
            permit(&self.at(open), 0o1777)?;
        }
        permit(&self.at("root"), 0o700)
    }

    fn mount_usr(&self) -> Result<()> {
        let options = format!(
            "lowerdir={}:/usr,upperdir={},workdir={}",
            self.packages.join("usr").display(),
            self.at("var/usr/changes").display(),
            self.at("var/usr/work").display(),
        );
        mount_new("overlay", &self.at("usr"), MountFlags::empty(), &options)
    }

    fn mount_programs(&self) -> Result<()> {
        for (name, folder) in &self.programs {
            let target = self.at(PROGRAMS.trim_start_matches('/')).join(name);
            make(&target)?;
            let what = || format!("show {} at {}", folder.display(), target.display());
            mount_bind(folder, &target).map_err(io::Error::from).doing(what)?;
            mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY, c"").map_err(io::Error::from).doing(what)?;
        }
        Ok(())
    }

    fn mount_kernel(&self) -> Result<()> {
        // A process of the machine mounts it: this thread's own processes are still the host's.
        let mut command = Command::new("mount");
        command.args(["-n", "-t", "proc", "proc"]).arg(self.at("proc"));
        succeed(command)?;
        let private = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_new("sysfs", &self.at("sys"), private, "")?;
        let cgroups = self.at("sys/fs/cgroup");
        mount_bind_recursive("/sys/fs/cgroup", &cgroups)
            .map_err(io::Error::from)
            .doing(|| format!("show the cgroups at {}", cgroups.display()))?;
        mount_new("tmpfs", &self.at("run"), MountFlags::NOSUID | MountFlags::NODEV, "mode=755")?;
        make(&self.at("run/sysctl"))?;
        for (name, wanted) in SYSCTLS {
            let shown = self.at("run/sysctl").join(name.replace('/', "-"));
            write(&shown, &format!("{wanted}\n"))?;
            let real = self.at("proc/sys").join(name);
            mount_bind(&shown, &real)
                .map_err(io::Error::from)
                .doing(|| format!("show {} at {}", shown.display(), real.display()))?;
        }
        Ok(())
    }

    fn mount_devices(&self) -> Result<()> {
        mount_new("tmpfs", &self.at("dev"), MountFlags::NOSUID, "mode=755")?;
        let devices =
            [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
        for (name, major, minor) in devices.into_iter().chain([("kmsg", 1, 11)]) {
            let path = self.at("dev").join(name);
            // chmod after it: the umask may take bits from a new node.
            mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, makedev(major, minor))
                .and_then(|()| chmod(&path, Mode::from_raw_mode(if name == "kmsg" { 0o644 } else { 0o666 })))
                .map_err(io::Error::from)
                .doing(|| format!("make the device {}", path.display()))?;
        }
        for name in ["pts", "shm", "mqueue"] {
            make(&self.at("dev").join(name))?;
        }
        let private = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount_new("devpts", &self.at("dev/pts"), private, "newinstance,ptmxmode=0666,mode=620,gid=5")?;
        mount_new("tmpfs", &self.at("dev/shm"), MountFlags::NOSUID | MountFlags::NODEV, "mode=1777")?;
        mount_new("mqueue", &self.at("dev/mqueue"), private | MountFlags::NODEV, "")?;
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            link(target, &self.at("dev").join(name))?;
        }
        Ok(())
    }

    fn settings(&self) -> Result<()> {
        let name = &self.name;
        let files = [
            ("passwd", PASSWD, 0o644),
            ("group", GROUP, 0o644),
            ("shadow", "root:*:19000:0:99999:7:::\n", 0o640),
            ("hostname", &format!("{name}\n"), 0o644),
            ("hosts", &format!("127.0.0.1 localhost {name}\n"), 0o644),
            ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0o644),
            ("machine-id", &format!("{}\n", machine_id(name)), 0o644),
            // Nobody answers names: what runs here is told addresses.
            ("resolv.conf", "", 0o644),
            ("os-release", "ID=vedette-tests\nPRETTY_NAME=\"A node of Vedette's tests\"\n", 0o644),
        ];
        for (file, content, mode) in files {
            let path = self.at("etc").join(file);
            write(&path, content)?;
            permit(&path, mode)?;
        }
        Ok(())
    }

    fn pivot(&self) -> Result<()> {
        let what = || format!("make {} the root", self.mount_point.display());
        pivot_root(&self.mount_point, self.at(".host")).map_err(io::Error::from).doing(what)?;
        chdir("/").map_err(io::Error::from).doing(what)?;
        unmount("/.host", UnmountFlags::DETACH).map_err(io::Error::from).doing(what)?;
        fs::remove_dir("/.host").doing(what)?;
        // Kubelets give pods mounts that are made later.
        change("/", MountPropagationFlags::SHARED)
    }
}

/// 32 digits, another for every name.
fn machine_id(name: &str) -> String {
    Sha256::digest(name).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).doing(|| format!("make {}", folder.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    symlink(target, path).doing(|| format!("link {} to {target}", path.display()))
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).doing(|| format!("write {}", path.display()))
}

fn permit(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).doing(|| format!("set the mode of {}", path.display()))
}

fn change(path: &str, how: MountPropagationFlags) -> Result<()> {
    mount_change(path, how | MountPropagationFlags::REC)
        .map_err(io::Error::from)
        .doing(|| format!("set how mounts at {path} spread"))
}

fn mount_new(kind: &str, target: &Path, flags: MountFlags, options: &str) -> Result<()> {
    let options = std::ffi::CString::new(options).map_err(io::Error::from);
    options
        .and_then(|options| mount(kind, target, kind, flags, options.as_c_str()).map_err(io::Error::from))
        .doing(|| format!("mount a {kind} at {}", target.display()))
}
