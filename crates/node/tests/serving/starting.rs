//! Who becomes a node, and who does not.

use std::{
    net::{Ipv4Addr, TcpListener},
    thread,
};

use proxystore_core::{Deadline, Error, ErrorKind};
use proxystore_node::{Node, NodeError, NodeOptions};
use proxystore_stream::Secret;

use crate::support::{Peer, SECRET, node, options, port, socket};

fn fails(options: NodeOptions) -> NodeError {
    Node::start(options).expect_err("no node")
}

#[test]
fn one_of_many_who_start_at_once_is_the_node() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let mut started = Vec::new();
    thread::scope(|scope| {
        let starting: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut options = options();
                    options.port = port;
                    Node::start(options)
                })
            })
            .collect();
        for start in starting {
            match start.join().expect("no panic") {
                Ok(node) => started.push(node),
                Err(NodeError::AlreadyRunning { owner, .. }) => {
                    assert_eq!(owner.process, std::process::id());
                    assert_eq!(owner.address, format!("127.0.0.1:{port}"));
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
    assert_eq!(started.len(), 1);
    Peer::of(&started[0]);
}

#[test]
fn a_port_is_free_again_when_its_node_has_stopped() {
    let first = node();
    let (port, path) = (port(&first), socket(&first).to_owned());
    assert!(path.exists());
    first.stop(Deadline::never());
    assert!(!path.exists());
    let mut again = options();
    again.port = port;
    let second = Node::start(again).expect("the port is free");
    assert_eq!(socket(&second), path);
    Peer::of(&second);
}

#[test]
fn what_stands_in_the_way_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let mut given = options();
    given.port = taken.local_addr().expect("bound").port();
    let error = fails(given);
    assert!(matches!(error, NodeError::PortInUse { .. }), "{error}");
    let error = Error::from(error);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.is_retryable());

    let named = |host: &str| {
        let mut options = options();
        host.clone_into(&mut options.host);
        Error::from(fails(options))
    };
    let elsewhere = named("203.0.113.1");
    assert_eq!(elsewhere.kind(), ErrorKind::InvalidConfig, "{elsewhere}");
    let unknown = named("no-such-host.invalid");
    assert_eq!(unknown.kind(), ErrorKind::Unavailable, "{unknown}");
    assert!(unknown.to_string().contains("no-such-host.invalid"));

    let mut open = NodeOptions::new("0.0.0.0", 0);
    let error = fails(open.clone());
    assert!(matches!(error, NodeError::Unprotected { .. }), "{error}");
    open.secret = Some(Secret::parse("short"));
    let error = fails(open.clone());
    assert!(matches!(error, NodeError::ShortSecret { .. }), "{error}");
    open.secret = Some(Secret::parse("file:/nowhere/secret"));
    let error = fails(open);
    assert!(error.to_string().contains("/nowhere/secret") || Error::from(error).path().is_some());

    let mut spilling = options();
    spilling.spill = Some("/nowhere".into());
    let error = fails(spilling);
    assert!(matches!(error, NodeError::Spill { .. }), "{error}");
    assert_eq!(Error::from(error).path(), Some("/nowhere".as_ref()));
}

#[test]
fn a_privileged_port_or_a_secret_does_not_show_in_texts() {
    let mut given = options();
    given.secret = Some(Secret::parse(SECRET));
    assert!(!format!("{given:?}").contains(SECRET));
    let node = Node::start(given).expect("a node");
    assert!(!format!("{node:?}").contains(SECRET));
}
