#![allow(clippy::unwrap_used, unsafe_code, reason = "calls are tried that no safe function makes")]

use super::*;
use std::fs::{self, OpenOptions};
use std::io::{Error, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

const INSIDE: &str = "VEDETTE_TEST_CONFINED";

/// A confined process cannot become another one: the body runs in a child, with a folder.
fn in_child(test: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("records")).unwrap();
    fs::write(folder.path().join("outside"), "1").unwrap();
    let _listens = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &format!("confine::tests::{test}"), "--nocapture", "--test-threads=1"]);
    let ran = child.env(INSIDE, folder.path()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if said.contains("this kernel") {
        return eprintln!("SKIPPED: {said}");
    }
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

/// The same, confined in the folder.
fn confined(test: &str, how: impl FnOnce(Needs<'_>) -> Needs<'_>, body: impl FnOnce(&Path) + Send) {
    in_child(test, |folder| {
        let (state_dir, records) = (folder.join("state"), folder.join("records/lines"));
        let needs = Needs { records: Some(&records), ..pod(&state_dir) };
        own(&state_dir);
        let confinement = Confinement::begin(how(needs));
        // Threads that are started later are confined: the body runs on one.
        std::thread::scope(|scope| scope.spawn(|| body(folder)).join()).unwrap();
        assert_eq!(confinement.lacks, [""; 0]);
    });
}

/// What a pod's agent needs.
fn pod(state_dir: &Path) -> Needs<'_> {
    Needs { state_dir, records: None, programs: false, names: false, ports: None, capabilities: READS }
}

fn as_it_is(needs: Needs<'_>) -> Needs<'_> {
    needs
}

fn refused<T>(done: std::io::Result<T>, errno: i32) {
    assert_eq!(done.err().and_then(|error| error.raw_os_error()), Some(errno));
}

#[test]
fn it_writes_in_its_own_places_and_nowhere_else() {
    confined("it_writes_in_its_own_places_and_nowhere_else", as_it_is, |folder| {
        let (outside, state) = (folder.join("outside"), folder.join("state"));
        refused(fs::write(&outside, "2"), libc::EACCES);
        refused(OpenOptions::new().append(true).open(&outside), libc::EACCES);
        refused(fs::File::create(folder.join("new")), libc::EACCES);
        refused(fs::create_dir(folder.join("new")), libc::EACCES);
        refused(fs::remove_file(&outside), libc::EACCES);
        refused(fs::rename(&outside, folder.join("moved")), libc::EACCES);
        refused(fs::hard_link(&outside, state.join("linked")), libc::EXDEV);
        refused(std::os::unix::fs::symlink("x", folder.join("link")), libc::EACCES);
        let truncated = std::ffi::CString::new(outside.to_str().unwrap()).unwrap();
        // SAFETY: a path that ends with a zero.
        assert_eq!(unsafe { libc::truncate(truncated.as_ptr(), 0) }, -1);
        assert_eq!(fs::read_to_string(&outside).unwrap(), "1", "what others may read can be read");
        refused(fs::create_dir(state.join("new")), libc::EACCES);
        refused(std::os::unix::fs::symlink("x", state.join("link")), libc::EACCES);
        fs::write(state.join("a"), "1").unwrap();
        fs::rename(state.join("a"), state.join("b")).unwrap();
        fs::remove_file(state.join("b")).unwrap();
        for _ in 0..2 {
            let mut records = OpenOptions::new().append(true).create(true).open(folder.join("records/lines")).unwrap();
            records.write_all(b"{}\n").unwrap();
        }
        refused(fs::remove_file(folder.join("records/lines")), libc::EACCES);
    });
}

#[test]
fn it_changes_no_mode_owner_time_or_attribute() {
    confined("it_changes_no_mode_owner_time_or_attribute", as_it_is, |folder| {
        let outside = folder.join("outside");
        let (file, mode) = (fs::File::open(&outside).unwrap(), Permissions::from_mode(0o644));
        refused(fs::set_permissions(&outside, mode.clone()), libc::EPERM);
        refused(file.set_permissions(mode), libc::EPERM);
        refused(std::os::unix::fs::lchown(&outside, Some(0), None), libc::EPERM);
        refused(file.set_modified(std::time::SystemTime::UNIX_EPOCH), libc::EPERM);
        let flags = rustix::fs::XattrFlags::empty();
        assert_eq!(rustix::fs::setxattr(&outside, "user.a", b"1", flags), Err(rustix::io::Errno::PERM));
        assert_eq!(rustix::fs::removexattr(&outside, "user.a"), Err(rustix::io::Errno::PERM));
        let flags = rustix::fs::ioctl_getflags(&file).err();
        assert_eq!(flags, Some(rustix::io::Errno::PERM), "what reads flags is refused as what writes them");
        assert!(
            !std::io::IsTerminal::is_terminal(&file) && Error::last_os_error().raw_os_error() == Some(libc::ENOTTY)
        );
    });
}

#[test]
fn it_keeps_no_capability_but_one_and_signals_nobody() {
    confined("it_keeps_no_capability_but_one_and_signals_nobody", as_it_is, |_| {
        let has = rustix::thread::capabilities(None).unwrap();
        let all = has.effective | has.permitted | has.inheritable;
        assert!(READS.contains(all), "{all:?}");
        // SAFETY: signal 0 only asks.
        refused(if unsafe { libc::kill(1, 0) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }, libc::EPERM);
        let signal = |process: u32, thread: libc::c_long| {
            // SAFETY: signal 0 only asks.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) }
        };
        // SAFETY: takes no argument.
        let this = unsafe { libc::syscall(libc::SYS_gettid) };
        assert_eq!(signal(std::process::id(), this), 0, "itself it may, to abort");
        let parent = std::os::unix::process::parent_id();
        assert_eq!((signal(parent, parent.into()), Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
    });
}

#[test]
fn it_makes_no_call_that_would_undo_that() {
    confined("it_makes_no_call_that_would_undo_that", as_it_is, |folder| {
        // SAFETY: refused, or a child that ends at once.
        let forked = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) };
        if forked == 0 {
            std::process::exit(0);
        }
        assert_eq!((forked, Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
        refused(Command::new("/bin/true").status(), libc::EPERM);
        refused(UnixStream::connect(folder.join("socket")), libc::EPERM);
        refused(UnixDatagram::unbound(), libc::EPERM);
        refused(UnixDatagram::pair(), libc::EPERM);
        let socket = |family, kind, protocol| {
            // SAFETY: opens a socket, which ends with this process.
            let opened = unsafe { libc::socket(family, kind, protocol) };
            (opened == -1).then(|| Error::last_os_error().raw_os_error()).flatten()
        };
        for (family, kind) in [
            (libc::AF_NETLINK, libc::SOCK_RAW),
            (libc::AF_PACKET, libc::SOCK_DGRAM),
            (libc::AF_VSOCK, libc::SOCK_STREAM),
            (libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC),
            (libc::AF_INET, libc::SOCK_SEQPACKET),
            (libc::AF_INET, libc::SOCK_DGRAM),
            (libc::AF_INET6, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC),
        ] {
            assert_eq!(socket(family, kind, 0), Some(libc::EPERM), "{family} {kind}");
        }
        assert_eq!(socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP), Some(libc::EPERM));
        let file = fs::File::open(folder.join("outside")).unwrap();
        let control = |command| {
            // SAFETY: a command with a number, or with a null pointer that the kernel would refuse.
            let done = unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), command, 0) };
            (done == -1).then(|| Error::last_os_error().raw_os_error()).flatten()
        };
        for command in [libc::F_SETLEASE, libc::F_NOTIFY, libc::F_SETOWN] {
            assert_eq!(control(command), Some(libc::EPERM), "{command}");
        }
        assert_eq!(control(libc::F_GETFL), None);
        let dumpable = |value: libc::c_ulong| {
            // SAFETY: numbers.
            unsafe { libc::prctl(libc::PR_SET_DUMPABLE, value, 0, 0, 0) }
        };
        // SAFETY: takes no more.
        assert_eq!((dumpable(1), dumpable(0), unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }), (-1, 0, 0));
    });
}

