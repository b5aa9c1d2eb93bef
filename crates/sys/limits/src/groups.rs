//! The cgroups that limit this process's memory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Headroom, Memory};

/// What a cgroup keeps of its limit, for the pages that processes take without asking anybody.
const HEADROOM: Headroom = (2 << 20)..=(64 << 20);

/// From this limit on there is none: the kernel writes the largest number of pages.
const UNLIMITED: u64 = 1 << 62;

/// A limit of a cgroup.
#[derive(Debug)]
pub(super) struct Group {
    /// The file that says the limit.
    pub(super) limit: PathBuf,
    /// The file that says how much is in use.
    usage: &'static str,
    /// Names in the file of statistics for what the kernel gives back when it has to.
    reclaimable: [&'static str; 2],
}

/// The limits of every cgroup that this process is in, up the tree.
pub(super) fn of_process(proc: &Path) -> Vec<Group> {
    let read = |name| fs::read_to_string(proc.join(name)).unwrap_or_default();
    let (memberships, mounts) = (read("self/cgroup"), read("self/mountinfo"));
    let mut groups = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let version = if controllers.is_empty() {
            Version::Two
        } else if controllers.split(',').any(|name| name == "memory") {
            Version::One
        } else {
            continue;
        };
        for mount in mounts.lines().filter_map(Mount::parse) {
            if mount.is_of(version) {
                version.collect(&mount, path, &mut groups);
            }
        }
    }
    groups
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The files that say a limit.
    const fn limits(self) -> &'static [&'static str] {
        match self {
            Self::One => &["memory.limit_in_bytes"],
            // Above `high` processes are not killed but all but stopped.
            Self::Two => &["memory.max", "memory.high"],
        }
    }

    const fn usage(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// Pages of files on disks. Those of memory file systems are not among them.
    const fn reclaimable(self) -> [&'static str; 2] {
        match self {
            Self::One => ["total_inactive_file", "total_active_file"],
            Self::Two => ["inactive_file", "active_file"],
        }
    }

    /// Adds the limits from the group at `path` up to the mount's own.
    fn collect(self, mount: &Mount, path: &str, groups: &mut Vec<Group>) {
        // In a container the path may be one that only the host can see; what is mounted then is
        // the container's own group.
        let below = Path::new(path).strip_prefix(&mount.root);
        let mut directory =
            below.map_or_else(|_| mount.point.clone(), |path| mount.point.join(path));
        if !directory.is_dir() {
            directory.clone_from(&mount.point);
        }
        loop {
            groups.extend(self.limits().iter().map(|name| Group {
                limit: directory.join(name),
                usage: self.usage(),
                reclaimable: self.reclaimable(),
            }));
            if directory == mount.point || !directory.pop() {
                return;
            }
        }
    }
}

/// A file system and where it is mounted.
struct Mount<'a> {
    /// The part of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    /// Reads a line of `mountinfo`, if it is one of a cgroup.
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        if !kind.starts_with("cgroup") {
            return None;
        }
        let mut before = before.split(' ').skip(3);
        let path = |text: &str| PathBuf::from(text.replace("\\040", " "));
        Some(Self {
            root: path(before.next()?),
            point: path(before.next()?),
            kind,
            options,
        })
    }

    fn is_of(&self, version: Version) -> bool {
        match version {
            Version::One => {
                self.kind == "cgroup" && self.options.split(',').any(|option| option == "memory")
            }
            Version::Two => self.kind == "cgroup2",
        }
    }
}

impl Group {
    /// The group's memory; none if it has no limit.
    pub(super) fn memory(&self, needed: u64) -> Option<Memory> {
        let limit = number(&self.limit).filter(|&limit| limit < UNLIMITED)?;
        let directory = self.limit.parent()?;
        let usage = number(&directory.join(self.usage))?;
        let memory = |usage| Memory::new(limit, limit.saturating_sub(usage), HEADROOM);
        let at_least = memory(usage);
        if at_least.available >= needed {
            return Some(at_least);
        }
        // Only now, as the kernel takes its time to add these up.
        let text = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| self.reclaimable.contains(name))
            .filter_map(|(_, number)| number.parse::<u64>().ok())
            .sum();
        Some(memory(usage.saturating_sub(reclaimable)))
    }
}

