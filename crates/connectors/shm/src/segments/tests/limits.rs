//! What happens where memory is short.

use std::{
    env,
    process::{self, Command},
};

use super::*;
use crate::testing::{again, alone, check, role};

const MIB: usize = 1 << 20;
/// As options take it.
const MIB_OPTION: i64 = 1 << 20;

/// An object of this many bytes that takes one page of memory.
fn repeated(len: usize) -> Vec<Segment<'static>> {
    const PAGE: &[u8; 4096] = &[0x5a; 4096];
    let whole = [Segment::from(PAGE)].into_iter().cycle().take(len / 4096);
    whole
        .chain([Segment::from(PAGE).slice(..len % 4096)])
        .collect()
}

impl Member {
    fn put_repeated(&self, len: usize) -> Result<(u32, u32), ShmError> {
        let segments = repeated(len);
        let payload = Payload::new(&segments);
        let reference = self.segments.put(&payload, 0, &self.options)?;
        let Place::Segment(number) = reference.place else {
            panic!("it is in a segment");
        };
        Ok((number, reference.generation))
    }

    fn check_repeated(&self, place: (u32, u32), len: usize) {
        let view = self.get(place).expect("an object");
        assert_eq!(view.len(), len);
        let bytes = view.as_segment();
        for at in (0..len).step_by(4096) {
            assert_eq!(bytes.slice(at..=at).to_vec(), [0x5a]);
        }
    }

    /// Nothing is counted but what this many bytes of objects take.
    fn check_counts(&self, bytes: usize) {
        assert_eq!(self.membership().bytes(), bytes as u64);
        assert_eq!(self.membership().reserved(), 0);
    }
}