/// Without what else would refuse them, and with an answer that nothing else gives.
#[test]
fn the_filter_itself_refuses_each_call_under_all_its_numbers() {
    in_child("the_filter_itself_refuses_each_call_under_all_its_numbers", |folder| {
        const ANSWER: i32 = libc::EXFULL;
        calls::refuse_as(pod(folder), ANSWER).unwrap();
        let call = |number: libc::c_long| {
            // SAFETY: the filter refuses it, or the test fails.
            let done = unsafe { libc::syscall(number, 0, 0, 0, 0, 0, 0) };
            (done == -1).then(|| Error::last_os_error().raw_os_error()).flatten()
        };
        let x32 = |number| number | 0x4000_0000;
        for number in calls::never(false) {
            assert_eq!(call(number), Some(ANSWER), "{number}");
            if cfg!(target_arch = "x86_64") {
                assert_eq!(call(x32(number)), Some(ANSWER), "{number}");
            }
        }
        if cfg!(target_arch = "x86_64") {
            // ioctl, execve, ptrace and others have numbers of their own there.
            assert!((512..=547).all(|number| call(x32(number)) == Some(ANSWER)));
        }
        assert_eq!(call(libc::SYS_clone3), Some(libc::ENOSYS));
    });
}

#[test]
fn it_connects_to_the_ports_that_it_needs_and_to_no_other() {
    // Nobody listens there: who may connect is told so.
    const MAY: [u16; 1] = [1];
    confined(
        "it_connects_to_the_ports_that_it_needs_and_to_no_other",
        |needs| Needs { ports: Some(&MAY), ..needs },
        |_| {
            let other = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = |port| TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|error| error.raw_os_error());
            assert_eq!(to(MAY[0]), Err(Some(libc::ECONNREFUSED)));
            match to(other.local_addr().unwrap().port()) {
                Err(refused) => assert_eq!(refused, Some(libc::EACCES)),
                // Landlock knows ports from Linux 6.7 on.
                Ok(()) => assert!(!knows_ports(), "connected"),
            }
            for call in [libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg] {
                opens(call, other.local_addr().unwrap().port());
            }
            other.set_nonblocking(true).unwrap();
            let nobody = other.accept().map(drop).map_err(|error| error.kind());
            assert_eq!(nobody, Err(std::io::ErrorKind::WouldBlock), "something came");
        },
    );
}

