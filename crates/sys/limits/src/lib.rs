//! How much memory there is to take, before it is taken.
//!
//! Memory that a cgroup's limit or the machine does not cover is answered by the kernel's killer of
//! processes, not by an error. So whoever is about to take much asks here.
//!
//! # Layout
//!
//! * [`Machine`]: the machine, its cgroups (`groups`) and its file systems.
//! * [`Shortage`]: which of them has too little.

mod groups;

use std::{
    fmt, fs,
    mem::MaybeUninit,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;

/// What there is less of than is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What sets the limit.
    pub limit: Limit,
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that may be taken.
    pub available: u64,
}

/// What can set a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The option `budget`, in bytes.
    Budget(u64),
    /// The size of the file system at this path.
    FileSystem(PathBuf),
    /// The machine's memory.
    Memory,
    /// The limit of a cgroup: the file that says it.
    Group(PathBuf),
}

/// The machine, as its kernel describes it.
#[derive(Debug)]
pub struct Machine {
    /// Where the kernel tells about processes and memory.
    proc: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            proc: PathBuf::from("/proc"),
        }
    }
}

impl Machine {
    /// One that is described by files like those in /proc.
    #[must_use]
    pub fn described_in(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
        }
    }

    /// Whether `needed` bytes may be taken from the memory file system at `directory`; if so, bytes
    /// that may be taken beyond them without asking again soon.
    ///
    /// # Errors
    ///
    /// What there is too little of.
    pub fn check(&self, directory: &Path, needed: u64) -> Result<u64, Shortage> {
        let short = |limit, available| Shortage {
            limit,
            needed,
            available,
        };
        if let Some(free) = file_system(directory)
            && free < needed
        {
            return Err(short(Limit::FileSystem(directory.to_owned()), free));
        }
        let mut beyond = u64::MAX;
        if let Some(memory) = self.memory(needed) {
            if memory.available < needed {
                return Err(short(Limit::Memory, memory.available));
            }
            beyond = memory.beyond(needed);
        }
        for group in groups::of_process(&self.proc) {
            let Some(memory) = group.memory(needed) else {
                continue;
            };
            if memory.available < needed {
                return Err(short(Limit::Group(group.limit), memory.available));
            }
            beyond = beyond.min(memory.beyond(needed));
        }
        Ok(if beyond == u64::MAX { 0 } else { beyond })
    }

    /// Bytes of memory that this process may take: what the machine and every cgroup up the tree
    /// can spare. None if the kernel does not say.
    #[must_use]
    pub fn available(&self) -> Option<u64> {
        // What is asked for more than there is makes the kernel add up what caches would give back.
        let all = u64::MAX;
        let groups = groups::of_process(&self.proc);
        let groups = groups.iter().filter_map(|group| group.memory(all));
        let limits = self.memory(all).into_iter().chain(groups);
        limits.map(|memory| memory.available).min()
    }

    /// The machine's memory; none if the kernel does not say.
    fn memory(&self, needed: u64) -> Option<Memory> {
        // One quick call answers when there is plenty, without what caches would give back.
        if self.is_real()
            && let Some((total, free)) = total_and_free()
        {
            let memory = Memory::new(total, free, HEADROOM);
            if memory.available >= needed {
                return Some(memory);
            }
        }
        let text = fs::read_to_string(self.proc.join("meminfo")).ok()?;
        let kilobytes = |name| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let number = line.split_ascii_whitespace().next()?;
            number.parse::<u64>().ok()?.checked_mul(1 << 10)
        };
        let (total, available) = (kilobytes("MemTotal:")?, kilobytes("MemAvailable:")?);
        Some(Memory::new(total, available, HEADROOM))
    }

    fn is_real(&self) -> bool {
        self.proc == Path::new("/proc")
    }
}

/// Memory that somebody limits.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Bytes that may be taken.
    available: u64,
    /// Bytes that are left for everybody else.
    headroom: u64,
}

/// The least and the most that is left to everybody else.
type Headroom = RangeInclusive<u64>;

/// What the machine keeps, of its whole memory.
const HEADROOM: Headroom = (32 << 20)..=(512 << 20);

impl Memory {
    /// Leaves a sixteenth of the whole, within bounds.
    fn new(total: u64, free: u64, bounds: Headroom) -> Self {
        let headroom = (total / 16).clamp(*bounds.start(), *bounds.end());
        Self {
            available: free.saturating_sub(headroom),
            headroom,
        }
    }

