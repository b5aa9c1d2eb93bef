//! Namespaces are kept for a while, and end.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use rustix::process::{Signal, WaitOptions};

use super::*;
use crate::{
    control::HeaderWord,
    mutants::Mutant,
    testing::{again, alone, directory, role},
};

const ENDED: [&str; 2] = ["joining", "lock"];

#[test]
fn a_namespace_without_hold_ends_with_its_last_process() {
    alone(|directory| {
        let options = options(directory, 0.0);
        let [first, second] = [(); 2].map(|()| Membership::join(&options).expect("a member"));
        assert_eq!(first.control().id(), second.control().id());
        for name in ["s5", "c3"] {
            first.create(name).expect("a file");
        }
        let path = first.path().to_owned();
        drop(first);
        assert!(names(&path).contains(&"s5".to_owned()));
        drop(second);
        assert_eq!(names(&path), ENDED);
    });
}

#[test]
fn a_view_keeps_its_namespace() {
    alone(|directory| {
        let member = Membership::join(&options(directory, 0.0)).expect("a member");
        let path = member.path().to_owned();
        let pin = member.pin(1).expect("a pin");
        let id = member.control().id();
        drop(member);
        let again = Membership::join(&options(directory, 0.0)).expect("a member");
        assert_eq!(again.control().id(), id);
        drop(again);
        assert!(names(&path).contains(&"control".to_owned()));
        drop(pin);
        assert_eq!(names(&path), ENDED);
    });
}

#[test]
fn a_namespace_is_held_for_as_long_as_any_process_asked_for() {
    alone(|directory| {
        let first = Membership::join(&options(directory, 3600.0)).expect("a member");
        let second = Membership::join(&options(directory, 0.0)).expect("a member");
        let (id, path) = (first.control().id(), first.path().to_owned());
        drop(first);
        drop(second);
        let again = Membership::join(&options(directory, 0.0)).expect("a member");
        assert_eq!(again.control().id(), id);
        // As if the hour had passed.
        again
            .control()
            .header(HeaderWord::Hold)
            .store(1, Ordering::Relaxed);
        again.create("s0").expect("a file");
        drop(again);
        assert!(names(&path).contains(&"s0".to_owned()));
        loop {
            let anew = Membership::join(&options(directory, 0.0)).expect("a member");
            if anew.control().id() != id {
                assert!(!names(&path).contains(&"s0".to_owned()));
                let refused = anew.check_id(id).expect_err("another namespace");
                assert!(refused.to_string().contains("has ended"), "{refused}");
                break;
            }
        }
    });
}