/// Sends on a socket that is not connected, and has it connect by that.
fn opens(call: libc::c_long, port: u16) {
    let [a, b] = port.to_be_bytes();
    let address = libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).unwrap(),
        sin_port: u16::from_ne_bytes([a, b]),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let length = u32::try_from(size_of_val(&address)).unwrap();
    let mut data = libc::iovec { iov_base: c"x".as_ptr().cast_mut().cast(), iov_len: 1 };
    // SAFETY: all zeros is an empty message; what it points to lives as long as the call.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = std::ptr::from_ref(&address).cast_mut().cast();
    message.msg_hdr.msg_namelen = length;
    message.msg_hdr.msg_iov = &raw mut data;
    message.msg_hdr.msg_iovlen = 1;
    let flags = libc::MSG_FASTOPEN;
    // SAFETY: as each call takes it.
    let done = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        match call {
            libc::SYS_sendto => libc::syscall(call, socket, data.iov_base, 1usize, flags, &raw const address, length),
            libc::SYS_sendmsg => libc::syscall(call, socket, &raw const message.msg_hdr, flags),
            _ => libc::syscall(call, socket, &raw mut message, 1, flags),
        }
    };
    assert_eq!((done, Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)), "{call}");
}

fn knows_ports() -> bool {
    // SAFETY: asks for the version alone.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    version >= 4
}

#[test]
fn a_directory_that_a_kubelet_made_for_it_becomes_its_own_and_no_other_does() {
    let folder = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let path = folder.path().join(name);
        DirBuilder::new().mode(0o755).create(&path).unwrap();
        path
    };
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let (empty, used) = (made("empty"), made("used"));
    fs::write(used.join("a"), "").unwrap();
    own(&empty);
    own(&used);
    own(&folder.path().join("new"));
    assert_eq!([mode(&empty), mode(&used), mode(&folder.path().join("new"))], [0o700, 0o755, 0o700]);
}

#[test]
fn it_talks_to_the_network_and_starts_threads() {
    confined(
        "it_talks_to_the_network_and_starts_threads",
        |needs| Needs { programs: true, names: true, ..needs },
        |_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut sent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            sent.write_all(b"1").unwrap();
            let mut got = [0];
            listener.accept().unwrap().0.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"1");
            UdpSocket::bind("[::1]:0").map(drop).or_else(|_| UdpSocket::bind("127.0.0.1:0").map(drop)).unwrap();
            assert!(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").unwrap().next().is_some());
            UnixStream::pair().unwrap();
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            assert!(Command::new("/bin/true").status().unwrap().success(), "a kubeconfig may ask for a program");
        },
    );
}
