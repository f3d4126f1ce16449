//! No write outside the agent's own places, by Landlock: what a mount allows below the host's root counts no more.

use super::Needs;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use std::path::{Path, PathBuf};

/// The first version that also refuses to cut a file short (Linux 6.2).
const ALL_WRITES: ABI = ABI::V3;
/// What later ones add is taken where it is there: device controls, ports, signals and sockets without a path.
const MORE: ABI = ABI::V6;

/// Refuses this thread, and all that it starts, writes outside its places.
///
/// # Errors
/// Why the kernel does not.
pub(super) fn confine(needs: Needs<'_>) -> Result<(), String> {
    let status = restrict(needs).map_err(|error| error.to_string())?;
    match status {
        RulesetStatus::FullyEnforced => {}
        RulesetStatus::PartiallyEnforced => {
            return Err("this kernel's Landlock is older than that of Linux 6.2 and refuses only some of them".into());
        }
        RulesetStatus::NotEnforced => {
            return Err("this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and landlock among its lsm=)".into());
        }
    }
    // It cannot do less now; what this kernel does not know of it is no lack.
    let _ = restrict_more(needs.ports);
    Ok(())
}

fn restrict(needs: Needs<'_>) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    let all = AccessFs::from_write(ALL_WRITES);
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?.create()?;
    let state =
        AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::MakeSock | AccessFs::RemoveFile;
    rules = rules.add_rule(PathBeneath::new(PathFd::new(needs.state_dir)?, state))?;
    // Nothing is asked of a program that is started, and what it says goes nowhere.
    let nowhere = needs.programs.then(|| (PathBuf::from("/dev/null"), AccessFs::WriteFile.into()));
    for (place, access) in needs.records.map(records).unwrap_or_default().into_iter().chain(nowhere) {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(place)?, access))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// Where a records file is written: in its directory, for who rotates it has it made anew there; a pipe or a device as it is.
fn records(file: &Path) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    // Behind a link it lies somewhere else, until that is taken away; one that is not there yet lies nowhere else.
    let real = file.canonicalize().ok();
    if file.metadata().is_ok_and(|found| !found.is_file()) {
        // A pipe without a name, as /dev/stdout may be, lies in no directory, and Landlock knows nothing of it.
        return real.into_iter().map(|file| (file, AccessFs::WriteFile.into())).collect();
    }
    let folder = |file: &Path| match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let access = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::Truncate;
    let folders = [Some(folder(file)), real.as_deref().map(folder)].into_iter().flatten();
    // Who opens the file says what a directory that is not there means.
    folders.filter(|folder| folder.is_dir()).map(|folder| (folder, access)).collect()
}

fn restrict_more(ports: Option<&[u16]>) -> Result<(), RulesetError> {
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(AccessFs::IoctlDev)?;
    if ports.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut rules = rules.scope(Scope::from_all(MORE))?.create()?;
    for port in ports.unwrap_or_default() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    rules.restrict_self()?;
    Ok(())
}
