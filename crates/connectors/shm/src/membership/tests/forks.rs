//! What parents and children hold on to, whoever goes first.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{pins::limit_descriptors, *};
use crate::{
    namespace::Namespace,
    testing::{Forked, Signal, alone, fork, fork_untold},
};

/// A membership that is told of forks, and another one of which only files are known.
fn told(directory: &Path) -> (Arc<Namespace>, Arc<Membership>) {
    let namespace = Namespace::join(&options(directory, 60.0)).expect("a namespace");
    (namespace, join(directory))
}

#[test]
fn a_child_holds_on_to_what_its_parent_lets_go() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let (parent, inherited) = (&namespace.membership, namespace.membership.id());
        let pin = parent.pin(7).expect("a pin");
        let [released, seen, done] = [(); 3].map(|()| Signal::new());
        // The task has the pin, so the parent's is dropped once the child has its own.
        let child = fork(|| {
            released.wait();
            assert_ne!(parent.id(), inherited);
            assert!(parent.is_alive(inherited), "the parent");
            assert!(parent.is_pinned(7));
            let own = parent.pin(8).expect("a pin");
            seen.say();
            done.wait();
            drop(pin);
            drop(own);
            assert!(!parent.is_pinned(7) && !parent.is_pinned(8));
        });
        assert_eq!(parent.id(), inherited);
        assert_eq!(parent.mirror.count(7), 0);
        assert!(parent.is_pinned(7) && other.is_pinned(7));
        released.say();
        seen.wait();
        assert!(other.is_pinned(7) && other.is_pinned(8));
        done.say();
        child.join();
        assert!(!other.is_pinned(7) && !other.is_pinned(8));
    });
}

#[test]
fn a_parent_holds_on_to_what_its_child_lets_go() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let mut pin = Some(namespace.membership.pin(7).expect("a pin"));
        fork(|| {
            drop(pin.take());
            assert!(other.is_pinned(7));
        })
        .join();
        assert!(other.is_pinned(7) && namespace.membership.is_pinned(7));
        drop(pin);
        assert!(!other.is_pinned(7));
    });
}

#[test]
fn a_child_that_is_not_told_goes_on_from_what_its_parent_held() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let parent = &namespace.membership;
        let inherited = parent.id();
        let mut pin = Some(parent.pin(7).expect("a pin"));
        let [joined, released, done] = [(); 3].map(|()| Signal::new());
        let child = fork_untold(|| {
            let this = || Arc::clone(&namespace);
            namespace.tend(this).expect("a member");
            assert_ne!(parent.id(), inherited);
            let new = parent.pin(8).expect("a pin");
            joined.say();
            released.wait();
            assert!(parent.is_pinned(7), "by this process");
            drop((pin.take(), new));
            assert!(!parent.is_pinned(7) && !parent.is_pinned(8));
            // Now it is told of forks, so that its child is protected before it does anything.
            let before = parent.id();
            let pin = parent.pin(9).expect("a pin");
            let grandchild = fork(|| {
                released.wait();
                assert_ne!(parent.id(), before);
                drop(pin);
                assert!(!parent.is_pinned(9));
            });
            assert!(parent.is_pinned(9), "by its child");
            released.say();
            grandchild.join();
            assert!(!parent.is_pinned(9));
            done.wait();
        });
        joined.wait();
        assert!(other.is_pinned(7) && other.is_pinned(8));
        drop(pin.take());
        assert!(other.is_pinned(7));
        released.say();
        done.say();
        child.join();
        assert!(!other.is_pinned(7));
    });
}

#[test]
fn a_child_that_is_not_told_and_lets_go_first_takes_nothing_from_its_parent() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let mut pin = Some(namespace.membership.pin(7).expect("a pin"));
        fork_untold(|| drop(pin.take())).join();
        assert!(other.is_pinned(7) && namespace.membership.is_pinned(7));
        drop(pin);
        assert!(!other.is_pinned(7));
    });
}

#[test]
fn a_grandchild_holds_on_when_those_before_it_are_dead() {
    alone(|directory| dead_before_grandchild(directory, |task| fork(task)));
}

#[test]
fn a_grandchild_that_is_not_told_holds_on_when_those_before_it_are_dead() {
    alone(|directory| dead_before_grandchild(directory, |task| fork_untold(task)));
}

