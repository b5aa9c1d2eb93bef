//! What clients ask for.

use std::{net::Ipv4Addr, thread, time::Instant};

use proxystore_wire::message::{Mode, Refusal};

use crate::support::{Answer, MIB, Peer, SECRET, bytes, key, node, port, refusal, status};

fn ways(node: &proxystore_node::Node) -> [Peer; 2] {
    let tcp = Peer::tcp((Ipv4Addr::LOCALHOST, port(node)), SECRET);
    [Peer::of(node), tcp.expect("the secret is right")]
}

#[test]
fn objects_of_all_sizes_come_back_by_every_way() {
    let node = node();
    for (way, mut peer) in ways(&node).into_iter().enumerate() {
        let sizes = [0, 1, 100, 65_535, 65_536, 65_537, MIB, MIB + 1, 20 * MIB];
        for (number, size) in sizes.into_iter().enumerate() {
            let key = key((way * 100 + number) as u128);
            let object = bytes(size, number as u64);
            assert_eq!(peer.put(&key, &object).expect("an answer"), Answer::Done);
            let present = peer.exists(&key).expect("an answer");
            assert_eq!(present, Answer::Present(size as u64));
            let got = peer.get(&key).expect("an answer");
            assert!(got == Answer::Object(object), "{size} bytes");
            assert_eq!(peer.evict(&key).expect("an answer"), Answer::Done);
            assert_eq!(peer.evict(&key).expect("an answer"), Answer::Done);
            assert_eq!(peer.get(&key).expect("an answer"), Answer::Absent);
            assert_eq!(peer.exists(&key).expect("an answer"), Answer::Absent);
        }
    }
    assert_eq!(status(&node, "objects"), 0);
    assert_eq!(status(&node, "memory_bytes"), 0);
}

#[test]
fn one_puts_and_another_gets() {
    let node = node();
    let [mut first, mut second] = ways(&node);
    let object = bytes(3 * MIB, 1);
    first.put(&key(1), &object).expect("an answer");
    assert!(second.get(&key(1)).expect("an answer") == Answer::Object(object));
    second.set(&key(1), b"new").expect("an answer");
    let got = first.get(&key(1)).expect("an answer");
    assert_eq!(got, Answer::Object(b"new".to_vec()));
}

#[test]
fn a_key_of_another_object_opens_nothing() {
    let node = node();
    let mut peer = Peer::of(&node);
    peer.put(&key(1), b"hidden").expect("an answer");
    let mut forged = key(1);
    forged.capability[15] ^= 1;
    assert_eq!(peer.get(&forged).expect("an answer"), Answer::Absent);
    assert_eq!(peer.exists(&forged).expect("an answer"), Answer::Absent);
    assert_eq!(refusal(peer.evict(&forged)).0, Refusal::Forbidden);
    for object in [vec![1; 10], vec![1; MIB]] {
        assert_eq!(refusal(peer.set(&forged, &object)).0, Refusal::Forbidden);
        assert_eq!(refusal(peer.put(&forged, &object)).0, Refusal::Forbidden);
        assert_eq!(refusal(peer.put(&key(1), &object)).0, Refusal::Forbidden);
    }
    let got = peer.get(&key(1)).expect("an answer");
    assert_eq!(got, Answer::Object(b"hidden".to_vec()));
    assert_eq!(status(&node, "refused"), 7);
}

#[test]
fn a_thousand_requests_in_one_write_are_answered() {
    let node = node();
    let mut peer = Peer::of(&node);
    let puts: Vec<_> = (0..1_000)
        .map(|number| peer.begin_put(&key(number.into()), Mode::New, &bytes(1_000, number)))
        .collect();
    peer.send().expect("room");
    let last = *puts.last().expect("many");
    // All of them are answered in order.
    let mut done = 0;
    for stream in puts {
        assert_eq!(peer.answer(stream).expect("an answer"), Answer::Done);
        done += 1;
        if stream == last {
            break;
        }
    }
    assert_eq!(done, 1_000);
    let now = Instant::now();
    let gets: Vec<_> = (0..1_000)
        .map(|number| peer.session.get(&key(number), true, now).expect("room"))
        .collect();
    for (number, stream) in gets.into_iter().enumerate() {
        let got = peer.answer(stream).expect("an answer");
        assert!(
            got == Answer::Object(bytes(1_000, number as u64)),
            "{number}"
        );
    }
}

#[test]
fn many_clients_at_once_get_what_they_put() {
    let node = node();
    thread::scope(|scope| {
        for client in 0..16_u64 {
            let node = &node;
            scope.spawn(move || {
                let mut peer = Peer::of(node);
                for round in 0..20_u64 {
                    let key = key(u128::from(client * 1_000 + round));
                    let object = bytes(1 << (round % 18), client * 31 + round);
                    assert_eq!(peer.put(&key, &object).expect("an answer"), Answer::Done);
                    assert!(peer.get(&key).expect("an answer") == Answer::Object(object));
                }
            });
        }
    });
    assert_eq!(status(&node, "objects"), 320);
    assert_eq!(status(&node, "puts"), 320);
    assert_eq!(status(&node, "hits"), 320);
}

#[test]
fn a_report_says_what_there_is() {
    let node = node();
    let mut peer = Peer::of(&node);
    peer.put(&key(1), &bytes(MIB, 1)).expect("an answer");
    let Answer::Report(report) = peer.status().expect("an answer") else {
        panic!("no report");
    };
    assert_eq!(report["objects"], 1);
    assert_eq!(report["bytes"], MIB as u64);
    assert_eq!(report["received_bytes"], MIB as u64);
    assert_eq!(report["puts"], 1);
    assert_eq!(report["connections"], 1);
    assert_eq!(report["pid"], u64::from(std::process::id()));
    assert_eq!(report.len(), node.status().len());
}
