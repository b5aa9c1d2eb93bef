//! Processes are killed at every step of joining, adopting, forking and leaving; whoever comes next
//! finds whole objects, and leaves nothing behind.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use proxystore_core::{Payload, Segment};

use super::*;
use crate::{
    key::{Place, Reference},
    membership::{MemberId, Name},
    objects::Wanted,
    testing::{again, alone, directory, fork, fork_untold, options, role, was_killed},
    word::{Phase, State},
};

const SMALL: usize = 100;
const LARGE: usize = 100_000;

const JOINING: [&str; 5] = [
    "seat.created",
    "seat.made",
    "seat.linked",
    "seat.counted",
    "seat.taken",
];
const ENTERING: [&str; 4] = [
    "enter.opened",
    "enter.exclusive",
    "enter.settled",
    "enter.shared",
];
const MAKING: [&str; 3] = ["control.created", "control.made", "control.named"];
const TIDYING: [&str; 2] = ["tidy.file", "remove.target"];
const ADOPTING: [&str; 3] = ["adopt.begun", "adopt.segments", "adopt.slabs"];
const FORKING: [&str; 2] = ["fork.prepared", "fork.child"];
const LEAVING: [&str; 4] = [
    "leave.noted",
    "leave.vacated",
    "retire.counted",
    "retire.removed",
];
const ENDING: [&str; 3] = ["leave.exclusive", "sweep.control", "sweep.file"];

/// The whole life of a process in a namespace, with a child that dies without a word.
fn live(directory: &Path, hold: f64) {
    let options = options(directory, hold);
    let namespace = Namespace::join(&options).expect("a namespace");
    let put = |namespace: &Namespace, len, byte| {
        let bytes = vec![byte; len];
        let payload = [Segment::from(&bytes[..])];
        let object = namespace.store(&Payload::new(&payload), 0, &options);
        object.expect("an object")
    };
    for (len, byte) in [(SMALL, 1), (LARGE, 2), (SMALL, 3), (LARGE, 4)] {
        let object = put(&namespace, len, byte);
        if byte > 2 {
            namespace.remove(object).expect("evicted");
        }
    }
    let view = put(&namespace, LARGE, 5);
    let view = namespace.get(view, Wanted::View).expect("a view");
    let child = fork(|| {
        put(&namespace, SMALL, 6);
        put(&namespace, LARGE, 7);
    });
    if child.was_killed() {
        // By the crash that is on trial, which this process counts as its own.
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .expect("dead");
    }
    namespace.adopt();
    drop(view);
    drop(namespace);
}

/// Kills a process at each of these points, whenever it passes there, and has the others check what
/// it left.
fn kill_at(points: &[&str], hold: f64, mut check: impl FnMut(&Path)) {
    for point in points {
        let directory = directory();
        if TIDYING.contains(point) {
            drop(Namespace::join(&options(directory.path(), hold)).expect("a namespace"));
        }
        for count in 1.. {
            assert!(count < 200, "{point} is passed for ever");
            plant(directory.path());
            let mut command = again("live", directory.path());
            command
                .env("PROXYSTORE_SHM_CRASH", format!("{point}:{count}"))
                .env("HOLD", hold.to_string())
                .stdout(std::process::Stdio::null());
            if !was_killed(command.spawn().expect("a process")) {
                assert!(count > 1, "{point} is never passed");
                break;
            }
            println!("{point}:{count}");
            check(directory.path());
        }
    }
}

/// Leaves files of segments that are none, one of them spilled.
fn plant(directory: &Path) {
    let path = directory.join("default");
    if path.exists() {
        std::fs::write(path.join("s900"), b"left").expect("a file");
        let spilled = directory.join("proxystore-0-901-1");
        std::fs::write(&spilled, b"left").expect("a file");
        let _ = std::fs::remove_file(path.join("s901"));
        symlink(spilled, path.join("s901")).expect("a link");
    }
}