#[track_caller]
fn check_full(outcome: Result<(u32, u32), ShmError>, words: &[&str]) {
    let Err(error @ ShmError::Full { .. }) = outcome else {
        panic!("there is no room: {outcome:?}");
    };
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

/// A directory on a disk, which no test of limits fills.
fn disk() -> tempfile::TempDir {
    tempfile::TempDir::new_in(env!("CARGO_MANIFEST_DIR")).expect("a directory")
}

#[test]
fn a_budget_is_kept_by_all_processes_together() {
    let directory = directory();
    let budget = |config: Config| config.with("budget", 3 * MIB_OPTION);
    let (one, two) = (
        Member::join_with(directory.path(), budget),
        Member::join_with(directory.path(), budget),
    );
    let first = one.put(&bytes(MIB, 1));
    let second = two.put(&bytes(MIB, 2));
    check_full(
        two.try_put(&bytes(MIB + 1, 3)),
        &["budget=3145728", "1048576 are left", "spill="],
    );
    assert_eq!(two.files().len(), 2);
    one.check_counts(2 * MIB);
    // What this process keeps for later is given back first.
    two.evict(second);
    let third = two.put(&bytes(2 * MIB, 4));
    assert!(!two.files().contains(&format!("s{}", second.0)) || second.0 == third.0);
    one.check_counts(3 * MIB);
    // What another one keeps is not.
    one.evict(first);
    check_full(two.try_put(&bytes(MIB, 5)), &["budget="]);
    one.put(&bytes(MIB, 6));
    two.check_counts(3 * MIB);
    // Neither beyond the end of what is there.
    two.evict(third);
    check_full(two.try_put(&bytes(2 * MIB + 1, 7)), &["budget="]);
}

#[test]
fn what_does_not_fit_is_spilled_to_a_disk() {
    let (directory, disk) = (directory(), disk());
    let spill = disk.path().join("made/when/needed");
    let configure = |config: Config| {
        let spill = spill.to_str().expect("text");
        config.with("budget", MIB_OPTION).with("spill", spill)
    };
    let producer = Member::join_with(directory.path(), configure);
    let consumer = Member::join(directory.path());
    let spilled = || fs::read_dir(&spill).map_or(0, Iterator::count);
    let (small, large) = (bytes(MIB, 1), bytes(3 * MIB + 7, 2));
    let in_memory = producer.put(&small);
    assert_eq!(spilled(), 0);
    let on_disk = producer.put(&large);
    assert_eq!(spilled(), 1);
    consumer.check_counts(MIB);
    let id = producer.membership().control().id();
    let target = fs::read_link(producer.file(on_disk)).expect("a link");
    let name = format!("proxystore-{id:016x}-{}-{}", on_disk.0, on_disk.1);
    assert_eq!(target, spill.join(name));
    assert_eq!(
        fs::metadata(&target).expect("a file").mode() & 0o7777,
        0o600
    );
    assert_eq!(
        fs::metadata(&spill).expect("a directory").mode() & 0o7777,
        0o700
    );
    let mut view = consumer.get(on_disk).expect("an object");
    assert!(view.is_mapped() && view.to_vec() == large);
    assert_eq!(view.write_at(0, b"mine"), 4);
    assert!(consumer.get_copy(on_disk).expect("an object").to_vec() == large);
    assert!(consumer.get(in_memory).expect("an object").to_vec() == small);
    // Evicted by the owner at once, and soon if by others. Views stay.
    producer.evict(on_disk);
    assert_eq!(spilled(), 0);
    assert!(view.to_vec()[4..] == large[4..]);
    let again = producer.put(&large);
    assert_eq!(spilled(), 1);
    consumer.evict(again);
    assert!(consumer.get(again).is_none());
    producer.segments.leave().expect("no refusal");
    assert_eq!(spilled(), 0);
    // Whoever adopts it removes it as well.
    let producer = Member::join_with(directory.path(), configure);
    let [kept, freed] = [3, 4].map(|seed| producer.put(&bytes(2 * MIB, seed)));
    consumer.evict(freed);
    consumer
        .segments
        .adopt(producer.membership().id())
        .expect("no refusal");
    assert_eq!(spilled(), 1);
    assert!(consumer.get(kept).expect("an object").to_vec() == bytes(2 * MIB, 3));
    consumer.evict(kept);
    assert_eq!(spilled(), 0);
}

#[test]
fn harmed_spilled_files_are_noticed() {
    let (directory, disk) = (directory(), disk());
    let spill = disk.path().to_str().expect("text");
    let configure = |config: Config| config.with("budget", 4096_i64).with("spill", spill);
    let member = Member::join_with(directory.path(), configure);
    let harms: [fn(&Path, &Path); 4] = [
        |_, target| {
            fs::File::create(target)
                .expect("a file")
                .set_len(5)
                .expect("cut");
        },
        |_, target| fs::remove_file(target).expect("a file"),
        |link, _| fs::remove_file(link).expect("a link"),
        |link, target| {
            fs::remove_file(link).expect("a link");
            let other = target.with_file_name("proxystore-0000000000000007-0-1");
            fs::write(&other, vec![7; MIB]).expect("room");
            std::os::unix::fs::symlink(&other, link).expect("a link");
        },
    ];
    for harm in harms {
        let place = member.put(&bytes(MIB, 1));
        let link = member.file(place);
        harm(&link, &fs::read_link(&link).expect("a link"));
        for outcome in [
            member.segments.get(place.0, place.1),
            member.segments.get_copy(place.0, place.1),
        ] {
            assert!(
                matches!(outcome, Err(ShmError::Corrupted { .. })),
                "{outcome:?}"
            );
        }
        member.evict(place);
        let again = member.put(&bytes(MIB, 2));
        assert!(member.get(again).expect("an object").to_vec() == bytes(MIB, 2));
        member.evict(again);
    }
}

/// Starts the calling test again in a role, by a program and its arguments that start others.
fn start(program: &str, arguments: &[&str], role: &str, directory: &Path) -> process::Output {
    let command = again(role, directory);
    let mut outer = Command::new(program);
    outer
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.expect("a value"));
    }
    outer.output().expect("it runs")
}

#[test]
fn a_small_file_system() {
    if let Some((_, directory)) = role() {
        return fill_small_file_system(&directory);
    }
    let directory = directory();
    // A file system of its own that nobody else sees, which needs no privileges.
    let arguments = ["--user", "--map-root-user", "--mount"];
    check(&start("unshare", &arguments, "small", directory.path()));
}

