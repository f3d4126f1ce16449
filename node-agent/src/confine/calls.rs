//! System calls that the agent never makes, refused by its own seccomp filter: with them a capability too many would undo
//! what its mounts and Landlock refuse.

use libc::{AF_INET, AF_INET6, EPERM, c_long};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use std::collections::BTreeMap;

/// Changes what it sees: mounts, roots, namespaces.
const VIEW: [c_long; 14] = [
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    // With DAC_READ_SEARCH it opens any file of a file system, also what no mount shows.
    libc::SYS_open_by_handle_at,
];

/// Looks into other processes, or takes something of theirs.
const PROCESSES: [c_long; 6] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
];

/// Gives the kernel programs, or goes past this filter.
const KERNEL: [c_long; 14] = [
    libc::SYS_bpf,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // Its operations open files and sockets, and no filter sees them.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// Starts other programs.
const PROGRAMS: [c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];

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

/// What is refused whatever its arguments.
pub(super) fn never() -> impl Iterator<Item = c_long> {
    VIEW.into_iter().chain(PROCESSES).chain(KERNEL)
}

/// Refuses this thread, and all that it starts, calls that it never makes.
///
/// # Errors
/// Why the kernel does not.
pub(super) fn refuse(programs: bool) -> Result<(), String> {
    let filters = [filter(programs), without_clone3()];
    for filter in filters {
        let filter = filter.map_err(|error| error.to_string())?;
        apply_filter(&filter).map_err(|error| format!("no seccomp filter can be set ({error})"))?;
    }
    Ok(())
}

fn filter(programs: bool) -> Result<BpfProgram, BackendError> {
    let programs = PROGRAMS.into_iter().filter(|_| !programs);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = never().chain(programs).map(|call| (call, Vec::new())).collect();
    // The API server and who scrapes: no sockets of the host that have a path, no netlink.
    let is_other = |family: i32| condition(0, SeccompCmpOp::Ne, family);
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![is_other(AF_INET)?, is_other(AF_INET6)?])?]);
    let namespaces = NAMESPACES.iter().map(|flag| {
        let bits = u64::from(flag.cast_unsigned());
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bits), bits)?])
    });
    rules.insert(libc::SYS_clone, namespaces.collect::<Result<_, _>>()?);
    compile(with_other_numbers(rules), EPERM)
}

/// Its flags lie in memory, where no filter looks. Who is told that the kernel does not know it uses clone.
fn without_clone3() -> Result<BpfProgram, BackendError> {
    compile(with_other_numbers(BTreeMap::from([(libc::SYS_clone3, Vec::new())])), libc::ENOSYS)
}

fn condition(argument: u8, op: SeccompCmpOp, value: i32) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, u64::from(value.cast_unsigned()))
}

/// The same calls under the numbers of the x32 ABI, which some kernels have.
fn with_other_numbers(rules: BTreeMap<i64, Vec<SeccompRule>>) -> BTreeMap<i64, Vec<SeccompRule>> {
    const X32: i64 = 0x4000_0000;
    let other = if cfg!(target_arch = "x86_64") { Some(X32) } else { None };
    let others = rules.clone().into_iter().filter_map(|(call, rules)| Some((call | other?, rules)));
    rules.clone().into_iter().chain(others).collect()
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, BackendError> {
    let refused = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?.try_into()
}