/// Looks at everything in a namespace that this process has just joined.
fn check_tidy(namespace: &Namespace, bystander: Option<MemberId>) {
    let membership = &namespace.membership;
    let control = membership.control();
    let this = membership.id();
    for name in membership.directory().names().expect("names") {
        let record = match Name::parse(&name) {
            Name::Lock | Name::Control | Name::Joining => continue,
            Name::NewControl | Name::Foreign => panic!("{name} was left"),
            Name::Pins(slot) => {
                let member = [Some(this), bystander].into_iter().flatten();
                assert!(
                    member.into_iter().any(|member| member.slot() == slot),
                    "{name}"
                );
                continue;
            }
            Name::Segment(number) => control
                .segment(number)
                .map(|record| (record.state, record.owner)),
            Name::Slab(number) => control
                .slab(number)
                .map(|record| (record.state, record.owner)),
        };
        let (state, owner) = record.unwrap_or_else(|| panic!("{name} has no record"));
        let state = State::from_word(state.load(Ordering::Acquire)).expect("a state");
        assert!(
            [Phase::Free, Phase::Live].contains(&state.phase),
            "{name} is {state:?}"
        );
        assert_eq!(MemberId(owner.load(Ordering::Acquire)), this, "{name}");
    }
    let joining = membership.path().join("joining");
    assert_eq!(std::fs::read_dir(joining).expect("a directory").count(), 0);
    assert!(control.owners().all(|owner| MemberId(owner) == this));
    for number in 0..control.segments_end() {
        let record = control.segment(number).expect("a record");
        let state = State::from_word(record.state.load(Ordering::Acquire)).expect("a state");
        if state.phase == Phase::Live {
            let reference = Reference {
                place: Place::Segment(number),
                generation: state.generation,
            };
            let object = namespace.get(reference, Wanted::View).expect("an object");
            let bytes = object.expect("an object").to_vec();
            assert!(bytes.len() == LARGE && bytes.iter().all(|&byte| byte == bytes[0]));
        }
    }
}

/// Joins after the death of a process, finds everything in order, and leaves nothing behind.
fn check_after(directory: &Path, hold: f64) {
    let namespace = Namespace::join(&options(directory, hold)).expect("a namespace");
    assert!(
        !directory.join("proxystore-0-901-1").exists(),
        "a spilled file was left"
    );
    check_tidy(&namespace, None);
    namespace.clear().expect("no objects");
    let path = namespace.membership.path().to_owned();
    drop(namespace);
    let mut left: Vec<_> = std::fs::read_dir(path)
        .expect("a directory")
        .map(|entry| PathBuf::from(entry.expect("a file").file_name()))
        .collect();
    left.sort();
    let expected: &[&str] = if hold > 0.0 {
        &["control", "joining", "lock"]
    } else {
        &["joining", "lock"]
    };
    assert!(left.iter().eq(expected.iter().map(Path::new)), "{left:?}");
}

/// Lives, if this process was started for that.
fn lives() -> bool {
    match role() {
        Some((role, directory)) if role == "live" => {
            let hold = std::env::var("HOLD").expect("a number");
            live(&directory, hold.parse().expect("a number"));
            true
        }
        _ => false,
    }
}

#[test]
fn whoever_dies_in_a_namespace_that_is_held_leaves_no_trouble() {
    if lives() {
        return;
    }
    alone(|_| {
        for points in [&ENTERING[..], &MAKING, &JOINING, &TIDYING] {
            kill_at(points, 60.0, |directory| check_after(directory, 60.0));
        }
    });
}

#[test]
fn whoever_dies_adopting_or_leaving_leaves_no_trouble() {
    if lives() {
        return;
    }
    alone(|_| {
        for points in [&ADOPTING[..], &FORKING, &LEAVING] {
            kill_at(points, 60.0, |directory| check_after(directory, 60.0));
        }
    });
}

#[test]
fn whoever_dies_ending_a_namespace_leaves_no_trouble() {
    if lives() {
        return;
    }
    alone(|_| {
        for points in [&MAKING[..], &JOINING, &LEAVING, &ENDING] {
            kill_at(points, 0.0, |directory| check_after(directory, 0.0));
        }
    });
}

#[test]
fn whoever_dies_beside_others_leaves_no_trouble() {
    if lives() {
        return;
    }
    alone(|_| {
        for points in [&JOINING[..], &ADOPTING, &FORKING, &LEAVING] {
            let mut bystander: Option<(PathBuf, Arc<Membership>)> = None;
            kill_at(points, 60.0, |directory| {
                let (path, member) = bystander.get_or_insert_with(|| {
                    let options = options(directory, 60.0);
                    (
                        directory.to_owned(),
                        Membership::join(&options).expect("a member"),
                    )
                });
                if path == directory {
                    // What was planted can only go when nobody is there.
                    for name in ["s900", "s901"] {
                        member.remove(name).expect("removed");
                    }
                    let options = options(directory, 60.0);
                    let namespace = Namespace::join(&options).expect("a namespace");
                    check_tidy(&namespace, Some(member.id()));
                    namespace.clear().expect("no objects");
                } else {
                    bystander = None;
                    check_after(directory, 60.0);
                }
            });
        }
    });
}