fn dead_before_grandchild(directory: &Path, fork_grandchild: impl Fn(&mut dyn FnMut()) -> Forked) {
    let other = join(directory);
    let [held, orphaned, done, gone] = [(); 4].map(|()| Signal::new());
    let holder = fork(|| {
        let namespace = Namespace::join(&options(directory, 60.0)).expect("a namespace");
        let member = &namespace.membership;
        let mut pin = Some(member.pin(7).expect("a pin"));
        let mut grandchild = || {
            assert!(member.check().is_ok());
            held.say();
            done.wait();
            drop(pin.take());
            gone.say();
            done.wait();
        };
        let child = fork(|| {
            fork_grandchild(&mut grandchild);
            // Ends while the grandchild lives.
        });
        child.join();
        orphaned.say();
        Signal::new().wait();
    });
    held.wait();
    orphaned.wait();
    holder.kill();
    assert!(other.is_pinned(7), "the grandchild lives");
    done.say();
    gone.wait();
    assert!(!other.is_pinned(7));
    done.say();
}

/// Says that it is time to stop, when it is dropped.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn forks_while_other_threads_work_lose_no_pin() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let member = &namespace.membership;
        let mut kept = Some(member.pin(77).expect("a pin"));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // Also if this thread fails.
            let stopped = Stops(&stop);
            for first in [0, 1000, 2000] {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        for segment in first..first + 40 {
                            let pin = member.pin(segment).expect("a pin");
                            assert!(member.is_pinned(segment));
                            drop(pin);
                        }
                    }
                });
            }
            for round in 0..60 {
                let task = || {
                    for segment in [0, 1000, 2000, 77] {
                        let pin = member.pin(segment).expect("a pin");
                        assert!(member.is_pinned(segment));
                        drop(pin);
                    }
                    drop(kept.take());
                    assert!(member.is_pinned(77), "by the parent");
                    // Pins that threads of the parent held at the fork stay, as nobody here is
                    // going to drop them; all others are gone.
                    let held = (0..2100).filter(|&segment| member.mirror.count(segment) > 0);
                    assert!(held.count() <= 3);
                };
                if round % 2 == 0 {
                    fork(task).join();
                } else {
                    fork_untold(task).join();
                }
            }
            drop(stopped);
        });
        assert!(other.is_pinned(77));
        drop(kept);
        for segment in (0..2100).chain([77]) {
            assert!(!other.is_pinned(segment), "{segment}");
        }
    });
}

#[test]
fn what_a_child_might_see_stays_pinned_if_it_cannot_be_made_a_member() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let mut pin = Some(namespace.membership.pin(7).expect("a pin"));
        let [ready, done] = [(); 2].map(|()| Signal::new());
        limit_descriptors(3);
        let child = fork(|| {
            ready.say();
            done.wait();
            assert!(namespace.membership.check().is_err());
            drop(pin.take());
        });
        limit_descriptors(64);
        ready.wait();
        drop(pin);
        assert!(other.is_pinned(7));
        done.say();
        child.join();
    });
}

#[test]
fn places_of_children_that_never_were_are_free_again() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let _pin = namespace.membership.pin(7).expect("a pin");
        for _ in 0..3 {
            let fork = ForkedMembership::prepare(Arc::clone(&namespace.membership));
            assert!(names(other.path()).contains(&"pins-2".to_owned()));
            drop(fork.in_parent());
            assert!(!names(other.path()).contains(&"pins-2".to_owned()));
        }
        // One that lived a moment is dead.
        fork(|| {}).join();
        assert!(names(other.path()).contains(&"pins-2".to_owned()));
        assert_eq!(namespace.adopt(), 1);
        assert!(!names(other.path()).contains(&"pins-2".to_owned()));
    });
}

#[test]
fn children_that_say_nothing_do_not_fill_the_namespace() {
    alone(|directory| {
        let (namespace, other) = told(directory);
        let _pin = namespace.membership.pin(7).expect("a pin");
        for _ in 0..100 {
            fork(|| {}).join();
        }
        let pins = names(other.path());
        let pins = pins.iter().filter(|name| name.starts_with("pins-"));
        assert!(pins.count() < 40);
    });
}