/// The number in a file; none if there is none, as in `max`.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    /// A directory like /proc, with a process in `cgroup` and these mounts.
    fn proc(cgroup: &str, mounts: &str) -> tempfile::TempDir {
        let proc = tempfile::tempdir().expect("a directory");
        fs::create_dir(proc.path().join("self")).expect("room");
        fs::write(proc.path().join("self/cgroup"), cgroup).expect("room");
        fs::write(proc.path().join("self/mountinfo"), mounts).expect("room");
        let memory = "MemTotal: 99999999 kB\nMemAvailable: 88888888 kB\n";
        fs::write(proc.path().join("meminfo"), memory).expect("room");
        proc
    }

    fn group(directory: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(directory).expect("room");
        for (name, content) in files {
            fs::write(directory.join(name), format!("{content}\n")).expect("room");
        }
    }

    fn check(proc: &Path, needed: u64) -> Result<u64, Shortage> {
        Machine::described_in(proc).check(Path::new("/dev/shm"), needed)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_second_version_up_the_tree() {
        let root = tempfile::tempdir().expect("a directory");
        let point = root.path().join("with space");
        let mounts = format!(
            "1 0 0:1 / / rw - ext4 /dev/x rw\n2 1 0:2 / {} rw shared:3 - cgroup2 none rw\n",
            point.display().to_string().replace(' ', "\\040")
        );
        let proc = proc("1:name=systemd:/x\n0::/a/b\n", &mounts);
        group(&point, &[]);
        let (parent, child) = (point.join("a"), point.join("a/b"));
        let used = |mib: u64| (mib * MIB).to_string();
        group(
            &parent,
            &[
                ("memory.max", &used(160)),
                ("memory.high", "max"),
                ("memory.current", &used(50)),
            ],
        );
        group(
            &child,
            &[
                ("memory.max", "max"),
                ("memory.high", "max"),
                ("memory.current", &used(50)),
            ],
        );
        // A sixteenth of the parent's limit is kept.
        assert_eq!(check(proc.path(), 100 * MIB), Ok(0));
        let shortage = check(proc.path(), 100 * MIB + 1).expect_err("too much");
        assert_eq!(shortage.limit, Limit::Group(parent.join("memory.max")));
        assert_eq!(shortage.available, 100 * MIB);
        // Pages of files are given back.
        let pages = format!(
            "anon 1\ninactive_file {}\nactive_file {MIB}\nshmem 9",
            9 * MIB
        );
        group(&parent, &[("memory.stat", &pages)]);
        assert_eq!(check(proc.path(), 110 * MIB), Ok(0));
        check(proc.path(), 110 * MIB + 1).expect_err("too much");
        group(&child, &[("memory.high", &used(64))]);
        let shortage = check(proc.path(), 11 * MIB).expect_err("too much");
        assert_eq!(shortage.limit, Limit::Group(child.join("memory.high")));
        assert_eq!(check(proc.path(), 10 * MIB), Ok(0));
        assert_eq!(
            Machine::described_in(proc.path()).available(),
            Some(10 * MIB)
        );
    }

    #[test]
    fn the_first_version_in_a_container() {
        let root = tempfile::tempdir().expect("a directory");
        // The process is in a group whose path only the host can see.
        for seen in ["/docker/abc", "/docker/other", "/docker/abc/sub"] {
            let mounts = format!(
                "2 1 0:2 /docker/abc {} ro,x - cgroup cgroup rw,memory\n3 1 0:2 / /y rw - cgroup cgroup rw,cpu\n",
                root.path().display()
            );
            let proc = proc(&format!("5:cpu:/\n4:memory:{seen}\n0::/\n"), &mounts);
            group(
                root.path(),
                &[
                    ("memory.limit_in_bytes", &(64 * MIB).to_string()),
                    ("memory.usage_in_bytes", &(20 * MIB).to_string()),
                    (
                        "memory.stat",
                        &format!("cache 1\ntotal_inactive_file {}", 4 * MIB),
                    ),
                ],
            );
            assert_eq!(check(proc.path(), 44 * MIB), Ok(0), "{seen}");
            let shortage = check(proc.path(), 44 * MIB + 1).expect_err("too much");
            let file = root.path().join("memory.limit_in_bytes");
            assert_eq!(shortage.limit, Limit::Group(file));
        }
    }

    #[test]
    fn no_limit_is_none() {
        let root = tempfile::tempdir().expect("a directory");
        let mounts = format!(
            "2 1 0:2 / {} rw - cgroup cgroup rw,memory\n",
            root.path().display()
        );
        let proc = proc("4:memory:/\n", &mounts);
        group(
            root.path(),
            &[
                ("memory.limit_in_bytes", "9223372036854771712"),
                ("memory.usage_in_bytes", "9000000000000000000"),
            ],
        );
        check(proc.path(), MIB).expect("plenty");
    }
}