/// Exits with a connector's share of a namespace, and in it what the role says.
fn exit(directory: &Path, role: &str) -> ! {
    let hold = if role == "ended" { 0.0 } else { 60.0 };
    let options = options(directory, hold);
    let namespace = Namespace::join(&options).expect("a namespace");
    let bytes = vec![7; LARGE];
    let payload = [Segment::from(&bytes[..])];
    let [object, evicted] = [(); 2].map(|()| {
        let object = namespace.store(&Payload::new(&payload), 0, &options);
        object.expect("an object")
    });
    namespace.remove(evicted).expect("evicted");
    let view = (role != "empty").then(|| namespace.get(object, Wanted::View));
    if role == "empty" {
        namespace.remove(object).expect("evicted");
    }
    std::mem::forget((namespace, view));
    std::process::exit(0);
}

#[test]
fn whoever_exits_leaves_objects_and_nothing_else() {
    if let Some((role, directory)) = role()
        && role != "alone"
    {
        exit(&directory, &role);
    }
    let left_by = |role: &str| {
        let directory = directory();
        let mut command = again(role, directory.path());
        let status = command.stdout(std::process::Stdio::null()).status();
        assert!(status.expect("a process").success());
        let names = std::fs::read_dir(directory.path().join("default")).expect("a directory");
        let names = names.map(|entry| entry.expect("a file").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.into_string().expect("text"))
            .collect();
        names.sort();
        names
    };
    assert_eq!(left_by("empty"), ["control", "joining", "lock"]);
    assert_eq!(left_by("ended"), ["joining", "lock"]);
    // The place waits for whoever adopts the object.
    assert_eq!(
        left_by("kept"),
        ["control", "joining", "lock", "pins-0", "s0"]
    );
}

#[test]
fn a_child_that_exits_ends_nothing_of_its_parents() {
    alone(|directory| {
        let options = options(directory, 0.0);
        let namespace = Namespace::join(&options).expect("a namespace");
        let object = {
            let bytes = vec![7; LARGE];
            let payload = [Segment::from(&bytes[..])];
            namespace
                .store(&Payload::new(&payload), 0, &options)
                .expect("an object")
        };
        // SAFETY: runs the handlers of this process's exit, which is what is tried.
        let exit = || unsafe { libc::exit(0) };
        fork(exit).join();
        fork_untold(exit).join();
        assert!(namespace.exists(object).expect("an answer"));
        namespace.adopt();
        check_tidy(&namespace, None);
    });
}

#[test]
fn a_view_that_outlives_the_connectors_keeps_nothing_but_its_object() {
    alone(|directory| {
        let options = options(directory, 60.0);
        let namespace = Namespace::join(&options).expect("a namespace");
        let bytes = vec![7; LARGE];
        let payload = [Segment::from(&bytes[..])];
        let [object, _] = [(); 2].map(|()| {
            let object = namespace.store(&Payload::new(&payload), 0, &options);
            object.expect("an object")
        });
        let Place::Segment(number) = object.place else {
            panic!("{object:?} is no segment");
        };
        let view = namespace.get(object, Wanted::View).expect("a view");
        drop(namespace);

        let namespace = Namespace::join(&options).expect("a namespace");
        let this = namespace.membership.id();
        let mut owners = namespace.membership.control().owners();
        assert!(
            owners.all(|owner| MemberId(owner) == this),
            "all was adopted"
        );
        assert!(namespace.membership.is_pinned(number));
        namespace.remove(object).expect("evicted");
        for _ in 0..3 {
            let put = namespace.store(&Payload::new(&payload), 0, &options);
            assert_ne!(put.expect("an object").place, object.place);
        }
        assert_eq!(view.expect("an object").to_vec(), bytes);
        assert!(!namespace.membership.is_pinned(number));
    });
}

#[test]
fn what_was_replaced_by_a_process_that_died_meanwhile_is_freed() {
    let directory = directory();
    let options = options(directory.path(), 60.0);
    let namespace = Namespace::join(&options).expect("a namespace");
    let ticket = namespace.slabs.new_ticket().expect("a deferred key");
    let (old, new) = (vec![1; LARGE], vec![2; LARGE]);
    let (old, new) = ([Segment::from(&old)], [Segment::from(&new)]);
    let set = namespace.set(ticket, &Payload::new(&new), &options);
    assert!(set.expect("a set"));
    // As if the process that replaced it had died before removing it.
    let left = namespace.store(&Payload::new(&old), ticket.to_word(), &options);
    let left = left.expect("an object");
    namespace.remove_replaced(SETTING).expect("a look");
    assert!(
        namespace.exists(left).expect("a look"),
        "it may be named yet"
    );
    let put = namespace.membership.touch();
    while namespace.membership.touch() <= put {
        std::thread::yield_now();
    }
    namespace.remove_replaced(0).expect("a look");
    assert!(!namespace.exists(left).expect("a look"));
    let found = namespace.get(ticket, Wanted::Copy).expect("a look");
    assert_eq!(found.map(|memory| memory.to_vec()), Some(vec![2; LARGE]));
}
