//! Streams between two ends of this process, in both colours.

mod support;

use std::net::TcpListener;

use proxystore_core::{Error, ErrorKind};
use proxystore_runtime::Colour;
use proxystore_stream::{Address, Stream};

use crate::support::{bytes, echo, exchange, in_both, run};

#[test]
fn bytes_come_back_over_tcp() {
    in_both(|colour| {
        let address = echo(None, Address::tcp("localhost", 0));
        run(colour, async move {
            let stream = Stream::connect(&address, None).await.expect("a stream");
            assert_eq!(stream.colour(), colour);
            assert!(stream.is_quiet() && !stream.is_encrypted());
            assert_eq!(stream.peer(), address.to_string());
            for len in [1, 100, 5_000_000] {
                assert_eq!(exchange(&stream, len).await.expect("bytes"), bytes(len));
            }
        });
    });
}

#[test]
fn bytes_come_back_over_a_unix_socket_whose_user_is_known() {
    in_both(|colour| {
        let directory = tempfile::tempdir_in("/tmp").expect("a directory");
        let address = echo(None, Address::Unix(directory.path().join("socket")));
        run(colour, async move {
            let stream = Stream::connect(&address, None).await.expect("a stream");
            assert_eq!(
                stream.peer_user(),
                Some(rustix::process::geteuid().as_raw())
            );
            assert_eq!(
                exchange(&stream, 3_000_000).await.expect("bytes"),
                bytes(3_000_000)
            );
        });
    });
}

#[test]
fn nobody_there_is_an_error_that_names_the_address() {
    in_both(|colour| {
        let error = |address: Address| -> Error {
            let connected = run(colour, async move { Stream::connect(&address, None).await });
            connected.expect_err("nobody is there").into()
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let refused = error(Address::tcp("localhost", port));
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(
            refused.to_string().contains(&format!("localhost:{port}")),
            "{refused}"
        );
        let absent = error(Address::Unix("/nowhere/socket".into()));
        assert_eq!(absent.kind(), ErrorKind::Unavailable);
        let unknown = error(Address::tcp("no-such-host.invalid", 1));
        assert_eq!(unknown.kind(), ErrorKind::Unavailable);
        assert!(
            unknown.to_string().contains("no-such-host.invalid"),
            "{unknown}"
        );
    });
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    // Only the second address of `localhost` answers.
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        eprintln!("this host has no IPv6: nothing to try");
        return;
    };
    let port = listener.local_addr().expect("an address").port();
    let stream = run(Colour::Blocking, async move {
        Stream::connect(&Address::tcp("localhost", port), None).await
    });
    let (_, peer) = stream.expect("a stream").addresses().expect("addresses");
    assert!(peer.is_ipv6());
}

#[test]
fn a_stream_that_is_shut_down_wakes_its_reader() {
    in_both(|colour| {
        let address = echo(None, Address::tcp("127.0.0.1", 0));
        let read = run(colour, async move {
            let stream = Stream::connect(&address, None).await.expect("a stream");
            stream.shutdown();
            assert!(!stream.is_quiet());
            stream.read(&mut [0; 4]).await
        });
        assert_eq!(read.expect("the end"), 0);
    });
}