fn fill_small_file_system(directory: &Path) {
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m,mode=0700", "none"])
        .arg(directory)
        .status();
    assert!(mounted.expect("it runs").success());
    let disk = disk();
    let spill = disk.path().to_str().expect("text");
    let member = Member::join(directory);
    let first = member.put_repeated(40 * MIB).expect("room");
    member.check_repeated(first, 40 * MIB);
    check_full(
        member.put_repeated(40 * MIB),
        &["df ", "--shm-size", "spill="],
    );
    assert_eq!(member.files().len(), 1);
    member.check_counts(40 * MIB);
    // A quarter of it is kept for later puts at most.
    member.evict(first);
    assert!(member.files().is_empty());
    // Somebody else takes the rest after it was looked at: allowed, and refused by the system.
    member.evict(member.put_repeated(MIB).expect("room"));
    let rest = directory.join("rest");
    fs::write(&rest, vec![1; 30 * MIB]).expect("room");
    member.segments.shared.kept.lock().allowance = Some((
        64 * MIB as u64,
        std::time::Instant::now() + Duration::from_hours(1),
    ));
    check_full(member.put_repeated(40 * MIB), &["df ", "spill="]);
    assert_eq!(member.files().len(), 1);
    member.check_counts(MIB);
    let spilling = Member::join_with(directory, |config| config.with("spill", spill));
    let place = spilling.put_repeated(40 * MIB).expect("room on the disk");
    spilling.check_repeated(place, 40 * MIB);
    assert_eq!(fs::read_dir(spill).expect("a directory").count(), 1);
    spilling.evict(place);
    assert_eq!(fs::read_dir(spill).expect("a directory").count(), 0);
    // A disk without room is no help; nothing is left behind on it either.
    let full = directory.join("full").to_str().expect("text").to_owned();
    let spilling = Member::join_with(directory, |config| config.with("spill", full.as_str()));
    check_full(spilling.put_repeated(40 * MIB), &["no room for it either"]);
    assert_eq!(fs::read_dir(&full).expect("a directory").count(), 0);
    // With not a page left, memory that is there is used again, and views are written to.
    let live = member.put(&bytes(MIB, 1));
    assert_eq!(member.files().len(), 1);
    let filler = fs::File::create(directory.join("filler")).expect("an inode");
    let page = vec![1; MIB];
    let mut filler = std::io::BufWriter::with_capacity(4096, filler);
    while std::io::Write::write_all(&mut filler, &page).is_ok() {}
    drop(filler.into_parts());
    let mut view = member.get(live).expect("an object");
    assert_eq!(view.write_at(5, &bytes(MIB - 5, 2)), MIB - 5);
    assert!(view.to_vec()[5..] == bytes(MIB - 5, 2));
    drop(view);
    member.evict(live);
    let again = member.put(&bytes(MIB, 3));
    assert_eq!(again, (live.0, live.1 + 1));
    assert!(member.get_copy(again).expect("an object").to_vec() == bytes(MIB, 3));
    member.evict(again);
    check_full(member.try_put(&bytes(MIB + 8192, 4)), &["spill="]);
}

/// Where a process of this machine's can be limited to some memory.
struct Group(PathBuf);

