//! What the machine has not got.

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use proxystore_core::{Config, Error, ErrorKind, Key};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::{
    support::{
        self, Checked,
        client::{Client, config},
        contents::Contents,
        directory, directory_on_disk, ensure, names,
        processes::{fork, line, set_patience},
        start,
    },
    witness::use_it,
};

const DIRECTORY: &str = "SHM_TEST_DIRECTORY";
const SPILL: &str = "SHM_TEST_SPILL";

/// Fills memory file systems of 64 MB, as containers have them.
pub(crate) fn full() -> Checked {
    ensure!(
        support::can_mount(),
        "this needs to mount a file system; run it as root"
    );
    let (directory, spill) = (directory()?, directory_on_disk()?);
    for spill in [None, Some(spill.path())] {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=64m,mode=700 proxystore \"$1\" && exec \"$0\"";
        command.args(["--mount", "sh", "-c", script]);
        command.arg(env::current_exe()?).arg(directory.path());
        command.env(DIRECTORY, directory.path()).env_remove(SPILL);
        if let Some(spill) = spill {
            command.env(SPILL, spill);
        }
        start(&mut command, "full")?;
    }
    let left = names(spill.path())?;
    ensure!(left.is_empty(), "{left:?} is left on the disk");
    Ok(())
}

/// In a file system of 64 MB.
pub(crate) fn fill() -> Checked {
    let directory = PathBuf::from(env::var(DIRECTORY)?);
    let mut options = config(&directory).with("pool", 0).with("hold", 0.0);
    let spill = env::var(SPILL).ok();
    if let Some(spill) = &spill {
        options.insert("spill", spill.as_str());
    }
    // Once so that only objects are in the way, and once with something else there.
    for other in [0, 20 << 20] {
        let blocker = directory.join("blocker");
        fs::write(&blocker, vec![1; other])?;
        let mut process = fork(|| fill_with(&options, spill.is_some()))?;
        process.finish("whoever fills it")?;
        fs::remove_file(&blocker)?;
    }
    // To the last page, and somebody joins.
    let blocker = directory.join("blocker");
    let mut file = File::create(&blocker)?;
    while file.write(&[1; 4096]).is_ok_and(|len| len == 4096) {}
    drop(file);
    let mut process = fork(|| match Client::open(&options) {
        Ok(client) => {
            refused(
                client.put(Contents::new(1, 100)).err().as_ref(),
                spill.is_some(),
            )?;
            refused(
                client.put(Contents::new(1, 100_000)).err().as_ref(),
                spill.is_some(),
            )
        }
        Err(error) => refused(Some(&error), false),
    })?;
    process.finish("whoever joins when it is full")?;
    fs::remove_file(&blocker)?;
    let mut process = fork(|| {
        let client = Client::open(&options)?;
        use_it(&client)?;
        Ok(client.close(true)?)
    })?;
    process.finish("whoever comes after")
}

fn fill_with(options: &Config, spills: bool) -> Checked {
    let client = Client::open(options)?;
    let mut puts: Vec<(Key, Contents)> = Vec::new();
    // Large ones until there is no room, then smaller ones, and then small ones.
    for len in [10 << 20, 1 << 20, 40_000, 10_000, 100, 0] {
        for seed in 0..30_000 {
            let contents = Contents::new(seed, len);
            match client.put(contents) {
                Ok(key) => puts.push((key, contents)),
                Err(error) => {
                    refused(Some(&error), false)?;
                    ensure!(!spills || len <= 16 << 10, "{error:?} despite the disk");
                    break;
                }
            }
            if spills && seed > 10 && len > 16 << 10 {
                break;
            }
        }
    }
    ensure!(puts.len() > 10, "only {} objects found room", puts.len());
    for (key, contents) in &puts {
        client.expect(key, *contents)?;
    }
    let held = client.expect(&puts[0].0, puts[0].1)?;
    let larger = client.put(Contents::new(7, 100 << 20));
    if !spills {
        refused(larger.as_ref().err(), false)?;
    }
    if let Ok(key) = larger {
        client.evict(&key)?;
    }
    for (key, _) in &puts {
        client.evict(key)?;
    }
    puts[0].1.check(&held)?;
    drop(held);
    use_it(&client)?;
    Ok(client.close(true)?)
}