    /// Bytes that may be taken beyond `needed` without looking again: what others take meanwhile
    /// must fit into the headroom.
    fn beyond(self, needed: u64) -> u64 {
        (self.available - needed).min(self.headroom / 8)
    }
}

/// Free bytes of the file system at `directory`; none if it has no limit.
fn file_system(directory: &Path) -> Option<u64> {
    let system = statvfs(directory).ok()?;
    (system.f_blocks > 0).then(|| system.f_bavail.saturating_mul(system.f_frsize))
}

/// Bytes of the file system at `directory`, or of the machine's memory if it has no limit.
#[must_use]
pub fn size(directory: &Path) -> u64 {
    let limited = statvfs(directory)
        .ok()
        .filter(|system| system.f_blocks > 0)
        .map(|system| system.f_blocks.saturating_mul(system.f_frsize));
    limited.unwrap_or_else(|| total_and_free().map_or(0, |(total, _)| total))
}

/// Bytes of the machine's memory, and of that what nothing at all uses.
fn total_and_free() -> Option<(u64, u64)> {
    let mut system = MaybeUninit::<libc::sysinfo>::uninit();
    // SAFETY: fills the structure that it is given.
    if unsafe { libc::sysinfo(system.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: filled by the successful call.
    let system = unsafe { system.assume_init() };
    let unit = u64::from(system.mem_unit);
    Some((system.totalram * unit, system.freeram * unit))
}

impl fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, available) = (self.needed, self.available);
        write!(formatter, "it takes {needed} bytes, ")?;
        match &self.limit {
            Limit::Budget(budget) => write!(
                formatter,
                "and of budget={budget} only {available} are left; raise it"
            ),
            Limit::FileSystem(path) => {
                let path = path.display();
                write!(
                    formatter,
                    "and the file system of {path} has only {available} left (df {path}); enlarge \
                     it (for a container: --shm-size)"
                )
            }
            Limit::Memory => write!(
                formatter,
                "and the machine can spare only {available} (MemAvailable of /proc/meminfo, less \
                 some for others)"
            ),
            Limit::Group(path) => write!(
                formatter,
                "and the memory limit of this process's cgroup leaves only {available} ({}); raise \
                 it",
                path.display()
            ),
        }?;
        formatter.write_str(", evict objects, or name a directory on a disk with spill=")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with this memory, in bytes.
    fn machine(total: u64, available: u64) -> (tempfile::TempDir, Machine) {
        let proc = tempfile::tempdir().expect("a directory");
        let text = format!(
            "MemTotal: {:>10} kB\nMemFree: 1 kB\nMemAvailable:  {:>8} kB\n",
            total >> 10,
            available >> 10
        );
        fs::write(proc.path().join("meminfo"), text).expect("room");
        let machine = Machine::described_in(proc.path());
        (proc, machine)
    }

    #[test]
    fn the_machine_keeps_some_memory() {
        let (_proc, machine) = machine(1 << 30, 200 << 20);
        let shm = Path::new("/dev/shm");
        assert!(machine.check(shm, 100 << 20).is_ok());
        let available = (200 - 64) << 20;
        assert_eq!(machine.check(shm, available), Ok(0));
        let shortage = machine.check(shm, available + 1).expect_err("too much");
        assert_eq!(shortage.limit, Limit::Memory);
        assert_eq!(shortage.available, available);
    }

    #[test]
    fn what_may_be_taken_beyond_is_little() {
        let (_proc, machine) = machine(1 << 30, 900 << 20);
        let beyond = machine.check(Path::new("/dev/shm"), 1).expect("plenty");
        assert_eq!(beyond, 8 << 20);
    }

    #[test]
    fn the_file_system_is_asked() {
        let shm = Path::new("/dev/shm");
        let shortage = Machine::default()
            .check(shm, u64::MAX)
            .expect_err("too much");
        assert_eq!(shortage.limit, Limit::FileSystem(shm.to_owned()));
        assert!(size(shm) > 0);
        let text = shortage.to_string();
        assert!(
            text.contains("df /dev/shm") && text.contains("spill="),
            "{text}"
        );
    }

    #[test]
    fn the_least_of_all_limits_is_available() {
        let (_proc, machine) = machine(1 << 30, 200 << 20);
        assert_eq!(machine.available(), Some((200 - 64) << 20));
        let nowhere = Machine::described_in(Path::new("/nowhere"));
        assert_eq!(nowhere.available(), None);
        assert!(Machine::default().available() > Some(0));
    }

    #[test]
    fn this_machine_has_a_little_to_spare() {
        Machine::default()
            .check(Path::new("/dev/shm"), 4096)
            .expect("a page");
    }
}
