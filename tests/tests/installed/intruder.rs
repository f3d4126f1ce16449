//! Makes another process do system calls, as who had taken it over would: with its rights, its filters, its view of the host.
use nix::{
    libc::user_regs_struct,
    sys::{
        ptrace,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// The instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// Room for what calls point to.
const ROOM: u64 = 64 << 10;

/// The first thread of a process, stopped for as long as this lives. To be used by the thread that made it, and by no other.
pub(crate) struct Intruder {
    process: Pid,
    memory: File,
    found: user_regs_struct,
    instruction: u64,
    room: u64,
    used: u64,
}

impl Intruder {
    pub(crate) fn into(process: i32) -> Self {
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{process}/mem")).unwrap();
        let instruction = instruction(process, &memory);
        let pid = Pid::from_raw(process);
        ptrace::seize(pid, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(pid).unwrap();
        stops(pid);
        let found = ptrace::getregs(pid).unwrap();
        let mut intruder = Self { process: pid, memory, found, instruction, room: 0, used: 0 };
        let (readable, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let flags = [readable, private].map(|flags| u64::try_from(flags).unwrap());
        let room = intruder.call(libc::SYS_mmap, &[0, ROOM, flags[0], flags[1], u64::MAX, 0]);
        intruder.room = room.unwrap();
        intruder
    }

    /// Does this call there.
    pub(crate) fn call(&mut self, number: i64, arguments: &[u64]) -> Result<u64, i32> {
        let argument = |at: usize| arguments.get(at).copied().unwrap_or_default();
        let registers = user_regs_struct {
            rip: self.instruction,
            rax: number.cast_unsigned(),
            // Not in a call: nothing is begun again.
            orig_rax: u64::MAX,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            r9: argument(5),
            ..self.found
        };
        ptrace::setregs(self.process, registers).unwrap();
        ptrace::step(self.process, None).unwrap();
        stops(self.process);
        let after = ptrace::getregs(self.process).unwrap();
        assert_eq!(after.rip, self.instruction + 2, "the call has been made");
        self.used = 0;
        match after.rax.cast_signed() {
            result @ -4095..0 => Err(i32::try_from(-result).unwrap()),
            result => Ok(result.cast_unsigned()),
        }
    }

    /// Puts bytes where the next call finds them; they are gone after it.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.room + self.used;
        self.used += u64::try_from(bytes.len()).unwrap().next_multiple_of(16);
        assert!(self.used <= ROOM);
        self.memory.write_all_at(bytes, at).unwrap();
        at
    }

    /// Puts a path there.
    pub(crate) fn path(&mut self, path: &Path) -> u64 {
        use std::os::unix::ffi::OsStrExt as _;
        let mut bytes = path.as_os_str().as_bytes().to_vec();
        bytes.push(0);
        self.put(&bytes)
    }

    /// Opens a file there; gives its descriptor.
    pub(crate) fn open(&mut self, path: &Path, flags: i32) -> Result<u64, i32> {
        let path = self.path(path);
        let flags = u64::try_from(flags | libc::O_CLOEXEC).unwrap();
        self.call(libc::SYS_openat, &[i64::from(libc::AT_FDCWD).cast_unsigned(), path, flags, 0o600])
    }

    /// Closes what it had opened.
    pub(crate) fn close(&mut self, descriptor: u64) {
        self.call(libc::SYS_close, &[descriptor]).unwrap();
    }

    /// Reads the beginning of a file.
    pub(crate) fn read(&mut self, path: &Path) -> Result<Vec<u8>, i32> {
        let file = self.open(path, libc::O_RDONLY)?;
        let length = self.call(libc::SYS_read, &[file, self.room, ROOM]);
        let mut bytes = vec![0; usize::try_from(length.unwrap_or_default()).unwrap()];
        self.memory.read_exact_at(&mut bytes, self.room).unwrap();
        self.close(file);
        length.map(|_| bytes)
    }
}

impl Drop for Intruder {
    /// The process goes on as if nothing had been; where it has ended, the test says so.
    fn drop(&mut self) {
        let _ = self.call(libc::SYS_munmap, &[self.room, ROOM]);
        let _ = ptrace::setregs(self.process, self.found);
        let _ = ptrace::detach(self.process, None);
    }
}

fn stops(process: Pid) {
    match waitpid(process, Some(WaitPidFlag::__WALL)).unwrap() {
        WaitStatus::Stopped(..) | WaitStatus::PtraceEvent(..) => {}
        other => panic!("{other:?}"),
    }
}

/// Where the program has the instruction.
fn instruction(process: i32, memory: &File) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let code = maps.lines().find(|line| line.contains(" r-xp ") && line.contains("vedette-agent"));
    let code = code.unwrap_or_else(|| panic!("{maps}")).split(' ').next().unwrap();
    let (from, to) = code.split_once('-').unwrap();
    let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
    let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
    memory.read_exact_at(&mut bytes, from).unwrap();
    let at = bytes.windows(2).position(|two| two == SYSCALL).unwrap();
    from + u64::try_from(at).unwrap()
}