#[test]
fn other_namespaces_are_told_apart() {
    let directory = directory();
    let member = join(directory.path());
    let id = member.control().id();
    let told = |id| match member.check_id(id) {
        Err(ShmError::Elsewhere { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(member.check_id(id).is_ok());
    assert!(told(id ^ (1 << 60)).contains("another host"));
    assert!(told(id ^ (1 << 50)).contains("/dev/shm"));
    assert!(told(id ^ 1).contains("has ended"));
    let mut beside = options(directory.path(), 60.0);
    beside.namespace = "beside".to_owned();
    let beside = Membership::join(&beside).expect("a member");
    assert!(told(beside.control().id()).contains("\"beside\""));
}

#[test]
fn a_directory_that_was_removed_is_told() {
    let directory = directory();
    let member = join(directory.path());
    fs::remove_dir_all(member.path()).expect("removed");
    let is_told = |outcome: Result<(), ShmError>| {
        assert!(
            matches!(outcome, Err(ShmError::Removed { .. })),
            "{outcome:?}"
        );
    };
    is_told(member.create("s1").map(drop));
    is_told(member.open("s1", true).map(drop));
    is_told(member.check_id(member.control().id() ^ 1));
    member.note(clock::now());
    is_told(member.check().map(drop));
    let anew = join(directory.path());
    assert_ne!(anew.control().id(), member.control().id());
    is_told(member.check_id(anew.control().id()));
    let elsewhere = anew.check_id(member.control().id());
    assert!(matches!(elsewhere, Err(ShmError::Elsewhere { .. })));
    // What goes away last disturbs nobody.
    drop(member);
    drop(join(directory.path()));
    assert!(anew.check().is_ok());
}

#[test]
fn what_the_dead_left_while_they_joined_is_removed_with_nobody_there() {
    let directory = directory();
    let path = directory.path().join("default");
    let id = {
        let member = join(directory.path());
        member.control().id()
    };
    for name in ["control.new", "joining/0123", "s900", "c900", "pins-9"] {
        fs::write(path.join(name), b"left").expect("a file");
    }
    let member = join(directory.path());
    assert_eq!(member.control().id(), id);
    assert_eq!(
        names(&path),
        ["control", "joining", "lock", "pins-0", "pins-9"]
    );
    assert!(names(&path.join("joining")).is_empty());
}

/// Joins and leaves, again and again, and checks that nobody sweeps what is in use.
fn join_and_leave(directory: &Path) {
    let options = options(directory, 0.0);
    for round in 0..400 {
        let member = Membership::join(&options).expect("a member");
        let this = member.id();
        let witness = format!("c{}", this.slot());
        drop(member.create(&witness).expect("a file"));
        for _ in 0..round % 4 {
            std::thread::yield_now();
        }
        let control = entry::open_control(member.directory()).expect("a control file");
        let id = control.map(|control| control.id());
        assert_eq!(id, Some(member.control().id()), "swept in use");
        let pins = slots::pins_name(this.slot());
        for name in [&pins, &witness] {
            assert!(
                member.directory().stat(name).is_some(),
                "{name} was swept in use"
            );
        }
        member.remove(&witness).expect("removed");
    }
}

fn start(role: &str, directory: &Path, mutant: Option<Mutant>) -> Child {
    let mut command = again(role, directory);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(mutant) = mutant {
        command.env("PROXYSTORE_SHM_MUTANT", format!("{mutant:?}"));
    }
    command.spawn().expect("a process")
}

/// Joins and leaves, if this process was started for that.
fn acts() -> bool {
    let role = role();
    if let Some((_, directory)) = &role {
        join_and_leave(directory);
    }
    role.is_some()
}

#[test]
fn a_sweep_never_meets_who_joins() {
    if acts() {
        return;
    }
    let directory = directory();
    let joiners = [(); 6].map(|()| start("join", directory.path(), None));
    for mut child in joiners {
        assert!(child.wait().expect("a child").success());
    }
    assert_eq!(names(&directory.path().join("default")), ENDED);
}

#[test]
fn a_lock_file_that_was_removed_is_not_relied_on() {
    if let Some((_, directory)) = role() {
        let _member = join(&directory);
        eprintln!("joined");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }
    let directory = directory();
    drop(join(directory.path()));
    let mut joiner = again("stay", directory.path());
    joiner.env("PROXYSTORE_SHM_CRASH", "enter.opened:1:stop");
    let joiner = joiner.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut joiner = joiner.stdout(Stdio::null()).spawn().expect("a process");
    // It has opened the lock file, which another one takes the place of.
    let process = rustix::process::Pid::from_child(&joiner);
    let stopped = rustix::process::waitpid(Some(process), WaitOptions::UNTRACED);
    assert!(stopped.expect("a child").expect("a child").1.stopped());
    let namespace = Directory::namespace(directory.path(), "default", Missing::Left);
    let namespace = namespace.expect("a directory").expect("a directory");
    namespace.remove(directory::LOCK).expect("removed");
    drop(join(directory.path()));
    rustix::process::kill_process(process, Signal::CONT).expect("a child");
    let said = BufReader::new(joiner.stderr.take().expect("a pipe")).lines();
    assert!(
        said.map_while(Result::ok)
            .any(|line| line.contains("joined"))
    );
    let lock = entry::open_lock(&namespace, Missing::Left).expect("an answer");
    let alone = entry::lock_exclusively(&namespace, &lock.expect("a lock file"));
    assert!(
        !alone.expect("an answer"),
        "the joiner has locked something else"
    );
    drop(joiner.stdin.take());
    assert!(joiner.wait().expect("a child").success());
}

#[test]
fn a_sweep_that_meets_who_joins_is_noticed() {
    if acts() {
        return;
    }
    let directory = directory();
    // Until one of them notices, and fails.
    let mut joiners: Vec<_> = (0..6)
        .map(|_| start("join", directory.path(), Some(Mutant::UnlinkLock)))
        .collect();
    for round in 0.. {
        assert!(
            round < 600,
            "the lock file can be unlinked, and nobody notices"
        );
        let joiner = &mut joiners[round % 6];
        if !joiner.wait().expect("a child").success() {
            break;
        }
        *joiner = start("join", directory.path(), Some(Mutant::UnlinkLock));
    }
    for mut joiner in joiners {
        let _ = joiner.kill();
        joiner.wait().expect("a child");
    }
}
