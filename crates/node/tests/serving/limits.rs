//! What a node can hold.

use std::{path::Path, process::Command, time::Instant};

use proxystore_node::Node;
use proxystore_wire::message::{Mode, Refusal};

use crate::support::{Answer, MIB, Peer, bytes, key, node, options, refusal, status, wait};

#[test]
fn objects_beyond_the_budget_are_refused_and_the_others_stay() {
    let mut given = options();
    given.budget = Some(8 << 20);
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    let (refused, text) = refusal(peer.put(&key(1), &bytes(9 * MIB, 1)));
    assert_eq!(refused, Refusal::TooLarge);
    assert!(
        text.contains("9437184") && text.contains("8388608"),
        "{text}"
    );
    for number in 0..7 {
        let done = peer.put(&key(number), &bytes(MIB, 1)).expect("an answer");
        assert_eq!(done, Answer::Done);
    }
    let (refused, text) = refusal(peer.put(&key(8), &bytes(2 * MIB, 1)));
    assert_eq!(refused, Refusal::Full);
    assert!(text.contains("budget") && text.contains("spill"), "{text}");
    assert_eq!(peer.get(&key(8)).expect("an answer"), Answer::Absent);
    assert_eq!(status(&node, "reserved_bytes"), 0);
    // Small ones are refused as well, once there is no room for them.
    let mut number = 100;
    while peer
        .put(&key(number), &bytes(60_000, 1))
        .expect("an answer")
        == Answer::Done
    {
        number += 1;
    }
    assert!((110..118).contains(&number), "{number}");
    peer.evict(&key(0)).expect("an answer");
    let done = peer.put(&key(9), &bytes(MIB - 60_000, 1));
    assert_eq!(done.expect("an answer"), Answer::Done);
}

#[test]
fn announcements_take_room_and_give_it_back() {
    let node = node();
    let mut peers: Vec<_> = (0..8).map(|_| Peer::of(&node)).collect();
    let object = bytes(30 * MIB, 1);
    for (number, peer) in peers.iter_mut().enumerate() {
        peer.begin_put(&key(number as u128), Mode::New, &object);
        peer.send().expect("room");
    }
    // Two of them fit into the budget, whatever the others announce.
    wait(&node, "refused", |refused| refused == 6);
    assert_eq!(status(&node, "reserved_bytes"), 60 << 20);
    assert!(status(&node, "memory_bytes") <= 64 << 20);
    drop(peers);
    wait(&node, "reserved_bytes", |bytes| bytes == 0);
    assert_eq!(status(&node, "memory_bytes"), 0);
    assert_eq!(status(&node, "objects"), 0);
}

#[test]
fn what_is_beyond_the_budget_goes_to_the_disk_and_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut given = options();
    given.budget = Some(8 << 20);
    given.spill = Some(directory.path().to_owned());
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    for number in 0..20 {
        let object = bytes(2 * MIB, number);
        let done = peer.put(&key(u128::from(number)), &object);
        assert_eq!(done.expect("an answer"), Answer::Done);
    }
    for number in 100..400 {
        let object = bytes(50_000, number);
        let done = peer.put(&key(u128::from(number)), &object);
        assert_eq!(done.expect("an answer"), Answer::Done);
    }
    assert!(status(&node, "spilled_bytes") >= 40 << 20);
    assert!(status(&node, "memory_bytes") <= 8 << 20);
    for (numbers, len) in [(0..20, 2 * MIB), (100..400, 50_000)] {
        for number in numbers {
            let got = peer.get(&key(u128::from(number))).expect("an answer");
            assert!(got == Answer::Object(bytes(len, number)), "{number}");
        }
    }
    let many: Vec<_> = (0..20)
        .map(|number| {
            let get = peer.session.get(&key(number), false, Instant::now());
            get.expect("few requests")
        })
        .collect();
    for stream in many {
        let answer = peer.answer(stream).expect("an answer");
        assert_eq!(answer, Answer::Elsewhere(2 << 20));
    }
}

#[test]
fn what_is_given_up_while_room_is_made_for_it_is_not_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut given = options();
    given.budget = Some(2 << 20);
    given.spill = Some(directory.path().to_owned());
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    for round in 0..30 {
        // All room is taken by what may be spilled.
        for number in 0..40 {
            let key = key(1_000 * (round + 1) + number);
            peer.put(&key, &bytes(50_000, 1)).expect("an answer");
        }
        let put = peer.begin_put(&key(round), Mode::New, &bytes(60_000, 1));
        peer.session.cancel(put);
        peer.exists(&key(round)).expect("an answer");
    }
    for round in 0..30 {
        assert_eq!(peer.exists(&key(round)).expect("an answer"), Answer::Absent);
    }
    assert_eq!(status(&node, "objects"), 30 * 40);
}

#[test]
fn many_at_once_make_room_for_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut given = options();
    given.budget = Some(8 << 20);
    given.spill = Some(directory.path().to_owned());
    let node = Node::start(given).expect("a node");
    std::thread::scope(|scope| {
        for client in 0..6 {
            let node = &node;
            scope.spawn(move || {
                let mut peer = Peer::of(node);
                let puts: Vec<_> = (0..40)
                    .map(|number| {
                        let number = client * 100 + number;
                        let object = bytes(60_000, number);
                        peer.begin_put(&key(number.into()), Mode::New, &object)
                    })
                    .collect();
                for stream in puts {
                    assert_eq!(peer.answer(stream).expect("an answer"), Answer::Done);
                }
                let object = bytes(MIB, client);
                let done = peer.put(&key(10_000 + u128::from(client)), &object);
                assert_eq!(done.expect("an answer"), Answer::Done);
                for number in client * 100..client * 100 + 40 {
                    let got = peer.get(&key(number.into())).expect("an answer");
                    assert!(got == Answer::Object(bytes(60_000, number)));
                }
            });
        }
    });
    assert_eq!(status(&node, "objects"), 246);
}

/// A memory file system with so little room, mounted for as long as this lives.
struct Small(tempfile::TempDir);

impl Small {
    /// None where this process may not mount: without root, and in most containers.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(directory.path())
            .status()
            .expect("mount(8)");
        mounted.success().then_some(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    let Some(small) = Small::mount("8m") else {
        eprintln!("nothing can be mounted here: only root can try a full disk");
        return;
    };
    let mut given = options();
    given.budget = Some(4 << 20);
    given.spill = Some(small.path().to_owned());
    let node = Node::start(given).expect("a node");
    let mut peer = Peer::of(&node);
    let mut kept = 0;
    let (refused, text) = loop {
        let object = bytes(MIB, kept);
        match peer.put(&key(kept.into()), &object).expect("an answer") {
            Answer::Done => kept += 1,
            other => break refusal(Ok(other)),
        }
    };
    assert_eq!(refused, Refusal::Full);
    let directory = small.path().display().to_string();
    assert!(text.contains(&directory), "{text}");
    assert!(kept >= 8, "{kept}");
    for number in 0..kept {
        let got = peer.get(&key(number.into())).expect("an answer");
        assert!(got == Answer::Object(bytes(MIB, number)), "{number}");
    }
    for number in 0..kept {
        peer.evict(&key(number.into())).expect("an answer");
    }
    let done = peer.put(&key(1_000), &bytes(MIB, 1));
    assert_eq!(done.expect("an answer"), Answer::Done);
}
