//! Pins are seen by all.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::control::{HeaderWord, PROCESSES};
use crate::testing::{Signal, alone, directory, fork};

#[test]
fn pins_are_seen_by_all_members_until_they_are_dropped() {
    let directory = directory();
    let [first, second, third] = [(); 3].map(|()| join(directory.path()));
    assert_ne!(first.id(), second.id());
    for segment in [0, 1, 5000, 1_000_000] {
        let pin = first.pin(segment).expect("a pin");
        let again = first.pin(segment).expect("a pin");
        for member in [&first, &second, &third] {
            assert!(member.is_pinned(segment));
            assert!(!member.is_pinned(segment + 1));
        }
        drop(pin);
        assert!(second.is_pinned(segment));
        drop(again);
        for member in [&first, &second, &third] {
            assert!(!member.is_pinned(segment));
        }
    }
    let (pin, id) = (first.pin(3).expect("a pin"), first.id());
    assert!(second.is_alive(id) && second.is_alive(second.id()));
    drop(first);
    assert!(third.is_pinned(3), "a view outlives its connectors");
    drop(pin);
    assert!(!third.is_pinned(3));
    assert!(!second.is_alive(id));
    let fourth = join(directory.path());
    assert_ne!(
        fourth.id(),
        id,
        "a place that is taken again is another member"
    );
    let _pin = fourth.pin(3).expect("a pin");
    assert!(third.is_pinned(3));
}

#[test]
fn a_dead_members_pins_are_void() {
    alone(|directory| {
        let member = join(directory);
        let [pinned, checked] = [(); 2].map(|()| Signal::new());
        let child = fork(|| {
            let other = join(directory);
            let pin = other.pin(3).expect("a pin");
            pinned.say();
            checked.wait();
            drop(pin);
        });
        pinned.wait();
        assert!(member.is_pinned(3));
        assert!(!member.take_notice());
        child.kill();
        assert!(!member.is_pinned(3));
        assert!(member.take_notice() && !member.take_notice());
        for grave in member.graves() {
            let grave = grave.expect("a grave");
            assert_ne!(grave.member, None);
            member.close_grave(grave).expect("closed");
        }
        assert_eq!(
            names(member.path()),
            ["control", "joining", "lock", "pins-0"]
        );
        assert!(!member.is_pinned(3) && !member.take_notice());
    });
}

/// Closes the descriptors of what is open in a directory, as a daemon closes all of them.
fn close_descriptors(directory: &Path) {
    let all = fs::read_dir("/proc/self/fd").expect("descriptors");
    let all: Vec<_> = all
        .map(|entry| entry.expect("a descriptor").path())
        .collect();
    for path in all {
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(directory)) {
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            // SAFETY: their owners here are never used or dropped any more.
            unsafe { libc::close(number.expect("a number")) };
        }
    }
}

#[test]
fn what_a_process_pins_stays_pinned_though_it_closes_all_descriptors() {
    alone(|directory| {
        let member = join(directory);
        let [pinned, checked] = [(); 2].map(|()| Signal::new());
        let holds = |other: Arc<Membership>| {
            std::mem::forget(other.pin(3).expect("a pin"));
            close_descriptors(directory);
            pinned.say();
            checked.wait();
            std::mem::forget(other);
        };
        // One that has joined by itself, and one that was forked from a member.
        for is_forked in [false, true] {
            let other = is_forked.then(|| join(directory));
            let child = fork(|| holds(other.unwrap_or_else(|| join(directory))));
            pinned.wait();
            assert!(member.is_pinned(3), "{is_forked}");
            assert_eq!(member.graves().count(), 0, "{is_forked}");
            child.kill();
            assert!(!member.is_pinned(3), "{is_forked}");
            for grave in member.graves() {
                let grave = grave.expect("a grave");
                member.close_grave(grave).expect("closed");
            }
        }
    });
}

#[test]
fn nobody_waits_long_for_those_who_ask_whether_a_process_is_alive() {
    alone(|directory| {
        let member = join(directory);
        let joined = Signal::new();
        let child = fork(|| {
            std::mem::forget(join(directory));
            joined.say();
            Signal::new().wait();
        });
        joined.wait();
        child.kill();
        // One that is stopped over it.
        let asked = fs::File::open(member.path().join("pins-1")).expect("a pin file");
        let shared = rustix::fs::FlockOperation::LockShared;
        rustix::fs::flock(&asked, shared).expect("locked");
        assert_eq!(member.graves().count(), 0);
        drop(asked);
        assert_eq!(member.graves().count(), 1);
    });
}

/// Lets this process open no more than so many descriptors.
pub(super) fn limit_descriptors(count: u64) {
    let limit = Rlimit {
        current: Some(count),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).expect("a lower limit");
}

#[test]
fn pins_and_members_need_no_descriptors() {
    alone(|directory| {
        let member = join(directory);
        let [ready, done] = [(); 2].map(|()| Signal::new());
        let children: Vec<_> = (0..100)
            .map(|number| {
                let child = fork(|| {
                    let other = join(directory);
                    let _pin = other.pin(20_000 + number).expect("a pin");
                    ready.say();
                    done.wait();
                });
                ready.wait();
                child
            })
            .collect();
        limit_descriptors(48);
        let pins: Vec<_> = (0..10_000)
            .map(|segment| member.pin(segment).expect("a pin"))
            .collect();
        for segment in [0, 9_999, 20_000, 20_099] {
            assert!(member.is_pinned(segment), "{segment}");
        }
        assert!(!member.is_pinned(10_000) && !member.is_pinned(20_100));
        drop(pins);
        assert!(!member.is_pinned(0) && !member.is_pinned(9_999));
        for _ in &children {
            done.say();
        }
        children.into_iter().for_each(crate::testing::Forked::join);
    });
}

#[test]
fn there_are_places_for_so_many_and_no_more() {
    let directory = directory();
    let member = join(directory.path());
    let places = 1..PROCESSES;
    for slot in places.clone() {
        let record = member.control().process(slot);
        record.incarnation.store(1, Ordering::Relaxed);
    }
    let end = member.control().header(HeaderWord::ProcessesEnd);
    end.store(places.end.into(), Ordering::Relaxed);
    let refused = Membership::join(&options(directory.path(), 60.0));
    assert!(matches!(refused, Err(ShmError::Full { .. })), "{refused:?}");
    // A place whose process is dead and owns nothing is free.
    std::fs::write(member.path().join("pins-77"), b"dead").expect("a file");
    assert_eq!(join(directory.path()).id().slot(), 77);
    for slot in places {
        let record = member.control().process(slot);
        record.incarnation.store(2, Ordering::Relaxed);
    }
}
