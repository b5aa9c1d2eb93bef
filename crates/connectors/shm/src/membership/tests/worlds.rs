//! Where there is no room, no /dev/shm, or another one: with file systems of their own, which
//! processes may have that may mount.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitStatus},
};

use super::*;
use crate::testing::{directory, role};

const KEY: &str = "PROXYSTORE_SHM_TEST_KEY";

/// Starts the calling test again, in a role, after this script has run where it can mount.
fn after(script: &str, role: &str, directory: &Path, key: u64) -> ExitStatus {
    let again = crate::testing::again(role, directory);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--map-root-user", "sh", "-ec"])
        .arg(format!("{script}; exec \"$0\" \"$@\""))
        .arg(again.get_program())
        .args(again.get_args());
    for (name, value) in again.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .env("DIRECTORY", directory)
        .env(KEY, key.to_string());
    command.stdout(std::process::Stdio::null());
    command.status().expect("util-linux")
}

/// The role of this process, its directory, and the number it was given.
fn given() -> Option<(String, PathBuf, u64)> {
    let (role, directory) = role()?;
    let key = env::var(KEY).ok()?.parse().ok()?;
    Some((role, directory, key))
}

fn is_full<T: std::fmt::Debug>(outcome: Result<T, ShmError>) {
    let error = proxystore_core::Error::from(outcome.expect_err("there is no room"));
    assert_eq!(
        error.kind(),
        proxystore_core::ErrorKind::StorageFull,
        "{error:?}"
    );
}

#[test]
fn a_full_file_system_is_told_and_kills_nobody() {
    if let Some((role, directory, _)) = given() {
        let options = options(&directory, 60.0);
        if role == "tiny" {
            is_full(Membership::join(&options));
            assert_eq!(names(&directory.join("default")), ["lock"]);
            return;
        }
        let member = Membership::join(&options).expect("a member");
        let pins = [0, 1, 2].map(|segment| member.pin(segment).expect("a pin"));
        let filler = directory.join("filler");
        assert!(fs::write(&filler, vec![1; 1 << 20]).is_err(), "it is full");
        is_full(Membership::join(&options));
        is_full(member.pin(1_000_000));
        // Those that there is memory for still work, of this process and of others.
        let again = member.pin(0).expect("a pin");
        drop((pins, again));
        assert!(!member.is_pinned(0));
        let after = ["control", "joining", "lock", "pins-0"];
        assert_eq!(names(member.path()), after);
        assert!(names(&member.path().join("joining")).is_empty());
        fs::remove_file(filler).expect("removed");
        let other = Membership::join(&options).expect("a member");
        let _pin = other.pin(1).expect("a pin");
        assert!(member.is_pinned(1));
        return;
    }
    for (size, role) in [("64k", "tiny"), ("512k", "small")] {
        let directory = directory();
        let mount = format!("mount -t tmpfs -o mode=700,size={size} test \"$DIRECTORY\"");
        assert!(after(&mount, role, directory.path(), 0).success());
    }
}

#[test]
fn a_host_without_shared_memory_is_told() {
    if given().is_some() {
        let options = Options::parse(&proxystore_core::Config::new()).expect("options");
        let refused = Membership::join(&options);
        assert!(
            matches!(refused, Err(ShmError::NoSharedMemory)),
            "{refused:?}"
        );
        return;
    }
    let directory = directory();
    let script = "mount -t tmpfs test /dev";
    assert!(after(script, "no /dev/shm", directory.path(), 0).success());
}

/// What a process says of a key of another one's.
fn refuses(directory: &Path, key: u64, reason: &str) {
    let refused = join(directory).check_id(key).expect_err("another place");
    let told = refused.to_string();
    // One number in some hundred is the same for two places; that must not be this one.
    assert!(told.contains(reason), "{told}");
}

#[test]
fn a_private_shared_memory_is_told() {
    if let Some((_, directory, key)) = given() {
        let id = join(&directory).control().id();
        if (id ^ key) >> 48 == 0 {
            std::process::exit(3);
        }
        return refuses(&directory, key, "another /dev/shm");
    }
    let directory = directory();
    let key = join(directory.path()).control().id();
    let script = "mount -t tmpfs -o mode=700 test \"$DIRECTORY\"";
    loop {
        // One in some hundred has the same number as the one outside.
        let status = after(script, "a container", directory.path(), key);
        if status.code() != Some(3) {
            assert!(status.success());
            break;
        }
    }
}

#[test]
fn another_host_is_told() {
    if let Some((_, directory, key)) = given() {
        return refuses(&directory, key, "another host");
    }
    let digest = |directory: &Path| join(directory).control().id() >> 55;
    let mut told = false;
    for host in 0..3 {
        // This host as it was before it was started.
        let before = directory();
        let name = before.path().join("host");
        fs::write(&name, host.to_string()).expect("a file");
        let here = directory();
        let key = digest(here.path()) << 55;
        let script = format!(
            "mount --bind {} /proc/sys/kernel/random/boot_id",
            name.display()
        );
        let world = tempfile::tempdir_in(before.path()).expect("a directory");
        fs::set_permissions(
            world.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .expect("a mode");
        told |= after(&script, "another host", world.path(), key).success();
    }
    assert!(told);
}
