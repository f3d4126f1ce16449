//! System calls that the agent never makes, refused by its own seccomp filter: with them a capability too many would undo
//! what its mounts and Landlock refuse.

mod refused;

pub(super) use refused::never;

use super::Needs;
use libc::{AF_INET, AF_INET6, AF_UNIX, EPERM, IPPROTO_TCP, IPPROTO_UDP, SOCK_DGRAM, SOCK_STREAM, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::collections::BTreeMap;

/// Requests to devices and files that the standard library makes: whether it is a terminal, and not to block.
#[allow(clippy::unnecessary_cast, reason = "their type is another one with musl")]
const REQUESTS: [u64; 7] = [
    libc::TCGETS as u64,
    libc::TCGETS2 as u64,
    libc::TIOCGWINSZ as u64,
    libc::FIONBIO as u64,
    libc::FIONREAD as u64,
    libc::FIOCLEX as u64,
    libc::FIONCLEX as u64,
];

/// Controls of a descriptor that hold up who opens a file, or signal others. Locks are none of them: the state is locked too.
const CONTROLS: [i32; 5] = [libc::F_SETLEASE, libc::F_NOTIFY, libc::F_SETOWN, SETOWN_EX, SETSIG];
// Linux's own, which not every libc names.
const SETSIG: i32 = 10;
const SETOWN_EX: i32 = 15;

const FAST_OPEN: u64 = libc::MSG_FASTOPEN as u64;

/// Namespaces that a new process could begin in.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Refuses this thread, and all that it starts, calls that it never makes.
///
/// # Errors
/// Why the kernel does not.
pub(super) fn refuse(needs: Needs<'_>) -> Result<(), String> {
    refuse_as(needs, EPERM)
}

/// The same with another answer.
pub(super) fn refuse_as(needs: Needs<'_>, errno: i32) -> Result<(), String> {
    let filters = [filter(needs, errno), without_clone3()];
    for filter in filters {
        let filter = filter.map_err(|error| error.to_string())?;
        apply_filter(&filter).map_err(|error| format!("no seccomp filter can be set ({error})"))?;
    }
    Ok(())
}

fn filter(needs: Needs<'_>, errno: i32) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<c_long, Vec<SeccompRule>> = never(needs.programs).map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, sockets(needs.names)?);
    rules.insert(libc::SYS_socketpair, pairs()?);
    for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
        // It connects by itself, past Landlock.
        let opens = condition(flags, SeccompCmpOp::MaskedEq(FAST_OPEN), FAST_OPEN)?;
        rules.insert(call, vec![all(vec![opens])?]);
    }
    let namespaces = NAMESPACES.iter().map(|flag| {
        let bits = word(*flag);
        all(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bits), bits)?])
    });
    rules.insert(libc::SYS_clone, namespaces.collect::<Result<_, _>>()?);
    let requests = REQUESTS.iter().map(|request| condition(1, SeccompCmpOp::Ne, *request));
    rules.insert(libc::SYS_ioctl, vec![all(requests.collect::<Result<_, _>>()?)?]);
    let controls = CONTROLS.iter().map(|control| all(vec![condition(1, SeccompCmpOp::Eq, word(*control))?]));
    rules.insert(libc::SYS_fcntl, controls.collect::<Result<_, _>>()?);
    let is_other = || condition(0, SeccompCmpOp::Ne, std::process::id().into());
    if !needs.programs {
        // Who aborts signals itself: so does glibc.
        rules.insert(libc::SYS_tgkill, vec![all(vec![is_other()?])?]);
        // A limit can end a process too. None is that of this one.
        rules.insert(libc::SYS_prlimit64, vec![all(vec![is_other()?, differs(0, 0)?])?]);
    }
    let dumps = condition(0, SeccompCmpOp::Eq, word(libc::PR_SET_DUMPABLE))?;
    rules.insert(libc::SYS_prctl, vec![all(vec![dumps, differs(1, 0)?])?]);
    let mut rules = with_other_numbers(rules);
    rules.extend(others_alone().map(|call| (call, Vec::new())));
    compile(rules, errno)
}

/// The API server and who scrapes: no sockets of the host that have a path, no netlink, no raw packets; datagrams, of which
/// Landlock refuses none, only to who names hosts.
fn sockets(names: bool) -> Result<Vec<SeccompRule>, BackendError> {
    let (kinds, protocol) = if names { (&[SOCK_STREAM, SOCK_DGRAM][..], IPPROTO_UDP) } else { (&[SOCK_STREAM][..], 0) };
    let family = all(vec![differs(0, AF_INET)?, differs(0, AF_INET6)?]);
    // Other protocols are modules that would be loaded for it.
    let protocol = all(vec![differs(2, 0)?, differs(2, IPPROTO_TCP)?, differs(2, protocol)?]);
    [family, protocol].into_iter().chain(other_kinds(kinds)).collect()
}

/// Both ends are here. One for datagrams could send to any path.
fn pairs() -> Result<Vec<SeccompRule>, BackendError> {
    std::iter::once(all(vec![differs(0, AF_UNIX)?])).chain(other_kinds(&[SOCK_STREAM])).collect()
}

/// The second argument asks for a socket of none of these kinds.
fn other_kinds(kinds: &[i32]) -> impl Iterator<Item = Result<SeccompRule, BackendError>> {
    // The other bits ask that it does not block, and such.
    const KIND: u64 = 0xf;
    let others = (0..=KIND).filter(|kind| !kinds.iter().any(|allowed| word(*allowed) == *kind));
    others.map(|kind| all(vec![condition(1, SeccompCmpOp::MaskedEq(KIND), kind)?]))
}

/// Its flags lie in memory, where no filter looks. Who is told that the kernel does not know it uses clone.
fn without_clone3() -> Result<BpfProgram, BackendError> {
    compile(with_other_numbers(BTreeMap::from([(libc::SYS_clone3, Vec::new())])), libc::ENOSYS)
}

fn all(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions)
}

fn differs(argument: u8, from: i32) -> Result<SeccompCondition, BackendError> {
    condition(argument, SeccompCmpOp::Ne, word(from))
}

fn condition(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

fn word(value: i32) -> u64 {
    value.cast_unsigned().into()
}

/// The bit of the numbers of the x32 ABI, which some kernels have; `None` on other processors.
const X32: Option<c_long> = if cfg!(target_arch = "x86_64") { Some(0x4000_0000) } else { None };

/// The same calls under those numbers.
fn with_other_numbers(mut rules: BTreeMap<c_long, Vec<SeccompRule>>) -> BTreeMap<c_long, Vec<SeccompRule>> {
    let others: Vec<_> = rules.iter().filter_map(|(call, rules)| Some((call | X32?, rules.clone()))).collect();
    rules.extend(others);
    rules
}

/// Calls that only that ABI has: other forms of ioctl, execve and the like.
fn others_alone() -> impl Iterator<Item = c_long> {
    X32.into_iter().flat_map(|bit| (512..=547).map(move |call| call | bit))
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?.try_into()
}