impl Group {
    /// A group below this process's own; none if this machine lets nobody make one.
    fn new(limit: usize) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = |prefix: &str, root: &str| {
            let path = groups.lines().find_map(|line| line.split_once(prefix))?.1;
            Some(Path::new(root).join(path.trim_start_matches('/')))
        };
        let name = format!("proxystore-test-{}", process::id());
        let places = [
            (
                own(":memory:", "/sys/fs/cgroup/memory"),
                "memory.limit_in_bytes",
            ),
            (own("0::", "/sys/fs/cgroup"), "memory.max"),
        ];
        places.into_iter().find_map(|(parent, file)| {
            let group = parent?.join(&name);
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            let written = fs::write(group.0.join(file), limit.to_string());
            written.is_ok().then_some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_memory_cgroup_smaller_than_the_object() {
    if let Some((role, directory)) = role() {
        assert_eq!(role, "limited");
        let limit = env::var("LIMIT").expect("a limit");
        return fill_group(Member::join(&directory), &["cgroup", &limit]);
    }
    let directory = directory();
    if let Some(group) = Group::new(64 * MIB) {
        let join = format!(
            "echo $$ > {0}/cgroup.procs && LIMIT={0} exec \"$@\"",
            group.0.display()
        );
        check(&start(
            "sh",
            &["-c", &join, "sh"],
            "limited",
            directory.path(),
        ));
        return;
    }
    // Without the right to make one: the same against files like those of one.
    let proc = directory.path().join("proc");
    let group = directory.path().join("group");
    fs::create_dir_all(proc.join("self")).expect("room");
    fs::create_dir(&group).expect("room");
    let write = |path: PathBuf, text: String| fs::write(path, text).expect("room");
    write(
        proc.join("meminfo"),
        "MemTotal: 99999999 kB\nMemAvailable: 88888888 kB\n".into(),
    );
    write(proc.join("self/cgroup"), "0::/\n".into());
    write(
        proc.join("self/mountinfo"),
        format!("2 1 0:2 / {} rw - cgroup2 none rw\n", group.display()),
    );
    write(group.join("memory.max"), (64 * MIB).to_string());
    write(group.join("memory.current"), (24 * MIB).to_string());
    let limited = || Member::join(directory.path()).on(Machine::described_in(&proc));
    fill_group(limited(), &["cgroup", "memory.max"]);
}

/// Puts what fits into a group of 64 MiB, and what does not.
fn fill_group(mut member: Member, words: &[&str]) {
    check_full(member.put_repeated(100 * MIB), words);
    let place = member.put_repeated(20 * MIB).expect("room");
    member.check_repeated(place, 20 * MIB);
    check_full(member.put_repeated(60 * MIB), words);
    member.check_counts(20 * MIB);
    assert_eq!(member.files().len(), 1);
    let disk = disk();
    member.options.spill = Some(disk.path().to_owned());
    let place = member.put_repeated(100 * MIB).expect("room on the disk");
    member.check_repeated(place, 100 * MIB);
    assert_eq!(fs::read_dir(disk.path()).expect("a directory").count(), 1);
    member.evict(place);
    assert_eq!(fs::read_dir(disk.path()).expect("a directory").count(), 0);
}

#[test]
fn two_puts_at_once_do_not_both_take_the_last_memory() {
    let directory = directory();
    let member = Member::join(directory.path());
    // Another process is about to take nearly all that there is.
    let other = Member::join(directory.path());
    let most = proxystore_limits::size(directory.path()).cast_signed() - 4 * MIB_OPTION;
    other.membership().add_reserved(most);
    check_full(
        member.try_put(&bytes(8 * MIB, 1)),
        &["it takes 8388608 bytes"],
    );
    other.membership().add_reserved(-most);
    member.put(&bytes(8 * MIB, 1));
    assert_eq!(member.membership().reserved(), 0);
}

#[test]
fn where_the_kernel_refuses_a_view_there_is_a_copy_or_a_reason() {
    alone(|directory| {
        let member = Member::join(directory);
        let object = bytes(8 * MIB, 1);
        let place = member.put(&object);
        // A buffer that is kept needs no mapping.
        drop(member.get_copy(place).expect("an object"));
        let (limited, refused) = within_address_space(|| {
            let limited = member.segments.get(place.0, place.1);
            proxystore_memory::recycled::free_idle();
            (limited, member.segments.get(place.0, place.1))
        });
        let copy = limited.expect("a copy").expect("an object").object;
        assert!(!copy.is_mapped() && copy.to_vec() == object);
        let error = refused.expect_err("no memory");
        let text = error.to_string();
        assert!(matches!(error, ShmError::OutOfMemory { .. }), "{text}");
        for word in ["max_map_count", "overcommit_memory", "8388608"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(member.get(place).expect("an object").is_mapped());
        assert!(!member.membership().is_pinned(place.0));
    });
}

#[test]
fn more_views_than_the_system_has_mappings_and_descriptors_for() {
    alone(|directory| {
        let limit = |resource, current| {
            let maximum = rustix::process::getrlimit(resource).maximum;
            let limit = rustix::process::Rlimit {
                current: Some(current),
                maximum,
            };
            rustix::process::setrlimit(resource, limit).expect("a limit");
        };
        limit(rustix::process::Resource::Nofile, 256);
        let member = Member::join(directory);
        let objects: Vec<_> = (0..100).map(|seed| bytes(20_000, seed)).collect();
        let places: Vec<_> = objects.iter().map(|object| member.put(object)).collect();
        let most = fs::read_to_string("/proc/sys/vm/max_map_count").expect("a number");
        let most: usize = most.trim().parse().expect("a number");
        // Where the system has far more, ten thousand views must do.
        let count = if most > 100_000 { 10_000 } else { most + 500 };
        let views: Vec<_> = (0..count)
            .map(|index| member.get(places[index % 100]).expect("an object"))
            .collect();
        let mapped = views.iter().filter(|view| view.is_mapped()).count();
        assert!(
            mapped >= 10_000 && (mapped < most || count < most),
            "{mapped} of {most}"
        );
        for (index, view) in views.iter().enumerate().step_by(97) {
            assert!(view.to_vec() == objects[index % 100]);
        }
        // Memory of whatever is viewed stays, that of what was copied alone would not.
        for place in &places {
            member.evict(*place);
            assert!(member.membership().is_pinned(place.0));
        }
        drop(views);
        assert!(!member.membership().is_pinned(places[0].0));
        let again = member.put(&objects[1]);
        assert!(member.get(again).expect("an object").is_mapped());
    });
}

/// Runs `body` while this process may map nothing more.
fn within_address_space<T>(body: impl FnOnce() -> T) -> T {
    let pages = fs::read_to_string("/proc/self/statm").expect("a size");
    let pages: u64 = pages
        .split(' ')
        .next()
        .expect("a number")
        .parse()
        .expect("a number");
    let get = rustix::process::getrlimit(rustix::process::Resource::As);
    let limit = rustix::process::Rlimit {
        current: Some((pages + 100) * 4096),
        maximum: get.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).expect("a limit");
    let outcome = body();
    rustix::process::setrlimit(rustix::process::Resource::As, get).expect("a limit");
    outcome
}
