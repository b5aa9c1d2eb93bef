//! Whatever is said is understood as it was said, however it arrives.

use proptest::prelude::*;
use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, ObjectKey, Sum,
    client::Event,
    frame::{Header, Kind},
    message::{Mode, Refusal, Reply, ReportBuilder, Request},
    server,
};

use crate::pair::Pair;

fn keys() -> impl Strategy<Value = ObjectKey> {
    any::<([u8; 16], [u8; 16])>().prop_map(|(id, capability)| ObjectKey { id, capability })
}

/// A request, without the bytes that it borrows.
#[derive(Clone, Debug)]
enum Asked {
    Put(ObjectKey, Mode, Vec<u8>, usize),
    Get(ObjectKey, bool),
    Exists(ObjectKey),
    Evict(ObjectKey),
    Status,
    Clear,
}

fn asked() -> impl Strategy<Value = Asked> {
    let mode = prop_oneof![Just(Mode::New), Just(Mode::Replace)];
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (keys(), mode, bytes, 0_usize..200)
            .prop_map(|(key, mode, bytes, at)| Asked::Put(key, mode, bytes, at)),
        (keys(), any::<bool>()).prop_map(|(key, whole)| Asked::Get(key, whole)),
        keys().prop_map(Asked::Exists),
        keys().prop_map(Asked::Evict),
        Just(Asked::Status),
        Just(Asked::Clear),
    ]
}

fn ask(pair: &mut Pair, asked: &Asked) {
    let (client, now) = (&mut pair.client, pair.now);
    let stream = match asked {
        Asked::Put(key, mode, bytes, at) => {
            let (first, second) = bytes.split_at(bytes.len().min(*at));
            client.put(key, *mode, &[first.into(), second.into()], now)
        }
        Asked::Get(key, whole) => client.get(key, *whole, now),
        Asked::Exists(key) => client.exists(key, now),
        Asked::Evict(key) => client.evict(key, now),
        Asked::Status => client.status(now),
        Asked::Clear => client.clear(now),
    };
    stream.expect("room");
}

fn is_the_same(asked: &Asked, request: &Request<'_>) -> bool {
    let expected = match asked {
        Asked::Put(key, mode, bytes, _) => Request::Put {
            key: *key,
            mode: *mode,
            sum: Sum::of(bytes),
            bytes,
        },
        Asked::Get(key, whole) => Request::Get {
            key: *key,
            whole: *whole,
        },
        Asked::Exists(key) => Request::Exists { key: *key },
        Asked::Evict(key) => Request::Evict { key: *key },
        Asked::Status => Request::Status,
        Asked::Clear => Request::Clear,
    };
    *request == expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_arrive_as_they_were_made(
        all in prop::collection::vec(asked(), 1..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut pair = Pair::new(Limits::default());
        for asked in &all {
            ask(&mut pair, asked);
        }
        let wire = pair.client_sends();
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        ends.push(wire.len());
        ends.sort_unstable();
        let (mut used, mut seen) = (0, 0);
        for end in ends {
            loop {
                let received = pair.server.receive(&wire[used..end.max(used)], pair.now);
                let received = received.expect("whole frames");
                used += received.used;
                match received.event {
                    None => break,
                    Some(server::Event::Request { request, .. }) => {
                        prop_assert!(is_the_same(&all[seen], &request), "{:?}", request);
                        seen += 1;
                    }
                    Some(event) => prop_assert!(false, "{:?}", event),
                }
            }
        }
        prop_assert_eq!((used, seen), (wire.len(), all.len()));
    }

    #[test]
    fn refusals_and_reports_arrive_as_they_were_made(
        number in any::<u8>(),
        text in "[a-zé€]{0,1200}",
        entries in prop::collection::vec(("[a-zé€]{0,40}", any::<u64>()), 0..300),
    ) {
        let mut pair = Pair::new(Limits::default());
        let refusal = Refusal::from_number(number);
        prop_assert_eq!(refusal.number(), number);
        pair.client.status(pair.now).expect("room");
        let ticket = pair.any_request();
        pair.server.respond(ticket, &Reply::Refused { refusal, text: &text });
        let wire = pair.server_sends();
        let received = pair.client.receive(&wire, pair.now).expect("a reply");
        match received.event {
            Some(Event::Reply { reply: Reply::Refused { refusal: got, text: cut }, .. }) => {
                prop_assert_eq!(got, refusal);
                prop_assert!(text.starts_with(cut) && cut.len() + 4 > text.len().min(1024));
            }
            event => prop_assert!(false, "{:?}", event),
        }

        let mut report = ReportBuilder::new();
        for (name, value) in &entries {
            report.add(name, *value);
        }
        pair.client.status(pair.now).expect("room");
        let ticket = pair.any_request();
        pair.server.respond(ticket, &Reply::Report(report.as_report()));
        let wire = pair.server_sends();
        let received = pair.client.receive(&wire, pair.now).expect("a reply");
        match received.event {
            Some(Event::Reply { reply: Reply::Report(got), .. }) => {
                let got: Vec<_> = got.entries().collect();
                prop_assert_eq!(got.len(), entries.len().min(256));
                for ((name, value), (whole, expected)) in got.iter().zip(&entries) {
                    prop_assert!(whole.starts_with(name) && name.len() + 4 > whole.len().min(64));
                    prop_assert_eq!(value, expected);
                }
            }
            event => prop_assert!(false, "{:?}", event),
        }
    }

    #[test]
    fn a_header_means_what_it_says_or_nothing(bytes in any::<[u8; 16]>(), kind in any::<u8>()) {
        let mut bytes = bytes;
        // Most of the rest is zero, or nothing would be taken.
        bytes[0] = kind;
        bytes[2..4].fill(0);
        bytes[6..8].fill(0);
        bytes[10..12].fill(0);
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(&[])[..12].to_vec(), bytes[..12].to_vec());
            prop_assert_eq!(Kind::from_number(kind), Some(header.kind));
        }
    }

    #[test]
    fn sums_do_not_depend_on_how_they_are_made(
        bytes in prop::collection::vec(any::<u8>(), 0..20_000),
        cut in any::<prop::sample::Index>(),
    ) {
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        let mut sum = Sum::new();
        sum.update(first);
        sum.update_segment(Segment::from(second));
        prop_assert_eq!(sum.finish(), Sum::of(&bytes));
    }
}