fn refused(error: Option<&Error>, may_succeed: bool) -> Checked {
    match error {
        None if may_succeed => Ok(()),
        None => Err("it found room".into()),
        Some(error) => {
            ensure!(
                error.kind() == ErrorKind::StorageFull,
                "it is told as {error:?}"
            );
            Ok(())
        }
    }
}

/// An object that is larger than the control group's memory: an error, or the disk, but not the
/// killer.
pub(crate) fn control_group() -> Checked {
    const LEN: u32 = 100 << 20;
    const LIMIT: u64 = 50 << 20;

    let group = match Group::new(LIMIT) {
        Ok(group) => group,
        Err(error) if !rustix::process::geteuid().is_root() => {
            println!("no control group can be made, so none is tried: {error}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let (directory, spill) = (directory()?, directory_on_disk()?);
    let mut process = fork(|| {
        group.enter()?;
        let options = config(directory.path());
        let client = Client::open(&options)?;
        let small = client.put(Contents::new(1, 1000))?;
        // One part over and over, as a copy in this process's memory would not fit either.
        let part = Contents::new(3, 1 << 20).bytes();
        let parts = vec![proxystore_core::Segment::from(&part); LEN as usize >> 20];
        let put = |client: &Client| {
            let payload = proxystore_core::Payload::new(&parts);
            support::client::now(client.0.put(payload, proxystore_core::Deadline::never()))
        };
        refused(put(&client).err().as_ref(), false)?;
        client.expect(&small, Contents::new(1, 1000))?;
        client.close(false)?;
        let spilling = options.with("spill", spill.path().to_string_lossy().into_owned());
        let client = Client::open(&spilling)?;
        let key = put(&client)?;
        let found = client.get(&key)?.ok_or("what was spilled is not there")?;
        ensure!(
            found.len() == LEN as usize,
            "{} bytes came back",
            found.len()
        );
        let mut read = vec![0; part.len()];
        for at in (0..found.len()).step_by(part.len()) {
            found.as_segment().slice(at..).copy_to(&mut read);
            ensure!(read == part, "what was spilled differs from byte {at} on");
        }
        client.evict(&key)?;
        Ok(client.close(true)?)
    })?;
    process.finish("whoever has little memory")
}

/// A control group of this test, below that of this process.
struct Group {
    path: PathBuf,
}

impl Group {
    fn new(limit: u64) -> Checked<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let one = groups.lines().find_map(|line| line.split_once(":memory:"));
        let all = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let (root, name, file) = match (one, all) {
            (Some((_, name)), _) => ("/sys/fs/cgroup/memory", name, "memory.limit_in_bytes"),
            (_, Some(name)) => ("/sys/fs/cgroup", name, "memory.max"),
            _ => return Err("there are no control groups".into()),
        };
        let own = Path::new(root).join(name.trim_start_matches('/'));
        // In a container the name is that of outside, and the root is this process's own.
        let parent = if own.is_dir() { own } else { root.into() };
        let path = parent.join(format!("proxystore-test-{}", std::process::id()));
        fs::create_dir(&path)?;
        let group = Self { path };
        fs::write(group.path.join(file), limit.to_string())?;
        Ok(group)
    }

    fn enter(&self) -> std::io::Result<()> {
        fs::write(
            self.path.join("cgroup.procs"),
            std::process::id().to_string(),
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// A process that may open 256 files holds ten thousand views, and more than the kernel allows it
/// mappings are copies or errors.
pub(crate) fn views() -> Checked {
    const OBJECTS: u32 = 100;
    const VIEWS: usize = 10_000;

    let directory = directory()?;
    let options = config(directory.path());
    let mut process = fork(|| {
        let limit = Rlimit {
            current: Some(256),
            maximum: Some(256),
        };
        setrlimit(Resource::Nofile, limit)?;
        let client = Client::open(&options)?;
        let mut keys = Vec::new();
        for seed in 0..OBJECTS {
            keys.push(client.put(Contents::new(seed, 20_000))?);
        }
        let mut held = Vec::new();
        for (seed, key) in (0..OBJECTS).zip(&keys).cycle().take(VIEWS) {
            let contents = Contents::new(seed, 20_000);
            let found = client.get(key)?.ok_or("an object is not there")?;
            held.push((found, contents));
        }
        set_patience(60);
        for (found, contents) in &held {
            contents.check(found)?;
        }
        let most: usize = fs::read_to_string("/proc/sys/vm/max_map_count")?
            .trim()
            .parse()?;
        if most < 100_000 {
            beyond(&client, &keys[0], most, &mut held)?;
        }
        drop(held);
        use_it(&client)?;
        Ok(client.close(true)?)
    })?;
    process.finish("whoever holds many")
}

fn beyond(
    client: &Client,
    key: &Key,
    most: usize,
    held: &mut Vec<(proxystore_core::Memory, Contents)>,
) -> Checked {
    let contents = Contents::new(0, 20_000);
    while held.len() < most + 10 {
        match client.get(key) {
            Ok(found) => held.push((found.ok_or("an object is not there")?, contents)),
            Err(error) => {
                ensure!(
                    error.to_string().contains("max_map_count"),
                    "it is told as {error:?}"
                );
                break;
            }
        }
    }
    for (found, contents) in &held[most - 100..] {
        contents.check(found)?;
    }
    Ok(())
}

/// A hundred thousand small objects take few files, and no more memory than they need.
pub(crate) fn small() -> Checked {
    const COUNT: u32 = 100_000;

    let directory = directory()?;
    let options = config(directory.path());
    let mut process = fork(|| {
        let client = Client::open(&options)?;
        let mut keys = Vec::new();
        for seed in 0..COUNT {
            keys.push(client.put(Contents::new(seed, 100))?);
        }
        let files = names(&directory.path().join("default"))?.len();
        ensure!(files < 200, "{COUNT} small objects take {files} files");
        set_patience(60);
        let mut other = fork(|| {
            let client = Client::open(&options)?;
            for (seed, key) in (0..).zip(&keys).step_by(7) {
                client.expect(key, Contents::new(seed, 100))?;
            }
            for (seed, key) in (0..).zip(&keys).filter(|(seed, _)| seed % 2 == 0) {
                let _: u32 = seed;
                client.evict(key)?;
            }
            Ok(())
        })?;
        other.finish("another process")?;
        set_patience(60);
        for (seed, key) in (0..).zip(&keys).step_by(9) {
            if seed % 2 == 0 {
                client.expect_none(key)?;
            } else {
                client.expect(key, Contents::new(seed, 100))?;
            }
        }
        // What was evicted makes room for as many.
        for seed in 0..COUNT / 2 {
            client.put(Contents::new(seed, 100))?;
        }
        let now = names(&directory.path().join("default"))?.len();
        ensure!(now <= files + 2, "of {files} files there are {now}");
        Ok(client.close(true)?)
    })?;
    process.finish("whoever puts many")
}

/// However many processes come and go, what they leave does not grow.
pub(crate) fn visitors() -> Checked {
    const VISITORS: usize = 40;

    let directory = directory()?;
    let options = config(directory.path());
    let mut most = 0;
    for visitor in 0..VISITORS {
        // Two at a time, the first of which adopts what the ones before have left.
        let (mut line, mut theirs) = line()?;
        let mut first = fork(|| {
            let client = Client::open(&options)?;
            use_it(&client)?;
            theirs.say(b'j')?;
            theirs.hear()?;
            Ok(client.close(false)?)
        })?;
        drop(theirs);
        if line.wait().is_ok() {
            let mut second = fork(|| {
                let client = Client::open(&options)?;
                use_it(&client)?;
                Ok(client.close(false)?)
            })?;
            second.finish("the second")?;
            line.say(b'x')?;
        }
        first.finish("the first")?;
        let left = names(&directory.path().join("default"))?.len();
        if visitor < VISITORS / 4 {
            most = most.max(left);
        }
        ensure!(
            left <= most,
            "{left} files are left after {visitor} pairs, {most} before"
        );
    }
    Ok(())
}
