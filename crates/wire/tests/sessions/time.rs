//! Who waits for whom, and for how long.

use std::time::Duration;

use proxystore_memory::Segment;
use proxystore_wire::{
    Limits, Violation,
    frame::{HEADER, Kind},
    message::{Mode, Reply},
};

use crate::pair::{KEEP_ALIVE, Pair, SILENCE, SMALL, key};

#[test]
fn a_client_pings_while_it_waits_and_only_then() {
    let mut pair = Pair::new(Limits::default());
    let begun = pair.now;
    assert_eq!(pair.client.next_timeout(), None);
    let hour = Duration::from_hours(1);
    assert_eq!(pair.client.handle_timeout(begun + hour), Ok(()));
    let now = begun + hour;
    pair.client.exists(&key(1), now).expect("room");
    pair.client_sends();
    let half = now + KEEP_ALIVE / 2;
    assert_eq!(pair.client.next_timeout(), Some(half));
    assert_eq!(pair.client.handle_timeout(half), Ok(()));
    let asked = pair.client_sends();
    assert_eq!(asked[0], Kind::Ping as u8);
    // An answer is a sign of life, and so is a clock that jumped before the ping was sent.
    pair.server.receive(&asked, half).expect("a ping");
    let answered = pair.server_sends();
    pair.client.receive(&answered, half).expect("a pong");
    let much_later = half + hour;
    assert_eq!(pair.client.handle_timeout(much_later), Ok(()));
    pair.client_sends();
    let end = much_later + KEEP_ALIVE / 2;
    assert_eq!(pair.client.handle_timeout(much_later), Ok(()));
    let silent = Err(Violation::Silent(KEEP_ALIVE));
    assert_eq!(pair.client.handle_timeout(end), silent);
}

#[test]
fn a_node_waits_for_what_is_owed_and_nothing_else() {
    let mut pair = Pair::new(SMALL);
    let begun = pair.now;
    assert_eq!(pair.server.next_timeout(), None);
    let bytes = vec![7; 3000];
    let segments = [Segment::from(&bytes)];
    pair.client
        .put(&key(1), Mode::New, &segments, begun)
        .expect("room");
    let ticket = pair.any_request();
    assert_eq!(pair.server.next_timeout(), None, "there is no place yet");
    let later = begun + Duration::from_secs(100);
    pair.server.accept(ticket, later);
    assert_eq!(pair.server.next_timeout(), Some(later + SILENCE));
    assert_eq!(pair.server.handle_timeout(later), Ok(()));
    let silent = Err(Violation::Silent(SILENCE));
    assert_eq!(pair.server.handle_timeout(later + SILENCE), silent);

    // A reply that nobody takes.
    let mut pair = Pair::new(SMALL);
    pair.client.exists(&key(1), begun).expect("room");
    let ticket = pair.any_request();
    pair.server.respond(ticket, &Reply::Absent);
    assert_eq!(pair.server.next_timeout(), None);
    assert_eq!(pair.server.outgoing(later).bytes.len(), HEADER);
    assert_eq!(pair.server.next_timeout(), Some(later + SILENCE));
    pair.server.sent(1, later + SILENCE);
    assert_eq!(pair.server.handle_timeout(later + SILENCE), Ok(()));
    pair.server.sent(HEADER - 1, later + SILENCE);
    assert_eq!(pair.server.next_timeout(), None);
}
